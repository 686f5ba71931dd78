//! Snapshots as they were sent, a bounded number of a range.

use fleet::{Millis, ServerId, Snapshot};

use crate::{History, HistoryError};

impl History {
    /// Of each of `points` equal buckets of `[from, to)` the newest snapshot of one server, as it was sent, in order of time;
    /// nothing of buckets without one, and of days whose snapshots are not kept any more.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.samples", skip_all)]
    #[crate::boxed]
    pub async fn samples(
        &self,
        server: ServerId,
        from: Millis,
        to: Millis,
        points: u32,
    ) -> Result<Vec<Snapshot>, HistoryError> {
        match self {
            Self::Sqlite(store) => store.samples(server, from, to, points).await,
            Self::Elasticsearch(store) => store.samples(server, from, to, points).await,
        }
    }
}
