//! Measures this host: by sysinfo, and by /proc where sysinfo is silent or dear.

mod bounds;
mod facts;
mod proc;

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use fleet::Millis;
use sysinfo::{
    Components, CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, Networks, RefreshKind, System,
};
use wire::v1;

use crate::clock::Reading;
use bounds::{percent, rounded};
use facts::Facts;

/// Sensors come and go rarely, and looking for them costs more than reading them.
const SENSORS_AGAIN: Duration = Duration::from_secs(3_600);

/// Reads this host; keeps what the next sample is compared with.
pub(crate) struct Sampler {
    system: Option<System>,
    disks: Option<Disks>,
    networks: Option<Networks>,
    components: Option<Components>,
    components_listed: Option<Instant>,
    facts: Facts,
    cpu: Option<proc::Cpu>,
    traffic: Counters,
    blocks: Counters,
}

/// Two running totals per name, and when they were read.
#[derive(Default)]
struct Counters {
    at: Option<Instant>,
    totals: HashMap<String, [u64; 2]>,
}

impl Sampler {
    /// What the system refuses to tell is left out of every sample.
    pub fn new() -> Self {
        Self {
            system: System::new().ok(),
            disks: Disks::new().ok(),
            networks: None,
            components: Components::new().ok(),
            components_listed: None,
            facts: Facts::default(),
            cpu: None,
            traffic: Counters::default(),
            blocks: Counters::default(),
        }
    }

    /// The facts go with the next sample again.
    pub fn tell_facts(&mut self) {
        self.facts.tell();
    }

    /// Everything but the stamps, within the bounds of the interface, and how much was cut to get there.
    pub fn sample(&mut self, reading: Reading) -> (v1::Snapshot, u64) {
        let mut snapshot = v1::Snapshot {
            host: self.facts.due(reading),
            cpu: self.cpu(),
            load: load(),
            memory: self.memory(),
            disks: self.disks(),
            networks: self.networks(),
            temperatures: self.temperatures(),
            ..v1::Snapshot::default()
        };
        let cut = bounds::cut(&mut snapshot);
        (snapshot, cut)
    }

    fn cpu(&mut self) -> Option<v1::Cpu> {
        let Some(now) = fs::read_to_string("/proc/stat").ok().and_then(|text| proc::Cpu::read(&text)) else {
            let system = self.system.as_mut()?;
            system.refresh_specifics(RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing().with_usage()));
            let cores = system.cpus().iter().map(|core| percent(core.usage().into())).collect();
            let total = Some(percent(system.global_cpu_usage().into()));
            return Some(v1::Cpu { total, cores, ..v1::Cpu::default() });
        };
        let before = self.cpu.replace(now);
        self.cpu.as_ref()?.since(before.as_ref()?)
    }

    fn memory(&mut self) -> Option<v1::Memory> {
        let system = self.system.as_mut()?;
        system.refresh_memory_specifics(MemoryRefreshKind::everything());
        let (total, available) = (system.total_memory(), system.available_memory());
        if total == 0 {
            return None;
        }
        Some(v1::Memory {
            total: Some(total),
            used: Some(total.saturating_sub(available)),
            available: Some(available),
            swap_total: Some(system.total_swap()),
            swap_used: Some(system.used_swap()),
        })
    }

    fn disks(&mut self) -> Vec<v1::Disk> {
        let Some(disks) = self.disks.as_mut() else { return Vec::new() };
        disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage().with_io_usage());
        // One file system may be mounted many times: the shortest path is the one that people know.
        let mut real: Vec<_> = disks.iter().filter(|disk| is_real(disk)).collect();
        real.sort_by_key(|disk| (disk.name().to_owned(), disk.mount_point().as_os_str().len()));
        real.dedup_by_key(|disk| disk.name().to_owned());
        real.sort_by_key(|disk| disk.mount_point().to_owned());
        let totals = real.iter().map(|disk| {
            let usage = disk.usage();
            (disk.name().to_string_lossy().into_owned(), [usage.total_read_bytes, usage.total_written_bytes])
        });
        let rates = self.blocks.rates(totals.filter(|(_, totals)| *totals != [0, 0]).collect());
        real.iter()
            .map(|disk| {
                let device = disk.name().to_string_lossy().into_owned();
                let [read, written] = rates.get(&device).copied().unwrap_or_default();
                v1::Disk {
                    mount: Some(disk.mount_point().to_string_lossy().into_owned()),
                    device: Some(device),
                    filesystem: Some(disk.file_system().to_string_lossy().into_owned()),
                    total: Some(disk.total_space()),
                    used: Some(used(disk)),
                    read,
                    written,
                }
            })
            .collect()
    }

    fn networks(&mut self) -> Vec<v1::Network> {
        let totals = match fs::read_to_string("/proc/net/dev") {
            Ok(text) => proc::interfaces(&text),
            Err(_) => self.networks_by_sysinfo(),
        };
        let names: Vec<String> = totals.iter().map(|(name, _)| name.clone()).collect();
        let rates = self.traffic.rates(totals);
        names
            .into_iter()
            .map(|name| {
                let [received, sent] = rates.get(&name).copied().unwrap_or_default();
                v1::Network { name: Some(name), received, sent }
            })
            .collect()
    }

    fn networks_by_sysinfo(&mut self) -> Vec<(String, [u64; 2])> {
        if self.networks.is_none() {
            self.networks = Networks::new().ok();
        }
        let Some(networks) = self.networks.as_mut() else { return Vec::new() };
        networks.refresh(true);
        let mut totals: Vec<_> = networks
            .iter()
            .map(|(name, data)| {
                (name.to_string_lossy().into_owned(), [data.total_received(), data.total_transmitted()])
            })
            .collect();
        totals.sort_unstable();
        totals
    }

    fn temperatures(&mut self) -> Vec<v1::Temperature> {
        let Some(components) = self.components.as_mut() else { return Vec::new() };
        if self.components_listed.is_none_or(|listed| listed.elapsed() >= SENSORS_AGAIN) {
            components.refresh(true);
            self.components_listed = Some(Instant::now());
        } else {
            components.iter_mut().for_each(sysinfo::Component::refresh);
        }
        components
            .iter()
            .filter_map(|component| {
                let celsius = component.temperature().and_then(rounded)?;
                Some(v1::Temperature { name: Some(component.label().to_owned()), celsius: Some(celsius) })
            })
            .collect()
    }
}

impl Counters {
    /// Per second since the reading before. A counter that went back (it wrapped, or the device came anew) has no rate,
    /// nor has one that is new.
    fn rates(&mut self, totals: Vec<(String, [u64; 2])>) -> HashMap<String, [Option<u64>; 2]> {
        let now = Instant::now();
        let passed = self.at.replace(now).map(|before| now - before);
        let before = std::mem::replace(&mut self.totals, totals.into_iter().collect());
        let rates = self.totals.iter().filter_map(|(name, totals)| {
            let (passed, before) = (passed?, before.get(name)?);
            Some((name.clone(), [0, 1].map(|index| rate(before[index], totals[index], passed))))
        });
        rates.collect()
    }
}

fn rate(before: u64, now: u64, passed: Duration) -> Option<u64> {
    let millis = u64::try_from(passed.as_millis()).ok().filter(|millis| *millis > 0)?;
    now.checked_sub(before)?.checked_mul(1_000).map(|bytes| bytes / millis)
}

fn load() -> Option<[f32; 3]> {
    let load = System::load_average().ok()?;
    Some([rounded(load.one as f32)?, rounded(load.five as f32)?, rounded(load.fifteen as f32)?])
}

/// A file system that holds files of its own: on a device, in a pool, or the root whatever it is.
fn is_real(disk: &sysinfo::Disk) -> bool {
    let (device, kind) = (disk.name().to_string_lossy(), disk.file_system().to_string_lossy());
    let owns = !cfg!(target_os = "linux")
        || device.starts_with('/')
        || matches!(kind.as_ref(), "zfs" | "btrfs" | "bcachefs")
        || disk.mount_point() == std::path::Path::new("/");
    owns && disk.total_space() > 0
}

/// Bytes that files take, as df(1) counts them: what is kept back for root is neither used nor available.
#[cfg(unix)]
fn used(disk: &sysinfo::Disk) -> u64 {
    match rustix::fs::statvfs(disk.mount_point()) {
        Ok(of) => of.f_blocks.saturating_sub(of.f_bfree).saturating_mul(of.f_frsize),
        Err(_) => disk.total_space().saturating_sub(disk.available_space()),
    }
}

/// Bytes that cannot be written any more.
#[cfg(not(unix))]
fn used(disk: &sysinfo::Disk) -> u64 {
    disk.total_space().saturating_sub(disk.available_space())
}

/// Whatever this host told its time of start to be: the stamp less the time since the boot.
fn boot_at(reading: Reading) -> Millis {
    (reading.at - reading.up).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_a_counter_that_grew() {
        let second = Duration::from_secs(1);
        assert_eq!(rate(1_000, 3_000, 2 * second), Some(1_000));
        assert_eq!(rate(5, 5, second), Some(0));
        assert_eq!(rate(5, 4, second), None);
        assert_eq!(rate(0, 1, Duration::ZERO), None);
        assert_eq!(rate(0, u64::MAX, second), None);
    }

    #[test]
    fn a_new_interface_has_no_rate_yet() {
        let mut counters = Counters::default();
        assert!(counters.rates(vec![("eth0".to_owned(), [1, 2])]).is_empty());
        counters.at = Instant::now().checked_sub(Duration::from_secs(10));
        let rates = counters.rates(vec![("eth0".to_owned(), [1_001, 2]), ("eth1".to_owned(), [9, 9])]);
        assert_eq!(rates.len(), 1);
        assert!((90..=100).contains(&rates["eth0"][0].unwrap()));
        assert_eq!(rates["eth0"][1], Some(0));
    }

    #[test]
    fn this_host_has_measurements_that_the_interface_takes() {
        let mut sampler = Sampler::new();
        let reading = Reading { at: 1_790_000_000_000, up: 5_000, skew: None };
        let (first, _) = sampler.sample(reading);
        assert_eq!(first.host.as_ref().unwrap().boot_at, Some(1_789_999_995_000));
        assert!(first.memory.as_ref().unwrap().total > Some(0));
        let (second, _) = sampler.sample(reading);
        assert_eq!(second.host, None);
        for snapshot in [first, second] {
            let raw = v1::Snapshot { sampled_at: 1, ..snapshot };
            fleet::Snapshot::check(raw, fleet::snapshot::Interval::DEFAULT).unwrap();
        }
    }
}
