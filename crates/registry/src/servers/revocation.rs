//! Which credentials are refused.

use std::collections::BTreeMap;

use fleet::{Millis, ServerId};
use serde_json::json;

use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Registry, RegistryError, Tx, count, id, query},
    refusal::Refusal,
};

const RAISE: &str = "UPDATE servers SET generation = generation + 1, version = version + 1, updated_at = $2
WHERE id = $1 RETURNING generation";
const DENY: &str = "INSERT INTO revocations (server_id, generation, revoked_at) VALUES ($1, $2, $3)
ON CONFLICT (server_id) DO UPDATE SET generation = excluded.generation, revoked_at = excluded.revoked_at
WHERE excluded.generation > revocations.generation";
const COUNT_UP: &str = "UPDATE versions SET version = version + 1 WHERE name = 'denylist'";
const VERSION: &str = "SELECT version FROM versions WHERE name = 'denylist'";
const DENYLIST: &str = "SELECT server_id, generation FROM revocations";

/// Puts the credentials of a server on the denylist that are older than this generation.
pub(super) async fn deny(
    tx: &mut Tx<'_>,
    server: &str,
    generation: i64,
    now: Millis,
) -> Result<(), RegistryError> {
    tx.run(query(DENY).bind(server).bind(generation).bind(now)).await.map(drop)
}

/// Raises the version of the denylist. The last statement of a transaction: everybody who revokes writes the same row,
/// and holds it to the commit, so that versions are in force in their order.
pub(super) async fn count_up(tx: &mut Tx<'_>) -> Result<(), RegistryError> {
    tx.run(COUNT_UP).await.map(drop)
}

impl Registry {
    /// Refuses every credential of this server made so far, raises its generation and the version of the denylist.
    /// Answers the lowest generation that is accepted from now on.
    pub async fn revoke(
        &self,
        server: ServerId,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<u32, Refusal>, RegistryError> {
        let key = server.to_string();
        self.change(async |tx| {
            let raised: Option<(i64,)> = tx.maybe(query(RAISE).bind(&key).bind(now)).await?;
            let (generation,) = raised.ok_or(Refusal::NotFound)?;
            deny(tx, &key, generation, now).await?;
            let change = Change::new(by, now, Action::ServerRevoke, server)
                .before(json!({"generation": generation - 1}))
                .after(json!({"generation": generation}));
            audit::record(tx, &[change]).await?;
            count_up(tx).await?;
            Ok(count("servers", "generation", &key, generation)?)
        })
        .await
    }

    /// The denylist: its version, and by server the lowest generation that is accepted. A server that is not in it was
    /// never revoked. Deleted servers stay in it.
    pub async fn denylist(&self) -> Result<(i64, BTreeMap<ServerId, u32>), RegistryError> {
        let ((version,), rows): ((i64,), Vec<(String, i64)>) =
            self.read(async |tx| Ok((tx.one(VERSION).await?, tx.all(DENYLIST).await?))).await?;
        let mut denied = BTreeMap::new();
        for (server, generation) in rows {
            let generation = count("revocations", "generation", &server, generation)?;
            denied.insert(id("revocations", "server_id", &server)?, generation);
        }
        Ok((version, denied))
    }
}
