//! Which credentials are refused.

use std::collections::BTreeMap;

use fleet::{Millis, ServerId, access::next_generation};
use serde_json::json;

use super::profile;
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{PerEngine, Registry, RegistryError, Tx, count, id, json, query},
    refusal::Refusal,
};

const RAISE: &str =
    "UPDATE servers SET generation = $2, version = version + 1, updated_at = $3 WHERE id = $1";
const DENY: &str = "INSERT INTO revocations (server_id, generation, revoked_at) VALUES ($1, $2, $3)
ON CONFLICT (server_id) DO UPDATE SET generation = excluded.generation, revoked_at = excluded.revoked_at
WHERE excluded.generation > revocations.generation";
const COUNT_UP: &str = "UPDATE versions
SET version = CASE WHEN version < $1 THEN $1 ELSE version + 1 END WHERE name = 'denylist'";
/// Of a list that is known elsewhere, what is not here, or lower here.
const LEARN: PerEngine = PerEngine {
    sqlite: "INSERT INTO revocations (server_id, generation, revoked_at)
        SELECT value ->> 0, value ->> 1, $2 FROM json_each($1) WHERE true
        ON CONFLICT (server_id) DO UPDATE SET generation = excluded.generation, revoked_at = excluded.revoked_at
        WHERE excluded.generation > revocations.generation",
    postgres: "INSERT INTO revocations (server_id, generation, revoked_at)
        SELECT line ->> 0, CAST(line ->> 1 AS BIGINT), $2 FROM jsonb_array_elements(CAST($1 AS JSONB)) AS line
        ON CONFLICT (server_id) DO UPDATE SET generation = excluded.generation, revoked_at = excluded.revoked_at
        WHERE excluded.generation > revocations.generation",
};
/// Whoever denies a generation has given the server the next one.
const FOLLOW: &str = "UPDATE servers
SET generation = (SELECT r.generation FROM revocations r WHERE r.server_id = servers.id), version = version + 1, updated_at = $1
WHERE generation < (SELECT r.generation FROM revocations r WHERE r.server_id = servers.id)";
const VERSION: &str = "SELECT version FROM versions WHERE name = 'denylist'";
const DENYLIST: &str = "SELECT server_id, generation FROM revocations";

/// Puts the credentials of a server on the denylist that are older than this generation.
pub(super) async fn deny(
    tx: &mut Tx<'_>,
    server: &str,
    generation: u32,
    now: Millis,
) -> Result<(), RegistryError> {
    tx.run(query(DENY).bind(server).bind(i64::from(generation)).bind(now)).await.map(drop)
}

/// Raises the version of the denylist to this time, or by one if that is more. So with its next change a registry that was
/// restored from a backup is above what gates have seen. The last statement of a transaction: everybody who revokes writes
/// the same row, and holds it to the commit, so that versions are in force in their order.
pub(super) async fn count_up(tx: &mut Tx<'_>, now: Millis) -> Result<(), RegistryError> {
    tx.run(query(COUNT_UP).bind(now)).await.map(drop)
}

/// Takes over a denylist that knows more than this registry: the lowest generation that is accepted, by server, and the
/// version that gates have seen. The version here rises above both. Answers how many servers are refused in a generation
/// that was accepted here.
pub(crate) async fn learn(
    tx: &mut Tx<'_>,
    version: i64,
    lowest: &BTreeMap<ServerId, u32>,
    now: Millis,
) -> Result<u64, RegistryError> {
    let list: Vec<_> = lowest.iter().collect();
    let learnt = tx.run(query(LEARN).bind(json(&list)?).bind(now)).await?;
    tx.run(query(FOLLOW).bind(now)).await?;
    count_up(tx, now.max(version.saturating_add(1))).await?;
    Ok(learnt)
}

impl Registry {
    /// Refuses every credential of this server made so far, raises its generation and the version of the denylist.
    /// Answers the lowest generation that is accepted from now on.
    #[crate::engine::boxed]
    pub async fn revoke(
        &self,
        server: ServerId,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<u32, Refusal>, RegistryError> {
        let key = server.to_string();
        self.change(async |tx| {
            let before = profile::lock(tx, &key).await?.generation;
            let generation = next_generation(before, now);
            tx.run(query(RAISE).bind(&key).bind(i64::from(generation)).bind(now)).await?;
            deny(tx, &key, generation, now).await?;
            let change = Change::new(by, now, Action::ServerRevoke, server)
                .before(json!({"generation": before}))
                .after(json!({"generation": generation}));
            audit::record(tx, &[change]).await?;
            count_up(tx, now).await?;
            Ok(generation)
        })
        .await
    }

    /// The denylist: its version, and by server the lowest generation that is accepted. A server that is not in it was
    /// never revoked. Deleted servers stay in it.
    #[crate::engine::boxed]
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
