//! What ran on a host, and the command lines that rows name by their hash.

use std::{
    collections::{BTreeSet, HashMap},
    io::Write,
};

use fleet::{Millis, Record, ServerId, processes::Sampled, retention::DAY, wire::v1};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Elastic,
    client::{self, BULK_PATIENCE, Method, Refusal, unavailable},
    layout::PROCESS_CPU,
    read::LENIENT,
};
use crate::{HistoryError, Order};

/// Snapshots in one page.
const PAGE: usize = 200;
/// A text is sent at most so long before a sample that names it, by an agent that reports once an hour.
const SENT_AGAIN: Millis = 2 * DAY;
/// Most command lines that are remembered as stored. Beyond it all are forgotten, and sent once more.
const MOST_REMEMBERED: usize = 50_000;
/// A bulk request is sent once it has so many bytes.
const FULL: usize = 4 << 20;
const BULK: &str = "_bulk?timeout=20s&filter_path=items.*.status,items.*.error";

#[derive(Deserialize)]
struct Hit {
    /// `sampled_at`.
    sort: [Millis; 1],
    #[serde(rename = "_source")]
    source: Source,
}

#[derive(Deserialize)]
struct Source {
    covers: Millis,
    body: Body,
}

#[derive(Deserialize)]
struct Body {
    processes: Box<v1::Processes>,
}

#[derive(Deserialize)]
struct Docs {
    #[serde(default)]
    docs: Vec<Doc>,
}

#[derive(Deserialize)]
struct Doc {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_source")]
    source: Option<Text>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

impl Elastic {
    /// Stores the command lines that came with these records, but for those that this process has stored before.
    pub(super) async fn write_commands(&self, records: &[Record]) -> Result<(), HistoryError> {
        let mut fresh: HashMap<(String, String), &str> = HashMap::new();
        for record in records {
            let wire = record.snapshot.as_wire();
            let Some(section) = wire.processes.as_ref().filter(|section| !section.commands.is_empty()) else {
                continue;
            };
            let index = self.0.layout.commands(wire.sampled_at);
            let known = self.known();
            for v1::Command { hash, text } in &section.commands {
                let key = (index.clone(), hash.clone());
                if !known.commands.contains(&key) {
                    fresh.insert(key, text);
                }
            }
        }
        let mut fresh: Vec<((String, String), &str)> = fresh.into_iter().collect();
        while !fresh.is_empty() {
            let mut body = Vec::new();
            let mut sent = Vec::new();
            while body.len() < FULL
                && let Some((key, text)) = fresh.pop()
            {
                // Writing to a vector cannot fail.
                let _ = writeln!(body, r#"{{"create":{{"_index":"{}","_id":"{}"}}}}"#, key.0, key.1);
                let _ = writeln!(body, "{}", json!({"text": text}));
                sent.push(key);
            }
            self.send_commands(body, sent).await?;
        }
        Ok(())
    }

    async fn send_commands(&self, body: Vec<u8>, sent: Vec<(String, String)>) -> Result<(), HistoryError> {
        let answer = self.0.client.send(Method::Post, BULK, Some(body), BULK_PATIENCE).await?;
        let told: Value = answer.read()?;
        let items = told["items"].as_array().map_or(&[][..], Vec::as_slice);
        if items.len() != sent.len() {
            return Err(unavailable("a bulk answer does not tell of every command line"));
        }
        for item in items {
            let created = &item["create"];
            let status =
                created["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
            // 409: it is there.
            if !matches!(status, 200..=299 | 409) {
                return Err(unavailable(Refusal { status, reason: client::reason(&created["error"]) }));
            }
        }
        let mut known = self.known();
        if known.commands.len() + sent.len() > MOST_REMEMBERED {
            known.commands.clear();
        }
        known.commands.extend(sent);
        Ok(())
    }

    /// See [`crate::History::processes`].
    pub async fn processes(
        &self,
        server: ServerId,
        [from, to]: [Millis; 2],
        order: Order,
        most: usize,
    ) -> Result<Vec<Sampled>, HistoryError> {
        let _open = self.under_way().await?;
        let mut all = Vec::new();
        if from >= to {
            return Ok(all);
        }
        let indices = self.0.layout.indices(from, to - 1);
        self.refresh(&indices).await?;
        let mut cursor = match order {
            Order::Latest => to,
            Order::Earliest => from.saturating_sub(1),
        };
        while all.len() < most {
            let size = PAGE.min(most - all.len());
            let page = self.page_of_processes(&indices, server, order, cursor, size).await?;
            let full = page.len() == size;
            for Hit { sort: [at], source: Source { covers, body } } in page {
                let onward = match order {
                    Order::Latest => at < cursor,
                    Order::Earliest => at > cursor,
                };
                if !onward {
                    return Err(unavailable("an answer is not in order"));
                }
                cursor = at;
                if (from..to).contains(&at) {
                    all.push(Sampled { at, covers, processes: body.processes });
                }
            }
            if !full || !(from..to).contains(&cursor) {
                break;
            }
        }
        if order == Order::Latest {
            all.reverse();
        }
        Ok(all)
    }

    async fn page_of_processes(
        &self,
        indices: &str,
        server: ServerId,
        order: Order,
        after: Millis,
        size: usize,
    ) -> Result<Vec<Hit>, HistoryError> {
        let direction = if order == Order::Latest { "desc" } else { "asc" };
        let search = json!({
            "size": size,
            "track_total_hits": false,
            "_source": ["covers", "body.processes"],
            "query": {"bool": {"filter": [
                {"term": {"server": server}}, {"exists": {"field": PROCESS_CPU}},
            ]}},
            "sort": [{"sampled_at": {"order": direction, "unmapped_type": "long"}}],
            "search_after": [after],
        });
        let path = format!(
            "{indices}/_search?{LENIENT}&allow_partial_search_results=false\
             &filter_path=hits.hits.sort,hits.hits._source"
        );
        self.found(&path, search).await
    }

    /// See [`crate::History::commands`].
    pub async fn commands(
        &self,
        hashes: &[String],
        [from, to]: [Millis; 2],
    ) -> Result<HashMap<String, String>, HistoryError> {
        let _open = self.under_way().await?;
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        let (mut at, mut months) = (from.saturating_sub(SENT_AGAIN), BTreeSet::new());
        while at < to {
            months.insert(self.0.layout.commands(at));
            at += DAY;
        }
        months.insert(self.0.layout.commands(to));
        let docs: Vec<Value> = months
            .iter()
            .flat_map(|index| hashes.iter().map(move |hash| json!({"_index": index, "_id": hash})))
            .collect();
        // By id it is found at once, without a refresh.
        let path = "_mget?filter_path=docs._id,docs._source";
        let found: Docs = self.call(Method::Post, path, Some(json!({"docs": docs}))).await?.read()?;
        Ok(found.docs.into_iter().filter_map(|doc| Some((doc.id, doc.source?.text))).collect())
    }

    /// Deletes the months of command lines that no sample from this midnight on can name.
    pub(super) async fn expire_commands(&self, oldest: Millis) -> Result<(), HistoryError> {
        let ended =
            |index: &str| self.0.layout.commands_end(index).is_some_and(|end| end <= oldest - SENT_AGAIN);
        self.delete_indices(&self.0.layout.all_commands(), ended).await
    }
}
