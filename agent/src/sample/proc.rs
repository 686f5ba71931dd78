//! What Linux tells in /proc, taken apart.

use wire::v1;

use super::bounds::percent;

/// Processor time since the boot, by kind, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Times {
    user: u64,
    system: u64,
    idle: u64,
    iowait: u64,
    steal: u64,
}

/// `/proc/stat`: all processors together, and each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cpu {
    all: Times,
    cores: Vec<(u32, Times)>,
}

impl Times {
    /// The fields after the name (proc(5)): user nice system idle iowait irq softirq steal; guest time is within user.
    fn read(fields: &str) -> Self {
        let mut fields = fields.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0));
        let mut next = || fields.next().unwrap_or(0u64);
        let (user, nice, system, idle, iowait) = (next(), next(), next(), next(), next());
        let (irq, softirq, steal) = (next(), next(), next());
        Self { user: user + nice, system: system + irq + softirq, idle, iowait, steal }
    }

    /// Counters of single kinds may go back by a little; that counts as nothing.
    fn since(&self, before: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            idle: self.idle.saturating_sub(before.idle),
            iowait: self.iowait.saturating_sub(before.iowait),
            steal: self.steal.saturating_sub(before.steal),
        }
    }

    fn sum(&self) -> u64 {
        self.user + self.system + self.idle + self.iowait + self.steal
    }

    fn share(&self, ticks: u64) -> f32 {
        percent(ticks as f64 * 100.0 / self.sum().max(1) as f64)
    }

    fn busy(&self) -> f32 {
        self.share(self.user + self.system + self.steal)
    }
}

impl Cpu {
    /// `None` when this is no `/proc/stat`.
    pub fn read(stat: &str) -> Option<Self> {
        let mut lines = stat.lines();
        let all = Times::read(lines.next()?.strip_prefix("cpu ")?);
        let mut cores = Vec::new();
        for line in lines {
            let Some((name, fields)) = line.strip_prefix("cpu").and_then(|line| line.split_once(' ')) else {
                break;
            };
            cores.push((name.parse().ok()?, Times::read(fields)));
        }
        Some(Self { all, cores })
    }

    /// The use since `before`; `None` when no time has passed. Cores are left out while one comes or goes, as their
    /// order is all that names them.
    pub fn since(&self, before: &Self) -> Option<v1::Cpu> {
        let passed = self.all.since(&before.all);
        if passed.sum() == 0 {
            return None;
        }
        let same = self.cores.iter().map(|core| core.0).eq(before.cores.iter().map(|core| core.0));
        let pairs = self.cores.iter().zip(&before.cores).filter(|_| same);
        Some(v1::Cpu {
            total: Some(passed.busy()),
            user: Some(passed.share(passed.user)),
            system: Some(passed.share(passed.system)),
            iowait: Some(passed.share(passed.iowait)),
            steal: Some(passed.share(passed.steal)),
            cores: pairs.map(|((_, now), (_, before))| now.since(before).busy()).collect(),
        })
    }
}

/// `/proc/net/dev`: bytes received and sent by each interface since it came up.
pub(super) fn interfaces(text: &str) -> Vec<(String, [u64; 2])> {
    let lines = text.lines().skip(2);
    lines
        .filter_map(|line| {
            let (name, counters) = line.split_once(':')?;
            let mut counters = counters.split_ascii_whitespace();
            let received = counters.next()?.parse().ok()?;
            let sent = counters.nth(7)?.parse().ok()?;
            Some((name.trim().to_owned(), [received, sent]))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 10 50 800 20 5 5 10 99 0\ncpu0 50 5 25 400 10 5 5 0 0 0\ncpu1 50 5 25 400 10 0 0 10 0 0\nintr 1 2\n";
    const LATER: &str = "cpu  200 10 80 1580 60 10 10 40 99 0\ncpu0 50 5 25 900 10 5 5 0 0 0\ncpu1 150 5 55 680 50 5 5 40 0 0\nintr 1 2\n";

    #[test]
    fn shares_are_of_the_time_that_passed() {
        let (before, now) = (Cpu::read(STAT).unwrap(), Cpu::read(LATER).unwrap());
        let cpu = now.since(&before).unwrap();
        assert_eq!((cpu.total, cpu.user, cpu.system), (Some(17.17), Some(10.1), Some(4.04)));
        assert_eq!((cpu.iowait, cpu.steal), (Some(4.04), Some(3.03)));
        assert_eq!(cpu.cores, [0.0, 34.69]);
        assert_eq!(now.since(&now), None);
    }

    #[test]
    fn a_core_that_went_offline_hides_the_cores_once() {
        let before = Cpu::read(STAT).unwrap();
        let now = Cpu::read(&LATER.replace("cpu1", "cpu2")).unwrap();
        let cpu = now.since(&before).unwrap();
        assert!(cpu.cores.is_empty() && cpu.total.is_some());
    }

    #[test]
    fn counters_that_went_back_count_as_nothing() {
        let (before, now) = (Cpu::read(LATER).unwrap(), Cpu::read(STAT).unwrap());
        assert_eq!(now.since(&before), None);
        assert_eq!(Cpu::read(""), None);
        assert_eq!(Cpu::read("garbage"), None);
    }

    #[test]
    fn interfaces_are_named_with_their_bytes() {
        let text = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes\n    lo: 100 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0\n  eth0:5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n half: 1 2\n";
        let expected = [("lo".to_owned(), [100, 200]), ("eth0".to_owned(), [5, 7])];
        assert_eq!(interfaces(text), expected);
    }
}
