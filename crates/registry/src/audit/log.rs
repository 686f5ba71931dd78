//! The audit log as people read it.

use fleet::Millis;

use crate::engine::{Dialect, Page, PerEngine, Registry, RegistryError, Statement, count, fold, query, row};

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

row! {
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
}

/// A part at a time, so that nobody waits for long. Of several that forget at once, each takes rows that no other has: two
/// that want the same rows in different orders would wait for each other for ever.
const FORGET: PerEngine = PerEngine {
    sqlite: "DELETE FROM audit WHERE number IN
        (SELECT number FROM audit WHERE at < $1 ORDER BY at, number LIMIT $2)",
    postgres: "DELETE FROM audit WHERE number IN
        (SELECT number FROM audit WHERE at < $1 ORDER BY at, number LIMIT $2 FOR UPDATE SKIP LOCKED)",
};

impl Registry {
    /// Forgets at most `limit` of the rows that were written before this time, in Unix ms, the oldest first; says how
    /// many it were.
    #[crate::engine::boxed]
    pub async fn forget_audit(&self, before: Millis, limit: u32) -> Result<u64, RegistryError> {
        self.writer().run(query(FORGET).bind(before).bind(i64::from(limit))).await
    }

    /// One page of the audit log, the newest first, and the total, both of one moment.
    #[crate::engine::boxed]
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
        let (rows, (total,)) =
            self.read(async |tx| Ok((tx.all::<Stored>(rows).await?, tx.one::<(i64,)>(total).await?))).await?;
        let entries = rows.into_iter().map(Stored::entry).collect::<Result<_, _>>()?;
        Ok((entries, count("audit", "total", "", total)?))
    }

    /// At most `limit` rows that are older than `after`, the newest first: to read all of them, part by part.
    #[crate::engine::boxed]
    pub async fn audit_after(
        &self,
        filter: &AuditFilter,
        after: Option<&AuditEntry>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, RegistryError> {
        let mut rows = select(self.dialect(), filter, after);
        rows.push(" LIMIT ").bind(i64::from(limit));
        self.reader().all::<Stored>(rows).await?.into_iter().map(Stored::entry).collect()
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
    let storable = |text: &String| if fold::is_storable(text) { text.clone() } else { String::new() };
    if let Some(actor) = actor.as_ref().map(storable) {
        let folded = fold::fold_name(&actor);
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
