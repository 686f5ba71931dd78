//! Runs of maintenance windows: one for each time that a window is open, whoever finds it due.

use std::collections::HashSet;

use fleet::{Millis, ServerId, alert::Opening, id::MaintenanceWindowId};
use serde_json::json as told;

use super::windows::{MaintenanceWindow, WindowMatch};
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Registry, RegistryError, Statement, count, id, query},
};

/// The maintenance that a server is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InMaintenance {
    /// Of which window.
    pub window: MaintenanceWindowId,
    /// Its name; `None` once it is deleted.
    pub name: Option<String>,
    /// Until when, in Unix ms.
    pub until: Millis,
}

const RUNS: &str = "SELECT local_start FROM maintenance_runs WHERE window_id = $1 AND starts_at > $2";
const LASTING: &str =
    "SELECT window_id, starts_at, ends_at FROM maintenance_runs WHERE ended_at IS NULL AND ends_at <= $1";
/// Only while the window is of the version that was found due.
const BEGIN: &str = "INSERT INTO maintenance_runs (window_id, local_start, starts_at, ends_at, servers)
SELECT id, $2, $3, $4, 0 FROM maintenance_windows WHERE id = $1 AND version = $5 AND enabled = 1
ON CONFLICT (window_id, local_start) DO NOTHING";
const COUNTED: &str = "UPDATE maintenance_runs SET servers = $3 WHERE window_id = $1 AND local_start = $2";
const END_RUN: &str =
    "UPDATE maintenance_runs SET ended_at = $3 WHERE window_id = $1 AND starts_at = $2 AND ended_at IS NULL";
/// A pause ends never before it began, nor after the time at which it ends by itself.
const RESUME: &str =
    "UPDATE pauses SET resumed_at = CASE WHEN ends_at < $3 THEN ends_at WHEN $3 > paused_at THEN $3
ELSE paused_at END WHERE origin = $1 AND paused_at = $2 AND resumed_at IS NULL";
const OF_SERVER: &str = "SELECT p.origin, w.name, p.ends_at FROM pauses p
LEFT JOIN maintenance_windows w ON w.id = p.origin
WHERE p.server_id = $1 AND p.origin <> '' AND p.resumed_at IS NULL ORDER BY p.ends_at DESC LIMIT 1";

impl Registry {
    /// The openings of a window that begin after this time and have begun, by their local start.
    #[crate::engine::boxed]
    pub async fn maintenance_runs(
        &self,
        window: MaintenanceWindowId,
        after: Millis,
    ) -> Result<HashSet<String>, RegistryError> {
        let rows: Vec<(String,)> =
            self.reader().all(query(RUNS).bind(window.to_string()).bind(after)).await?;
        Ok(rows.into_iter().map(|(local,)| local).collect())
    }

    /// Begins the run of an opening: from its start to its end no server of the window is expected to report. False: another
    /// process has begun it, or the window was changed since it was read.
    #[crate::engine::boxed]
    pub async fn begin_maintenance(
        &self,
        window: &MaintenanceWindow,
        opening: &Opening,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let key = window.id.to_string();
        let begin = window.pausing(self, opening)?;
        self.write(async |tx| {
            let run = query(BEGIN)
                .bind(&key)
                .bind(&opening.local_start)
                .bind(opening.starts_at)
                .bind(opening.ends_at)
                .bind(window.version);
            if tx.run(run).await? == 0 {
                return Ok(false);
            }
            let servers = i64::try_from(tx.run(begin).await?).unwrap_or(i64::MAX);
            tx.run(query(COUNTED).bind(&key).bind(&opening.local_start).bind(servers)).await?;
            let system = Actor::system();
            let change = Change::new(&system, now, Action::MaintenanceWindowBegin, &key).after(told!({
                "name": window.name, "starts_at": opening.starts_at, "ends_at": opening.ends_at, "servers": servers,
            }));
            audit::record(tx, &[change]).await?;
            Ok(true)
        })
        .await
    }

    /// Ends the runs whose time is over; says how many there were. Uptime knows of their end without it.
    #[crate::engine::boxed]
    pub async fn end_maintenance(&self, now: Millis) -> Result<usize, RegistryError> {
        let over: Vec<(String, Millis, Millis)> = self.reader().all(query(LASTING).bind(now)).await?;
        for (window, starts_at, ends_at) in &over {
            self.write(async |tx| {
                if tx.run(query(END_RUN).bind(window).bind(*starts_at).bind(*ends_at)).await? == 0 {
                    return Ok(());
                }
                let servers = tx.run(query(RESUME).bind(window).bind(*starts_at).bind(*ends_at)).await?;
                let system = Actor::system();
                let after = told!({"starts_at": starts_at, "ends_at": ends_at, "servers": servers});
                let change = Change::new(&system, now, Action::MaintenanceWindowEnd, window).after(after);
                audit::record(tx, &[change]).await
            })
            .await?;
        }
        Ok(over.len())
    }

    /// The maintenance that a server is in: of several the one that ends last.
    #[crate::engine::boxed]
    pub async fn maintenance_of(&self, server: ServerId) -> Result<Option<InMaintenance>, RegistryError> {
        let row: Option<(String, Option<String>, Millis)> =
            self.reader().maybe(query(OF_SERVER).bind(server.to_string())).await?;
        row.map(|(window, name, until)| {
            Ok(InMaintenance { window: id("pauses", "origin", &window)?, name, until })
        })
        .transpose()
    }

    /// How many servers a window is about now.
    #[crate::engine::boxed]
    pub async fn matched_servers(&self, matches: &WindowMatch) -> Result<u64, RegistryError> {
        let mut statement = Statement::new(self.dialect());
        statement.push("SELECT COUNT(*) FROM servers s WHERE true");
        matches.push(&mut statement)?;
        let (servers,): (i64,) = self.reader().one(statement).await?;
        count("servers", "count", "", servers)
    }
}
