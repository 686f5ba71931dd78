//! How far each worker has got.

use fleet::{Millis, liveness::Progress};

use crate::engine::{Query, Registry, RegistryError, query};

/// A worker that has written nothing for this long is gone: one that starts in its place has a name of its own.
const GONE: Millis = 86_400_000;

/// A worker that starts anew has settled nothing yet. What it settled before, under the same name, stays true, and so does
/// the watermark.
const PUT: &str = "UPDATE workers SET
newest_settled = COALESCE($2, newest_settled), oldest_in_hand = $3, open_since = $4, written_at = $5
WHERE name = $1";
const ADD: &str = "
INSERT INTO workers (name, newest_settled, oldest_in_hand, open_since, written_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (name) DO UPDATE SET
    newest_settled = COALESCE(excluded.newest_settled, workers.newest_settled),
    oldest_in_hand = excluded.oldest_in_hand, open_since = excluded.open_since, written_at = excluded.written_at";

/// Never the row with the greatest `newest_settled`: without it the watermark would move back.
const FORGET: &str = "DELETE FROM workers
WHERE written_at < $1 AND (newest_settled IS NULL OR newest_settled < (SELECT MAX(newest_settled) FROM workers))";

const ALL: &str = "SELECT newest_settled, oldest_in_hand, open_since, written_at FROM workers ORDER BY name";

impl Registry {
    /// Writes the row of the worker of this name. With the first row of a name go those of workers that are gone for
    /// more than a day, so that there are never many.
    #[crate::engine::boxed]
    pub async fn put_progress(&self, worker: &str, progress: &Progress) -> Result<(), RegistryError> {
        let Progress { newest_settled, oldest_in_hand, open_since, written_at } = *progress;
        let row = |statement: &'static str| -> Query {
            query(statement)
                .bind(worker)
                .bind(newest_settled)
                .bind(oldest_in_hand)
                .bind(open_since)
                .bind(written_at)
        };
        if self.writer().run(row(PUT)).await? == 0 {
            self.writer().run(row(ADD)).await?;
            self.writer().run(query(FORGET).bind(written_at - GONE)).await?;
        }
        Ok(())
    }

    /// The rows of all workers, those that are gone too: what they settled counts, see
    /// [`Pipeline::of`](fleet::Pipeline::of).
    #[crate::engine::boxed]
    pub async fn progress(&self) -> Result<Vec<Progress>, RegistryError> {
        type Row = (Option<Millis>, Option<Millis>, Option<Millis>, Millis);
        let rows: Vec<Row> = self.reader().all(ALL).await?;
        let read = |(newest_settled, oldest_in_hand, open_since, written_at)| Progress {
            newest_settled,
            oldest_in_hand,
            open_since,
            written_at,
        };
        Ok(rows.into_iter().map(read).collect())
    }
}
