//! Whether what an order names is what the host has, and whether the host lets it happen. Pure, so that tables can test it.

use fleet::order::{Kind, Unit};
use wire::v1::ProcessTarget;

use super::conf::Conf;

/// One process, as it was read while its pidfd was held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub pid: u32,
    /// When it began, in ms after the boot.
    pub start_ms: u64,
    /// The inode of its pidfd, where the kernel makes it unique.
    pub pin: Option<u64>,
    /// The file that it runs; `None` for threads of the kernel, and where that must not be read.
    pub executable: Option<String>,
    /// Whose that file is.
    pub owner: Option<u32>,
    /// Its users: real, effective, saved, and of the file system.
    pub users: [u32; 4],
    /// Its unit.
    pub unit: Option<String>,
    /// Whether it is a thread of the kernel.
    pub kernel: bool,
    /// Whether it runs the same program as this hand.
    pub own: bool,
}

/// Why an order is refused: the code, and words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub code: &'static str,
    pub why: String,
}

/// Programs without which a host is lost, by the last part of their path. They count only where root owns the file.
const PROGRAMS: [&str; 28] = [
    "systemd",
    "init",
    "dbus-daemon",
    "dbus-broker",
    "dbus-broker-launch",
    "sshd",
    "sshd-session",
    "sshd-auth",
    "dropbear",
    "dockerd",
    "docker-proxy",
    "docker-init",
    "containerd",
    "containerd-shim",
    "containerd-shim-runc-v1",
    "containerd-shim-runc-v2",
    "runc",
    "crun",
    "youki",
    "runsc",
    "crio",
    "conmon",
    "conmonrs",
    "podman",
    "kubelet",
    "k3s",
    "lxcfs",
    "lxd",
];
/// Units without which a host is lost, besides those of systemd itself.
const UNITS: [&str; 21] = [
    "dbus.service",
    "dbus-broker.service",
    "ssh.service",
    "sshd.service",
    "dropbear.service",
    "docker.service",
    "containerd.service",
    "crio.service",
    "podman.service",
    "kubelet.service",
    "k3s.service",
    "k3s-agent.service",
    "lxd.service",
    "lxcfs.service",
    "incus.service",
    "rollcall.service",
    "rollcall-agent.service",
    "rollcall-watch.service",
    "rollcall-hand.service",
    "init.scope",
    "snap.docker.dockerd.service",
];

/// Whether this is the process that an order names.
pub fn is_the_one(target: &ProcessTarget, seen: &Seen) -> Result<(), Refused> {
    let differs = |what: &str| Refused {
        code: "mismatch",
        why: format!("process {} is another one by now: its {what} differs", target.pid),
    };
    if target.start_ms != seen.start_ms {
        return Err(differs("start"));
    }
    if target.executable.is_some() && target.executable != seen.executable {
        return Err(differs("executable"));
    }
    if target.pin.is_some() && target.pin != seen.pin {
        return Err(differs("pin"));
    }
    Ok(())
}

/// Whether the host's owner lets this process get the signal of this kind, and nobody is lost by it.
pub fn of_process(conf: &Conf, kind: Kind, seen: &Seen) -> Result<(), Refused> {
    let not_allowed = |why: String| Err(Refused { code: "not_allowed", why: format!("hand.conf: {why}") });
    if !conf.signals.contains(&kind) {
        return not_allowed(format!("signals does not name that of {kind}"));
    }
    // Of a thread of the kernel there is no file; that it is one says more than that none is allowed.
    if !seen.kernel && seen.pid != 1 {
        let executable = seen.executable.as_deref().unwrap_or_default();
        if !conf.executables.iter().any(|glob| glob.matches(executable)) {
            return not_allowed(format!("executables does not name {executable:?}"));
        }
        let others = |user: &&u32| !conf.users.iter().any(|range| range.contains(user));
        if let Some(user) = seen.users.iter().find(others) {
            return not_allowed(format!("users does not name {user}"));
        }
    }
    match lost(seen) {
        Some(why) => Err(Refused { code: "denied", why: format!("process {} {why}: never", seen.pid) }),
        None => Ok(()),
    }
}

/// Whether the host's owner lets this unit be controlled, and nobody is lost by it.
pub fn of_unit(conf: &Conf, unit: &Unit) -> Result<(), Refused> {
    if !conf.units.contains(unit) {
        let why = format!("hand.conf: units does not name {unit}");
        return Err(Refused { code: "not_allowed", why });
    }
    if is_vital(unit.as_str()) {
        return Err(Refused { code: "denied", why: format!("{unit} is needed by the host: never") });
    }
    Ok(())
}

/// What the host would lose with this process. By what it runs and where, never by the name that it gives itself.
fn lost(seen: &Seen) -> Option<&'static str> {
    let executable = seen.executable.as_deref().unwrap_or_default();
    let program = executable.rsplit('/').next().unwrap_or_default();
    let of_systemd = executable.starts_with("/usr/lib/systemd/") || executable.starts_with("/lib/systemd/");
    if seen.pid == 1 {
        return Some("is the first of all");
    }
    if seen.kernel {
        return Some("is a thread of the kernel");
    }
    if seen.own {
        return Some("is of Rollcall");
    }
    if seen.owner == Some(0) && (of_systemd || PROGRAMS.contains(&program)) {
        return Some("runs what the host needs");
    }
    seen.unit.as_deref().is_some_and(is_vital).then_some("is of a unit that the host needs")
}

fn is_vital(unit: &str) -> bool {
    unit.starts_with("systemd-") || UNITS.contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf() -> Conf {
        Conf {
            signals: [Kind::Terminate].into(),
            executables: ["/srv/*", "/usr/sbin/*", "/usr/lib/systemd/*", "/home/*"]
                .map(|glob| glob.parse().unwrap())
                .into(),
            users: vec![0..=0, 1_000..=60_000],
            units: ["shop.service", "ssh.service", "systemd-journald.service", "rollcall-agent.service"]
                .map(|unit| unit.parse().unwrap())
                .into(),
            ..Conf::default()
        }
    }

    fn shop() -> Seen {
        Seen {
            pid: 700,
            start_ms: 90,
            pin: Some(5),
            executable: Some("/srv/shop/bin".to_owned()),
            owner: Some(0),
            users: [1_000; 4],
            unit: Some("shop.service".to_owned()),
            ..Seen::default()
        }
    }

    fn running(path: &str, owner: u32) -> Seen {
        Seen { executable: Some(path.to_owned()), owner: Some(owner), ..shop() }
    }

    #[test]
    fn a_process_is_judged_by_what_it_runs_and_whose_it_is() {
        let unit = |unit: &str| Seen { unit: Some(unit.to_owned()), ..shop() };
        let users = |users| Seen { users, ..shop() };
        let cases = [
            (shop(), ""),
            (running("/opt/shop/bin", 0), "not_allowed"),
            (Seen { executable: None, ..shop() }, "not_allowed"),
            (users([999; 4]), "not_allowed"),
            (users([1_000, 1_000, 33, 1_000]), "not_allowed"),
            (users([0; 4]), ""),
            (Seen { pid: 1, ..shop() }, "denied"),
            (Seen { pid: 1, executable: None, ..shop() }, "denied"),
            (Seen { kernel: true, executable: None, users: [0; 4], ..shop() }, "denied"),
            (Seen { own: true, ..shop() }, "denied"),
            (running("/usr/sbin/sshd", 0), "denied"),
            (running("/srv/sshd", 0), "denied"),
            // Whoever names a file of their own so is protected by nothing.
            (running("/home/ann/sshd", 1_000), ""),
            (running("/usr/sbin/dockerd", 0), "denied"),
            (running("/usr/lib/systemd/systemd-journald", 0), "denied"),
            (running("/usr/lib/systemd/anything", 0), "denied"),
            (running("/usr/sbin/nginx", 0), ""),
            (unit("ssh.service"), "denied"),
            (unit("systemd-resolved.service"), "denied"),
            (unit("rollcall-watch.service"), "denied"),
            (unit("session-4.scope"), ""),
            (Seen { unit: None, ..shop() }, ""),
        ];
        for (seen, code) in cases {
            let judged = of_process(&conf(), Kind::Terminate, &seen).map_err(|refused| refused.code);
            assert_eq!(judged.err().unwrap_or_default(), code, "{seen:?}");
            let kill = of_process(&conf(), Kind::Kill, &seen).unwrap_err();
            assert_eq!(kill.code, "not_allowed", "{seen:?}");
        }
        let empty = Conf { signals: [Kind::Kill].into(), ..Conf::default() };
        assert_eq!(of_process(&empty, Kind::Kill, &shop()).unwrap_err().code, "not_allowed");
    }

    #[test]
    fn a_process_is_the_one_by_start_executable_and_pin() {
        let target = |start_ms, executable: Option<&str>, pin| ProcessTarget {
            pid: 700,
            start_ms,
            pin,
            executable: executable.map(str::to_owned),
        };
        let cases = [
            (target(90, None, None), true),
            (target(90, Some("/srv/shop/bin"), Some(5)), true),
            (target(80, None, None), false),
            (target(90, Some("/srv/shop"), None), false),
            (target(90, None, Some(6)), false),
        ];
        for (target, same) in cases {
            let judged = is_the_one(&target, &shop()).map_err(|refused| refused.code);
            assert_eq!(judged, if same { Ok(()) } else { Err("mismatch") }, "{target:?}");
        }
        let older = Seen { pin: None, ..shop() };
        assert!(is_the_one(&target(90, None, Some(5)), &older).is_err());
        assert!(is_the_one(&target(90, None, None), &older).is_ok());
    }

    #[test]
    fn a_unit_is_allowed_by_its_full_name_alone() {
        let cases = [
            ("shop.service", ""),
            ("shop2.service", "not_allowed"),
            ("xshop.service", "not_allowed"),
            ("docker.service", "not_allowed"),
            ("ssh.service", "denied"),
            ("systemd-journald.service", "denied"),
            ("rollcall-agent.service", "denied"),
        ];
        for (unit, code) in cases {
            let judged = of_unit(&conf(), &unit.parse().unwrap()).map_err(|refused| refused.code);
            assert_eq!(judged.err().unwrap_or_default(), code, "{unit}");
        }
    }
}
