//! Who changed what: a row written by the transaction of the change, so that neither is ever there without the other.

mod action;
mod log;

use std::fmt;

use fleet::{
    Millis,
    id::{ApiTokenId, EnrolmentTokenId, UserId},
};
use serde::Serialize;
use serde_json::Value;

use crate::engine::{PerEngine, Query, Registry, RegistryError, Tx, fold, json, query};

pub use action::Action;
pub use log::{AuditEntry, AuditFilter};

/// Who changes something, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// How they proved who they are.
    pub who: Who,
    /// Name of the user, also of the one who made the token; kept as it is now, since users are renamed and deleted.
    pub name: Option<String>,
    /// Network address.
    pub address: Option<String>,
}

/// How an actor proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Nobody asked: the suite itself.
    System,
    /// It did not prove anything.
    Stranger,
    /// A person who logged in.
    User(UserId),
    /// A program, by an API token.
    Token(ApiTokenId),
    /// A host, by a token that a person made for it.
    Enrolment(EnrolmentTokenId),
}

/// A change as the audit log has it.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// Who makes it.
    pub actor: &'a Actor,
    /// Unix ms.
    pub at: Millis,
    /// What is done to which kind of thing.
    pub action: Action,
    /// Which thing; `None` when it is none that we know.
    pub id: Option<String>,
    /// What a person would want to know of it as it was, never a secret. `None`: there was nothing.
    pub before: Option<Value>,
    /// The same as it became. `None`: there is nothing any more.
    pub after: Option<Value>,
}

/// As the statement takes it.
#[derive(Serialize)]
struct Row<'a> {
    at: Millis,
    actor_kind: &'static str,
    actor_id: Option<String>,
    actor_name: Option<&'a str>,
    actor_folded: Option<String>,
    address: Option<&'a str>,
    action: &'static str,
    object_kind: &'static str,
    object_id: Option<&'a str>,
    state_before: Option<String>,
    state_after: Option<String>,
}

const RECORD: PerEngine = PerEngine {
    sqlite:
        "INSERT INTO audit (at, actor_kind, actor_id, actor_name, actor_folded, address, action, object_kind,
        object_id, state_before, state_after)
        SELECT value ->> 'at', value ->> 'actor_kind', value ->> 'actor_id', value ->> 'actor_name',
        value ->> 'actor_folded', value ->> 'address', value ->> 'action', value ->> 'object_kind',
        value ->> 'object_id', value ->> 'state_before', value ->> 'state_after' FROM json_each($1)",
    postgres:
        "INSERT INTO audit (at, actor_kind, actor_id, actor_name, actor_folded, address, action, object_kind,
        object_id, state_before, state_after)
        SELECT at, actor_kind, actor_id, actor_name, actor_folded, address, action, object_kind,
        object_id, state_before, state_after FROM jsonb_to_recordset(CAST($1 AS JSONB)) AS change (at BIGINT,
        actor_kind TEXT, actor_id TEXT, actor_name TEXT, actor_folded TEXT, address TEXT, action TEXT,
        object_kind TEXT, object_id TEXT, state_before TEXT, state_after TEXT)",
};

/// Writes these changes to the audit log, all at once, in the transaction that makes them.
pub(crate) async fn record(tx: &mut Tx<'_>, changes: &[Change<'_>]) -> Result<(), RegistryError> {
    tx.run(recording(changes)?).await.map(drop)
}

fn recording(changes: &[Change<'_>]) -> Result<Query, RegistryError> {
    let rows: Vec<_> = changes.iter().map(Row::of).collect();
    Ok(query(RECORD).bind(json(&rows)?))
}

impl<'a> Change<'a> {
    /// A change of which there is nothing to tell but that it happened to the thing with this id.
    pub(crate) fn new(actor: &'a Actor, at: Millis, action: Action, id: impl fmt::Display) -> Self {
        Self { actor, at, action, id: Some(id.to_string()), before: None, after: None }
    }

    /// How the thing was before.
    pub(crate) fn before(self, before: Value) -> Self {
        Self { before: Some(before), ..self }
    }

    /// How the thing is after.
    pub(crate) fn after(self, after: Value) -> Self {
        Self { after: Some(after), ..self }
    }
}

impl<'a> Row<'a> {
    fn of(change: &'a Change<'_>) -> Self {
        let Change { actor, at, action, id, before, after } = change;
        let (actor_kind, actor_id) = actor.who.parts();
        Self {
            at: *at,
            actor_kind,
            actor_id,
            actor_name: actor.name.as_deref(),
            actor_folded: actor.name.as_deref().map(fold::fold_name),
            address: actor.address.as_deref(),
            action: action.as_str(),
            object_kind: action.object_kind(),
            object_id: id.as_deref(),
            state_before: before.as_ref().map(Value::to_string),
            state_after: after.as_ref().map(Value::to_string),
        }
    }
}

impl Actor {
    /// The suite itself.
    pub fn system() -> Self {
        Self { who: Who::System, name: None, address: None }
    }

    /// Whoever it was, from this address.
    pub fn stranger(address: Option<String>) -> Self {
        Self { who: Who::Stranger, name: None, address }
    }
}

impl Who {
    pub(crate) fn parts(self) -> (&'static str, Option<String>) {
        match self {
            Self::System => ("system", None),
            Self::Stranger => ("stranger", None),
            Self::User(id) => ("user", Some(id.to_string())),
            Self::Token(id) => ("token", Some(id.to_string())),
            Self::Enrolment(id) => ("enrolment", Some(id.to_string())),
        }
    }
}

impl Registry {
    /// Writes what changed nothing in the registry, and has to be known all the same: a refused log-in.
    #[crate::engine::boxed]
    pub async fn note(&self, change: &Change<'_>) -> Result<(), RegistryError> {
        self.writer().run(recording(std::slice::from_ref(change))?).await.map(drop)
    }
}
