//! How often a rule would have fired, as far as the hours of history tell: they hold the mean and the greatest value of some
//! figures, and of a host's disks and interfaces their sums.

use wire::v1;

use super::{Glob, Metric, Op, Verdict, Watch};
use crate::{
    Snapshot,
    series::{Extent, Point},
};

/// What history tells of a metric of one server.
#[derive(Debug, Clone, Copy)]
pub enum Hindsight {
    /// It does not hold the metric by itself: of one disk out of several, say.
    NotHeld,
    /// The server has nothing that the rule is about.
    Nothing,
    /// It does.
    Held(Held),
}

/// How a value follows from a figure of history: `offset + factor * figure`.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    figure: fn(&Point) -> Option<Extent>,
    offset: f64,
    factor: f64,
}

/// Whether history holds the metric of any server.
pub fn is_held(metric: Metric) -> bool {
    use Metric as M;
    !matches!(
        metric,
        M::CpuUser
            | M::CpuSystem
            | M::CpuSteal
            | M::Load5
            | M::Load15
            | M::MemoryAvailable
            | M::AgentSkew
            | M::AgentSpooled
    )
}

impl Hindsight {
    /// Of a server with this newest snapshot, which tells what changes seldom: how many cores, disks and interfaces it has, and
    /// how large they are.
    pub fn of(watch: &Watch, newest: Option<&Snapshot>) -> Self {
        match watch.metric {
            Metric::CpuTotal => return Self::as_is(|point| point.cpu),
            Metric::CpuIowait => return Self::as_is(|point| point.iowait),
            Metric::Load1 => return Self::as_is(|point| point.load),
            _ => {}
        }
        let Some(newest) = newest.map(Snapshot::as_wire) else { return Self::NotHeld };
        match watch.metric {
            Metric::LoadPerCore => {
                let cores = newest.cpu.as_ref().map_or(0, |cpu| cpu.cores.len());
                Self::scaled(|point| point.load, 0.0, (cores > 0).then(|| 1.0 / cores as f64))
            }
            Metric::MemoryUsed => {
                let total = newest.memory.as_ref().and_then(|memory| memory.total);
                Self::scaled(|point| point.memory, 0.0, percent_of(total))
            }
            Metric::SwapUsed => {
                let total = newest.memory.as_ref().and_then(|memory| memory.swap_total);
                Self::scaled(|point| point.swap, 0.0, percent_of(total))
            }
            Metric::DiskUsed | Metric::DiskFree | Metric::DiskRead | Metric::DiskWritten => {
                Self::of_disk(watch.metric, &watch.instance, &newest.disks)
            }
            Metric::NetworkReceived | Metric::NetworkSent => {
                let names = newest.networks.iter().map(|network| network.name.as_deref());
                match only(names, &watch.instance) {
                    Err(none) => none,
                    Ok(()) if watch.metric == Metric::NetworkSent => Self::as_is(|point| point.sent),
                    Ok(()) => Self::as_is(|point| point.received),
                }
            }
            Metric::Temperature => {
                let names = newest.temperatures.iter().map(|sensor| sensor.name.as_deref());
                match only(names, &watch.instance) {
                    // Of all sensors the hottest is known.
                    Err(Self::NotHeld) if watch.op == Op::Above && watch.instance == Glob::any() => {
                        Self::as_is(|point| point.temperature)
                    }
                    Err(none) => none,
                    Ok(()) => Self::as_is(|point| point.temperature),
                }
            }
            _ => Self::NotHeld,
        }
    }

    fn of_disk(metric: Metric, instance: &Glob, disks: &[v1::Disk]) -> Self {
        if let Err(none) = only(disks.iter().map(|disk| disk.mount.as_deref()), instance) {
            return none;
        }
        let total = disks.first().and_then(|disk| disk.total);
        match metric {
            Metric::DiskUsed => Self::scaled(|point| point.disk_used, 0.0, percent_of(total)),
            Metric::DiskFree => {
                let total = total.map(|total| total as f64);
                Self::scaled(|point| point.disk_used, total.unwrap_or(0.0), total.map(|_| -1.0))
            }
            Metric::DiskRead => Self::as_is(|point| point.disk_read),
            _ => Self::as_is(|point| point.disk_written),
        }
    }

    fn as_is(figure: fn(&Point) -> Option<Extent>) -> Self {
        Self::Held(Held { figure, offset: 0.0, factor: 1.0 })
    }

    fn scaled(figure: fn(&Point) -> Option<Extent>, offset: f64, factor: Option<f64>) -> Self {
        factor.map_or(Self::NotHeld, |factor| Self::Held(Held { figure, offset, factor }))
    }
}

impl Held {
    /// How often the rule would have fired in these hours, which are in order. An hour counts by the value that is nearest to
    /// the threshold, where that is known, and by its mean otherwise.
    pub fn fired(&self, watch: &Watch, hours: &[Point]) -> u64 {
        let (mut fired, mut was_over) = (0, false);
        let by_greatest = (watch.op == Op::Above) == (self.factor > 0.0);
        for extent in hours.iter().filter_map(self.figure) {
            let figure = if by_greatest { extent.max } else { extent.avg };
            let value = self.offset + self.factor * figure;
            let is_over = watch.is_over(value);
            fired += u64::from(is_over && !was_over);
            // Between the thresholds it stays as it was.
            let is_inside = watch.levels().all(|(_, t)| t.verdict(watch.op, value) == Verdict::Inside);
            was_over = is_over || was_over && !is_inside;
        }
        fired
    }
}

fn percent_of(total: Option<u64>) -> Option<f64> {
    total.filter(|total| *total > 0).map(|total| 100.0 / total as f64)
}

/// Whether there is one of these alone, and the rule is about it: of several history holds the sum.
fn only<'a>(names: impl Iterator<Item = Option<&'a str>> + Clone, instance: &Glob) -> Result<(), Hindsight> {
    let bound = names.clone().flatten().any(|name| instance.matches(name));
    match names.count() {
        _ if !bound => Err(Hindsight::Nothing),
        1 => Ok(()),
        _ => Err(Hindsight::NotHeld),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Interval,
        alert::{Draft, Watches},
    };

    const GIB: u64 = 1 << 30;

    fn watch(metric: &str, instance: &str, op: &str, critical: f64) -> Watch {
        let draft = Draft {
            kind: "value".to_owned(),
            metric: metric.to_owned(),
            instance: instance.to_owned(),
            op: op.to_owned(),
            critical: Some(critical),
            ..Draft::default()
        };
        match draft.check().unwrap().watches {
            Watches::Value(watch) => watch,
            other => panic!("{other:?}"),
        }
    }

    fn disk(mount: &str) -> v1::Disk {
        v1::Disk {
            mount: Some(mount.to_owned()),
            used: Some(GIB),
            total: Some(10 * GIB),
            ..v1::Disk::default()
        }
    }

    fn snapshot(disks: Vec<v1::Disk>) -> Snapshot {
        let memory = v1::Memory { used: Some(1), total: Some(200), ..v1::Memory::default() };
        let raw = v1::Snapshot {
            sampled_at: 1_790_000_000_000,
            covers_ms: 30_000,
            disks,
            memory: Some(memory),
            ..v1::Snapshot::default()
        };
        Snapshot::check(raw, Interval::DEFAULT).unwrap()
    }

    fn extent(avg: f64, max: f64) -> Option<Extent> {
        Some(Extent { avg, max })
    }

    fn fired(watch: &Watch, newest: &Snapshot, hours: &[Point]) -> Option<u64> {
        match Hindsight::of(watch, Some(newest)) {
            Hindsight::NotHeld => None,
            Hindsight::Nothing => Some(0),
            Hindsight::Held(held) => Some(held.fired(watch, hours)),
        }
    }

    #[test]
    fn shares_follow_from_sizes_and_what_rises_twice_fires_twice() {
        let newest = snapshot(vec![disk("/")]);
        let hour = |memory, used: f64| Point {
            memory,
            disk_used: extent(used * GIB as f64, used * GIB as f64 + 0.5 * GIB as f64),
            ..Point::default()
        };
        // 90 % at times; then between the thresholds, which is not over yet; then inside.
        let hours = [
            hour(extent(20.0, 181.0), 8.0),
            hour(extent(20.0, 175.0), 9.8),
            hour(extent(20.0, 190.0), 9.8),
            hour(extent(20.0, 100.0), 1.0),
            hour(None, 1.0),
            hour(extent(20.0, 181.0), 1.0),
        ];
        assert_eq!(fired(&watch("memory.used_percent", "", "above", 90.0), &newest, &hours), Some(2));
        assert_eq!(fired(&watch("memory.used_percent", "", "below", 11.0), &newest, &hours), Some(1));
        assert_eq!(fired(&watch("disk.used_percent", "/", "above", 90.0), &newest, &hours), Some(1));
        // The least that was free is what is left beside the most that was used.
        assert_eq!(fired(&watch("disk.free", "/", "below", 0.1 * GIB as f64), &newest, &hours), Some(1));
        assert_eq!(fired(&watch("disk.used_percent", "/srv", "above", 90.0), &newest, &hours), Some(0));
    }

    #[test]
    fn of_one_disk_among_several_history_holds_nothing() {
        let newest = snapshot(vec![disk("/"), disk("/srv")]);
        for instance in ["*", "/"] {
            assert_eq!(fired(&watch("disk.used_percent", instance, "above", 90.0), &newest, &[]), None);
        }
        assert_eq!(fired(&watch("disk.used_percent", "/var", "above", 90.0), &newest, &[]), Some(0));
        assert_eq!(fired(&watch("swap.used_percent", "", "above", 90.0), &newest, &[]), None);
        for metric in Metric::ALL.into_iter().filter(|metric| !is_held(*metric)) {
            let watch = watch(metric.as_str(), "", "above", 90.0);
            assert!(matches!(Hindsight::of(&watch, Some(&newest)), Hindsight::NotHeld), "{metric}");
        }
    }
}
