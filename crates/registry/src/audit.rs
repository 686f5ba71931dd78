//! Who changed what: a row written by the transaction of the change, so that neither is ever there without the other.

use fleet::{
    Millis,
    id::{ApiTokenId, EnrolmentTokenId, UserId},
};
use serde::Serialize;
use serde_json::Value;
use sqlx::{Database, Encode, Type, query::Query};

use crate::{
    Page, Registry, RegistryError, count, json, on,
    statement::{Dialect, Statement, Text, rows_of},
    text,
};

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
    /// What is done to which kind of thing: `server.pause`.
    pub action: &'static str,
    /// The kind of thing: `server`.
    pub kind: &'static str,
    /// Which; `None` when it is none that we know.
    pub id: Option<String>,
    /// What a person would want to know of it as it was, never a secret. `None`: there was nothing.
    pub before: Option<Value>,
    /// The same as it became. `None`: there is nothing any more.
    pub after: Option<Value>,
}

/// A row of the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Rises; breaks ties of `at`.
    pub number: u64,
    /// Unix ms.
    pub at: Millis,
    /// `system`, `stranger`, `user`, `token` or `enrolment`.
    pub actor_kind: String,
    /// Of the user or the token.
    pub actor_id: Option<String>,
    /// Name of the user at that time.
    pub actor_name: Option<String>,
    /// Network address.
    pub address: Option<String>,
    /// Such as `server.pause`.
    pub action: String,
    /// Such as `server`.
    pub object_kind: String,
    /// Which.
    pub object_id: Option<String>,
    /// JSON text.
    pub before: Option<String>,
    /// JSON text.
    pub after: Option<String>,
}

/// Which rows to read; all that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Id, or name regardless of case.
    pub actor: Option<String>,
    /// Exactly this action.
    pub action: Option<String>,
    /// Kind or id.
    pub object: Option<String>,
    /// From this time on, in Unix ms.
    pub from: Option<Millis>,
    /// Before this time, in Unix ms.
    pub to: Option<Millis>,
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

#[derive(sqlx::FromRow)]
struct Stored {
    number: i64,
    at: Millis,
    actor_kind: String,
    actor_id: Option<String>,
    actor_name: Option<String>,
    address: Option<String>,
    action: String,
    object_kind: String,
    object_id: Option<String>,
    state_before: Option<String>,
    state_after: Option<String>,
}

const RECORD: Text = Text {
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

/// The statement that writes these changes to the audit log, all at once. It is to be executed in the transaction that
/// makes them: `audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?`.
pub(crate) fn record<'q, DB: Database>(
    dialect: Dialect,
    changes: &[Change<'_>],
) -> Result<Query<'q, DB, DB::Arguments>, RegistryError>
where
    String: Encode<'q, DB> + Type<DB>,
{
    let rows: Vec<_> = changes.iter().map(Row::of).collect();
    Ok(sqlx::query(RECORD.on(dialect)).bind(json(&rows)?))
}

impl<'a> Row<'a> {
    fn of(change: &'a Change<'_>) -> Self {
        let Change { actor, at, action, kind, id, before, after } = change;
        let (actor_kind, actor_id) = actor.who.parts();
        Self {
            at: *at,
            actor_kind,
            actor_id,
            actor_name: actor.name.as_deref(),
            actor_folded: actor.name.as_deref().map(text::fold_name),
            address: actor.address.as_deref(),
            action,
            object_kind: kind,
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
    fn parts(self) -> (&'static str, Option<String>) {
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
    pub async fn note(&self, change: &Change<'_>) -> Result<(), RegistryError> {
        let changes = std::slice::from_ref(change);
        on!(self, db => {
            record(self.dialect(), changes)?.execute(db.writer()).await?;
        });
        Ok(())
    }

    /// One page of the audit log, the newest first, and the total, both of one moment.
    pub async fn audit(
        &self,
        filter: &AuditFilter,
        page: Page,
    ) -> Result<(Vec<AuditEntry>, u64), RegistryError> {
        let mut rows = select(self.dialect(), filter, None);
        rows.push(" LIMIT ").bind(page.limit()).push(" OFFSET ").bind(page.offset());
        let mut total = Statement::new(self.dialect());
        total.push("SELECT CAST(COUNT(*) AS BIGINT) FROM audit WHERE 1 = 1");
        push_filter(&mut total, filter);
        let (rows, total): (Vec<Stored>, i64) = on!(self, db => {
            let mut tx = db.begin_read().await?;
            let rows = rows_of!(Stored, rows).fetch_all(&mut *tx).await?;
            let total = rows_of!((i64,), total).fetch_one(&mut *tx).await?.0;
            tx.commit().await?;
            (rows, total)
        });
        let entries = rows.into_iter().map(Stored::entry).collect::<Result<_, _>>()?;
        Ok((entries, count("audit", "total", "", total)?))
    }

    /// At most `limit` rows that are older than `after`, the newest first: to read all of them, part by part.
    pub async fn audit_after(
        &self,
        filter: &AuditFilter,
        after: Option<&AuditEntry>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, RegistryError> {
        let mut rows = select(self.dialect(), filter, after);
        rows.push(" LIMIT ").bind(i64::from(limit));
        let rows: Vec<Stored> = on!(self, db => rows_of!(Stored, rows).fetch_all(db.reader()).await?);
        rows.into_iter().map(Stored::entry).collect()
    }
}

fn select(dialect: Dialect, filter: &AuditFilter, after: Option<&AuditEntry>) -> Statement {
    let mut rows = Statement::new(dialect);
    rows.push(
        "SELECT number, at, actor_kind, actor_id, actor_name, address, action, object_kind, object_id,",
    );
    rows.push(" state_before, state_after FROM audit WHERE 1 = 1");
    push_filter(&mut rows, filter);
    if let Some(after) = after {
        let number = i64::try_from(after.number).unwrap_or(i64::MAX);
        rows.push(" AND (at < ").bind(after.at).push(" OR (at = ").bind(after.at);
        rows.push(" AND number < ").bind(number).push("))");
    }
    rows.push(" ORDER BY at DESC, number DESC");
    rows
}

fn push_filter(statement: &mut Statement, filter: &AuditFilter) {
    let AuditFilter { actor, action, object, from, to } = filter;
    // No row has a NUL in it, and PostgreSQL does not take one: an empty text finds nothing just as well.
    let storable = |text: &String| if text::is_storable(text) { text.clone() } else { String::new() };
    if let Some(actor) = actor.as_ref().map(storable) {
        let folded = text::fold_name(&actor);
        statement.push(" AND (actor_id = ").bind(actor).push(" OR actor_folded = ").bind(folded).push(")");
    }
    if let Some(action) = action.as_ref().map(storable) {
        statement.push(" AND action = ").bind(action);
    }
    if let Some(object) = object.as_ref().map(storable) {
        statement
            .push(" AND (object_id = ")
            .bind(object.clone())
            .push(" OR object_kind = ")
            .bind(object)
            .push(")");
    }
    if let Some(from) = *from {
        statement.push(" AND at >= ").bind(from);
    }
    if let Some(to) = *to {
        statement.push(" AND at < ").bind(to);
    }
}

impl Stored {
    fn entry(self) -> Result<AuditEntry, RegistryError> {
        Ok(AuditEntry {
            number: count("audit", "number", "", self.number)?,
            at: self.at,
            actor_kind: self.actor_kind,
            actor_id: self.actor_id,
            actor_name: self.actor_name,
            address: self.address,
            action: self.action,
            object_kind: self.object_kind,
            object_id: self.object_id,
            before: self.state_before,
            after: self.state_after,
        })
    }
}
