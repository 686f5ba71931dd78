//! Reading, apart from what snapshots vouch for. It uses plain aggregations without scripts, and an answer with parts missing is an
//! error.

use std::collections::HashMap;

use fleet::{
    Millis, ServerId,
    series::{COUNT, Figures, Summary},
};
use futures_util::future::try_join_all;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    Elastic,
    client::{Method, refused, unavailable},
    layout::{self, Kind},
    rollups::State,
};
use crate::{Extent, HistoryError};

/// Servers in one page of an aggregation.
pub const PAGE: usize = 1_000;
/// Most bytes and most searches in one request.
const MOST_BYTES: usize = 1 << 20;
const MOST_ASKS: usize = 500;
/// Up to this many days, all of them are searched at once, rather than the first and the last ones by themselves.
const FEW_DAYS: usize = 3;
/// An index that does not exist counts as empty. (A shard that does not answer fails the search.)
pub const LENIENT: &str = "ignore_unavailable=true&allow_no_indices=true";

/// One aggregation, to be computed for each of some servers separately.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Names of the indices with commas between them, or a wildcard.
    pub indices: String,
    /// The servers, each once.
    pub servers: Vec<ServerId>,
    /// What else the documents have to be.
    pub filter: Option<Value>,
    pub aggregations: Value,
}

#[derive(Deserialize)]
struct Refreshed {
    #[serde(rename = "_shards")]
    shards: Shards,
}

#[derive(Deserialize)]
struct Shards {
    failed: u64,
}

#[derive(Deserialize)]
#[serde(bound = "B: DeserializeOwned")]
struct Answers<B> {
    responses: Vec<Response<B>>,
}

#[derive(Deserialize)]
#[serde(bound = "B: DeserializeOwned")]
struct Response<B> {
    status: u16,
    #[serde(default)]
    error: Value,
    aggregations: Option<ByServer<B>>,
}

#[derive(Deserialize)]
#[serde(bound = "B: DeserializeOwned")]
struct ByServer<B> {
    servers: Buckets<ServerBucket<B>>,
}

/// The buckets of an aggregation.
#[derive(Deserialize)]
pub struct Buckets<B> {
    pub buckets: Vec<B>,
}

#[derive(Deserialize)]
#[serde(bound = "B: DeserializeOwned")]
struct ServerBucket<B> {
    key: ServerKey,
    #[serde(flatten)]
    inner: B,
}

#[derive(Deserialize)]
struct ServerKey {
    server: ServerId,
}

/// The number in the answer of an aggregation. Whole numbers are exact up to 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Number {
    value: Option<f64>,
}

#[derive(Deserialize)]
struct Ends {
    oldest_start: Number,
    newest: Number,
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self { value: Some(value) }
    }
}

impl Number {
    /// Of nothing.
    pub const NONE: Self = Self { value: None };

    /// Rounded to a whole number; 0 where there is none.
    pub fn whole(self) -> i64 {
        self.value.unwrap_or(0.0).round() as i64
    }
}

impl Elastic {
    /// See [`crate::History::extents`].
    ///
    /// A server that reported on the first day and on the last needs no other days read, however many lie between
    /// (but the second, see below).
    pub async fn extents(&self, servers: &[ServerId]) -> Result<Vec<Option<Extent>>, HistoryError> {
        let _open = self.under_way().await?;
        if servers.is_empty() {
            return Ok(Vec::new());
        }
        let mut distinct = servers.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let all = self.0.layout.all();
        self.refresh(&all).await?;
        let days = self.stored_days().await?;
        let mut found = HashMap::new();
        if days.len() > FEW_DAYS
            && let ([first, second, ..], Some(last)) = (days.as_slice(), days.last())
        {
            // The earliest start may be that of a snapshot of the second day, which reaches back into the first.
            let ends = [first, second, last].map(|day| self.ends(self.0.layout.index(*day), &distinct));
            let mut ends = try_join_all(ends).await?.into_iter();
            let (first, second, last) = (
                ends.next().unwrap_or_default(),
                ends.next().unwrap_or_default(),
                ends.next().unwrap_or_default(),
            );
            for (server, Extent { oldest_start, .. }) in first {
                let Some(Extent { newest, .. }) = last.get(&server).copied() else { continue };
                let later = second.get(&server).map_or(oldest_start, |extent| extent.oldest_start);
                found.insert(server, Extent { oldest_start: oldest_start.min(later), newest });
            }
            distinct.retain(|server| !found.contains_key(server));
        }
        found.extend(self.ends(all, &distinct).await?);
        // What was rolled up may reach further than the snapshots that are kept.
        for (server, State { oldest_start, newest, .. }) in self.states(servers).await? {
            let extent = found.entry(server).or_insert(Extent { oldest_start, newest });
            extent.oldest_start = extent.oldest_start.min(oldest_start);
            extent.newest = extent.newest.max(newest);
        }
        Ok(servers.iter().map(|server| found.get(server).copied()).collect())
    }

    async fn ends(
        &self,
        indices: String,
        servers: &[ServerId],
    ) -> Result<HashMap<ServerId, Extent>, HistoryError> {
        let aggregations = json!({
            "oldest_start": {"min": {"field": "from"}},
            "newest": {"max": {"field": "sampled_at"}},
        });
        let asks = pages(servers).map(|servers| Ask {
            indices: indices.clone(),
            servers: servers.to_vec(),
            filter: None,
            aggregations: aggregations.clone(),
        });
        let pages = self.ask::<Ends>(&asks.collect::<Vec<_>>()).await?;
        let extent =
            |ends: Ends| Extent { oldest_start: ends.oldest_start.whole(), newest: ends.newest.whole() };
        Ok(pages.into_iter().flatten().map(|(server, ends)| (server, extent(ends))).collect())
    }

    /// Of each of these ranges of time, in any order, what one server sampled in it.
    pub async fn raw_summaries(
        &self,
        server: ServerId,
        ranges: &[[Millis; 2]],
    ) -> Result<Vec<(u64, [Option<Summary>; COUNT])>, HistoryError> {
        let ends = ranges.iter().copied().reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])]);
        let Some([first, last]) = ends else { return Ok(Vec::new()) };
        let indices = self.0.layout.indices(first, last - 1);
        self.refresh(&indices).await?;
        let figures =
            Figures::NAMES.iter().map(|name| ((*name).to_owned(), json!({"stats": {"field": name}})));
        let buckets = self.in_ranges(&indices, server, "sampled_at", ranges, figures.collect()).await?;
        Ok(buckets
            .iter()
            .map(|bucket| (bucket["doc_count"].as_u64().unwrap_or(0), summaries(bucket)))
            .collect())
    }

    /// The buckets of these ranges of a column, in their order.
    pub async fn in_ranges(
        &self,
        indices: &str,
        server: ServerId,
        column: &str,
        ranges: &[[i64; 2]],
        aggregations: Map<String, Value>,
    ) -> Result<Vec<Value>, HistoryError> {
        // The server gives the buckets of an array in an order of its own.
        let keyed: Vec<Value> = ranges
            .iter()
            .enumerate()
            .map(|(key, [from, to])| json!({"key": key.to_string(), "from": from, "to": to}))
            .collect();
        let search = json!({
            "size": 0,
            "track_total_hits": false,
            "query": {"term": {"server": server}},
            "aggs": {"ranges": {
                "range": {"field": column, "keyed": true, "ranges": keyed}, "aggs": aggregations,
            }},
        });
        let path = format!(
            "{indices}/_search?{LENIENT}&allow_partial_search_results=false&filter_path=aggregations.ranges.buckets"
        );
        let mut found: Value = self.call(Method::Post, &path, Some(search)).await?.read()?;
        let mut buckets = found["aggregations"]["ranges"]["buckets"].take();
        // Where no index is there, nothing is left of the answer.
        Ok((0..ranges.len()).map(|key| buckets[key.to_string()].take()).collect())
    }

    /// Makes visible to searches what was acknowledged before.
    pub async fn refresh(&self, indices: &str) -> Result<(), HistoryError> {
        let path = format!("{indices}/_refresh?{LENIENT}&filter_path=_shards.failed");
        let refreshed: Refreshed = self.call(Method::Post, &path, None).await?.read()?;
        if refreshed.shards.failed == 0 { Ok(()) } else { Err(unavailable("a shard could not be refreshed")) }
    }

    /// For each ask, what was found of each of its servers; servers without any snapshot are left out. An ask may
    /// name at most one page of servers, see [`pages`].
    pub async fn ask<B: DeserializeOwned>(
        &self,
        asks: &[Ask],
    ) -> Result<Vec<HashMap<ServerId, B>>, HistoryError> {
        let mut found = Vec::with_capacity(asks.len());
        let mut asked = 0;
        while asked < asks.len() {
            let mut body = String::new();
            let first = asked;
            while asked < asks.len() && asked - first < MOST_ASKS && body.len() < MOST_BYTES {
                let Ask { indices, servers, filter, aggregations } = &asks[asked];
                let mut filters = vec![json!({"terms": {"server": servers}})];
                filters.extend(filter.clone());
                let head = json!({
                    "index": indices, "ignore_unavailable": true, "allow_no_indices": true,
                    "allow_partial_search_results": false,
                });
                let search = json!({
                    "size": 0,
                    "track_total_hits": false,
                    "query": {"bool": {"filter": filters}},
                    "aggs": {"servers": {
                        "composite": {
                            "size": servers.len(),
                            "sources": [{"server": {"terms": {"field": "server"}}}],
                        },
                        "aggs": aggregations,
                    }},
                });
                body.push_str(&format!("{head}\n{search}\n"));
                asked += 1;
            }
            let path = "_msearch?filter_path=responses.status,responses.error,responses.aggregations";
            let answer =
                self.0.client.send(Method::Post, path, Some(body.into_bytes()), super::PATIENCE).await?;
            let answers: Answers<B> = answer.read()?;
            if answers.responses.len() != asked - first {
                return Err(unavailable("an answer does not tell of every question"));
            }
            for response in answers.responses {
                found.push(response.servers()?);
            }
        }
        Ok(found)
    }
}

impl<B> Response<B> {
    fn servers(self) -> Result<HashMap<ServerId, B>, HistoryError> {
        if self.status != 200 {
            return Err(refused(self.status, &self.error));
        }
        let buckets = self.aggregations.map_or_else(Vec::new, |aggregations| aggregations.servers.buckets);
        Ok(buckets.into_iter().map(|bucket| (bucket.key.server, bucket.inner)).collect())
    }
}

/// Servers in pages that one composite aggregation answers as a whole.
pub fn pages(servers: &[ServerId]) -> impl Iterator<Item = &[ServerId]> {
    servers.chunks(PAGE)
}

/// The figures of a bucket.
pub fn summaries(bucket: &Value) -> [Option<Summary>; COUNT] {
    Figures::NAMES.map(|name| {
        let of = &bucket[name];
        let count = of["count"].as_u64().filter(|count| *count > 0)?;
        let stored = |value: &Value| Some(as_stored(name, value.as_f64()?));
        Some(Summary { count, sum: of["sum"].as_f64()?, max: stored(&of["max"])?, min: stored(&of["min"])? })
    })
}

/// On its way through JSON a number may lose its last bit. Rounding to 32 bits restores what was stored as such.
pub fn as_stored(name: &str, value: f64) -> f64 {
    if layout::kind(name) == Kind::Float { f64::from(value as f32) } else { value }
}
