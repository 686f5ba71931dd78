//! A snapshot that was checked: within the bounds of the interface, its texts made printable.

use serde::Serialize;
use wire::{
    bounds::{MAX_CORES, MAX_DISKS, MAX_NETWORKS, MAX_ORDER_KINDS, MAX_TEMPERATURES},
    v1,
};

use super::{Interval, processes};
use crate::{
    Millis,
    text::{self, BadText},
};

/// The greatest number that is taken for a time: the end of the year 9999.
pub const MAX_TIME: Millis = 253_402_300_799_999;
/// Highest load average that is believed.
const MAX_LOAD: f32 = 1e6;
/// The lowest and the highest temperature that is believed.
const CELSIUS: std::ops::RangeInclusive<f32> = -273.15..=10_000.0;

/// What is wrong with a snapshot: the field and the reason, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct Fault {
    pub(super) field: &'static str,
    pub(super) reason: String,
}

/// A checked sample of one server.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Snapshot(v1::Snapshot);

impl Snapshot {
    /// Checks the bounds of the interface and makes every text printable. Checking what was checked changes nothing.
    pub fn check(mut raw: v1::Snapshot, interval: Interval) -> Result<Self, Fault> {
        within("sampled_at", raw.sampled_at, 0..=MAX_TIME)?;
        within("covers_ms", raw.covers_ms, 0..=2 * interval.millis())?;
        if let Some(host) = &mut raw.host {
            check_host(host)?;
        }
        if let Some(cpu) = &raw.cpu {
            check_cpu(cpu)?;
        }
        for load in raw.load.iter().flatten() {
            within("load", *load, 0.0..=MAX_LOAD)?;
        }
        if let Some(memory) = &raw.memory {
            let v1::Memory { total, used, available, swap_total, swap_used } = memory;
            for bytes in [total, used, available, swap_total, swap_used] {
                check_bytes("memory", *bytes)?;
            }
        }
        check_disks(&mut raw.disks)?;
        check_networks(&mut raw.networks)?;
        at_most("temperatures", raw.temperatures.len(), MAX_TEMPERATURES)?;
        for sensor in &mut raw.temperatures {
            check_text("temperatures.name", &mut sensor.name)?;
            sensor.celsius.map_or(Ok(()), |celsius| within("temperatures.celsius", celsius, CELSIUS))?;
        }
        if let Some(agent) = &mut raw.agent {
            let v1::Agent { skew_ms: _, spooled, dropped, set_aside, cut, reporter: _, boot, hand } = agent;
            for count in [spooled, dropped, set_aside, cut] {
                check_bytes("agent", *count)?;
            }
            check_text("agent.boot", boot)?;
            at_most("agent.hand", hand.len(), MAX_ORDER_KINDS)?;
            for kind in hand {
                text::clean(kind).map_err(|bad| Fault { field: "agent.hand", reason: bad.to_string() })?;
            }
        }
        if let Some(section) = &mut raw.processes {
            processes::check(section)?;
        }
        Ok(Self(raw))
    }

    /// The agent's clock.
    pub fn sampled_at(&self) -> Millis {
        self.0.sampled_at
    }

    /// How much time before `sampled_at` it vouches for.
    pub fn covers(&self) -> Millis {
        self.0.covers_ms
    }

    /// The start of what it vouches for.
    pub fn from(&self) -> Millis {
        self.0.sampled_at - self.0.covers_ms
    }

    /// About how many bytes of memory its lists and texts take, which `size_of` does not count.
    pub fn weight(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let v1::Snapshot { host, cpu, disks, networks, temperatures, agent, processes, .. } = &self.0;
        let host = host.as_ref().map_or(0, |host| {
            let v1::Host { hostname, os, kernel, arch, cpu_model, boot_at: _, agent_version } = host;
            [hostname, os, kernel, arch, cpu_model, agent_version].into_iter().map(text).sum()
        });
        let cores = cpu.as_ref().map_or(0, |cpu| size_of_val(&cpu.cores[..]));
        let disk_texts: usize =
            disks.iter().map(|disk| text(&disk.mount) + text(&disk.device) + text(&disk.filesystem)).sum();
        let names = networks
            .iter()
            .map(|network| &network.name)
            .chain(temperatures.iter().map(|sensor| &sensor.name));
        let lists = size_of_val(&disks[..]) + size_of_val(&networks[..]) + size_of_val(&temperatures[..]);
        let processes = processes.as_deref().map_or(0, processes::weight);
        let agent = agent.as_ref().map_or(0, |agent| {
            text(&agent.boot) + agent.hand.iter().map(|kind| size_of::<String>() + kind.len()).sum::<usize>()
        });
        processes + agent + host + cores + lists + disk_texts + names.map(text).sum::<usize>()
    }

    /// All of it, in the shape in which it is sent.
    pub fn as_wire(&self) -> &v1::Snapshot {
        &self.0
    }
}

fn check_host(host: &mut v1::Host) -> Result<(), Fault> {
    let v1::Host { hostname, os, kernel, arch, cpu_model, boot_at, agent_version } = host;
    check_text("host.hostname", hostname)?;
    check_text("host.os", os)?;
    check_text("host.kernel", kernel)?;
    check_text("host.arch", arch)?;
    check_text("host.cpu_model", cpu_model)?;
    check_text("host.agent_version", agent_version)?;
    boot_at.map_or(Ok(()), |at| within("host.boot_at", at, 0..=MAX_TIME))
}

fn check_cpu(cpu: &v1::Cpu) -> Result<(), Fault> {
    let v1::Cpu { total, user, system, iowait, steal, cores } = cpu;
    at_most("cpu.cores", cores.len(), MAX_CORES)?;
    for share in [total, user, system, iowait, steal].into_iter().flatten().chain(cores) {
        within("cpu", *share, 0.0..=100.0)?;
    }
    Ok(())
}

fn check_disks(disks: &mut [v1::Disk]) -> Result<(), Fault> {
    at_most("disks", disks.len(), MAX_DISKS)?;
    for disk in disks {
        let v1::Disk { mount, device, filesystem, total, used, read, written } = disk;
        check_text("disks.mount", mount)?;
        check_text("disks.device", device)?;
        check_text("disks.filesystem", filesystem)?;
        for bytes in [total, used, read, written] {
            check_bytes("disks", *bytes)?;
        }
    }
    Ok(())
}

fn check_networks(networks: &mut [v1::Network]) -> Result<(), Fault> {
    at_most("networks", networks.len(), MAX_NETWORKS)?;
    for network in networks {
        let v1::Network { name, received, sent } = network;
        check_text("networks.name", name)?;
        for bytes in [received, sent] {
            check_bytes("networks", *bytes)?;
        }
    }
    Ok(())
}

pub(super) fn check_text(field: &'static str, text: &mut Option<String>) -> Result<(), Fault> {
    let Some(text) = text else { return Ok(()) };
    text::clean(text).map_err(|bad: BadText| Fault { field, reason: bad.to_string() })
}

/// Stores count in signed 64 bits.
pub(super) fn check_bytes(field: &'static str, bytes: Option<u64>) -> Result<(), Fault> {
    match bytes {
        Some(bytes) if i64::try_from(bytes).is_err() => {
            Err(Fault { field, reason: format!("must be at most {}", i64::MAX) })
        }
        _ => Ok(()),
    }
}

pub(super) fn at_most(field: &'static str, count: usize, most: usize) -> Result<(), Fault> {
    if count <= most {
        Ok(())
    } else {
        Err(Fault { field, reason: format!("has {count} entries, at most {most}") })
    }
}

/// Also refuses NaN and the infinity that a huge number becomes.
pub(super) fn within<T: PartialOrd + std::fmt::Display>(
    field: &'static str,
    value: T,
    bounds: std::ops::RangeInclusive<T>,
) -> Result<(), Fault> {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(Fault { field, reason: format!("must be {} to {}", bounds.start(), bounds.end()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: serde_json::Value) -> Result<Snapshot, String> {
        let raw = serde_json::from_value(json).map_err(|error| error.to_string())?;
        Snapshot::check(raw, Interval::DEFAULT).map_err(|fault| fault.to_string())
    }

    #[test]
    fn two_numbers_are_a_snapshot() {
        let snapshot = check(serde_json::json!({"sampled_at": 60_000, "covers_ms": 30_000})).unwrap();
        assert_eq!((snapshot.from(), snapshot.sampled_at()), (30_000, 60_000));
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let cases = [
            (serde_json::json!({"sampled_at": -1, "covers_ms": 0}), "sampled_at"),
            (serde_json::json!({"sampled_at": 1, "covers_ms": -1}), "covers_ms"),
            (serde_json::json!({"sampled_at": 1, "covers_ms": 60_001}), "covers_ms"),
            (serde_json::json!({"sampled_at": 1, "covers_ms": 0, "cpu": {"total": 100.1}}), "cpu"),
            (serde_json::json!({"sampled_at": 1, "covers_ms": 0, "cpu": {"total": 1e300}}), "cpu"),
            (serde_json::json!({"sampled_at": 1, "covers_ms": 0, "load": [0, -1, 0]}), "load"),
            (serde_json::json!({"sampled_at": 1, "covers_ms": 0, "memory": {"used": u64::MAX}}), "memory"),
            (
                serde_json::json!({"sampled_at": 1, "covers_ms": 0, "disks": vec![serde_json::json!({}); 65]}),
                "disks",
            ),
            (
                serde_json::json!({"sampled_at": 1, "covers_ms": 0, "host": {"os": "a\0"}}),
                "host.os contains NUL",
            ),
            (
                serde_json::json!({"sampled_at": 1, "covers_ms": 0, "networks": [{"name": "n".repeat(257)}]}),
                "networks.name",
            ),
            (
                serde_json::json!({"sampled_at": 1, "covers_ms": 0, "temperatures": [{"celsius": -300}]}),
                "celsius",
            ),
        ];
        for (json, part) in cases {
            let fault = check(json.clone()).unwrap_err();
            assert!(fault.contains(part), "{json}: {fault}");
        }
    }

    #[test]
    fn its_weight_counts_lists_and_texts() {
        let light = check(serde_json::json!({"sampled_at": 1, "covers_ms": 0})).unwrap();
        assert_eq!(light.weight(), 0);
        let disks = vec![serde_json::json!({"mount": "m".repeat(100)}); 64];
        let heavy = check(serde_json::json!({"sampled_at": 1, "covers_ms": 0, "disks": disks})).unwrap();
        assert!(heavy.weight() >= 64 * (100 + size_of::<v1::Disk>()));
    }

    #[test]
    fn a_snapshot_serializes_as_it_came() {
        let json =
            serde_json::json!({"sampled_at": 1, "covers_ms": 0, "cpu": {"total": 12.5, "cores": [1.5]}});
        assert_eq!(serde_json::to_value(check(json.clone()).unwrap()).unwrap(), json);
    }
}
