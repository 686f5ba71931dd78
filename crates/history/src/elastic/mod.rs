//! History in Elasticsearch 7.11 or later, for any number of processes.
//!
//! **Reads see what was acknowledged** to any process, because each read first refreshes the indices that it reads.
//! Where nothing new came that costs one round trip. So the regular refresh of the server can be seldom, which makes
//! writing cheap.
//!
//! **The index of a day is made explicitly.** The template forbids that a write makes an index. So a snapshot that
//! comes too late, for a day that another process has deleted, does not bring that day back. The oldest day that is
//! kept is in a document of its own, which only moves forward.
//!
//! An account needs `manage_index_templates`, and on `<prefix>-*` `create_index`, `write`, `read`, `manage`.

mod append;
mod chain;
mod client;
mod forget;
mod layout;
mod processes;
mod read;
mod remembered;
mod rollups;
mod rows;
mod samples;
mod walk;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use client::{BadUrl, ElasticUrl};
use client::{Client, Method, PATIENCE, PING_PATIENCE, unavailable};
use fleet::{
    Millis, hours,
    retention::{self, Kept},
};
use layout::Layout;
use remembered::Remembered;
use rollups::Fleet;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::HistoryError;

/// Indices deleted by one request.
const DELETED_AT_ONCE: usize = 20;

/// A prefix in a cluster. Clones share it.
#[derive(Clone)]
pub struct Elastic(Arc<Inner>);

struct Inner {
    client: Client,
    layout: Layout,
    kept: Kept,
    known: Mutex<Known>,
    /// Locked by whoever makes rollups.
    fleet: tokio::sync::Mutex<Fleet>,
    /// Whether the store is closed. Each call holds the lock while it is under way.
    closed: RwLock<bool>,
}

/// What this process knows of the cluster. It may be out of date: then there is more in the cluster than is known here.
#[derive(Default)]
struct Known {
    /// Whether the template was put since the server was last lost.
    template: bool,
    /// Days whose index was seen, with our mapping.
    days: HashSet<i64>,
    oldest: Millis,
    /// The oldest midnight for which rollups are kept.
    oldest_rolled: Millis,
    /// Command lines that this process has stored, by index and hash.
    commands: HashSet<(String, String)>,
    /// What was read of past days.
    remembered: Remembered,
}

#[derive(Deserialize)]
struct Page<H> {
    hits: Option<Hits<H>>,
}

#[derive(Deserialize)]
struct Hits<H> {
    #[serde(default = "Vec::new")]
    hits: Vec<H>,
}

#[derive(Deserialize)]
struct Horizon {
    #[serde(rename = "_source")]
    source: HorizonSource,
}

#[derive(Deserialize)]
struct HorizonSource {
    oldest: Millis,
}

impl Elastic {
    /// See [`crate::History::open_elasticsearch`].
    pub fn open(url: &ElasticUrl, prefix: &str, kept: Kept) -> Result<Self, HistoryError> {
        let (client, layout) = (Client::new(url)?, Layout::new(prefix)?);
        let (known, closed) = (Mutex::default(), RwLock::new(false));
        Ok(Self(Arc::new(Inner {
            client,
            layout,
            kept,
            known,
            fleet: tokio::sync::Mutex::default(),
            closed,
        })))
    }

    /// See [`crate::History::expire`].
    pub async fn expire(&self, now: Millis) -> Result<(), HistoryError> {
        let _open = self.under_way().await?;
        let oldest = retention::oldest_retained(now, self.0.kept.raw);
        if oldest > 0 {
            self.raise_horizon(oldest).await?;
        }
        let oldest = self.horizon().await?;
        self.known().remembered.forget(layout::day(oldest));
        let days = self.stored_days().await?;
        let old: Vec<i64> = days.into_iter().filter(|day| *day < layout::day(oldest)).collect();
        for days in old.chunks(DELETED_AT_ONCE) {
            let names: Vec<String> = days.iter().map(|day| self.0.layout.index(*day)).collect();
            let path = format!("{}?ignore_unavailable=true", names.join(","));
            let answer = self.call(Method::Delete, &path, None).await?;
            // Another process may have been quicker.
            if answer.status != 404 {
                answer.succeeded()?;
            }
            self.known().days.retain(|day| !days.contains(day));
        }
        self.expire_commands(oldest).await?;
        self.expire_rollups(retention::oldest_retained(now, self.0.kept.rollups)).await
    }

    /// From now on this process reads no rollup from before `oldest`; months that lie before it are deleted.
    async fn expire_rollups(&self, oldest: Millis) -> Result<(), HistoryError> {
        let oldest = {
            let mut known = self.known();
            known.oldest_rolled = known.oldest_rolled.max(oldest);
            known.oldest_rolled
        };
        let ended =
            |index: &str| self.0.layout.rollups_end(index).is_some_and(|end| end <= hours::hour(oldest));
        self.delete_indices(&self.0.layout.all_rollups(), ended).await
    }

    /// Deletes the indices of this pattern that have ended.
    async fn delete_indices(&self, pattern: &str, ended: impl Fn(&str) -> bool) -> Result<(), HistoryError> {
        let path = format!("{pattern}/_alias");
        let indices: Map<String, Value> = self.call(Method::Get, &path, None).await?.read()?;
        let old: Vec<&str> = indices.keys().map(String::as_str).filter(|index| ended(index)).collect();
        for names in old.chunks(DELETED_AT_ONCE) {
            let path = format!("{}?ignore_unavailable=true", names.join(","));
            let answer = self.call(Method::Delete, &path, None).await?;
            if answer.status != 404 {
                answer.succeeded()?;
            }
        }
        Ok(())
    }

    /// See [`crate::History::oldest_retained`]; the newest that this process has read.
    pub fn oldest_retained(&self) -> Millis {
        self.known().oldest
    }

    /// See [`crate::History::ping`].
    pub async fn ping(&self) -> Result<(), HistoryError> {
        let _open = self.under_way().await?;
        let path = self.horizon_path();
        let answer = self.0.client.send(Method::Get, &path, None, PING_PATIENCE).await?;
        if answer.status == 404 { Ok(()) } else { answer.succeeded() }
    }

    /// See [`crate::History::size`].
    pub async fn size(&self) -> Result<u64, HistoryError> {
        let _open = self.under_way().await?;
        let path = format!("{}/_stats/store?filter_path=_all.total.store.size_in_bytes", self.0.layout.all());
        let stats: Value = self.call(Method::Get, &path, None).await?.read()?;
        // Nothing is left of the answer where there is no index yet.
        Ok(stats.pointer("/_all/total/store/size_in_bytes").and_then(Value::as_u64).unwrap_or(0))
    }

    /// See [`crate::History::close`].
    pub async fn close(&self) {
        *self.0.closed.write().await = true;
    }

    /// Keeps the store open for as long as the returned guard lives.
    async fn under_way(&self) -> Result<RwLockReadGuard<'_, bool>, HistoryError> {
        let closed = self.0.closed.read().await;
        if *closed { Err(unavailable("history is closed")) } else { Ok(closed) }
    }

    /// Puts the template, unless it is there.
    async fn prepare(&self) -> Result<(), HistoryError> {
        if self.known().template {
            return Ok(());
        }
        let path = format!("_index_template/{}", self.0.layout.template_name());
        self.call(Method::Put, &path, Some(self.0.layout.template())).await?.succeeded()?;
        for (name, template) in self.0.layout.other_templates() {
            self.call(Method::Put, &format!("_index_template/{name}"), Some(template)).await?.succeeded()?;
        }
        // It may have been made by a release with fewer fields.
        let mapping = format!("{}/_mapping", self.0.layout.rolled());
        let answer = self.call(Method::Put, &mapping, Some(layout::rolled_mappings())).await?;
        if answer.status != 404 {
            answer.succeeded()?;
        }
        self.known().template = true;
        Ok(())
    }

    /// Makes the indices of those days that are kept and have none. Returns the oldest midnight that is kept.
    async fn make_days(&self, days: &HashSet<i64>) -> Result<Millis, HistoryError> {
        let missing: Vec<i64> = {
            let known = self.known();
            days.iter().copied().filter(|day| !known.days.contains(day)).collect()
        };
        if missing.is_empty() {
            return Ok(self.known().oldest);
        }
        let oldest = self.horizon().await?;
        // One after the other: the server works so in any case, and each request then has its own time limit.
        for day in missing.into_iter().filter(|day| *day >= layout::day(oldest)) {
            self.make_day(day).await?;
        }
        Ok(oldest)
    }

    /// Makes the index of a day, with our mapping. If it is there, the mapping is put again, because the index may
    /// have been made by a release with fewer fields.
    async fn make_day(&self, day: i64) -> Result<(), HistoryError> {
        let index = self.0.layout.index(day);
        let answer = self.call(Method::Put, &index, Some(json!({"mappings": layout::mappings()}))).await?;
        if answer.kind() == "resource_already_exists_exception" {
            let path = format!("{index}/_mapping");
            self.call(Method::Put, &path, Some(layout::mappings())).await?.succeeded()?;
        } else {
            answer.succeeded()?;
        }
        self.known().days.insert(day);
        Ok(())
    }

    /// The oldest midnight that is kept.
    async fn horizon(&self) -> Result<Millis, HistoryError> {
        let answer = self.call(Method::Get, &self.horizon_path(), None).await?;
        let told = if answer.status == 404 { 0 } else { answer.read::<Horizon>()?.source.oldest };
        let mut known = self.known();
        known.oldest = known.oldest.max(told);
        Ok(known.oldest)
    }

    /// Writes the oldest midnight that is kept. It is also the version of the document, so the server refuses an
    /// earlier one.
    async fn raise_horizon(&self, oldest: Millis) -> Result<(), HistoryError> {
        let index = json!({
            "settings": {"index": {"number_of_shards": 1, "auto_expand_replicas": "0-1"}},
            "mappings": {"dynamic": "strict", "properties": {"oldest": {"type": "long", "index": false}}},
        });
        let made = self.call(Method::Put, &self.0.layout.horizon(), Some(index)).await?;
        if made.kind() != "resource_already_exists_exception" {
            made.succeeded()?;
        }
        let path = format!("{}?version={oldest}&version_type=external_gte", self.horizon_path());
        let raised = self.call(Method::Put, &path, Some(json!({"oldest": oldest}))).await?;
        if raised.status == 409 { Ok(()) } else { raised.succeeded() }
    }

    fn horizon_path(&self) -> String {
        format!("{}/_doc/horizon", self.0.layout.horizon())
    }

    /// The days that have an index, in order.
    async fn stored_days(&self) -> Result<Vec<i64>, HistoryError> {
        let path = format!("{}/_alias", self.0.layout.all());
        let indices: Map<String, Value> = self.call(Method::Get, &path, None).await?.read()?;
        let mut days: Vec<i64> = indices.keys().filter_map(|index| self.0.layout.day(index)).collect();
        days.sort_unstable();
        Ok(days)
    }

    /// An administrative call, or a question.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<client::Answer, HistoryError> {
        let body = body.map(|body| body.to_string().into_bytes());
        self.0.client.send(method, path, body, PATIENCE).await
    }

    /// What a search finds. `path` has its indices and options, and lets no more through than a hit reads.
    async fn found<H: DeserializeOwned>(&self, path: &str, search: Value) -> Result<Vec<H>, HistoryError> {
        let page: Page<H> = self.call(Method::Post, path, Some(search)).await?.read()?;
        Ok(page.hits.map_or_else(Vec::new, |hits| hits.hits))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
