//! Rollups in the cluster: a document an hour of a server, in an index a month.
//!
//! See ADR 40. There are no transactions, and any number of processes. So everything that is written carries what lets the right one
//! win, whoever is stalled and wakes:
//!
//! - A rollup has as its version how many snapshots were seen when it was made. Snapshots are only added, so of two that
//!   were made of the same hour the greater version is the newer, and with the same version they are the same. Where
//!   some of a server are forgotten, a number of that is raised first, which weighs more in a version than any count.
//! - What of a server is rolled up is a document of its own ([`Rolled`]), which is replaced only as it was read.
//! - An hour that a late snapshot touches gets a mark. Whoever stores the snapshot writes the mark before the snapshot
//!   counts as stored (see [`Elastic::note_late`](super::Elastic::note_late)); whoever makes the rollup again reads the
//!   mark first, and removes it only as it was read.

mod chart;
mod make;
mod marks;
mod raw;
mod read;

use std::collections::HashMap;

use fleet::{Millis, ServerId, hours::Rolled};
pub use make::{Fleet, Version};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Elastic,
    client::{self, BULK_PATIENCE, Method, Refusal, refused, unavailable},
};
use crate::HistoryError;

/// What is known of a server besides its rollups and its snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    first: i64,
    until: i64,
    /// Start of its oldest snapshot, and its newest sample, as far as whoever wrote this knew. They outlive snapshots.
    pub oldest_start: Millis,
    pub newest: Millis,
    /// How often a part of its history was forgotten.
    #[serde(default, skip_serializing_if = "is_zero")]
    forgotten: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Bits of a rollup's version that count snapshots.
const SEEN_BITS: u32 = 40;

impl State {
    /// The version of a rollup that is made of so many snapshots, all read after this was.
    pub fn version(self, seen: i64) -> i64 {
        (self.forgotten << SEEN_BITS) + seen
    }

    /// The same, with one more time that something was forgotten: what came before this time.
    pub fn without(self, before: Millis) -> Self {
        Self { forgotten: self.forgotten + 1, oldest_start: self.oldest_start.max(before), ..self }
    }

    /// As it is stored.
    pub fn document(self, server: ServerId) -> Value {
        let mut document = json!(self);
        document["server"] = json!(server);
        document
    }

    pub fn rolled(&self) -> Rolled {
        Rolled { first: self.first, until: self.until }
    }
}

#[derive(Deserialize)]
struct Docs {
    docs: Vec<Doc>,
}

#[derive(Deserialize)]
struct Doc {
    #[serde(default)]
    found: bool,
    #[serde(default)]
    error: Value,
    #[serde(rename = "_source")]
    source: Option<Value>,
}

#[derive(Deserialize)]
struct Bulk {
    #[serde(default)]
    items: Vec<HashMap<String, Outcome>>,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    #[serde(default)]
    error: Value,
}

impl Elastic {
    /// The states of these servers.
    pub async fn states(&self, servers: &[ServerId]) -> Result<HashMap<ServerId, State>, HistoryError> {
        let index = self.0.layout.rolled();
        let docs = servers.iter().map(|server| (index.clone(), server.to_string()));
        let found = self.get_all(docs.collect(), "true").await?;
        let mut states = HashMap::new();
        for (server, source) in servers.iter().zip(found) {
            let Some(source) = source else { continue };
            states.insert(*server, serde_json::from_value(source).map_err(unavailable)?);
        }
        Ok(states)
    }

    /// The sources of these documents, by index and id; `None` for those that are not there.
    async fn get_all(
        &self,
        docs: Vec<(String, String)>,
        fields: &str,
    ) -> Result<Vec<Option<Value>>, HistoryError> {
        const AT_ONCE: usize = 5_000;
        let mut sources = Vec::with_capacity(docs.len());
        for some in docs.chunks(AT_ONCE) {
            let asked: Vec<Value> =
                some.iter().map(|(index, id)| json!({"_index": index, "_id": id})).collect();
            let path = format!("_mget?filter_path=docs.found,docs.error,docs._source&_source={fields}");
            let found: Docs = self.call(Method::Post, &path, Some(json!({"docs": asked}))).await?.read()?;
            if found.docs.len() != some.len() {
                return Err(unavailable("an answer does not tell of every document"));
            }
            for Doc { found, error, source } in found.docs {
                if !error.is_null() && error["type"] != "index_not_found_exception" {
                    return Err(refused(503, &error));
                }
                sources.push(source.filter(|_| found));
            }
        }
        Ok(sources)
    }

    /// Sends the lines of a bulk request of so many items. Returns of each whether it was done: not if there is something
    /// newer, or nothing (any more).
    async fn bulk(&self, lines: Vec<u8>, count: usize) -> Result<Vec<bool>, HistoryError> {
        const BULK: &str = "_bulk?timeout=20s&filter_path=items.*.status,items.*.error";
        if count == 0 {
            return Ok(Vec::new());
        }
        let answer = self.0.client.send(Method::Post, BULK, Some(lines), BULK_PATIENCE).await?;
        let items = answer.read::<Bulk>()?.items;
        if items.len() != count {
            return Err(unavailable("a bulk answer does not tell of every item"));
        }
        let outcomes = items.into_iter().flat_map(HashMap::into_values);
        outcomes
            .map(|Outcome { status, error }| match status {
                200..=299 => Ok(true),
                404 | 409 => Ok(false),
                _ => Err(unavailable(Refusal { status, reason: client::reason(&error) })),
            })
            .collect()
    }
}
