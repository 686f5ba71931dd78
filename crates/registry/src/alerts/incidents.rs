//! Incidents: one trouble each, from its opening to its resolution.

use fleet::{
    Millis, ServerId,
    alert::{IncidentEventKind, IncidentState, Level, Resolution, RuleKind},
    id::IncidentId,
};
use serde::Serialize;

use super::filter::IncidentFilter;
use crate::engine::{
    Page, PerEngine, Registry, RegistryError, Statement, Stop, Tx, corrupt, count, id, json, one_of, query,
    row,
};

/// One trouble. All times in Unix ms.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// Id of its rule, which may be gone.
    pub rule: String,
    /// The rule's name when it opened.
    pub rule_name: String,
    /// What the rule looks at.
    pub kind: RuleKind,
    /// Which measurement, or what of the suite itself; `""` of the other kinds.
    pub metric: String,
    /// Of which server, which may be gone; `None`: of the suite itself.
    pub server: Option<ServerId>,
    /// The server's name when it opened; `""` for none.
    pub server_name: String,
    /// Of which mount, interface or sensor; `""` for none.
    pub instance: String,
    /// The worst that it was.
    pub level: Level,
    /// How far it is.
    pub state: IncidentState,
    /// Rises with every change.
    pub transition: i64,
    /// When it was found.
    pub opened_at: Millis,
    /// When the trouble began, in gate time.
    pub began_at: Millis,
    /// The value at its last change; `None` where there is none.
    pub value: Option<f64>,
    /// Name of who has taken it on.
    pub acknowledged_by: Option<String>,
    /// When they did.
    pub acknowledged_at: Option<Millis>,
    /// When it was over.
    pub resolved_at: Option<Millis>,
    /// Why it is.
    pub resolution: Option<Resolution>,
}

/// What became of an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentEvent {
    /// From 1.
    pub number: u64,
    /// Unix ms.
    pub at: Millis,
    /// What.
    pub kind: IncidentEventKind,
    /// The incident's transition after it.
    pub transition: i64,
    /// The incident's level after it.
    pub level: Level,
    /// The value then.
    pub value: Option<f64>,
    /// Why it was over, if it was.
    pub resolution: Option<Resolution>,
    /// `system`, `user` or `token`.
    pub actor_kind: String,
    /// Name of who did it.
    pub actor_name: Option<String>,
    /// What they said.
    pub note: Option<String>,
}

row! {
    struct Row {
        id: String,
        rule: String,
        rule_name: String,
        kind: String,
        metric: String,
        server: String,
        server_name: String,
        instance: String,
        level: String,
        state: String,
        transition: i64,
        opened_at: Millis,
        began_at: Millis,
        value: Option<f64>,
        acknowledged_by: Option<String>,
        acknowledged_at: Option<Millis>,
        resolved_at: Option<Millis>,
        resolution: Option<String>,
    }
}

row! {
    struct EventRow {
        number: i64,
        at: Millis,
        kind: String,
        transition: i64,
        level: String,
        value: Option<f64>,
        resolution: Option<String>,
        actor_kind: String,
        actor_name: Option<String>,
        note: Option<String>,
    }
}

row! {
    /// An incident after a change, as statements answer it.
    pub(super) struct Changed {
        pub(super) id: String,
        pub(super) transition: i64,
        pub(super) events: i64,
        pub(super) level: String,
        pub(super) value: Option<f64>,
    }
}

/// An event as the statement takes it.
#[derive(Serialize)]
struct Event<'a> {
    incident: &'a str,
    number: i64,
    transition: i64,
    level: &'a str,
    value: Option<f64>,
}

macro_rules! columns {
    () => {
        "i.id, i.rule, i.rule_name, i.kind, i.metric, i.server, i.server_name, i.instance, i.level, i.state, \
         i.transition, i.opened_at, i.began_at, i.value, i.acknowledged_by, i.acknowledged_at, i.resolved_at, i.resolution"
    };
}

const ONE: &str = concat!("SELECT ", columns!(), " FROM incidents i WHERE i.id = $1");
const OPEN_OF: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM incidents i WHERE i.server = $1 AND i.state <> 'resolved' ORDER BY i.opened_at DESC, i.id LIMIT 100"
);
const EVENTS: &str =
    "SELECT number, at, kind, transition, level, value, resolution, actor_kind, actor_name, note
FROM incident_events WHERE incident = $1 ORDER BY number";
const RECORD: PerEngine = PerEngine {
    sqlite: "INSERT INTO incident_events (incident, number, at, kind, transition, level, value, resolution, actor_kind)
        SELECT value ->> 'incident', value ->> 'number', $2, $3, value ->> 'transition', value ->> 'level',
        value ->> 'value', $4, 'system' FROM json_each($1)",
    postgres:
        "INSERT INTO incident_events (incident, number, at, kind, transition, level, value, resolution, actor_kind)
        SELECT incident, number, $2, $3, transition, level, value, $4, 'system'
        FROM jsonb_to_recordset(CAST($1 AS JSONB)) AS event (incident TEXT, number BIGINT, transition BIGINT,
        level TEXT, value DOUBLE PRECISION)",
};
const FORGET: PerEngine = PerEngine {
    sqlite: "DELETE FROM incidents WHERE id IN
        (SELECT id FROM incidents WHERE resolved_at IS NOT NULL AND resolved_at < $1 ORDER BY resolved_at LIMIT $2)",
    postgres: "DELETE FROM incidents WHERE id IN
        (SELECT id FROM incidents WHERE resolved_at IS NOT NULL AND resolved_at < $1 ORDER BY resolved_at LIMIT $2
        FOR UPDATE SKIP LOCKED)",
};
const COUNTS: &str =
    "SELECT state, level, COUNT(*) FROM incidents WHERE state <> 'resolved' GROUP BY state, level";
/// What is resolved takes its states with it, so that they can rise again.
const END: PerEngine = one_of!(
    "UPDATE incidents SET state = 'resolved', resolution = $2, resolved_at = $3, transition = transition + 1,
events = events + 1, updated_at = $3, tell_at = $3 WHERE state <> 'resolved' AND id",
    " RETURNING id, transition, events, level, value"
);
const FORGET_STATES: PerEngine = one_of!(
    "DELETE FROM alert_states WHERE (server, rule, instance) IN (SELECT server, rule, instance FROM incidents WHERE id",
    ")"
);

impl Registry {
    /// One page of the incidents, those that opened last first, and the total.
    #[crate::engine::boxed]
    pub async fn incidents(
        &self,
        filter: &IncidentFilter,
        page: Page,
    ) -> Result<(Vec<Incident>, u64), RegistryError> {
        let mut rows = Statement::new(self.dialect());
        rows.push(concat!("SELECT ", columns!(), " FROM incidents i WHERE true"));
        filter.push(&mut rows);
        rows.push(" ORDER BY i.opened_at DESC, i.id LIMIT ").bind(page.limit());
        rows.push(" OFFSET ").bind(page.offset());
        let mut total = Statement::new(self.dialect());
        total.push("SELECT COUNT(*) FROM incidents i WHERE true");
        filter.push(&mut total);
        let (rows, (total,)) =
            self.read(async |tx| Ok((tx.all::<Row>(rows).await?, tx.one::<(i64,)>(total).await?))).await?;
        let incidents = rows.into_iter().map(Row::incident).collect::<Result<_, _>>()?;
        Ok((incidents, count("incidents", "total", "", total)?))
    }

    /// One incident with all that became of it, in that order; `None` if there is none of this id.
    #[crate::engine::boxed]
    pub async fn incident(
        &self,
        incident: IncidentId,
    ) -> Result<Option<(Incident, Vec<IncidentEvent>)>, RegistryError> {
        let key = incident.to_string();
        self.read(async |tx| {
            let row: Option<Row> = tx.maybe(query(ONE).bind(&key)).await?;
            let Some(row) = row else { return Ok(None) };
            let events: Vec<EventRow> = tx.all(query(EVENTS).bind(&key)).await?;
            let events = events.into_iter().map(|event| event.event(&key)).collect::<Result<_, _>>()?;
            Ok(Some((row.incident()?, events)))
        })
        .await
    }

    /// The incidents of a server that are not resolved, those that opened last first, a hundred at the most.
    #[crate::engine::boxed]
    pub async fn open_incidents(&self, server: ServerId) -> Result<Vec<Incident>, RegistryError> {
        let rows: Vec<Row> = self.reader().all(query(OPEN_OF).bind(server.to_string())).await?;
        rows.into_iter().map(Row::incident).collect()
    }

    /// How many incidents are not resolved, by state and level.
    #[crate::engine::boxed]
    pub async fn incident_counts(&self) -> Result<Vec<(IncidentState, Level, u64)>, RegistryError> {
        let rows: Vec<(String, String, i64)> = self.reader().all(COUNTS).await?;
        let read = |(state, level, incidents): (String, String, i64)| {
            Ok((
                state.parse().map_err(|_| corrupt("incidents", "state", &state))?,
                level.parse().map_err(|_| corrupt("incidents", "level", &level))?,
                count("incidents", "count", "", incidents)?,
            ))
        };
        rows.into_iter().map(read).collect()
    }

    /// Forgets at most `limit` of the incidents that were resolved before this time, in Unix ms; says how many.
    #[crate::engine::boxed]
    pub async fn forget_incidents(&self, before: Millis, limit: u32) -> Result<u64, RegistryError> {
        self.writer().run(query(FORGET).bind(before).bind(i64::from(limit))).await
    }
}

pub(super) async fn read(tx: &mut Tx<'_>, key: &str) -> Result<Incident, Stop> {
    let row: Row = tx.one(query(ONE).bind(key)).await?;
    Ok(row.incident()?)
}

/// Resolves these incidents, and forgets their states. Says how many it were: one that is resolved already is left out.
pub(super) async fn end(
    tx: &mut Tx<'_>,
    incidents: &[String],
    resolution: Resolution,
    now: Millis,
) -> Result<usize, RegistryError> {
    if incidents.is_empty() {
        return Ok(0);
    }
    let ids = json(&incidents)?;
    let changed: Vec<Changed> = tx.all(query(END).bind(&ids).bind(resolution.as_str()).bind(now)).await?;
    record(tx, &changed, IncidentEventKind::Resolved, Some(resolution), now).await?;
    tx.run(query(FORGET_STATES).bind(&ids)).await?;
    Ok(changed.len())
}

/// Writes an event of each of these changes, which nobody asked for.
pub(super) async fn record(
    tx: &mut Tx<'_>,
    changed: &[Changed],
    kind: IncidentEventKind,
    resolution: Option<Resolution>,
    now: Millis,
) -> Result<(), RegistryError> {
    if changed.is_empty() {
        return Ok(());
    }
    let events: Vec<Event<'_>> = changed
        .iter()
        .map(|one| Event {
            incident: &one.id,
            number: one.events,
            transition: one.transition,
            level: &one.level,
            value: one.value,
        })
        .collect();
    let record = query(RECORD)
        .bind(json(&events)?)
        .bind(now)
        .bind(kind.as_str())
        .bind(resolution.map(Resolution::as_str));
    tx.run(record).await.map(drop)
}

impl Row {
    fn incident(self) -> Result<Incident, RegistryError> {
        let corrupt = |column| corrupt("incidents", column, &self.id);
        let resolution = self.resolution.as_deref().map(str::parse).transpose();
        let server = match self.server.as_str() {
            "" => None,
            server => Some(id("incidents", "server", server)?),
        };
        Ok(Incident {
            kind: self.kind.parse().map_err(|_| corrupt("kind"))?,
            level: self.level.parse().map_err(|_| corrupt("level"))?,
            state: self.state.parse().map_err(|_| corrupt("state"))?,
            resolution: resolution.map_err(|_| corrupt("resolution"))?,
            id: id("incidents", "id", &self.id)?,
            rule: self.rule,
            rule_name: self.rule_name,
            metric: self.metric,
            server,
            server_name: self.server_name,
            instance: self.instance,
            transition: self.transition,
            opened_at: self.opened_at,
            began_at: self.began_at,
            value: self.value,
            acknowledged_by: self.acknowledged_by,
            acknowledged_at: self.acknowledged_at,
            resolved_at: self.resolved_at,
        })
    }
}

impl EventRow {
    fn event(self, incident: &str) -> Result<IncidentEvent, RegistryError> {
        let corrupt = |column| corrupt("incident_events", column, incident);
        let resolution = self.resolution.as_deref().map(str::parse).transpose();
        Ok(IncidentEvent {
            number: count("incident_events", "number", incident, self.number)?,
            at: self.at,
            kind: self.kind.parse().map_err(|_| corrupt("kind"))?,
            transition: self.transition,
            level: self.level.parse().map_err(|_| corrupt("level"))?,
            value: self.value,
            resolution: resolution.map_err(|_| corrupt("resolution"))?,
            actor_kind: self.actor_kind,
            actor_name: self.actor_name,
            note: self.note,
        })
    }
}
