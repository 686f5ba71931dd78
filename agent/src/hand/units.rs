//! Units of systemd, through `systemctl`: it is there wherever systemd is, and asks the same questions as a person would.

use std::{
    io::{self, Read},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use fleet::order::{Kind, Unit};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wire::v1::UnitState;

use super::target::ends_within;

/// So much of what it says is read.
const MAX_SAID: u64 = 4 * 1_024;
const SHOWN: &str = "--property=ActiveState,SubState,Result,MainPID";

/// How a call ended.
pub enum Ended {
    /// By itself, well.
    Well,
    /// By itself, with these words.
    Badly(String),
    /// Not in time: what it began goes on.
    Late,
}

/// Has systemd do to a unit what a kind says, and waits for that.
///
/// # Errors
/// There is no such program, or the system lets it not run: nothing was done.
pub fn control(systemctl: &Path, kind: Kind, unit: &Unit, patience: Duration) -> io::Result<Ended> {
    let verb = match kind {
        Kind::Start => "start",
        Kind::Stop => "stop",
        Kind::Restart => "restart",
        Kind::Terminate | Kind::Kill => return Err(io::Error::other("this kind is not about units")),
    };
    let mut child = command(systemctl, verb, unit).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = match pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        Some(Ok(pidfd)) => pidfd,
        _ => return ended(child),
    };
    if !ends_within(&pidfd, patience) {
        child.kill()?;
        child.wait()?;
        return Ok(Ended::Late);
    }
    ended(child)
}

/// What systemd tells of a unit; `None` where it tells nothing.
pub fn show(systemctl: &Path, unit: &Unit) -> Option<UnitState> {
    let said = command(systemctl, "show", unit).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let of = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.chars().filter(char::is_ascii_graphic).take(64).collect::<String>())
    };
    Some(UnitState {
        active: of("ActiveState")?,
        sub: of("SubState").unwrap_or_default(),
        result: of("Result").unwrap_or_default(),
        main_pid: of("MainPID").and_then(|pid| pid.parse().ok()).unwrap_or(0),
    })
}

/// Nothing of this process's environment goes along; what begins with a dash is a name all the same.
fn command(systemctl: &Path, verb: &str, unit: &Unit) -> Command {
    let mut command = Command::new(systemctl);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .args(["--no-ask-password", "--no-pager", verb]);
    if verb == "show" { command.arg(SHOWN) } else { &mut command }.args(["--", unit.as_str()]);
    command
}

fn ended(mut child: Child) -> io::Result<Ended> {
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(MAX_SAID).read_to_end(&mut said)?;
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(Ended::Well);
    }
    Ok(Ended::Badly(format!("systemctl: {status}: {}", String::from_utf8_lossy(&said).trim())))
}
