//! What the judge itself finds and raises: who fell silent or was never heard, and what is wrong with the suite.

use fleet::{Interval, Millis, ServerId, alert::Level, id::AlertRuleId, liveness::SILENT_INTERVALS};
use serde::Serialize;

use super::judge::{SET, batch, per_engine};
use crate::{
    engine::{PerEngine, Registry, RegistryError, Statement, corrupt, id, json, query, row},
    servers::{Roll, is_expected},
};

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

row! {
    struct LastingRow {
        server: String,
        rule: String,
        instance: String,
        began_at: Millis,
        clear_at: Option<Millis>,
        silent_at: Option<Millis>,
    }
}

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
fn level<S: serde::Serializer>(level: &Level, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(level.as_str())
}

impl Registry {
    /// The servers that are down, were expected to report for four intervals at least, and are not among those that are known
    /// to be silent. Only what the cache says counts, unless `all` are asked for.
    #[crate::engine::boxed]
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
    #[crate::engine::boxed]
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
    #[crate::engine::boxed]
    pub async fn raise(&self, raised: &[Raised]) -> Result<(), RegistryError> {
        if raised.is_empty() {
            return Ok(());
        }
        self.writer().run(query(PUT).bind(json(&raised)?)).await.map(drop)
    }

    /// What these rules raised and what lasts, from the server `from` on in the order of ids: `limit` at the most.
    #[crate::engine::boxed]
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
    #[crate::engine::boxed]
    pub async fn clear(&self, over: &[Lasting]) -> Result<(), RegistryError> {
        self.set_over(query(CLEAR), over).await
    }

    async fn set_over(&self, statement: crate::engine::Query, over: &[Lasting]) -> Result<(), RegistryError> {
        if over.is_empty() {
            return Ok(());
        }
        self.writer().run(statement.bind(keys(over)?)).await.map(drop)
    }

    /// What is pending of these servers goes: they fell silent.
    #[crate::engine::boxed]
    pub async fn drop_pending(&self, servers: &[ServerId]) -> Result<u64, RegistryError> {
        if servers.is_empty() {
            return Ok(0);
        }
        self.writer().run(query(DROP_PENDING).bind(json(&servers)?)).await
    }
}

pub(super) fn keys(of: &[Lasting]) -> Result<String, RegistryError> {
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
