//! Reports are kept for a while.

use fleet::{Millis, Subject};

use crate::{
    engine::{Registry, RegistryError, id, query},
    outbox,
};

/// Few at a time, because the rows of a report go with it.
const FORGET: &str = "DELETE FROM reports WHERE id IN
(SELECT id FROM reports WHERE created_at < $1 ORDER BY created_at LIMIT 20) RETURNING id";
const FORGET_TICKS: &str = "DELETE FROM report_ticks WHERE due_at < $1";

impl Registry {
    /// Forgets reports made before this time and ticks due before it, some at a time; answers whether there may be more.
    #[crate::engine::boxed]
    pub async fn forget_reports(&self, before: Millis) -> Result<bool, RegistryError> {
        self.writer().run(query(FORGET_TICKS).bind(before)).await?;
        self.write(async |tx| {
            let forgotten: Vec<(String,)> = tx.all(query(FORGET).bind(before)).await?;
            for (report,) in &forgotten {
                outbox::forget(tx, &Subject::Report(id("reports", "id", report)?)).await?;
            }
            Ok(!forgotten.is_empty())
        })
        .await
    }
}
