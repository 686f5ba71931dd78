//! What people say of servers: making them, changing that, deleting them.

use std::collections::BTreeMap;

use fleet::{Millis, ServerId};
use serde_json::{Value, json};

use crate::{Actor, Change, Registry, RegistryError, audit, json, on, revocation, statement::Text, text};

/// What people say of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Unique regardless of case; without blanks around it.
    pub name: String,
    /// A fact about it, never its identity.
    pub address: Option<String>,
    /// Key to value.
    pub labels: BTreeMap<String, String>,
}

/// What of a profile is to be different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// `None`: as it was.
    pub name: Option<String>,
    /// `None`: as it was; `Some(None)`: none any more.
    pub address: Option<Option<String>>,
    /// All of them anew; `None`: as they were.
    pub labels: Option<BTreeMap<String, String>>,
}

/// How a change of a server went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is as it was asked for.
    Done,
    /// There is no server of this id.
    NoSuchServer,
    /// Somebody changed it since the version that was expected; nothing was done.
    Stale,
    /// Another server has this name, regardless of case; nothing was done.
    NameTaken,
}

/// A server whose row a transaction holds.
pub(crate) struct Held {
    pub(crate) profile: Profile,
    pub(crate) version: i64,
    pub(crate) generation: i64,
}

/// Changes nothing, and holds the row.
pub(crate) const HOLD: &str = "UPDATE servers SET version = version WHERE id = $1
RETURNING name, address, version, generation";
pub(crate) const LABELS_OF: &str = "SELECT key, value FROM labels WHERE server_id = $1";
pub(crate) const CLEAR_LABELS: &str = "DELETE FROM labels WHERE server_id = $1";
/// Labels that are there stay as they are.
pub(crate) const ADD_LABELS: Text = Text {
    sqlite: "INSERT INTO labels (server_id, key, value) SELECT $1, key, value FROM json_each($2) WHERE true
        ON CONFLICT (server_id, key) DO NOTHING",
    postgres:
        "INSERT INTO labels (server_id, key, value)
        SELECT $1, key, value FROM jsonb_each_text(CAST($2 AS JSONB)) ON CONFLICT (server_id, key) DO NOTHING",
};
const MAKE: &str = "INSERT INTO servers
(id, name, name_folded, address, search, generation, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, 0, 1, $6, $6) ON CONFLICT (name_folded) DO NOTHING RETURNING id";
const CHANGE: &str =
    "UPDATE servers SET name = $2, name_folded = $3, address = $4, search = $5, updated_at = $6,
version = version + 1 WHERE id = $1";
const DELETE: &str = "DELETE FROM servers WHERE id = $1";

/// Holds a server's row to the end of the transaction: what people say of it, `None` if there is no such server.
macro_rules! hold {
    ($tx:expr, $id:expr) => {{
        let row: Option<(String, Option<String>, i64, i64)> =
            sqlx::query_as($crate::profile::HOLD).bind($id).fetch_optional(&mut *$tx).await?;
        match row {
            None => None,
            Some((name, address, version, generation)) => {
                let labels: Vec<(String, String)> =
                    sqlx::query_as($crate::profile::LABELS_OF).bind($id).fetch_all(&mut *$tx).await?;
                let labels = labels.into_iter().collect();
                let profile = $crate::Profile { name, address, labels };
                Some($crate::profile::Held { profile, version, generation })
            }
        }
    }};
}
pub(crate) use hold;

impl Registry {
    /// Makes a server that has no credential yet; whoever enrols under its name takes it over, once. False: another
    /// server has this name, regardless of case.
    pub async fn make_server(
        &self,
        id: ServerId,
        profile: &Profile,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let key = id.to_string();
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let made: Option<(String,)> = sqlx::query_as(MAKE)
                .bind(&key)
                .bind(profile.name.as_str())
                .bind(profile.folded())
                .bind(profile.address.as_deref())
                .bind(profile.search())
                .bind(now)
                .fetch_optional(&mut *tx)
                .await?;
            if made.is_none() {
                return Ok(false);
            }
            let labels = json(&profile.labels)?;
            sqlx::query(ADD_LABELS.on(self.dialect())).bind(&key).bind(labels).execute(&mut *tx).await?;
            let change = of_server(by, now, "server.create", id, None, Some(profile.told()));
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            true
        }))
    }

    /// Changes what people say of a server. With `expected`, only if its version is one of these. A change to what is there
    /// already is [`Changed::Done`] and leaves the version as it is.
    pub async fn change_server(
        &self,
        id: ServerId,
        expected: Option<&[i64]>,
        change: &ProfileChange,
        by: &Actor,
        now: Millis,
    ) -> Result<Changed, RegistryError> {
        let key = id.to_string();
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let Some(held) = hold!(tx, &key) else { return Ok(Changed::NoSuchServer) };
            if expected.is_some_and(|expected| !expected.contains(&held.version)) {
                return Ok(Changed::Stale);
            }
            let (before, after) = (&held.profile, held.profile.with(change));
            if *before == after {
                return Ok(Changed::Done);
            }
            let changed = sqlx::query(CHANGE)
                .bind(&key)
                .bind(after.name.as_str())
                .bind(after.folded())
                .bind(after.address.as_deref())
                .bind(after.search())
                .bind(now)
                .execute(&mut *tx)
                .await;
            match changed {
                Ok(_) => {}
                Err(error) if is_taken(&error) => {
                    tx.rollback().await?;
                    return Ok(Changed::NameTaken);
                }
                Err(error) => return Err(error.into()),
            }
            if before.labels != after.labels {
                sqlx::query(CLEAR_LABELS).bind(&key).execute(&mut *tx).await?;
                let labels = json(&after.labels)?;
                sqlx::query(ADD_LABELS.on(self.dialect())).bind(&key).bind(labels).execute(&mut *tx).await?;
            }
            let change = of_server(by, now, "server.change", id, Some(before.told()), Some(after.told()));
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            Changed::Done
        }))
    }

    /// Deletes a server: its name is free, and its credential is on the denylist for ever. False: no such server.
    pub async fn delete_server(&self, id: ServerId, by: &Actor, now: Millis) -> Result<bool, RegistryError> {
        let key = id.to_string();
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let Some(held) = hold!(tx, &key) else { return Ok(false) };
            sqlx::query(DELETE).bind(&key).execute(&mut *tx).await?;
            sqlx::query(revocation::DENY).bind(&key).bind(held.generation + 1).bind(now).execute(&mut *tx).await?;
            let change = of_server(by, now, "server.delete", id, Some(held.profile.told()), None);
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            sqlx::query(revocation::COUNT_UP).execute(&mut *tx).await?;
            tx.commit().await?;
            true
        }))
    }
}

/// A change of a server, for the audit log.
pub(crate) fn of_server<'a>(
    actor: &'a Actor,
    at: Millis,
    action: &'static str,
    id: ServerId,
    before: Option<Value>,
    after: Option<Value>,
) -> Change<'a> {
    Change { actor, at, action, kind: "server", id: Some(id.to_string()), before, after }
}

fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

impl Profile {
    /// The name as it is unique.
    pub(crate) fn folded(&self) -> String {
        text::fold_name(&self.name)
    }

    /// What a search looks in.
    pub(crate) fn search(&self) -> String {
        let texts = [self.name.as_str()].into_iter().chain(self.address.as_deref());
        text::searchable(texts.chain(self.labels.values().map(String::as_str)))
    }

    /// As the audit log has it.
    pub(crate) fn told(&self) -> Value {
        json!({"name": self.name, "address": self.address, "labels": self.labels})
    }

    pub(crate) fn with(&self, change: &ProfileChange) -> Self {
        let ProfileChange { name, address, labels } = change;
        Self {
            name: name.as_ref().unwrap_or(&self.name).trim().to_owned(),
            address: address.as_ref().unwrap_or(&self.address).clone(),
            labels: labels.as_ref().unwrap_or(&self.labels).clone(),
        }
    }
}
