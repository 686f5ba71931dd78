//! The figures of a snapshot that rules look at.

use std::{fmt, str::FromStr};

use wire::v1;

use super::words::BadWord;
use crate::Snapshot;

const SPELT: &str = "cpu.total, cpu.user, cpu.system, cpu.iowait, cpu.steal, load.1, load.5, load.15, load.per_core, \
    memory.used_percent, memory.available, swap.used_percent, disk.used_percent, disk.free, disk.read, disk.written, \
    network.received, network.sent, temperature, agent.skew_ms, agent.spooled";

/// Calls a function with each value that a snapshot has, and the instance that it is of; `""` where there is but one.
type Each<'f> = &'f mut dyn FnMut(&str, f64);

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $instances:literal, $figure:expr;)*) => {
        /// A figure of a snapshot: shares in percent, sizes in bytes, rates in bytes per second.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $($(#[$doc])* $name,)*
        }

        impl Metric {
            /// Every one.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$name),*];

            /// As the interface spells it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Whether a host has several: one a mount, an interface or a sensor.
            pub const fn has_instances(self) -> bool {
                match self {
                    $(Self::$name => $instances,)*
                }
            }

            /// Calls `each` with every value that the snapshot tells, and its instance. What it does not tell is no value.
            pub fn each(self, snapshot: &Snapshot, each: &mut dyn FnMut(&str, f64)) {
                let snapshot = snapshot.as_wire();
                match self {
                    $(Self::$name => ($figure)(snapshot, each),)*
                }
            }
        }
    };
}

metrics! {
    /// Everything but idle and waiting, in percent of all cores.
    CpuTotal = "cpu.total", false, |s, each| cpu(s, |cpu| cpu.total, each);
    /// In user space, likewise.
    CpuUser = "cpu.user", false, |s, each| cpu(s, |cpu| cpu.user, each);
    /// In the kernel, likewise.
    CpuSystem = "cpu.system", false, |s, each| cpu(s, |cpu| cpu.system, each);
    /// Idle while a disk was waited for, likewise.
    CpuIowait = "cpu.iowait", false, |s, each| cpu(s, |cpu| cpu.iowait, each);
    /// Taken by the hypervisor for others, likewise.
    CpuSteal = "cpu.steal", false, |s, each| cpu(s, |cpu| cpu.steal, each);
    /// Load average over one minute.
    Load1 = "load.1", false, |s, each| one(load(s, 0), each);
    /// Load average over five minutes.
    Load5 = "load.5", false, |s, each| one(load(s, 1), each);
    /// Load average over fifteen minutes.
    Load15 = "load.15", false, |s, each| one(load(s, 2), each);
    /// Load average over one minute, divided by the number of cores.
    LoadPerCore = "load.per_core", false, |s, each| one(load_per_core(s), each);
    /// Memory in use, in percent of what is installed.
    MemoryUsed = "memory.used_percent", false, |s, each| memory(s, |m| percent(m.used, m.total), each);
    /// Bytes that programs can still have without swapping.
    MemoryAvailable = "memory.available", false, |s, each| memory(s, |m| m.available.map(real), each);
    /// Swap in use, in percent.
    SwapUsed = "swap.used_percent", false, |s, each| memory(s, |m| percent(m.swap_used, m.swap_total), each);
    /// Bytes in use of a file system, in percent.
    DiskUsed = "disk.used_percent", true, |s, each| disks(s, |d| percent(d.used, d.total), each);
    /// Bytes free on a file system.
    DiskFree = "disk.free", true, |s, each| disks(s, |d| Some(real(d.total?.saturating_sub(d.used?))), each);
    /// Bytes per second read from the device of a file system.
    DiskRead = "disk.read", true, |s, each| disks(s, |d| d.read.map(real), each);
    /// Bytes per second written to the device of a file system.
    DiskWritten = "disk.written", true, |s, each| disks(s, |d| d.written.map(real), each);
    /// Bytes per second that an interface received.
    NetworkReceived = "network.received", true, |s, each| networks(s, |n| n.received.map(real), each);
    /// Bytes per second that an interface sent.
    NetworkSent = "network.sent", true, |s, each| networks(s, |n| n.sent.map(real), each);
    /// Degrees Celsius of a sensor.
    Temperature = "temperature", true, temperatures;
    /// How far the agent's clock is off, in ms to either side.
    AgentSkew = "agent.skew_ms", false, |s, each| one(agent(s).and_then(|a| Some(a.skew_ms?.unsigned_abs() as f64)), each);
    /// Snapshots that wait on the agent's disk.
    AgentSpooled = "agent.spooled", false, |s, each| one(agent(s).and_then(|a| a.spooled.map(real)), each);
}

fn one(value: Option<f64>, each: Each<'_>) {
    if let Some(value) = value {
        each("", value);
    }
}

fn cpu(snapshot: &v1::Snapshot, share: impl Fn(&v1::Cpu) -> Option<f32>, each: Each<'_>) {
    one(snapshot.cpu.as_ref().and_then(share).map(f64::from), each);
}

fn load(snapshot: &v1::Snapshot, over: usize) -> Option<f64> {
    snapshot.load.and_then(|load| load.get(over).copied()).map(f64::from)
}

fn load_per_core(snapshot: &v1::Snapshot) -> Option<f64> {
    let cores = snapshot.cpu.as_ref().map_or(0, |cpu| cpu.cores.len());
    load(snapshot, 0).filter(|_| cores > 0).map(|load| load / cores as f64)
}

fn memory(snapshot: &v1::Snapshot, figure: impl Fn(&v1::Memory) -> Option<f64>, each: Each<'_>) {
    one(snapshot.memory.as_ref().and_then(figure), each);
}

fn disks(snapshot: &v1::Snapshot, figure: impl Fn(&v1::Disk) -> Option<f64>, each: Each<'_>) {
    for disk in &snapshot.disks {
        if let (Some(mount), Some(value)) = (&disk.mount, figure(disk)) {
            each(mount, value);
        }
    }
}

fn networks(snapshot: &v1::Snapshot, figure: impl Fn(&v1::Network) -> Option<f64>, each: Each<'_>) {
    for network in &snapshot.networks {
        if let (Some(name), Some(value)) = (&network.name, figure(network)) {
            each(name, value);
        }
    }
}

fn temperatures(snapshot: &v1::Snapshot, each: Each<'_>) {
    for sensor in &snapshot.temperatures {
        if let (Some(name), Some(celsius)) = (&sensor.name, sensor.celsius) {
            each(name, f64::from(celsius));
        }
    }
}

fn agent(snapshot: &v1::Snapshot) -> Option<&v1::Agent> {
    snapshot.agent.as_ref()
}

fn real(number: u64) -> f64 {
    number as f64
}

/// `None` of nothing: a host without swap has no share of it in use.
fn percent(part: Option<u64>, whole: Option<u64>) -> Option<f64> {
    let (part, whole) = (part?, whole.filter(|whole| *whole > 0)?);
    Some(real(part) / real(whole) * 100.0)
}

impl FromStr for Metric {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == text).ok_or(BadWord(SPELT))
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interval;

    fn values(metric: Metric, raw: &v1::Snapshot) -> Vec<(String, f64)> {
        let snapshot = Snapshot::check(raw.clone(), Interval::DEFAULT).unwrap();
        let mut values = Vec::new();
        metric.each(&snapshot, &mut |instance, value| values.push((instance.to_owned(), value)));
        values
    }

    #[test]
    fn every_metric_reads_back_and_is_in_the_list_that_people_are_told() {
        for metric in Metric::ALL {
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
        assert_eq!(SPELT, Metric::ALL.map(Metric::as_str).join(", "));
        assert!("cpu".parse::<Metric>().is_err());
    }

    #[test]
    fn a_snapshot_that_tells_nothing_has_no_value() {
        for metric in Metric::ALL {
            assert_eq!(values(metric, &v1::Snapshot::default()), [], "{metric}");
        }
    }

    #[test]
    fn values_are_those_that_the_snapshot_tells_each_with_its_instance() {
        let disk = |mount: &str, used| v1::Disk {
            mount: Some(mount.to_owned()),
            total: Some(1_000),
            used: Some(used),
            ..v1::Disk::default()
        };
        let raw = v1::Snapshot {
            cpu: Some(v1::Cpu { total: Some(50.0), cores: vec![40.0, 60.0], ..v1::Cpu::default() }),
            load: Some([3.0, 2.0, 1.0]),
            memory: Some(v1::Memory {
                total: Some(200),
                used: Some(50),
                swap_total: Some(0),
                swap_used: Some(0),
                ..v1::Memory::default()
            }),
            disks: vec![disk("/", 900), v1::Disk { mount: None, ..disk("", 1) }, disk("/srv", 250)],
            temperatures: vec![v1::Temperature { name: Some("cpu".to_owned()), celsius: Some(71.5) }],
            agent: Some(v1::Agent { skew_ms: Some(-40_000), ..v1::Agent::default() }),
            ..v1::Snapshot::default()
        };
        let of = |instance: &str, value| (instance.to_owned(), value);
        for (metric, expected) in [
            (Metric::CpuTotal, vec![of("", 50.0)]),
            (Metric::CpuSteal, vec![]),
            (Metric::Load15, vec![of("", 1.0)]),
            (Metric::LoadPerCore, vec![of("", 1.5)]),
            (Metric::MemoryUsed, vec![of("", 25.0)]),
            (Metric::SwapUsed, vec![]),
            (Metric::DiskUsed, vec![of("/", 90.0), of("/srv", 25.0)]),
            (Metric::DiskFree, vec![of("/", 100.0), of("/srv", 750.0)]),
            (Metric::Temperature, vec![of("cpu", 71.5)]),
            (Metric::AgentSkew, vec![of("", 40_000.0)]),
        ] {
            assert_eq!(values(metric, &raw), expected, "{metric}");
            assert_eq!(
                metric.has_instances(),
                expected.first().is_some_and(|(instance, _)| !instance.is_empty()),
                "{metric}"
            );
        }
    }
}
