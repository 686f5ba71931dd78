//! Removing what one server sent: its documents are searched and deleted by their ids, a page at once, since not every
//! cluster deletes by a query.

use std::io::Write;

use fleet::{Millis, ServerId, hours::hour, retention::DAY, snapshot::MAX_TIME};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Elastic,
    client::{self, BULK_PATIENCE, Method, Refusal, unavailable},
    layout::{self, day},
    read::LENIENT,
    rollups::{State, Version},
};
use crate::HistoryError;

/// A document is replaced as it was read, at most so often anew.
const ATTEMPTS: usize = 10;
/// Documents that are deleted by one request.
const PAGE: usize = 5_000;
const BULK: &str = "_bulk?timeout=20s&filter_path=items.*.status,items.*.error";

#[derive(Deserialize)]
struct Hit {
    /// `sampled_at`, or the hour.
    sort: [i64; 1],
}

#[derive(Deserialize)]
struct Stored {
    #[serde(flatten)]
    version: Version,
    #[serde(rename = "_source")]
    source: State,
}

#[derive(Deserialize)]
struct Bulk {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    delete: Deleted,
}

#[derive(Deserialize)]
struct Deleted {
    status: u16,
    #[serde(default)]
    error: Value,
}

impl Elastic {
    /// See [`crate::History::forget`]. A step is a page of a day.
    pub async fn forget(
        &self,
        server: ServerId,
        before: Millis,
        from: Millis,
    ) -> Result<Option<Millis>, HistoryError> {
        let _open = self.under_way().await?;
        let days = self.stored_days().await?;
        let Some(day) = days.into_iter().find(|stored| *stored >= day(from) && stored * DAY < before) else {
            self.forget_rollups(server, before).await?;
            return Ok(None);
        };
        let index = self.0.layout.index(day);
        self.refresh(&index).await?;
        let found = self.sampled_from(server, &index, from).await?;
        let full = found.len() == PAGE;
        let gone: Vec<Millis> = found.into_iter().take_while(|at| *at < before).collect();
        self.delete(server, &index, &gone).await?;
        // A page that is full may be followed by another one of the same day.
        Ok(Some(gone.last().filter(|_| full).map_or((day + 1) * DAY, |last| last + 1)))
    }

    /// When the next snapshots of a server were sampled, in order.
    async fn sampled_from(
        &self,
        server: ServerId,
        index: &str,
        from: Millis,
    ) -> Result<Vec<Millis>, HistoryError> {
        let search = json!({
            "size": PAGE,
            "track_total_hits": false,
            "_source": false,
            "query": {"term": {"server": server}},
            "sort": [{"sampled_at": {"order": "asc", "unmapped_type": "long"}}],
            "search_after": [from.saturating_sub(1)],
        });
        self.times(index, search).await
    }

    /// By what the hits of a search are sorted.
    async fn times(&self, indices: &str, search: Value) -> Result<Vec<i64>, HistoryError> {
        let path = format!(
            "{indices}/_search?{LENIENT}&allow_partial_search_results=false&filter_path=hits.hits.sort"
        );
        let found: Vec<Hit> = self.found(&path, search).await?;
        Ok(found.into_iter().map(|hit| hit.sort[0]).collect())
    }

    /// Removes the rollups of the hours before this time. Where the whole of a server is gone, nothing says any more what of
    /// it was rolled up.
    async fn forget_rollups(&self, server: ServerId, before: Millis) -> Result<(), HistoryError> {
        let (indices, end) = (self.0.layout.all_rollups(), hour(before));
        if before <= MAX_TIME {
            self.have_made_again(server, before).await?;
        }
        self.refresh(&indices).await?;
        let mut from = i64::MIN;
        loop {
            let search = json!({
                "size": PAGE,
                "track_total_hits": false,
                "_source": false,
                "query": {"term": {"server": server}},
                "sort": [{"hour": {"order": "asc", "unmapped_type": "long"}}],
                "search_after": [from],
            });
            let found = self.times(&indices, search).await?;
            let gone: Vec<i64> = found.iter().copied().take_while(|hour| *hour < end).collect();
            let ids = gone.iter().map(|hour| (self.0.layout.rollups(*hour), layout::hour_id(server, *hour)));
            self.delete_all(ids.collect()).await?;
            match gone.last() {
                Some(last) if gone.len() == PAGE => from = *last,
                _ => break,
            }
        }
        if before > MAX_TIME {
            self.delete_all(vec![(self.0.layout.rolled(), server.to_string())]).await?;
        }
        Ok(())
    }

    /// Has rollups made again that are made of snapshots of which some are gone: that of the hour which `before` cuts,
    /// and of the two before it, whose end a later snapshot may vouch for. Whatever was made of what is gone, and comes
    /// yet, is the older one: the number of how often something was forgotten is raised before that.
    async fn have_made_again(&self, server: ServerId, before: Millis) -> Result<(), HistoryError> {
        if !self.count_forgotten(server, before).await? {
            // Nothing is rolled up.
            return Ok(());
        }
        let end = hour(before);
        self.mark(&(end - 2..=end).map(|hour| (server, hour)).collect()).await
    }

    /// Whether anything of the server is rolled up. If so, raises how often something of it was forgotten.
    async fn count_forgotten(&self, server: ServerId, before: Millis) -> Result<bool, HistoryError> {
        let path = format!("{}/_doc/{server}", self.0.layout.rolled());
        for _ in 0..ATTEMPTS {
            let answer = self.call(Method::Get, &path, None).await?;
            if answer.status == 404 {
                return Ok(false);
            }
            let Stored { version, source } = answer.read()?;
            let Version { seq_no, primary_term } = version;
            let put = format!("{path}?if_seq_no={seq_no}&if_primary_term={primary_term}");
            let state = source.without(before).document(server);
            let answer = self.call(Method::Put, &put, Some(state)).await?;
            // Another process has written it meanwhile.
            if answer.status != 409 {
                return answer.succeeded().map(|_| true);
            }
        }
        Err(unavailable("what is rolled up of a server was written by others again and again"))
    }

    async fn delete(&self, server: ServerId, index: &str, sampled: &[Millis]) -> Result<(), HistoryError> {
        let ids = sampled.iter().map(|at| (index.to_owned(), layout::id(server, *at))).collect();
        self.delete_all(ids).await
    }

    /// Deletes these documents, by index and id.
    async fn delete_all(&self, ids: Vec<(String, String)>) -> Result<(), HistoryError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut body = Vec::new();
        for (index, id) in &ids {
            // Writing to a vector cannot fail.
            let _ = writeln!(body, r#"{{"delete":{{"_index":"{index}","_id":"{id}"}}}}"#);
        }
        let answer = self.0.client.send(Method::Post, BULK, Some(body), BULK_PATIENCE).await?;
        let items = answer.read::<Bulk>()?.items;
        if items.len() != ids.len() {
            return Err(unavailable("a bulk answer does not tell of every document"));
        }
        for Item { delete: Deleted { status, error } } in items {
            // Another process may have been quicker.
            if !matches!(status, 200..=299 | 404) {
                return Err(unavailable(Refusal { status, reason: client::reason(&error) }));
            }
        }
        Ok(())
    }
}
