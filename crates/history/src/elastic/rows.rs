//! The times of one server's snapshots, read page by page.

use fleet::{Millis, ServerId, uptime::Piece};
use serde::Deserialize;
use serde_json::json;

use super::{Elastic, client::unavailable, read::LENIENT};
use crate::HistoryError;

/// Snapshots in one page. By default Elasticsearch gives no more at once.
const PAGE: usize = 10_000;

/// The union of some stretches.
#[derive(Debug, Default)]
pub struct Union {
    /// None touches another; the latest first.
    pieces: Vec<Piece>,
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

impl Union {
    /// Adds a stretch that ends no later than all that were added before.
    pub fn add(&mut self, from: Millis, at: Millis) {
        if from >= at {
            return;
        }
        match self.pieces.last_mut().filter(|earliest| at >= earliest.from) {
            Some(earliest) => earliest.from = earliest.from.min(from),
            None => self.pieces.push(Piece { from, to: at }),
        }
    }

    /// Its pieces, the latest first.
    pub fn pieces(self) -> Vec<Piece> {
        self.pieces
    }
}

impl Elastic {
    /// Adds what was sampled in `[first, before)`, which is about `count` snapshots, the latest first.
    pub async fn read_between(
        &self,
        server: ServerId,
        [first, mut before]: [Millis; 2],
        count: i64,
        union: &mut Union,
    ) -> Result<(), HistoryError> {
        // With one more an answer shows by itself that it is complete.
        let size = usize::try_from(count + 1).unwrap_or(PAGE).min(PAGE);
        while before > first {
            let page = self.times_before(server, first, before, size).await?;
            let full = page.len() == size;
            for Hit { sort: [at], fields } in page {
                if at >= before {
                    return Err(unavailable("an answer is not in order"));
                }
                before = at;
                if at < first {
                    return Ok(());
                }
                union.add(fields.from[0], at);
            }
            if !full {
                break;
            }
        }
        Ok(())
    }

    /// The latest snapshots of one server that were sampled before a moment. Times are columns that are not indexed,
    /// and not every release can filter by such a column. Every release can sort by it, and `search_after` says where
    /// to begin.
    async fn times_before(
        &self,
        server: ServerId,
        first: Millis,
        before: Millis,
        size: usize,
    ) -> Result<Vec<Hit>, HistoryError> {
        let indices = self.0.layout.indices(first, before - 1);
        let search = json!({
            "size": size,
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
        self.found(&path, search).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_joins_what_touches_and_keeps_the_rest_apart() {
        let mut union = Union::default();
        for (from, at) in [(90, 100), (85, 95), (80, 85), (70, 75), (72, 74), (60, 73), (5, 5), (1, 2)] {
            union.add(from, at);
        }
        let piece = |from, to| Piece { from, to };
        assert_eq!(union.pieces(), [piece(80, 100), piece(60, 75), piece(1, 2)]);
    }
}
