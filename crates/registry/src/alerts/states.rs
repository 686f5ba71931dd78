//! What breaks rules, as the workers write it: [`fleet::alert::State::after`] in SQL, by the row that is stored when it is
//! written.

use std::collections::{BTreeMap, HashMap};

use fleet::{
    Millis, ServerId,
    alert::{Holds, Level, Phase, Sample, State, Verdict},
    id::AlertRuleId,
};
use serde::Serialize;

use crate::engine::{Dialect, PerEngine, Registry, RegistryError, Tx, corrupt, id, json, one_of, query, row};

/// Of which level of which rule, for which instance of which server a state is; `""` for no instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey {
    /// Which server.
    pub server: ServerId,
    /// Which rule.
    pub rule: AlertRuleId,
    /// A mount, an interface or a sensor.
    pub instance: String,
    /// Which level.
    pub level: Level,
}

/// What a worker saw of one level of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Of what.
    pub key: StateKey,
    /// The version of the rule by which it was judged.
    pub version: i64,
    /// What was seen.
    pub sample: Sample,
    /// How long it has to last by the rule.
    pub holds: Holds,
}

row! {
    struct Row {
        server: String,
        rule: String,
        instance: String,
        level: String,
        phase: String,
        began_at: Millis,
        seen_at: Millis,
        raise_at: Millis,
        clear_at: Option<Millis>,
        value: f64,
    }
}

/// An observation as the statements take it.
#[derive(Serialize)]
struct Line<'a> {
    server: ServerId,
    rule: AlertRuleId,
    instance: &'a str,
    level: &'static str,
    version: i64,
    inside: i64,
    afresh: i64,
    sampled_at: Millis,
    received_at: Millis,
    raise_at: Millis,
    clear_at: Millis,
    value: f64,
}

const STATES: PerEngine = one_of!(
    "SELECT server, rule, instance, level, phase, began_at, seen_at, raise_at, clear_at, value FROM alert_states
WHERE server",
    ""
);

const LABELS: PerEngine = one_of!("SELECT server_id, key, value FROM labels WHERE server_id", "");

/// The batch of a statement: its lines that are of a rule as it is now, and of a server that is there.
macro_rules! batch {
    (sqlite) => {
        "(SELECT line.value ->> 'server' AS server, line.value ->> 'rule' AS rule,
            line.value ->> 'instance' AS instance, line.value ->> 'level' AS level, line.value ->> 'inside' AS inside,
            line.value ->> 'afresh' AS afresh, line.value ->> 'sampled_at' AS sampled_at,
            line.value ->> 'received_at' AS received_at, line.value ->> 'raise_at' AS raise_at,
            line.value ->> 'clear_at' AS clear_at, line.value ->> 'value' AS value
        FROM json_each($1) AS line
        JOIN alert_rules r ON r.id = line.value ->> 'rule' AND r.version = line.value ->> 'version' AND r.enabled = 1
        JOIN servers s ON s.id = line.value ->> 'server') AS b"
    };
    (postgres) => {
        "(SELECT line.* FROM jsonb_to_recordset(CAST($1 AS JSONB)) AS line (server TEXT, rule TEXT, instance TEXT,
            level TEXT, version BIGINT, inside BIGINT, afresh BIGINT, sampled_at BIGINT, received_at BIGINT,
            raise_at BIGINT, clear_at BIGINT, value DOUBLE PRECISION)
        JOIN alert_rules r ON r.id = line.rule AND r.version = line.version AND r.enabled = 1
        JOIN servers s ON s.id = line.server) AS b"
    };
}

/// From when on a sample must have been received to be in time, by the clock of the store unless `$2` says what time it is.
/// It is read when a row is written, after whatever the statement waited for. The figure is [`fleet::alert::IN_TIME`].
macro_rules! in_time_from {
    (sqlite) => {
        "(COALESCE($2, CAST(unixepoch('subsec') * 1000 AS INTEGER)) - 5000)"
    };
    (postgres) => {
        "(COALESCE($2, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)) - 5000)"
    };
}

/// Rows that are there are taken in the order of their keys, so that two workers never wait for each other in a ring.
const TAKE: &str = concat!(
    "SELECT a.server FROM ",
    batch!(postgres),
    " JOIN alert_states a ON a.server = b.server AND a.rule = b.rule AND a.instance = b.instance AND a.level = b.level
    ORDER BY a.server, a.rule, a.instance, a.level FOR UPDATE OF a"
);

/// Samples that are over. A rule that has [`fleet::alert::MOST_STATES`] begins no more of them: `$3` names those.
macro_rules! over {
    ($engine:ident, $has_room:literal) => {
        concat!(
            "INSERT INTO alert_states
                (server, rule, instance, level, phase, began_at, seen_at, raise_at, clear_at, value)
            SELECT b.server, b.rule, b.instance, b.level,
                CASE WHEN b.received_at >= b.raise_at AND b.received_at >= ",
            in_time_from!($engine),
            " THEN 'raised' ELSE 'pending' END, b.received_at, b.sampled_at, b.raise_at, NULL, b.value
            FROM ",
            batch!($engine),
            " WHERE (",
            $has_room,
            " OR EXISTS (SELECT 1 FROM alert_states a WHERE a.server = b.server AND a.rule = b.rule
                AND a.instance = b.instance AND a.level = b.level))
            ORDER BY b.server, b.rule, b.instance, b.level
            ON CONFLICT (server, rule, instance, level) DO UPDATE SET
                phase = 'raised', seen_at = excluded.seen_at, value = excluded.value, clear_at = NULL,
                judged_at = CASE WHEN alert_states.phase = 'raised' THEN alert_states.judged_at END
            WHERE excluded.seen_at > alert_states.seen_at AND excluded.began_at >= ",
            in_time_from!($engine),
            "   AND (alert_states.phase = 'pending' AND excluded.began_at >= alert_states.raise_at
                    OR alert_states.phase = 'raised' AND alert_states.clear_at IS NOT NULL
                    OR alert_states.phase = 'cleared')"
        )
    };
}

/// What is pending and not over any more, or was not in between, is gone, late or not.
macro_rules! end {
    ($engine:ident) => {
        concat!(
            "DELETE FROM alert_states WHERE phase = 'pending' AND (server, rule, instance, level) IN
                (SELECT a.server, a.rule, a.instance, a.level FROM ",
            batch!($engine),
            " JOIN alert_states a ON a.server = b.server AND a.rule = b.rule AND a.instance = b.instance
                AND a.level = b.level WHERE a.phase = 'pending' AND b.sampled_at > a.seen_at)"
        )
    };
}

/// What is raised, and not over any more.
macro_rules! calm {
    ($engine:ident) => {
        concat!(
            "UPDATE alert_states SET
                phase = CASE WHEN b.inside = 1 AND b.received_at >= ",
            calm!(@from),
            " THEN 'cleared' ELSE 'raised' END,
                judged_at = CASE WHEN b.inside = 1 AND b.received_at >= ",
            calm!(@from),
            " THEN NULL ELSE alert_states.judged_at END,
                clear_at = CASE WHEN b.inside = 1 THEN ",
            calm!(@from),
            " END,
                seen_at = b.sampled_at, value = b.value
            FROM ",
            batch!($engine),
            " WHERE alert_states.server = b.server AND alert_states.rule = b.rule
                AND alert_states.instance = b.instance AND alert_states.level = b.level
                AND alert_states.phase = 'raised' AND b.sampled_at > alert_states.seen_at
                AND b.received_at >= ",
            in_time_from!($engine),
            "   AND (b.inside = 0 AND alert_states.clear_at IS NOT NULL
                    OR b.inside = 1 AND (alert_states.clear_at IS NULL OR b.afresh = 1
                        OR b.received_at >= alert_states.clear_at))"
        )
    };
    (@from) => {
        "(CASE WHEN b.afresh = 1 OR alert_states.clear_at IS NULL THEN b.clear_at ELSE alert_states.clear_at END)"
    };
}

const OVER: PerEngine = PerEngine {
    sqlite: over!(sqlite, "b.rule NOT IN (SELECT value FROM json_each($3))"),
    postgres: over!(postgres, "b.rule <> ALL (ARRAY(SELECT jsonb_array_elements_text(CAST($3 AS JSONB))))"),
};
const END: PerEngine = PerEngine { sqlite: end!(sqlite), postgres: end!(postgres) };
const CALM: PerEngine = PerEngine { sqlite: calm!(sqlite), postgres: calm!(postgres) };

/// Counts no further than it has to.
const STATES_OF: &str =
    "SELECT COUNT(*) FROM (SELECT 1 FROM alert_states WHERE rule = $1 LIMIT 100000) AS states";

const CLOCK: PerEngine = PerEngine {
    sqlite: "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    postgres: "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
};

impl Registry {
    /// What is remembered of these servers, by one query.
    #[crate::engine::boxed]
    pub async fn alert_states(
        &self,
        servers: &[ServerId],
    ) -> Result<HashMap<StateKey, State>, RegistryError> {
        if servers.is_empty() {
            return Ok(HashMap::new());
        }
        // By the writer, as with what stands of them.
        let rows: Vec<Row> = self.writer().all(query(STATES).bind(json(&servers)?)).await?;
        rows.into_iter().map(Row::state).collect()
    }

    /// The labels of these servers; one that has none is left out.
    #[crate::engine::boxed]
    pub async fn labels(
        &self,
        servers: &[ServerId],
    ) -> Result<HashMap<ServerId, BTreeMap<String, String>>, RegistryError> {
        if servers.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<(String, String, String)> =
            self.writer().all(query(LABELS).bind(json(&servers)?)).await?;
        let mut labels: HashMap<ServerId, BTreeMap<String, String>> = HashMap::new();
        for (server, key, value) in rows {
            labels.entry(id("labels", "server_id", &server)?).or_default().insert(key, value);
        }
        Ok(labels)
    }

    /// Makes of these observations what [`State::after`] says, in one transaction. `clock` is the time, in Unix ms, by which
    /// it is decided what is in time; `None`: the store's own. Of a rule that is not of this version any more, and of a server
    /// that is gone, nothing is written.
    ///
    /// In whatever order they come and however often, the newest sample counts. To be called only with what
    /// [is due](State::is_due): every row costs a write. At most one observation a key.
    #[crate::engine::boxed]
    pub async fn observe(
        &self,
        observations: &[Observation],
        clock: Option<Millis>,
    ) -> Result<(), RegistryError> {
        if observations.is_empty() {
            return Ok(());
        }
        let (over, calm): (Vec<_>, Vec<_>) =
            observations.iter().partition(|one| one.sample.verdict == Verdict::Over);
        let lines = |of: &[&Observation]| json(&of.iter().map(|one| one.line()).collect::<Vec<_>>());
        let everything = lines(&observations.iter().collect::<Vec<_>>())?;
        let ended: Vec<_> = over.iter().filter(|one| one.sample.afresh).chain(&calm).copied().collect();
        let (over_lines, calm_lines, ended_lines) = (lines(&over)?, lines(&calm)?, lines(&ended)?);
        self.write(async |tx| {
            if tx.dialect() == Dialect::Postgres {
                let _taken: Vec<(String,)> = tx.all(query(TAKE).bind(everything)).await?;
            }
            if !ended.is_empty() {
                tx.run(query(END).bind(&ended_lines)).await?;
            }
            if !over.is_empty() {
                let full = full(tx, &over).await?;
                tx.run(query(OVER).bind(&over_lines).bind(clock).bind(json(&full)?)).await?;
            }
            if !calm.is_empty() {
                tx.run(query(CALM).bind(&calm_lines).bind(clock)).await?;
            }
            Ok(())
        })
        .await
    }

    /// The clock of the store, in Unix ms.
    #[crate::engine::boxed]
    pub async fn clock(&self) -> Result<Millis, RegistryError> {
        let (now,): (Millis,) = self.reader().one(query(CLOCK)).await?;
        Ok(now)
    }
}

/// The rules among these that have as many states as a rule may have.
async fn full(tx: &mut Tx<'_>, over: &[&Observation]) -> Result<Vec<AlertRuleId>, RegistryError> {
    let mut rules: Vec<AlertRuleId> = over.iter().map(|one| one.key.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    let mut full = Vec::new();
    for rule in rules {
        let (states,): (i64,) = tx.one(query(STATES_OF).bind(rule.to_string())).await?;
        if states >= fleet::alert::MOST_STATES {
            full.push(rule);
        }
    }
    Ok(full)
}

impl Observation {
    fn line(&self) -> Line<'_> {
        let Self { key, version, sample, holds } = self;
        Line {
            server: key.server,
            rule: key.rule,
            instance: &key.instance,
            level: key.level.as_str(),
            version: *version,
            inside: i64::from(sample.verdict == Verdict::Inside),
            afresh: i64::from(sample.afresh),
            sampled_at: sample.sampled_at,
            received_at: sample.received_at,
            raise_at: sample.received_at + holds.raise,
            clear_at: sample.received_at + holds.clear,
            value: sample.value,
        }
    }
}

impl Row {
    fn state(self) -> Result<(StateKey, State), RegistryError> {
        let key = StateKey {
            server: id("alert_states", "server", &self.server)?,
            rule: id("alert_states", "rule", &self.rule)?,
            level: self.level.parse().map_err(|_| corrupt("alert_states", "level", &self.server))?,
            instance: self.instance,
        };
        let phase: Phase = self.phase.parse().map_err(|_| corrupt("alert_states", "phase", &self.server))?;
        let Self { began_at, seen_at, raise_at, clear_at, value, .. } = self;
        Ok((key, State { phase, began_at, seen_at, raise_at, clear_at, value }))
    }
}
