//! Who used how much over a time: samples summed by name, user and command line.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    str::FromStr,
};

use wire::v1::{OtherProcesses, Process};

use super::reading::{Identities, Sampled};
use crate::Millis;

/// Most lines of one answer.
pub const MAX_USAGES: usize = 50;

/// What lines are in order of, the greatest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Processor time.
    Cpu,
    /// Most resident memory at a time.
    Memory,
    /// Bytes read and written.
    Io,
    /// Bytes received and sent.
    Network,
}

/// Whether command lines are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commands {
    /// Each has a line of its own.
    Apart,
    /// They are not looked at.
    Together,
}

/// What processes of one name, user and command line used together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// The name that they give themselves; `None` where no sample told it.
    pub name: Option<String>,
    /// Whose they are.
    pub user: Option<String>,
    /// Hash of their command line.
    pub command: Option<String>,
    /// Processor time in ms, that of children without rows included.
    pub cpu_ms: f64,
    /// Most resident memory of them together in one sample, in bytes.
    pub rss_max: u64,
    /// Bytes read from disks.
    pub read: f64,
    /// Bytes written to disks.
    pub written: f64,
    /// Bytes received by TCP.
    pub received: f64,
    /// Bytes sent by TCP.
    pub sent: f64,
    /// In how many samples one of them had a row.
    pub samples: u64,
}

/// A text that is nothing to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be cpu, memory, io or network")]
pub struct BadSort;

/// A range of samples being summed.
#[derive(Debug)]
pub struct Usages {
    from: Millis,
    commands: Commands,
    identities: Identities,
    sums: HashMap<Key, Usage>,
    rest: Usage,
}

type Key = (Option<String>, Option<String>, Option<String>);

impl Sort {
    /// Every one, as the interface spells it.
    pub const ALL: [(&'static str, Self); 4] =
        [("cpu", Self::Cpu), ("memory", Self::Memory), ("io", Self::Io), ("network", Self::Network)];

    fn of(self, usage: &Usage) -> f64 {
        match self {
            Self::Cpu => usage.cpu_ms,
            Self::Memory => usage.rss_max as f64,
            Self::Io => usage.read + usage.written,
            Self::Network => usage.received + usage.sent,
        }
    }
}

impl FromStr for Sort {
    type Err = BadSort;

    fn from_str(text: &str) -> Result<Self, BadSort> {
        Self::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, sort)| sort).ok_or(BadSort)
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.into_iter().find(|(_, sort)| sort == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl Usages {
    /// Samples from `from` on count; earlier ones tell who rows are.
    pub fn new(from: Millis, commands: Commands) -> Self {
        let (sums, rest, identities) = (HashMap::new(), Usage::default(), Identities::default());
        Self { from, commands, identities, sums, rest }
    }

    /// Adds the next sample; they come in order of time. It counts for the time that it covers.
    pub fn add(&mut self, mut sample: Sampled) {
        self.identities.fill(&mut sample.processes);
        if sample.at < self.from {
            return;
        }
        let covers = sample.covers as f64;
        let mut memory: BTreeMap<Key, u64> = BTreeMap::new();
        for row in sample.processes.rows {
            let key = self.key(&row);
            let sum = self.sums.entry(key.clone()).or_insert_with(|| Usage {
                name: key.0.clone(),
                user: key.1.clone(),
                command: key.2.clone(),
                ..Usage::default()
            });
            let Process { cpu, children, rss, read, written, received, sent, .. } = row;
            sum.cpu_ms += (f64::from(cpu) + f64::from(children)) / 100.0 * covers;
            for (sum, rate) in [
                (&mut sum.read, read),
                (&mut sum.written, written),
                (&mut sum.received, received),
                (&mut sum.sent, sent),
            ] {
                *sum += rate as f64 * covers / 1_000.0;
            }
            let together = memory.entry(key).or_insert_with(|| {
                sum.samples += 1;
                0
            });
            *together = together.saturating_add(rss);
            sum.rss_max = sum.rss_max.max(*together);
        }
        self.rest.samples += 1;
        if let Some(OtherProcesses { cpu, read, written, tcp_received, tcp_sent }) = sample.processes.other {
            self.rest.cpu_ms += f64::from(cpu) / 100.0 * covers;
            self.rest.read += read as f64 * covers / 1_000.0;
            self.rest.written += written as f64 * covers / 1_000.0;
            self.rest.received += tcp_received as f64 * covers / 1_000.0;
            self.rest.sent += tcp_sent as f64 * covers / 1_000.0;
        }
    }

    fn key(&self, row: &Process) -> Key {
        let command = row.command.clone().filter(|_| self.commands == Commands::Apart);
        (row.name.clone(), row.user.clone(), command)
    }

    /// The [`MAX_USAGES`] greatest lines in this order, and the sum of all else: the other lines, and what no row had.
    pub fn greatest(self, sort: Sort) -> (Vec<Usage>, Usage) {
        let mut all: Vec<Usage> = self.sums.into_values().collect();
        all.sort_by(|a, b| {
            let ties = || (&a.name, &a.user, &a.command).cmp(&(&b.name, &b.user, &b.command));
            sort.of(b).total_cmp(&sort.of(a)).then_with(ties)
        });
        let mut rest = self.rest;
        for Usage { cpu_ms, read, written, received, sent, .. } in all.drain(MAX_USAGES.min(all.len())..) {
            rest.cpu_ms += cpu_ms;
            rest.read += read;
            rest.written += written;
            rest.received += received;
            rest.sent += sent;
        }
        (all, rest)
    }
}

#[cfg(test)]
mod tests {
    use wire::v1::Processes;

    use super::*;

    fn row(pid: u32, name: Option<&str>, cpu: f32, rss: u64) -> Process {
        let command = name.map(super::super::hash);
        Process { pid, cpu, rss, name: name.map(str::to_owned), command, ..Process::default() }
    }

    fn sample(at: Millis, other: f32, rows: Vec<Process>) -> Sampled {
        let other = Some(OtherProcesses { cpu: other, ..OtherProcesses::default() });
        Sampled { at, covers: 30_000, processes: Box::new(Processes { rows, other, ..Processes::default() }) }
    }

    #[test]
    fn processes_of_one_name_are_one_line_and_nothing_is_hidden() {
        let mut usages = Usages::new(100, Commands::Apart);
        let before = vec![row(1, Some("db"), 50.0, 7), row(2, Some("db"), 50.0, 7)];
        usages.add(sample(50, 9.0, before));
        usages.add(sample(100, 10.0, vec![row(1, None, 50.0, 10), row(2, None, 100.0, 20)]));
        usages.add(sample(130, 20.0, vec![row(1, None, 0.0, 25), row(3, Some("sh"), 10.0, 99)]));
        let (lines, rest) = usages.greatest(Sort::Cpu);
        let told: Vec<_> = lines.iter().map(|one| (one.name.as_deref(), one.cpu_ms, one.rss_max)).collect();
        assert_eq!(told, [(Some("db"), 45_000.0, 30), (Some("sh"), 3_000.0, 99)]);
        assert_eq!((lines[0].samples, rest.cpu_ms, rest.samples), (2, 9_000.0, 2));
    }

    #[test]
    fn what_is_beyond_the_greatest_is_in_the_rest() {
        let mut usages = Usages::new(0, Commands::Together);
        let rows = (0..60).map(|n| row(n, Some(&format!("p{n:02}")), 1.0 + n as f32, u64::from(60 - n)));
        usages.add(sample(1, 0.0, rows.collect()));
        let (lines, rest) = usages.greatest(Sort::Memory);
        assert_eq!(
            (lines.len(), lines[0].name.as_deref(), lines[0].command.as_deref()),
            (50, Some("p00"), None)
        );
        let all: f64 = lines.iter().map(|line| line.cpu_ms).sum::<f64>() + rest.cpu_ms;
        assert!((all - 300.0 * (60.0 * 61.0 / 2.0)).abs() < 1e-6, "{all}");
    }

    #[test]
    fn every_sort_reads_back() {
        for (name, sort) in Sort::ALL {
            assert_eq!((name.parse(), sort.to_string()), (Ok(sort), name.to_owned()));
        }
        assert_eq!("rss".parse::<Sort>(), Err(BadSort));
    }
}
