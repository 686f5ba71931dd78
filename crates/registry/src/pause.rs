//! When servers are not expected to report.

use std::collections::HashMap;

use fleet::{Millis, ServerId};

use crate::{
    Registry, RegistryError, id, json, on,
    statement::{Text, one_of},
};

const EXISTS: &str = "SELECT id FROM servers WHERE id = $1";
const PAUSE: &str = "UPDATE servers SET paused_at = $2, version = version + 1, updated_at = $2
WHERE id = $1 AND paused_at IS NULL RETURNING id";
/// Paused again within the ms in which it was resumed: the one pause goes on.
const BEGIN: &str = "INSERT INTO pauses (server_id, paused_at) VALUES ($1, $2)
ON CONFLICT (server_id, paused_at) DO UPDATE SET resumed_at = NULL";
const RESUME: &str = "UPDATE servers SET paused_at = NULL, version = version + 1, updated_at = $2
WHERE id = $1 AND paused_at IS NOT NULL RETURNING id";
/// Never before it began, whatever the clock did meanwhile.
const END: &str = "UPDATE pauses SET resumed_at = CASE WHEN $2 > paused_at THEN $2 ELSE paused_at END
WHERE server_id = $1 AND resumed_at IS NULL";
const PAUSES: Text = one_of!(
    "SELECT server_id, paused_at, resumed_at FROM pauses WHERE server_id",
    "$1",
    " ORDER BY server_id, paused_at"
);

impl Registry {
    /// From now on this server is not expected to report; one that is paused stays so. False: no such server.
    pub async fn pause(&self, id: ServerId, now: Millis) -> Result<bool, RegistryError> {
        self.switch(id, now, PAUSE, BEGIN).await
    }

    /// From now on this server is expected to report again; one that is not paused stays so. False: no such server.
    pub async fn resume(&self, id: ServerId, now: Millis) -> Result<bool, RegistryError> {
        self.switch(id, now, RESUME, END).await
    }

    async fn switch(
        &self,
        id: ServerId,
        now: Millis,
        change: &'static str,
        record: &'static str,
    ) -> Result<bool, RegistryError> {
        let id = id.to_string();
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let changed: Option<(String,)> =
                sqlx::query_as(change).bind(&id).bind(now).fetch_optional(&mut *tx).await?;
            if changed.is_none() {
                let there: Option<(String,)> = sqlx::query_as(EXISTS).bind(&id).fetch_optional(&mut *tx).await?;
                return Ok(there.is_some());
            }
            sqlx::query(record).bind(&id).bind(now).execute(&mut *tx).await?;
            tx.commit().await?;
            true
        }))
    }

    /// When these servers were paused: half-open ranges `[paused, resumed)` in Unix ms, by their start; one that lasts
    /// ends at [`Millis::MAX`]. A server that never was is left out.
    pub async fn pauses(
        &self,
        servers: &[ServerId],
    ) -> Result<HashMap<ServerId, Vec<(Millis, Millis)>>, RegistryError> {
        let ids = json(&servers)?;
        let rows: Vec<(String, Millis, Option<Millis>)> = on!(self, db => sqlx::query_as(PAUSES.on(self.dialect())).bind(ids).fetch_all(db.reader()).await?);
        let mut pauses: HashMap<_, Vec<_>> = HashMap::new();
        for (server, paused_at, resumed_at) in rows {
            let range = (paused_at, resumed_at.unwrap_or(Millis::MAX));
            pauses.entry(id("pauses", "server_id", &server)?).or_default().push(range);
        }
        Ok(pauses)
    }
}
