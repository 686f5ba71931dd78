//! Which credentials are refused.

use std::collections::BTreeMap;

use fleet::{Millis, ServerId};

use serde_json::json;

use crate::{Actor, Registry, RegistryError, audit, count, id, on, profile::of_server};

const RAISE: &str = "UPDATE servers SET generation = generation + 1, version = version + 1, updated_at = $2
WHERE id = $1 RETURNING generation";
pub(crate) const DENY: &str =
    "INSERT INTO revocations (server_id, generation, revoked_at) VALUES ($1, $2, $3)
ON CONFLICT (server_id) DO UPDATE SET generation = excluded.generation, revoked_at = excluded.revoked_at
WHERE excluded.generation > revocations.generation";
pub(crate) const COUNT_UP: &str = "UPDATE versions SET version = version + 1 WHERE name = 'denylist'";
const VERSION: &str = "SELECT version FROM versions WHERE name = 'denylist'";
const DENYLIST: &str = "SELECT server_id, generation FROM revocations";

impl Registry {
    /// Refuses every credential of this server made so far, raises its generation and the version of the denylist.
    /// Answers the lowest generation that is accepted from now on; `None`: no such server.
    pub async fn revoke(
        &self,
        server: ServerId,
        by: &Actor,
        now: Millis,
    ) -> Result<Option<u32>, RegistryError> {
        let id = server.to_string();
        let in_force: Option<i64> = on!(self, db => {
            let mut tx = db.begin_write().await?;
            let raised: Option<(i64,)> = sqlx::query_as(RAISE).bind(&id).bind(now).fetch_optional(&mut *tx).await?;
            let Some((generation,)) = raised else { return Ok(None) };
            sqlx::query(DENY).bind(&id).bind(generation).bind(now).execute(&mut *tx).await?;
            let states = [generation - 1, generation].map(|generation| Some(json!({"generation": generation})));
            let [before, after] = states;
            let change = of_server(by, now, "server.revoke", server, before, after);
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            // Last, because its row is everybody's; held until the commit, so versions are in force in their order.
            sqlx::query(COUNT_UP).execute(&mut *tx).await?;
            tx.commit().await?;
            Some(generation)
        });
        in_force.map(|generation| count("servers", "generation", &id, generation)).transpose()
    }

    /// The denylist: its version, and by server the lowest generation that is accepted. A server that is not in it was
    /// never revoked. Deleted servers stay in it.
    pub async fn denylist(&self) -> Result<(i64, BTreeMap<ServerId, u32>), RegistryError> {
        // The version is read first: a list that is newer than its version is sent again, one that is older never.
        let (version, rows): (i64, Vec<(String, i64)>) = on!(self, db => {
            let mut tx = db.begin_read().await?;
            let version = sqlx::query_scalar(VERSION).fetch_one(&mut *tx).await?;
            let rows = sqlx::query_as(DENYLIST).fetch_all(&mut *tx).await?;
            tx.commit().await?;
            (version, rows)
        });
        let mut denied = BTreeMap::new();
        for (server, generation) in rows {
            let generation = count("revocations", "generation", &server, generation)?;
            denied.insert(id("revocations", "server_id", &server)?, generation);
        }
        Ok((version, denied))
    }
}
