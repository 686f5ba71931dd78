//! Which agents would tell somebody when the suite is away, by what they say of themselves. Management elects one of them.

use std::collections::BTreeMap;

use cache::{Cache, Unavailable};
use fleet::{Millis, Record, ServerId};

/// Tells the cache of those among these records. Where nobody says so nothing is sent.
pub async fn note<'a>(cache: &Cache, records: impl Iterator<Item = &'a Record>) -> Result<(), Unavailable> {
    let mut said: BTreeMap<ServerId, Millis> = BTreeMap::new();
    for record in records {
        let agent = record.snapshot.as_wire().agent.as_ref();
        if agent.is_some_and(|agent| agent.reporter) {
            let at = said.entry(record.server).or_insert(record.received_at);
            *at = (*at).max(record.received_at);
        }
    }
    if said.is_empty() {
        return Ok(());
    }
    cache.note_reporters(&said.into_iter().collect::<Vec<_>>()).await
}
