//! The judge: of what is raised it makes incidents, of what is cleared resolutions, in sets, so that a storm keeps nobody
//! from writing for long. Any number of processes may judge at once.

use std::collections::BTreeMap;

use fleet::{
    Interval, Millis, ServerId,
    alert::{IncidentEventKind, Level, Resolution},
    id::{AlertRuleId, IncidentId},
    liveness::SILENT_INTERVALS,
};
use serde::Serialize;

use super::incidents::{self, Changed};
use crate::{
    engine::{PerEngine, Registry, RegistryError, Statement, Tx, corrupt, count, id, json, query},
    servers::{Roll, is_expected, paused},
};

/// Most states, or incidents, that are dealt with in one transaction.
const SET: i64 = 1_000;

/// The judge's row is written this often, in ms.
const TOLD_EVERY: Millis = 5_000;

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

/// A server that is down by [`fleet::liveness`], and was expected to report for long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SilentServer {
    /// Which server.
    pub server: ServerId,
    /// From when it counts as silent, as the registry knows it; the cache may know better. Unix ms.
    pub silent_at: Millis,
    /// How often it reports.
    pub interval: Interval,
}

/// What is raised by the judge itself: silence, and what is wrong with the suite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Raised {
    /// Which server; `None`: the suite itself.
    pub server: Option<ServerId>,
    /// By which rule.
    pub rule: AlertRuleId,
    /// Of what of it; `""` for none.
    pub instance: String,
    /// How bad.
    #[serde(serialize_with = "level")]
    pub level: Level,
    /// Since when, in Unix ms.
    pub began_at: Millis,
    /// How much; 0 where there is nothing to count.
    pub value: f64,
}

/// Something that the judge itself raised and that lasts.
#[derive(Debug, Clone, PartialEq)]
pub struct Lasting {
    /// Which server; `None`: the suite itself.
    pub server: Option<ServerId>,
    /// By which rule.
    pub rule: AlertRuleId,
    /// Of what of it.
    pub instance: String,
    /// Since when, in Unix ms.
    pub began_at: Millis,
    /// From when on it is over, unless something happens.
    pub clear_at: Option<Millis>,
    /// From when the server counts as silent, by its sighting; `None`: never heard.
    pub silent_at: Option<Millis>,
}

/// What of the suite failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failures {
    /// Mails that failed, or may have been lost.
    pub mails: u64,
    /// Reports that could not be computed.
    pub reports: u64,
    /// Ids of channels that refuse what they are sent.
    pub channels: Vec<String>,
}

/// A state as the judge reads it.
#[derive(Debug, sqlx::FromRow)]
struct Row {
    server: String,
    rule: String,
    instance: String,
    level: String,
    phase: String,
    began_at: Millis,
    value: f64,
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

#[derive(sqlx::FromRow)]
struct LastingRow {
    server: String,
    rule: String,
    instance: String,
    began_at: Millis,
    clear_at: Option<Millis>,
    silent_at: Option<Millis>,
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
/// The level never sinks. A higher one opens again what somebody has taken on.
const RAISE: PerEngine = per_engine!(
    "UPDATE incidents SET level = b.level, state = 'open', acknowledged_by = NULL, acknowledged_at = NULL,
        value = b.value, transition = transition + 1, events = events + 1, updated_at = $2, tell_at = $2
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
const PUT: PerEngine = per_engine!(
    "INSERT INTO alert_states (server, rule, instance, level, phase, began_at, seen_at, raise_at, value)
    SELECT b.server, b.rule, b.instance, b.level, 'raised', b.began_at, b.began_at, b.began_at, b.value FROM ",
    " JOIN alert_rules r ON r.id = b.rule AND r.enabled = 1 LEFT JOIN servers s ON s.id = b.server
    WHERE b.server = '' OR s.id IS NOT NULL ORDER BY b.server, b.rule, b.instance, b.level
    ON CONFLICT (server, rule, instance, level) DO NOTHING"
);
const CLEAR: PerEngine = per_engine!(
    "UPDATE alert_states SET phase = 'cleared', judged_at = NULL FROM ",
    " WHERE alert_states.server = b.server AND alert_states.rule = b.rule AND alert_states.instance = b.instance
        AND alert_states.phase = 'raised'"
);
const CLEAR_LATER: PerEngine = per_engine!(
    "UPDATE alert_states SET clear_at = $2 FROM ",
    " WHERE alert_states.server = b.server AND alert_states.rule = b.rule AND alert_states.instance = b.instance
        AND alert_states.phase = 'raised'"
);

macro_rules! lasting {
    ($rules:literal) => {
        concat!(
            "SELECT a.server, a.rule, a.instance, a.began_at, a.clear_at, g.silent_at
            FROM alert_states a LEFT JOIN sightings g ON g.server_id = a.server
            WHERE a.phase = 'raised' AND a.server >= $2 AND a.rule IN ",
            $rules,
            " ORDER BY a.server, a.rule, a.instance LIMIT $3"
        )
    };
}
/// What the judge itself raised, in the order of keys, from a key on.
const LASTING: PerEngine = PerEngine {
    sqlite: lasting!("(SELECT value FROM json_each($1))"),
    postgres: lasting!("(SELECT jsonb_array_elements_text(CAST($1 AS JSONB)))"),
};

const UNHEARD: &str = concat!(
    "SELECT s.id, s.enrolled_at FROM servers s WHERE s.enrolled_at <= $1 AND ",
    is_expected!("s"),
    " AND NOT EXISTS (SELECT 1 FROM sightings g WHERE g.server_id = s.id)
    AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.server_id = s.id AND COALESCE(p.resumed_at, p.ends_at) > $1)
    AND NOT EXISTS (SELECT 1 FROM alert_states a WHERE a.server = s.id AND a.rule = $2)
    ORDER BY s.id LIMIT $3"
);
const DROP_PENDING: PerEngine =
    crate::engine::one_of!("DELETE FROM alert_states WHERE phase = 'pending' AND server", "");
const OF_PAUSED: &str = concat!(
    "SELECT i.id FROM incidents i WHERE i.state <> 'resolved' AND i.server IN (",
    paused!(),
    ") ORDER BY i.id LIMIT $1"
);
const OF_GONE: &str = "SELECT i.id FROM incidents i WHERE i.state <> 'resolved' AND i.server <> ''
AND NOT EXISTS (SELECT 1 FROM servers s WHERE s.id = i.server) ORDER BY i.id LIMIT $1";
/// A rule that is deleted or disabled, or looks at something else, takes its states with it.
const STATELESS: &str = "SELECT i.id FROM incidents i WHERE i.state <> 'resolved'
AND NOT EXISTS (SELECT 1 FROM alert_states a WHERE a.server = i.server AND a.rule = i.rule AND a.instance = i.instance
    AND a.phase <> 'pending') ORDER BY i.id LIMIT $1";
const DROP_GONE: &str = "DELETE FROM alert_states WHERE server <> ''
AND NOT EXISTS (SELECT 1 FROM servers s WHERE s.id = alert_states.server)";
const BOUND: &str =
    "SELECT DISTINCT server FROM alert_states WHERE rule = $1 AND server > $2 ORDER BY server LIMIT $3";
const OF_UNBOUND: PerEngine =
    crate::engine::one_of!("SELECT id FROM incidents WHERE state <> 'resolved' AND rule = $2 AND server", "");
const DROP_UNBOUND: PerEngine =
    crate::engine::one_of!("DELETE FROM alert_states WHERE rule = $2 AND server", "");
const FAILED_MAILS: &str =
    "SELECT COUNT(*) FROM deliveries WHERE state IN ('failed', 'unknown') AND updated_at >= $1";
const FAILED_REPORTS: &str = "SELECT COUNT(*) FROM reports WHERE state = 'failed' AND created_at >= $1";
const FAILED_CHANNELS: &str =
    "SELECT id FROM channels WHERE disabled_reason IS NOT NULL ORDER BY id LIMIT 1000";
const TOLD: &str = "UPDATE versions SET version = $1 WHERE name = 'judge' AND version < $2";
const WIDEST: &str = "SELECT rule, COUNT(*) FROM alert_states GROUP BY rule HAVING COUNT(*) >= $1";

fn level<S: serde::Serializer>(level: &Level, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(level.as_str())
}

impl Registry {
    /// Deals with one set of states; `None` once there is nothing left to do. With `only`, what other rules raised waits. `new`
    /// makes ids.
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

    /// The servers that are down, were expected to report for four intervals at least, and are not among those that are known
    /// to be silent. Only what the cache says counts, unless `all` are asked for.
    pub async fn silent_servers(&self, roll: &Roll, all: bool) -> Result<Vec<SilentServer>, RegistryError> {
        let Some(watermark) = roll.pipeline.watermark else { return Ok(Vec::new()) };
        if !all && roll.silent.is_empty() {
            return Ok(Vec::new());
        }
        let judge = roll.judge(|_| true)?;
        let mut statement = Statement::new(self.dialect());
        judge.push_roll(&mut statement);
        statement.push(
            " SELECT s.id, g.silent_at, g.interval_ms FROM sightings g JOIN servers s ON s.id = g.server_id",
        );
        statement.push(" WHERE ");
        if !all {
            statement.push("g.server_id IN (SELECT server_id FROM roll) AND ");
        }
        judge.push_is(&mut statement, fleet::Status::Down);
        statement.push(" AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.server_id = s.id");
        statement.push(" AND COALESCE(p.resumed_at, p.ends_at) >= ").bind(watermark);
        statement.push(" - g.interval_ms * ").bind(SILENT_INTERVALS).push(") ORDER BY s.id");
        let rows: Vec<(String, Millis, Millis)> = self.reader().all(statement).await?;
        let read = |(server, silent_at, interval): (String, Millis, Millis)| {
            let interval =
                Interval::try_from(interval).map_err(|_| corrupt("sightings", "interval_ms", &server))?;
            Ok(SilentServer { server: id("servers", "id", &server)?, silent_at, interval })
        };
        rows.into_iter().map(read).collect()
    }

    /// Servers that enrolled at this time (Unix ms) or before, are expected, were never heard, and are not known to this
    /// rule; and when they enrolled. A thousand at the most.
    pub async fn unheard_servers(
        &self,
        rule: AlertRuleId,
        enrolled_by: Millis,
    ) -> Result<Vec<(ServerId, Millis)>, RegistryError> {
        let unheard = query(UNHEARD).bind(enrolled_by).bind(rule.to_string()).bind(SET);
        let rows: Vec<(String, Millis)> = self.reader().all(unheard).await?;
        rows.into_iter().map(|(server, at)| Ok((id("servers", "id", &server)?, at))).collect()
    }

    /// Raises these, unless they are raised already. In sets, so call it with a thousand at the most.
    pub async fn raise(&self, raised: &[Raised]) -> Result<(), RegistryError> {
        if raised.is_empty() {
            return Ok(());
        }
        self.writer().run(query(PUT).bind(json(&raised)?)).await.map(drop)
    }

    /// What these rules raised and what lasts, from the server `from` on in the order of ids: `limit` at the most.
    pub async fn lasting(
        &self,
        rules: &[AlertRuleId],
        from: Option<ServerId>,
        limit: u32,
    ) -> Result<Vec<Lasting>, RegistryError> {
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        let from = from.map_or_else(String::new, |server| server.to_string());
        let lasting = query(LASTING).bind(json(&rules)?).bind(from).bind(i64::from(limit));
        let rows: Vec<LastingRow> = self.reader().all(lasting).await?;
        rows.into_iter().map(LastingRow::lasting).collect()
    }

    /// These are over. Each is cleared in all of its levels.
    pub async fn clear(&self, over: &[Lasting]) -> Result<(), RegistryError> {
        self.set_over(query(CLEAR), over).await
    }

    /// These are over at this time (Unix ms), or not (`None`), unless something happens.
    pub async fn clear_at(&self, over: &[Lasting], at: Option<Millis>) -> Result<(), RegistryError> {
        if over.is_empty() {
            return Ok(());
        }
        self.writer().run(query(CLEAR_LATER).bind(keys(over)?).bind(at)).await.map(drop)
    }

    async fn set_over(&self, statement: crate::engine::Query, over: &[Lasting]) -> Result<(), RegistryError> {
        if over.is_empty() {
            return Ok(());
        }
        self.writer().run(statement.bind(keys(over)?)).await.map(drop)
    }

    /// What is pending of these servers goes: they fell silent.
    pub async fn drop_pending(&self, servers: &[ServerId]) -> Result<u64, RegistryError> {
        if servers.is_empty() {
            return Ok(0);
        }
        self.writer().run(query(DROP_PENDING).bind(json(&servers)?)).await
    }

    /// Resolves one set of incidents of servers that are paused; says how many.
    pub async fn resolve_paused(&self, now: Millis) -> Result<usize, RegistryError> {
        self.resolve_by(OF_PAUSED, Resolution::Paused, now).await
    }

    /// Resolves one set of incidents whose server is deleted; says how many. States of such servers go.
    pub async fn resolve_gone(&self, now: Millis) -> Result<usize, RegistryError> {
        let resolved = self.resolve_by(OF_GONE, Resolution::ServerGone, now).await?;
        self.writer().run(DROP_GONE).await?;
        Ok(resolved)
    }

    /// Resolves one set of incidents whose rule is gone, or looks at something else; says how many.
    pub async fn resolve_stateless(&self, now: Millis) -> Result<usize, RegistryError> {
        self.resolve_by(STATELESS, Resolution::RuleGone, now).await
    }

    /// The servers of which this rule has states, after `after` in the order of ids, a thousand at the most.
    pub async fn servers_of_rule(
        &self,
        rule: AlertRuleId,
        after: Option<ServerId>,
    ) -> Result<Vec<ServerId>, RegistryError> {
        let after = after.map_or_else(String::new, |server| server.to_string());
        let rows: Vec<(String,)> =
            self.reader().all(query(BOUND).bind(rule.to_string()).bind(after).bind(SET)).await?;
        rows.into_iter().map(|(server,)| id("alert_states", "server", &server)).collect()
    }

    /// This rule does not bind these servers any more: its states of them go, and their incidents are resolved; says how many.
    pub async fn unbind(
        &self,
        rule: AlertRuleId,
        servers: &[ServerId],
        now: Millis,
    ) -> Result<usize, RegistryError> {
        if servers.is_empty() {
            return Ok(0);
        }
        let (rule, servers) = (rule.to_string(), json(&servers)?);
        self.write(async |tx| {
            let incidents: Vec<(String,)> = tx.all(query(OF_UNBOUND).bind(&servers).bind(&rule)).await?;
            let incidents: Vec<String> = incidents.into_iter().map(|(id,)| id).collect();
            let resolved = incidents::end(tx, &incidents, Resolution::RuleGone, now).await?;
            tx.run(query(DROP_UNBOUND).bind(&servers).bind(&rule)).await?;
            Ok(resolved)
        })
        .await
    }

    /// Rules that have as many states as a rule may have, and how many.
    pub async fn widest_rules(&self) -> Result<Vec<(String, u64)>, RegistryError> {
        let rows: Vec<(String, i64)> =
            self.reader().all(query(WIDEST).bind(fleet::alert::MOST_STATES)).await?;
        rows.into_iter()
            .map(|(rule, states)| {
                let states = count("alert_states", "rule", &rule, states)?;
                Ok((rule, states))
            })
            .collect()
    }

    /// What failed at this time (Unix ms) or later.
    pub async fn failures_since(&self, since: Millis) -> Result<Failures, RegistryError> {
        self.read(async |tx| {
            let (mails,): (i64,) = tx.one(query(FAILED_MAILS).bind(since)).await?;
            let (reports,): (i64,) = tx.one(query(FAILED_REPORTS).bind(since)).await?;
            let channels: Vec<(String,)> = tx.all(FAILED_CHANNELS).await?;
            Ok(Failures {
                mails: count("deliveries", "state", "", mails)?,
                reports: count("reports", "state", "", reports)?,
                channels: channels.into_iter().map(|(id,)| id).collect(),
            })
        })
        .await
    }

    /// The judge has worked: whoever asks finds it in the registry, at most some seconds old.
    pub async fn tell_of_judge(&self, now: Millis) -> Result<(), RegistryError> {
        self.writer().run(query(TOLD).bind(now).bind(now - TOLD_EVERY)).await.map(drop)
    }

    async fn resolve_by(
        &self,
        which: &'static str,
        resolution: Resolution,
        now: Millis,
    ) -> Result<usize, RegistryError> {
        let found: Vec<(String,)> = self.reader().all(query(which).bind(SET)).await?;
        if found.is_empty() {
            return Ok(0);
        }
        self.write(async |tx| {
            // What was found may have changed meanwhile.
            let found: Vec<(String,)> = tx.all(query(which).bind(SET)).await?;
            let ids: Vec<String> = found.into_iter().map(|(id,)| id).collect();
            incidents::end(tx, &ids, resolution, now).await
        })
        .await
    }
}

/// Nothing is pending any more.
pub(crate) async fn drop_every_pending(tx: &mut Tx<'_>) -> Result<(), RegistryError> {
    tx.run("DELETE FROM alert_states WHERE phase = 'pending'").await.map(drop)
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

fn keys(of: &[Lasting]) -> Result<String, RegistryError> {
    let keys: Vec<_> = of
        .iter()
        .map(|one| serde_json::json!({"server": one.server, "rule": one.rule, "instance": one.instance}))
        .collect();
    json(&keys)
}

impl LastingRow {
    fn lasting(self) -> Result<Lasting, RegistryError> {
        let server = match self.server.as_str() {
            "" => None,
            server => Some(id("alert_states", "server", server)?),
        };
        Ok(Lasting {
            server,
            rule: id("alert_states", "rule", &self.rule)?,
            instance: self.instance,
            began_at: self.began_at,
            clear_at: self.clear_at,
            silent_at: self.silent_at,
        })
    }
}
