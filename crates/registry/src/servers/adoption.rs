//! Servers that this registry never knew: a restored backup is older than they are.

use std::collections::HashSet;

use fleet::{Millis, ServerId};

use super::profile::Profile;
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{PerEngine, Registry, RegistryError, id, json, one_of, query},
    refusal::Refusal,
};

const REVOKED: PerEngine = one_of!("SELECT server_id FROM revocations WHERE server_id", "");
const KNOWN: &str =
    "SELECT 1 FROM servers WHERE id = $1 UNION ALL SELECT 1 FROM revocations WHERE server_id = $1";
const ADOPT: &str = "INSERT INTO servers
(id, name, name_folded, search, generation, version, created_at, updated_at, enrolled_at)
VALUES ($1, $2, $3, $4, $5, 1, $6, $6, $6) ON CONFLICT (name_folded) DO NOTHING RETURNING id";

impl Registry {
    /// Those of these servers of which a credential was revoked, deleted ones too. A server that is neither here nor has a
    /// [standing](Self::standing) is one that this registry never knew.
    #[crate::engine::boxed]
    pub async fn revoked(&self, servers: &[ServerId]) -> Result<HashSet<ServerId>, RegistryError> {
        if servers.is_empty() {
            return Ok(HashSet::new());
        }
        // By the writer, as standings are.
        let rows: Vec<(String,)> = self.writer().all(query(REVOKED).bind(json(&servers)?)).await?;
        rows.iter().map(|(server,)| id("revocations", "server_id", server)).collect()
    }

    /// Makes a server that this registry never knew, with the credential that it has: of this generation. One that it
    /// knows, or knew, is [`Refusal::NotFound`].
    #[crate::engine::boxed]
    pub async fn adopt(
        &self,
        server: ServerId,
        generation: u32,
        name: &str,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let profile = Profile { name: name.trim().to_owned(), ..Profile::default() };
        let key = server.to_string();
        self.change(async |tx| {
            if tx.any(query(KNOWN).bind(&key)).await? {
                return Err(Refusal::NotFound.into());
            }
            let adopt = query(ADOPT)
                .bind(&key)
                .bind(&profile.name)
                .bind(profile.folded())
                .bind(profile.search())
                .bind(i64::from(generation))
                .bind(now);
            match tx.any(adopt).await {
                Ok(true) => {}
                Ok(false) => return Err(Refusal::NameTaken.into()),
                // Somebody else adopted it at the same moment.
                Err(error) if error.is_taken() => return Err(Refusal::NotFound.into()),
                Err(error) => return Err(error.into()),
            }
            let after = serde_json::json!({"name": profile.name, "generation": generation});
            let change = Change::new(by, now, Action::ServerAdopt, server).after(after);
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }
}
