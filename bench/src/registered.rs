//! A fleet as it lies in the stores, put there by the library: servers, what workers saw of them, and a day of history.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use fleet::{
    Interval, Millis, Record, ServerId, Snapshot, liveness::Progress, retention::DAY, wire::v1::Host,
};
use history::History;
use registry::{Actor, ImportOutcome, ImportRow, ProfileChange, Registry, Sighting, Who};
use simulator::snapshot;

/// Servers of one transaction.
const PART: usize = 5_000;
/// Records of one append.
const BATCH: usize = 4_000;
/// The first servers have a history, half of them with few gaps, half each with small ones.
pub const WITH_HISTORY: usize = 20_000;
/// How often these report.
pub const INTERVAL: Millis = 900_000;
/// One in so many is silent, and one in so many was never heard.
const SILENT: usize = 33;
const UNHEARD: usize = 20;

/// The stores of a suite.
pub struct Stores {
    pub registry: Registry,
    pub history: History,
}

/// What a sheet says of the server of this number.
pub struct Described {
    pub name: String,
    pub address: String,
    pub labels: BTreeMap<String, String>,
}

impl Described {
    /// One label that half of them have, one that few share, one by which reports are asked for.
    pub fn new(number: usize) -> Self {
        let pair = |key: &str, value: String| (key.to_owned(), value);
        let mut labels = BTreeMap::from([
            pair("env", if number.is_multiple_of(2) { "production" } else { "staging" }.to_owned()),
            pair("site", format!("rack-{}", number % 200)),
        ]);
        if number < WITH_HISTORY {
            labels
                .insert("gaps".to_owned(), if number.is_multiple_of(2) { "few" } else { "each" }.to_owned());
        }
        let [_, a, b, c] = u32::try_from(number).unwrap_or_default().to_be_bytes();
        Self { name: format!("host-{number:06}"), address: format!("10.{a}.{b}.{c}"), labels }
    }
}

impl Stores {
    /// Servers of these numbers, where they are not there yet.
    pub async fn fill(&self, numbers: std::ops::Range<usize>, with_history: bool, now: Millis) -> Result<()> {
        let numbers: Vec<usize> = numbers.collect();
        for part in numbers.chunks(PART) {
            let servers = self.make(part, now).await?;
            self.see(&servers, now).await?;
            if with_history {
                self.remember(&servers, now).await?;
            }
            eprintln!("{} servers", part.last().map_or(0, |last| last + 1));
        }
        self.progress(now).await
    }

    pub async fn close(self) {
        self.registry.close().await;
        self.history.close().await;
    }

    /// Made two days ago.
    async fn make(&self, numbers: &[usize], now: Millis) -> Result<Vec<(usize, ServerId)>> {
        let rows = numbers.iter().map(|number| {
            let Described { name, address, labels } = Described::new(*number);
            let change = ProfileChange {
                name: Some(name),
                address: Some(Some(address)),
                labels: Some(labels),
                ..ProfileChange::default()
            };
            let row = u32::try_from(*number).unwrap_or_default();
            ImportRow { number: row, id: None, new_id: ServerId::new(now, chassis::random()), change }
        });
        let by = Actor { who: Who::System, name: None, address: None };
        let rows: Vec<ImportRow> = rows.collect();
        let outcomes = self.registry.import(&rows, true, &by, now - 2 * DAY).await?;
        let servers = numbers.iter().zip(outcomes).map(|(number, outcome)| match outcome {
            ImportOutcome::Create { id, .. }
            | ImportOutcome::Update { id, .. }
            | ImportOutcome::Unchanged { id } => Some((*number, id)),
            ImportOutcome::Wrong(_) => None,
        });
        servers.collect::<Option<_>>().context("a server could not be made")
    }

    async fn see(&self, servers: &[(usize, ServerId)], now: Millis) -> Result<()> {
        let mut sightings = Vec::with_capacity(servers.len());
        for (number, server) in servers.iter().filter(|(number, _)| number % UNHEARD != 7) {
            let silent = number % SILENT == 5;
            let heard = now - if silent { 3 * 3_600_000 } else { Millis::try_from(number % 60_000)? };
            // Silent ones have the shortest interval: they are down soon after a start.
            let interval = if silent { Interval::try_from(1_000)? } else { Interval::DEFAULT };
            let silent_at = if silent { heard + 5_000 } else { heard + DAY };
            sightings.push(Sighting {
                server: *server,
                received_at: heard,
                silent_at,
                interval,
                sampled_at: heard,
                facts: Some((heard, host(*number))),
            });
        }
        Ok(self.registry.sight(&sightings, now).await?)
    }

    /// A day, in the order of time.
    async fn remember(&self, servers: &[(usize, ServerId)], now: Millis) -> Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        for step in 0..DAY / INTERVAL {
            for (number, server) in servers.iter().filter(|(number, _)| *number < WITH_HISTORY) {
                if !missing(*number, step) {
                    let at = now - DAY + (step + 1) * INTERVAL - Millis::try_from(number % 60_000)?;
                    batch.push(record(*server, at, (*number as u64) << 8 | step.unsigned_abs())?);
                }
                if batch.len() == BATCH {
                    ensure!(self.history.append(&batch).await?.is_empty(), "a record was rejected");
                    batch.clear();
                }
            }
        }
        ensure!(self.history.append(&batch).await?.is_empty(), "a record was rejected");
        Ok(())
    }

    /// Whoever judges states is told that all is well with the pipeline.
    pub async fn progress(&self, now: Millis) -> Result<()> {
        let progress = Progress {
            newest_settled: Some(now),
            oldest_in_hand: None,
            open_since: Some(now - 3_600_000),
            written_at: now,
        };
        Ok(self.registry.put_progress("bench", &progress).await?)
    }
}

/// Of the even ones, one in twenty was away for two hours; the odd ones missed three samples, each at times of its own.
fn missing(number: usize, step: Millis) -> bool {
    let (of, step) = (number / 2, usize::try_from(step).unwrap_or_default());
    match number % 2 {
        0 => of % 20 == 3 && (40..48).contains(&step),
        _ => [5 + of % 20, 31 + of % 23, 60 + of % 30].contains(&step),
    }
}

fn host(number: usize) -> Host {
    Host {
        hostname: Some(format!("node{number:06}.bench.example.org")),
        os: Some("Debian GNU/Linux 12 (bookworm)".to_owned()),
        kernel: Some("6.1.0-18-amd64".to_owned()),
        arch: Some("x86_64".to_owned()),
        ..Host::default()
    }
}

fn record(server: ServerId, sampled_at: Millis, seed: u64) -> Result<Record> {
    let interval = Interval::try_from(INTERVAL)?;
    let mut json = Vec::with_capacity(400);
    snapshot::write(&mut json, sampled_at, interval.millis(), seed);
    let snapshot = Snapshot::check(serde_json::from_slice(&json)?, interval)?;
    Ok(Record { server, generation: 0, received_at: sampled_at, interval, snapshot })
}
