//! One batch into three stores.

use std::collections::HashSet;

use cache::Cache;
use history::{History, HistoryError, Rejected};
use metrics::{Counter, counter};
use registry::{Registry, RegistryError};

use crate::{
    batch::Batch,
    heard::{Facts, Heard},
};

/// Where snapshots go.
pub struct Stores {
    pub registry: Registry,
    history: History,
    cache: Cache,
    facts: Facts,
    /// Whether the cache took the last batch, so that the log tells changes alone.
    cached: bool,
    metrics: Metrics,
}

/// A store does not answer, or is damaged; either way nothing of the batch counts as stored.
#[derive(Debug, thiserror::Error)]
pub enum Unstored {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    History(#[from] HistoryError),
}

struct Metrics {
    stored: Counter,
    unknown: Counter,
    revoked: Counter,
    refused: Counter,
    sightings: Counter,
}

impl Metrics {
    fn new() -> Self {
        let snapshots = |outcome| counter!("rollcall_worker_snapshots_total", "outcome" => outcome);
        Self {
            stored: snapshots("stored"),
            unknown: snapshots("unknown"),
            revoked: snapshots("revoked"),
            refused: snapshots("refused"),
            sightings: counter!("rollcall_worker_sightings_written_total"),
        }
    }
}

impl Stores {
    pub fn new(registry: Registry, history: History, cache: Cache) -> Self {
        Self { registry, history, cache, facts: Facts::default(), cached: true, metrics: Metrics::new() }
    }

    /// Stores the batch, and answers which of its records never will be. Doing it again changes nothing. After an error
    /// some of it may be stored: do all of it again.
    pub async fn apply(&mut self, batch: &mut Batch) -> Result<Vec<Rejected>, Unstored> {
        let standing = self.registry.standing(&batch.servers()).await?;
        batch.retain(|record| match standing.get(&record.server) {
            None => {
                self.metrics.unknown.increment(1);
                false
            }
            Some(standing) if record.generation < standing.generation => {
                self.metrics.revoked.increment(1);
                false
            }
            Some(_) => true,
        });
        let records = batch.records();
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let rejected = self.history.append(records).await?;
        let never: HashSet<usize> = rejected.iter().map(|rejected| rejected.index).collect();
        let stored = records.iter().enumerate().filter(|(index, _)| !never.contains(index));
        let heard = Heard::all(stored.map(|(_, record)| record));
        let mut sightings = Vec::new();
        for (server, heard) in &heard {
            let Some(standing) = standing.get(server) else { continue };
            sightings.extend(heard.sighting(*server, standing, &self.facts));
        }
        self.registry.sight(&sightings).await?;
        self.facts.note(&sightings);
        let seen = heard.iter().filter_map(|(server, heard)| heard.seen(*server)).collect();
        let cached = self.cache.see(seen).await;
        if self.cached != cached.is_ok() {
            self.cached = !self.cached;
            match cached {
                Ok(()) => tracing::info!("the cache takes what is seen again"),
                Err(error) => {
                    tracing::warn!(%error, "the cache is not told what is seen; status is later by minutes");
                }
            }
        }
        self.metrics.stored.increment((records.len() - rejected.len()) as u64);
        self.metrics.refused.increment(rejected.len() as u64);
        self.metrics.sightings.increment(sightings.len() as u64);
        Ok(rejected)
    }
}
