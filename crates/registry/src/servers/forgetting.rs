//! Servers whose history goes. The registry remembers it until it is done; that it is in the registry is what a person, or
//! the deletion of a server, has changed.

use fleet::{Millis, ServerId, snapshot::MAX_TIME};
use serde_json::json;

use super::profile;
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Registry, RegistryError, Tx, id, query},
    refusal::Refusal,
};

/// A server of which the history before a time has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgetting {
    /// Whose.
    pub server: ServerId,
    /// What was sampled before this, in Unix ms.
    pub before: Millis,
    /// When somebody asked for it, in Unix ms.
    pub asked_at: Millis,
}

/// Snapshots that a worker let in just before are stored no later than this after it.
const ON_THE_WAY: Millis = 120_000;

const BEGIN: &str = "INSERT INTO forgettings (server_id, before, asked_at, due_at) VALUES ($1, $2, $3, $3)
ON CONFLICT (server_id) DO UPDATE SET before = CASE WHEN excluded.before > forgettings.before THEN excluded.before
ELSE forgettings.before END, asked_at = excluded.asked_at, due_at = excluded.due_at";
const HIDE: &str =
    "UPDATE servers SET history_from = $2 WHERE id = $1 AND (history_from IS NULL OR history_from < $2)";
/// Guarded a second time outside the inner query, as two may find the same row.
const TAKE: &str = "UPDATE forgettings SET due_at = $2 WHERE server_id IN
(SELECT server_id FROM forgettings WHERE due_at <= $1 ORDER BY due_at, server_id LIMIT 1) AND due_at <= $1
RETURNING server_id, before, asked_at";
const ANY_DUE: &str = "SELECT server_id FROM forgettings WHERE due_at <= $1 LIMIT 1";
const AGAIN: &str = "UPDATE forgettings SET due_at = $3 WHERE server_id = $1 AND asked_at = $2";
const END: &str = "DELETE FROM forgettings WHERE server_id = $1 AND asked_at = $2";

/// From now on the history of a server that is deleted goes, all of it.
pub(super) async fn begin(
    tx: &mut Tx<'_>,
    server: &str,
    before: Millis,
    now: Millis,
) -> Result<(), RegistryError> {
    tx.run(query(BEGIN).bind(server).bind(before).bind(now)).await.map(drop)
}

/// Of a server that is deleted.
pub(super) async fn begin_all(tx: &mut Tx<'_>, server: &str, now: Millis) -> Result<(), RegistryError> {
    begin(tx, server, MAX_TIME + 1, now).await
}

impl Registry {
    /// What a server has sampled before `now` counts no longer, and goes. The server stays as it is, its version too.
    #[crate::engine::boxed]
    pub async fn forget_history(
        &self,
        server: ServerId,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let key = server.to_string();
        self.change(async |tx| {
            profile::lock(tx, &key).await?;
            tx.run(query(HIDE).bind(&key).bind(now)).await?;
            begin(tx, &key, now, now).await?;
            let change = Change::new(by, now, Action::ServerForget, server).after(json!({"before": now}));
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }

    /// A server whose history is due to go. It is due again at `again`, unless [`forgot`](Self::forgot) is told first.
    #[crate::engine::boxed]
    pub async fn take_forgetting(
        &self,
        now: Millis,
        again: Millis,
    ) -> Result<Option<Forgetting>, RegistryError> {
        if !self.reader().any(query(ANY_DUE).bind(now)).await? {
            return Ok(None);
        }
        let row: Option<(String, Millis, Millis)> =
            self.writer().maybe(query(TAKE).bind(now).bind(again)).await?;
        row.map(|(server, before, asked_at)| {
            Ok(Forgetting { server: id("forgettings", "server_id", &server)?, before, asked_at })
        })
        .transpose()
    }

    /// Nothing of it is left. What was on its way when somebody asked is looked for once more, later.
    #[crate::engine::boxed]
    pub async fn forgot(&self, forgetting: &Forgetting, now: Millis) -> Result<(), RegistryError> {
        let Forgetting { server, asked_at, .. } = forgetting;
        let stored = asked_at + ON_THE_WAY;
        let done = if now < stored {
            query(AGAIN).bind(server.to_string()).bind(*asked_at).bind(stored)
        } else {
            query(END).bind(server.to_string()).bind(*asked_at)
        };
        self.writer().run(done).await.map(drop)
    }
}
