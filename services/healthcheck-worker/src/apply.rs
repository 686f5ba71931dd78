//! One batch into three stores.

use std::collections::{BTreeMap, HashMap, HashSet};

use cache::{Cache, Unknown};
use chassis::{Clock, Trouble};
use fleet::{Millis, Outcome, Record, ServerId, retention::DAY};
use history::{History, HistoryError, Rejected};
use registry::{Registry, Standing, Taken};
use tracing::Instrument;

use crate::{
    alerts::Alerts,
    batch::{Admission, Batch},
    heard::{Facts, Heard},
    instruments::{Instruments, timed},
    outage::Unstored,
    reporters,
};

/// Where snapshots go.
pub struct Stores {
    pub registry: Registry,
    pub history: History,
    pub cache: Cache,
    clock: Clock,
    facts: Facts,
    alerts: Alerts,
    cache_away: Trouble,
}

/// What became of a batch that is stored.
pub struct Applied {
    /// Records that no store will ever take.
    pub rejected: Vec<Rejected>,
    /// Rows written to the registry.
    pub sightings: usize,
    /// Observations of what breaks rules, sent to the registry.
    pub observations: usize,
    /// What became of what hosts say of orders.
    pub orders: Taken,
}

impl Stores {
    pub fn new(registry: Registry, history: History, cache: Cache, clock: Clock) -> Self {
        let (facts, cache_away) = (Facts::default(), Trouble::new("the cache"));
        Self { registry, history, cache, clock, facts, alerts: Alerts::default(), cache_away }
    }

    /// Stores the batch, and returns the records that no store will ever take. Doing it again changes nothing. After
    /// an error some of the batch may be stored: store all of it again.
    pub async fn apply(&mut self, batch: &mut Batch, instruments: &Instruments) -> Result<Applied, Unstored> {
        let admit = tracing::debug_span!(target: "steps", "admit");
        let (standing, deleted) = self.standing(batch, instruments).instrument(admit).await?;
        batch.admit(|record| match standing.get(&record.server) {
            None if deleted.contains(&record.server) => Admission::Deleted,
            None => Admission::Unknown,
            Some(standing) if record.generation < standing.generation => Admission::Revoked,
            Some(_) => Admission::Admitted,
        });
        self.note_unknown(batch).await;
        let orders = self.end_orders(batch, &standing, instruments).await?;
        let records = batch.records();
        if records.is_empty() {
            return Ok(Applied { rejected: Vec::new(), sightings: 0, observations: 0, orders });
        }
        let rejected = timed(&instruments.history, append(&self.history, records)).await?;
        let never: HashSet<usize> = rejected.iter().map(|rejected| rejected.index).collect();
        let stored = records.iter().enumerate().filter(|(index, _)| !never.contains(index));
        let now = self.now().await;
        self.history.note_late(records, now).await?;
        let stored = stored.map(|(_, record)| record);
        let heard = Heard::all(stored.clone(), now);
        let mut sightings = Vec::new();
        for (server, heard) in &heard {
            let Some(standing) = standing.get(server) else { continue };
            sightings.extend(heard.sighting(*server, standing, &self.facts, now));
        }
        timed(&instruments.registry, self.registry.sight(&sightings, now)).await?;
        self.facts.note(&sightings);
        let look = self.alerts.look(&self.registry, &heard, stored, &standing, &self.clock);
        let observations = timed(&instruments.alerts, look).await?;
        let seen = heard.iter().filter_map(|(server, heard)| heard.seen(*server)).collect();
        self.cache_away.watch(timed(&instruments.cache, self.cache.see(seen, now)).await);
        self.cache_away.watch(reporters::note(&self.cache, records.iter()).await);
        Ok(Applied { rejected, sightings: sightings.len(), observations, orders })
    }

    /// Of the servers of a batch: how those that the registry knows stand, and which of the others it knew.
    async fn standing(
        &self,
        batch: &Batch,
        instruments: &Instruments,
    ) -> Result<(HashMap<ServerId, Standing>, HashSet<ServerId>), Unstored> {
        let servers = batch.servers();
        let standing = timed(&instruments.registry, self.registry.standing(&servers)).await?;
        let missing: Vec<ServerId> =
            servers.into_iter().filter(|server| !standing.contains_key(server)).collect();
        Ok((standing, self.registry.revoked(&missing).await?))
    }

    /// Takes what hosts say of orders. As of snapshots, a credential that is revoked says nothing.
    async fn end_orders(
        &self,
        batch: &Batch,
        standing: &HashMap<ServerId, Standing>,
        instruments: &Instruments,
    ) -> Result<Taken, Unstored> {
        let outcomes = batch.outcomes();
        if outcomes.is_empty() {
            return Ok(Taken::default());
        }
        let all = outcomes.len();
        let stands = |outcome: &&Outcome| {
            standing.get(&outcome.server).is_some_and(|standing| outcome.generation >= standing.generation)
        };
        let stand: Vec<&Outcome> = outcomes.into_iter().filter(stands).collect();
        let denied = all - stand.len();
        let end = self.registry.end_orders(&stand, self.clock.now());
        let taken = timed(&instruments.registry, end).await?;
        Ok(Taken { left: taken.left + denied, ..taken })
    }

    /// Tells gates of servers that the registry never knew, so that their agents keep what they measure.
    async fn note_unknown(&self, batch: &Batch) {
        let unknown: Vec<Unknown> = batch
            .unknown()
            .into_iter()
            .map(|(server, (generation, last_seen))| Unknown { server, generation, last_seen })
            .collect();
        if !unknown.is_empty() {
            self.cache_away.watch(self.cache.note_unknown(&unknown).await);
        }
    }

    /// By the cache's clock, which all workers share; by this process's while there is none or it does not answer.
    async fn now(&self) -> Millis {
        self.cache.clock().await.ok().flatten().unwrap_or_else(|| self.clock.now())
    }

    /// Whether the stores take this batch by now. A ping alone does not tell: a store whose disk is full answers it and
    /// takes nothing. So this stores the batch, a copy of what was handed back; when the queue delivers those messages
    /// again, storing them once more changes nothing.
    pub async fn probe(&mut self, batch: &mut Batch, instruments: &Instruments) -> Result<(), Unstored> {
        self.registry.ping().await?;
        self.history.ping().await?;
        self.apply(batch, instruments).await.map(drop)
    }
}

/// Appends to history day by day if it refuses the whole. History may refuse one day, when the index of that day is
/// not ours, and such a day must not keep the others out. If at most half of the records are refused, they are
/// rejected. If more are, something other than the records is wrong, and the error stands.
async fn append(history: &History, records: &[Record]) -> Result<Vec<Rejected>, HistoryError> {
    let error = match history.append(records).await {
        Err(error @ HistoryError::Schema(_)) => error,
        appended => return appended,
    };
    let (mut rejected, mut refused) = (Vec::new(), 0);
    for places in by_day(records).into_values() {
        let day: Vec<Record> = places.iter().map(|place| records[*place].clone()).collect();
        match history.append(&day).await {
            Ok(parts) => {
                rejected.extend(parts.into_iter().map(|part| Rejected { index: places[part.index], ..part }));
            }
            Err(HistoryError::Schema(reason)) => {
                refused += places.len();
                let reasons = std::iter::repeat_n(reason, places.len());
                let parts = places.into_iter().zip(reasons);
                rejected.extend(parts.map(|(index, reason)| Rejected { index, reason }));
            }
            Err(error) => return Err(error),
        }
    }
    if is_lesser(refused, records.len()) { Ok(rejected) } else { Err(error) }
}

/// For each day, the indices of its records.
fn by_day(records: &[Record]) -> BTreeMap<i64, Vec<usize>> {
    let mut days: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (place, record) in records.iter().enumerate() {
        days.entry(record.snapshot.sampled_at().div_euclid(DAY)).or_default().push(place);
    }
    days
}

fn is_lesser(part: usize, whole: usize) -> bool {
    part <= whole - part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_batch_may_be_at_fault_and_no_more() {
        for (part, whole, expected) in
            [(0, 1, true), (1, 2, true), (1, 1, false), (2, 3, false), (49, 100, true)]
        {
            assert_eq!(is_lesser(part, whole), expected, "{part} of {whole}");
        }
    }
}
