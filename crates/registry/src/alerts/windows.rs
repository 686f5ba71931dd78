//! Maintenance windows, and their runs: while one lasts, its servers are not expected to report. A run writes and ends pauses
//! of its own, and touches neither those of people or of other windows, nor the servers themselves.

use fleet::{Millis, ServerId, alert::Opening, id::MaintenanceWindowId};
use serde_json::{Value, json as told};

use crate::{
    audit::{self, Action, Actor, Change},
    engine::{
        Page, Query, Registry, RegistryError, Statement, Stop, Tx, corrupt, count, fold, id, json, query, row,
    },
    refusal::Refusal,
    servers::push_labelled,
};

/// Most windows.
const MOST: i64 = 500;

/// A maintenance window. What its times mean, the registry does not know. Times are Unix ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceWindow {
    /// Its id.
    pub id: MaintenanceWindowId,
    /// No other window has it, regardless of case.
    pub name: String,
    /// Whether it opens.
    pub enabled: bool,
    /// Of one that is once: when it begins and ends.
    pub once: Option<(Millis, Millis)>,
    /// Of one that recurs: when, as a cron expression, and for how long, in ms.
    pub recurring: Option<(String, Millis)>,
    /// In which time zone.
    pub time_zone: String,
    /// Which servers.
    pub matches: WindowMatch,
    /// For people.
    pub reason: Option<String>,
    /// An opening that begins before this does not count.
    pub since: Millis,
    /// Rises with each change.
    pub version: i64,
    /// When it was made.
    pub created_at: Millis,
    /// When it was changed last.
    pub updated_at: Millis,
}

/// Which servers a window is about: those that have all of these labels and, if any are named, are among these.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WindowMatch {
    /// Keys and values.
    #[serde(default)]
    pub labels: Vec<(String, String)>,
    /// None: every server.
    #[serde(default)]
    pub servers: Vec<ServerId>,
}

row! {
    struct Row {
        id: String,
        name: String,
        enabled: i64,
        starts_at: Option<Millis>,
        ends_at: Option<Millis>,
        cron: Option<String>,
        time_zone: String,
        duration_ms: Option<Millis>,
        matches: String,
        reason: Option<String>,
        since: Millis,
        version: i64,
        created_at: Millis,
        updated_at: Millis,
    }
}

macro_rules! columns {
    () => {
        "id, name, enabled, starts_at, ends_at, cron, time_zone, duration_ms, matches, reason, since, version, \
         created_at, updated_at"
    };
}

const LIST: &str =
    concat!("SELECT ", columns!(), " FROM maintenance_windows ORDER BY name_folded LIMIT $1 OFFSET $2");
const TOTAL: &str = "SELECT COUNT(*) FROM maintenance_windows";
const ENABLED: &str =
    concat!("SELECT ", columns!(), " FROM maintenance_windows WHERE enabled = 1 ORDER BY id");
const ONE: &str = concat!("SELECT ", columns!(), " FROM maintenance_windows WHERE id = $1");
/// Changes nothing, and holds the row.
const HOLD: &str =
    concat!("UPDATE maintenance_windows SET version = version WHERE id = $1 RETURNING ", columns!());
const ADD: &str =
    "INSERT INTO maintenance_windows (id, name, name_folded, enabled, starts_at, ends_at, cron, time_zone,
duration_ms, matches, reason, since, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, $13, $13) ON CONFLICT (name_folded) DO NOTHING";
const CHANGE: &str = "UPDATE maintenance_windows SET name = $2, name_folded = $3, enabled = $4, starts_at = $5,
ends_at = $6, cron = $7, time_zone = $8, duration_ms = $9, matches = $10, reason = $11, since = $12, updated_at = $13,
version = version + 1 WHERE id = $1";
const TAKEN: &str = "SELECT id FROM maintenance_windows WHERE name_folded = $1 AND id <> $2";
const DELETE: &str = "DELETE FROM maintenance_windows WHERE id = $1";

/// What lasts of a window that is changed or deleted ends now. Its run is forgotten, also the one of a window that is once, so
/// that it may begin again as the window says then.
const RESUME_ALL: &str =
    "UPDATE pauses SET resumed_at = CASE WHEN ends_at < $2 THEN ends_at WHEN $2 > paused_at THEN $2
ELSE paused_at END WHERE origin = $1 AND resumed_at IS NULL";
const FORGET_LASTING: &str =
    "DELETE FROM maintenance_runs WHERE window_id = $1 AND (ended_at IS NULL OR $2 = 1)";
impl Registry {
    /// One page of the windows, by name, and the total.
    #[crate::engine::boxed]
    pub async fn maintenance_windows(
        &self,
        page: Page,
    ) -> Result<(Vec<MaintenanceWindow>, u64), RegistryError> {
        let (rows, total) = self.page_of::<Row>(LIST, TOTAL, page).await?;
        let windows = rows.into_iter().map(Row::window).collect::<Result<_, _>>()?;
        Ok((windows, count("maintenance_windows", "total", "", total)?))
    }

    /// Every window that opens.
    #[crate::engine::boxed]
    pub async fn enabled_maintenance_windows(&self) -> Result<Vec<MaintenanceWindow>, RegistryError> {
        let rows: Vec<Row> = self.reader().all(ENABLED).await?;
        rows.into_iter().map(Row::window).collect()
    }

    /// One window; `None` if there is none of this id.
    #[crate::engine::boxed]
    pub async fn maintenance_window(
        &self,
        id: MaintenanceWindowId,
    ) -> Result<Option<MaintenanceWindow>, RegistryError> {
        let row: Option<Row> = self.reader().maybe(query(ONE).bind(id.to_string())).await?;
        row.map(Row::window).transpose()
    }

    /// Makes a window.
    #[crate::engine::boxed]
    pub async fn make_maintenance_window(
        &self,
        window: &MaintenanceWindow,
        by: &Actor,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        self.change(async |tx| {
            let (total,): (i64,) = tx.one(TOTAL).await?;
            if total >= MOST {
                return Err(Refusal::TooMany.into());
            }
            if tx.run(window.bound(ADD)?.bind(window.created_at)).await? == 0 {
                return Err(Refusal::NameTaken.into());
            }
            let change = Change::new(by, window.created_at, Action::MaintenanceWindowCreate, window.id);
            Ok(audit::record(tx, &[change.after(window.told())]).await?)
        })
        .await
    }

    /// Puts `wanted` in the place of the window of its id, and answers what it is then. With `expected`, only if its version
    /// is one of these. What lasts of it ends, and begins again if the window is then still open.
    #[crate::engine::boxed]
    pub async fn change_maintenance_window(
        &self,
        wanted: &MaintenanceWindow,
        expected: Option<&[i64]>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<MaintenanceWindow, Refusal>, RegistryError> {
        let key = wanted.id.to_string();
        self.change(async |tx| {
            let before = hold(tx, &key, expected).await?;
            if tx.any(query(TAKEN).bind(fold::fold_name(&wanted.name)).bind(&key)).await? {
                return Err(Refusal::NameTaken.into());
            }
            tx.run(wanted.bound(CHANGE)?.bind(now)).await?;
            tx.run(query(RESUME_ALL).bind(&key).bind(now)).await?;
            tx.run(query(FORGET_LASTING).bind(&key).bind(i64::from(wanted.once.is_some()))).await?;
            let after: Row = tx.one(query(ONE).bind(&key)).await?;
            let after = after.window()?;
            let change = Change::new(by, now, Action::MaintenanceWindowChange, &key);
            audit::record(tx, &[change.before(before.told()).after(after.told())]).await?;
            Ok(after)
        })
        .await
    }

    /// Deletes a window. What lasts of it ends; when servers were in maintenance stays. With `expected`, only if its version
    /// is one of these.
    #[crate::engine::boxed]
    pub async fn delete_maintenance_window(
        &self,
        id: MaintenanceWindowId,
        expected: Option<&[i64]>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let key = id.to_string();
        self.change(async |tx| {
            let before = hold(tx, &key, expected).await?;
            tx.run(query(RESUME_ALL).bind(&key).bind(now)).await?;
            tx.run(query(DELETE).bind(&key)).await?;
            let change = Change::new(by, now, Action::MaintenanceWindowDelete, id).before(before.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }
}

/// The window of this id, held to the end of the transaction.
async fn hold(tx: &mut Tx<'_>, key: &str, expected: Option<&[i64]>) -> Result<MaintenanceWindow, Stop> {
    let row: Option<Row> = tx.maybe(query(HOLD).bind(key)).await?;
    let row = row.ok_or(Refusal::NotFound)?;
    Refusal::unless_expected(expected, row.version)?;
    Ok(row.window()?)
}

impl MaintenanceWindow {
    /// The first twelve values of both statements that write a window.
    fn bound(&self, statement: &'static str) -> Result<Query, RegistryError> {
        let Self { id, name, enabled, once, recurring, time_zone, matches, reason, since, .. } = self;
        Ok(query(statement)
            .bind(id.to_string())
            .bind(name)
            .bind(fold::fold_name(name))
            .bind(i64::from(*enabled))
            .bind(once.map(|(starts_at, _)| starts_at))
            .bind(once.map(|(_, ends_at)| ends_at))
            .bind(recurring.as_ref().map(|(cron, _)| cron.as_str()))
            .bind(time_zone)
            .bind(recurring.as_ref().map(|(_, duration)| *duration))
            .bind(json(matches)?)
            .bind(reason.as_deref())
            .bind(*since))
    }

    /// The statement that pauses the servers of an opening. What is over already is paused for the past.
    pub(super) fn pausing(&self, registry: &Registry, opening: &Opening) -> Result<Statement, RegistryError> {
        let mut statement = Statement::new(registry.dialect());
        statement.push("INSERT INTO pauses (server_id, origin, paused_at, ends_at, reason) SELECT s.id, ");
        // PostgreSQL takes a value that is only selected for a text.
        statement
            .bind(self.id.to_string())
            .push(", CAST(")
            .bind(opening.starts_at)
            .push(" AS BIGINT), CAST(");
        statement
            .bind(opening.ends_at)
            .push(" AS BIGINT), ")
            .bind(self.reason.as_deref().unwrap_or(&self.name));
        statement.push(" FROM servers s WHERE true");
        self.matches.push(&mut statement)?;
        statement.push(" ORDER BY s.id ON CONFLICT (server_id, origin, paused_at) DO UPDATE SET");
        statement.push(" resumed_at = NULL, ends_at = excluded.ends_at, reason = excluded.reason");
        Ok(statement)
    }

    /// As the audit log has it.
    fn told(&self) -> Value {
        let Self { name, enabled, once, recurring, time_zone, matches, reason, .. } = self;
        told!({
            "name": name, "enabled": enabled, "starts_at": once.map(|once| once.0), "ends_at": once.map(|once| once.1),
            "cron": recurring.as_ref().map(|recurring| &recurring.0),
            "duration_ms": recurring.as_ref().map(|recurring| recurring.1),
            "time_zone": time_zone, "match": matches, "reason": reason,
        })
    }
}

impl WindowMatch {
    pub(super) fn push(&self, statement: &mut Statement) -> Result<(), RegistryError> {
        if !self.labels.is_empty() {
            statement.push(" AND s.id IN (");
            push_labelled(statement, &self.labels);
            statement.push(")");
        }
        if !self.servers.is_empty() {
            statement.push(" AND s.id").one_of(json(&self.servers)?);
        }
        Ok(())
    }
}

impl Row {
    fn window(self) -> Result<MaintenanceWindow, RegistryError> {
        let matches = serde_json::from_str(&self.matches)
            .map_err(|_| corrupt("maintenance_windows", "matches", &self.id))?;
        Ok(MaintenanceWindow {
            id: id("maintenance_windows", "id", &self.id)?,
            name: self.name,
            enabled: self.enabled != 0,
            once: self.starts_at.zip(self.ends_at),
            recurring: self.cron.zip(self.duration_ms),
            time_zone: self.time_zone,
            matches,
            reason: self.reason,
            since: self.since,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}
