//! The gaps of one server, from the times of its snapshots alone, read page by page, the latest first.

use fleet::{
    Millis, ServerId,
    uptime::{Gaps, Outages, Piece},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Elastic,
    client::{Method, unavailable},
    read::LENIENT,
};
use crate::{HistoryError, LONGEST_COVERS};

/// Snapshots in one page. By default Elasticsearch gives no more at once.
const PAGE: usize = 10_000;

#[derive(Deserialize)]
struct Found {
    hits: Option<Hits>,
}

#[derive(Deserialize)]
struct Hits {
    #[serde(default)]
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    /// `sampled_at`.
    sort: [Millis; 1],
    fields: Fields,
}

#[derive(Deserialize)]
struct Fields {
    from: [Millis; 1],
}

impl Elastic {
    /// See [`crate::History::outages`].
    pub async fn outages(
        &self,
        server: ServerId,
        pieces: Vec<Piece>,
        most: usize,
    ) -> Result<Outages, HistoryError> {
        let _open = self.under_way().await?;
        let mut gaps = Gaps::new(pieces, most);
        let Some(Piece { from, to }) = gaps.open() else { return Ok(gaps.finish()) };
        let first = from.saturating_add(1);
        let mut before = to.saturating_add(LONGEST_COVERS).saturating_add(1);
        self.refresh(&self.0.layout.indices(first, before - 1)).await?;
        while gaps.open().is_some() {
            let page = self.times_before(server, first, before).await?;
            let full = page.len() == PAGE;
            for Hit { sort: [at], fields } in page {
                if at >= before {
                    return Err(unavailable("an answer is not in order"));
                }
                before = at;
                gaps.pass(fields.from[0], at);
            }
            if !full || before <= first {
                break;
            }
        }
        Ok(gaps.finish())
    }

    /// The latest snapshots of one server that were sampled before a moment. Times are columns that are not indexed,
    /// and not every release can filter by such a column. Every release can sort by it, and `search_after` says where
    /// to begin.
    async fn times_before(
        &self,
        server: ServerId,
        first: Millis,
        before: Millis,
    ) -> Result<Vec<Hit>, HistoryError> {
        let indices = self.0.layout.indices(first, before - 1);
        let search = json!({
            "size": PAGE,
            "track_total_hits": false,
            "_source": false,
            "query": {"term": {"server": server}},
            "docvalue_fields": ["from"],
            "sort": [{"sampled_at": {"order": "desc", "unmapped_type": "long"}}],
            "search_after": [before],
        });
        let path = format!(
            "{indices}/_search?{LENIENT}&allow_partial_search_results=false\
             &filter_path=hits.hits.sort,hits.hits.fields"
        );
        let found: Found = self.call(Method::Post, &path, Some(search)).await?.read()?;
        Ok(found.hits.map_or_else(Vec::new, |hits| hits.hits))
    }
}
