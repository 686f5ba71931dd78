//! What people say of a server, and the row that holds it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    engine::{PerEngine, RegistryError, Stop, Tx, count, fold, json, query},
    refusal::Refusal,
};

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
    /// Whether who asks may change the label [`APPROVALS`].
    pub may_change_approvals: bool,
}

/// The label that says how many others have to approve each order to a server. Without it nobody has to.
pub const APPROVALS: &str = "approvals";

/// A server whose row a transaction holds to its end.
pub(super) struct Locked {
    pub(super) profile: Profile,
    pub(super) version: i64,
    pub(super) generation: u32,
}

/// Changes nothing, and holds the row.
const LOCK: &str = "UPDATE servers SET version = version WHERE id = $1
RETURNING name, address, version, generation";
const LABELS_OF: &str = "SELECT key, value FROM labels WHERE server_id = $1";
const CLEAR_LABELS: &str = "DELETE FROM labels WHERE server_id = $1";
/// Labels that are there stay as they are.
const ADD_LABELS: PerEngine = PerEngine {
    sqlite: "INSERT INTO labels (server_id, key, value) SELECT $1, key, value FROM json_each($2) WHERE true
        ON CONFLICT (server_id, key) DO NOTHING",
    postgres:
        "INSERT INTO labels (server_id, key, value)
        SELECT $1, key, value FROM jsonb_each_text(CAST($2 AS JSONB)) ON CONFLICT (server_id, key) DO NOTHING",
};

/// Holds a server's row to the end of the transaction.
pub(super) async fn lock(tx: &mut Tx<'_>, server: &str) -> Result<Locked, Stop> {
    let row: Option<(String, Option<String>, i64, i64)> = tx.maybe(query(LOCK).bind(server)).await?;
    let (name, address, version, generation) = row.ok_or(Refusal::NotFound)?;
    let generation = count("servers", "generation", server, generation)?;
    let labels: Vec<(String, String)> = tx.all(query(LABELS_OF).bind(server)).await?;
    let profile = Profile { name, address, labels: labels.into_iter().collect() };
    Ok(Locked { profile, version, generation })
}

/// The same, for other domains: what people say of the server.
pub(crate) async fn hold(tx: &mut Tx<'_>, server: &str) -> Result<Profile, Stop> {
    lock(tx, server).await.map(|locked| locked.profile)
}

/// Adds labels, which are a JSON object, to those of a server; a label that it has already stays as it is.
pub(super) async fn add_labels(
    tx: &mut Tx<'_>,
    server: &str,
    labels: impl Into<String>,
) -> Result<(), RegistryError> {
    tx.run(query(ADD_LABELS).bind(server).bind(labels.into())).await.map(drop)
}

/// A server has these labels and no others.
pub(super) async fn set_labels(
    tx: &mut Tx<'_>,
    server: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), RegistryError> {
    tx.run(query(CLEAR_LABELS).bind(server)).await?;
    add_labels(tx, server, json(labels)?).await
}

impl Profile {
    /// The name as it is unique.
    pub(super) fn folded(&self) -> String {
        fold::fold_name(&self.name)
    }

    /// What a search looks in.
    pub(super) fn search(&self) -> String {
        let texts = [self.name.as_str()].into_iter().chain(self.address.as_deref());
        fold::searchable(texts.chain(self.labels.values().map(String::as_str)))
    }

    /// As the audit log has it.
    pub(super) fn told(&self) -> Value {
        json!({"name": self.name, "address": self.address, "labels": self.labels})
    }

    /// Whether both ask for the same approvals.
    pub(super) fn is_approved_like(&self, other: &Self) -> bool {
        self.labels.get(APPROVALS) == other.labels.get(APPROVALS)
    }

    pub(super) fn with(&self, change: &ProfileChange) -> Self {
        let ProfileChange { name, address, labels, may_change_approvals: _ } = change;
        Self {
            name: name.as_ref().unwrap_or(&self.name).trim().to_owned(),
            address: address.as_ref().unwrap_or(&self.address).clone(),
            labels: labels.as_ref().unwrap_or(&self.labels).clone(),
        }
    }
}
