//! The judge: of what is raised it makes incidents, of what is cleared resolutions, in sets, so that a storm keeps nobody
//! from writing for long. Any number of processes may judge at once.

use std::collections::BTreeMap;

use fleet::{
    Millis,
    alert::{IncidentEventKind, Level, Resolution},
    id::{AlertRuleId, IncidentId},
};
use serde::Serialize;

use super::incidents::{self, Changed};
use crate::{
    engine::{PerEngine, Registry, RegistryError, Tx, json, query, row},
    servers::is_expected,
};

/// Most states, or incidents, that are dealt with in one transaction.
pub(super) const SET: i64 = 1_000;

/// What the judge has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judged {
    /// Incidents that were opened.
    pub opened: usize,
    /// Incidents that are worse than they were.
    pub raised: usize,
    /// Incidents that are over.
    pub resolved: usize,
}

row! {
    /// A state as the judge reads it.
    #[derive(Debug)]
    struct Row {
        server: String,
        rule: String,
        instance: String,
        level: String,
        phase: String,
        began_at: Millis,
        value: f64,
    }
}

/// A state as the statements take it.
#[derive(Serialize)]
struct Line<'a> {
    id: Option<IncidentId>,
    server: &'a str,
    rule: &'a str,
    instance: &'a str,
    level: &'a str,
    began_at: Millis,
    value: f64,
}

/// States of servers that are paused wait until they are expected again; those that clear meanwhile go.
macro_rules! take {
    ($end:literal) => {
        concat!(
            "SELECT a.server, a.rule, a.instance, a.level, a.phase, a.began_at, a.value
            FROM alert_states a LEFT JOIN servers s ON s.id = a.server
            WHERE a.phase <> 'pending' AND a.judged_at IS NULL AND (a.phase = 'cleared' OR a.rule = $1
                OR $1 = '' AND (a.server = '' OR s.id IS NOT NULL AND ",
            is_expected!("s"),
            ")) ORDER BY a.server, a.rule, a.instance LIMIT $2",
            $end
        )
    };
}
const TAKE: PerEngine = PerEngine { sqlite: take!(""), postgres: take!(" FOR UPDATE OF a SKIP LOCKED") };

macro_rules! batch {
    (sqlite) => {
        "(SELECT value ->> 'id' AS id, COALESCE(value ->> 'server', '') AS server, value ->> 'rule' AS rule,
            value ->> 'instance' AS instance, value ->> 'level' AS level, value ->> 'began_at' AS began_at,
            value ->> 'value' AS value FROM json_each($1)) AS b"
    };
    (postgres) => {
        "(SELECT id, COALESCE(server, '') AS server, rule, instance, level, began_at, value
            FROM jsonb_to_recordset(CAST($1 AS JSONB)) AS line (id TEXT, server TEXT, rule TEXT, instance TEXT,
            level TEXT, began_at BIGINT, value DOUBLE PRECISION)) AS b"
    };
}

macro_rules! per_engine {
    ($before:literal, $after:literal) => {
        PerEngine {
            sqlite: concat!($before, batch!(sqlite), $after),
            postgres: concat!($before, batch!(postgres), $after),
        }
    };
}

pub(super) use {batch, per_engine};

/// One that is open already stays as it is: two states of different levels are one incident.
const OPEN: PerEngine = per_engine!(
    "INSERT INTO incidents (id, rule, rule_name, kind, metric, server, server_name, instance, level, state, transition,
        events, opened_at, began_at, value, updated_at, tell_at)
    SELECT b.id, r.id, r.name, r.kind, r.metric, b.server, COALESCE(s.name, ''), b.instance, b.level, 'open', 1, 1, $2,
        b.began_at, CASE WHEN r.kind IN ('value', 'self') THEN b.value END, $2, $2
    FROM ",
    " JOIN alert_rules r ON r.id = b.rule LEFT JOIN servers s ON s.id = b.server WHERE true
    ON CONFLICT (rule, server, instance) WHERE state <> 'resolved' DO NOTHING
    RETURNING id, transition, events, level, value"
);
/// The level never sinks. A higher one opens again what somebody has taken on. Steps that have not come count from then on.
const RAISE: PerEngine = per_engine!(
    "UPDATE incidents SET level = b.level, state = 'open', acknowledged_by = NULL, acknowledged_at = NULL,
        value = b.value, transition = transition + 1, events = events + 1, updated_at = $2, tell_at = $2,
        escalates_from = $2, step = CASE WHEN state = 'acknowledged' THEN 0 ELSE step END
    FROM ",
    " WHERE incidents.rule = b.rule AND incidents.server = b.server AND incidents.instance = b.instance
        AND incidents.state <> 'resolved' AND incidents.level = 'warning' AND b.level = 'critical'
    RETURNING incidents.id, incidents.transition, incidents.events, incidents.level, incidents.value"
);
const MARK: PerEngine = per_engine!(
    "UPDATE alert_states SET judged_at = $2 FROM ",
    " WHERE alert_states.server = b.server AND alert_states.rule = b.rule AND alert_states.instance = b.instance
        AND alert_states.level = b.level AND alert_states.phase = 'raised'"
);
const DROP_CLEARED: PerEngine = per_engine!(
    "DELETE FROM alert_states WHERE phase = 'cleared' AND (server, rule, instance, level) IN
        (SELECT b.server, b.rule, b.instance, b.level FROM ",
    ")"
);
/// Once no level of it is raised any more.
const RESOLVE: PerEngine = per_engine!(
    "UPDATE incidents SET state = 'resolved', resolution = 'recovered', resolved_at = $2, value = b.value,
        transition = transition + 1, events = events + 1, updated_at = $2, tell_at = $2
    FROM ",
    " WHERE incidents.rule = b.rule AND incidents.server = b.server AND incidents.instance = b.instance
        AND incidents.state <> 'resolved' AND NOT EXISTS (SELECT 1 FROM alert_states a WHERE a.server = b.server
            AND a.rule = b.rule AND a.instance = b.instance AND a.phase <> 'pending')
    RETURNING incidents.id, incidents.transition, incidents.events, incidents.level, incidents.value"
);
impl Registry {
    /// Deals with one set of states; `None` once there is nothing left to do. With `only`, what other rules raised waits. `new`
    /// makes ids.
    #[crate::engine::boxed]
    pub async fn judge_states(
        &self,
        only: Option<AlertRuleId>,
        new: &mut (dyn FnMut() -> IncidentId + Send),
        now: Millis,
    ) -> Result<Option<Judged>, RegistryError> {
        let only = only.map_or_else(String::new, |rule| rule.to_string());
        let take = || query(TAKE).bind(&only).bind(SET);
        // Mostly there is nothing, and to look takes no lock.
        if self.dialect() == crate::engine::Dialect::Sqlite && !self.reader().any(take()).await? {
            return Ok(None);
        }
        self.write(async |tx| {
            let rows: Vec<Row> = tx.all(take()).await?;
            if rows.is_empty() {
                return Ok(None);
            }
            let (raised, cleared): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.phase == "raised");
            let mut judged = Judged::default();
            if !raised.is_empty() {
                open(tx, &raised, new, now, &mut judged).await?;
            }
            if !cleared.is_empty() {
                judged.resolved = resolve(tx, &cleared, now).await?;
            }
            Ok(Some(judged))
        })
        .await
    }
}

async fn open(
    tx: &mut Tx<'_>,
    raised: &[&Row],
    new: &mut (dyn FnMut() -> IncidentId + Send),
    now: Millis,
    judged: &mut Judged,
) -> Result<(), RegistryError> {
    let every = lines(raised, &mut || None)?;
    // Of the levels of one key the worst.
    let mut worst: BTreeMap<(&str, &str, &str), &Row> = BTreeMap::new();
    for row in raised {
        let held = worst.entry((&row.server, &row.rule, &row.instance)).or_insert(row);
        if row.level == Level::Critical.as_str() {
            *held = row;
        }
    }
    let worst: Vec<&Row> = worst.into_values().collect();
    let worst = lines(&worst, &mut || Some(new()))?;
    let higher: Vec<Changed> = tx.all(query(RAISE).bind(&worst).bind(now)).await?;
    incidents::record(tx, &higher, IncidentEventKind::Raised, None, now).await?;
    let opened: Vec<Changed> = tx.all(query(OPEN).bind(&worst).bind(now)).await?;
    incidents::record(tx, &opened, IncidentEventKind::Opened, None, now).await?;
    tx.run(query(MARK).bind(every).bind(now)).await?;
    (judged.opened, judged.raised) = (opened.len(), higher.len());
    Ok(())
}

async fn resolve(tx: &mut Tx<'_>, cleared: &[&Row], now: Millis) -> Result<usize, RegistryError> {
    tx.run(query(DROP_CLEARED).bind(lines(cleared, &mut || None)?)).await?;
    let keys: BTreeMap<_, &Row> =
        cleared.iter().map(|row| ((&row.server, &row.rule, &row.instance), *row)).collect();
    let keys: Vec<&Row> = keys.into_values().collect();
    let resolved: Vec<Changed> = tx.all(query(RESOLVE).bind(lines(&keys, &mut || None)?).bind(now)).await?;
    incidents::record(tx, &resolved, IncidentEventKind::Resolved, Some(Resolution::Recovered), now).await?;
    Ok(resolved.len())
}

fn lines(rows: &[&Row], new: &mut dyn FnMut() -> Option<IncidentId>) -> Result<String, RegistryError> {
    let lines: Vec<Line<'_>> = rows
        .iter()
        .map(|row| Line {
            id: new(),
            server: &row.server,
            rule: &row.rule,
            instance: &row.instance,
            level: &row.level,
            began_at: row.began_at,
            value: row.value,
        })
        .collect();
    json(&lines)
}
