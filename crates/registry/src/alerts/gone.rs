//! What the judge looks for from time to time: what is paused or gone, and what of the suite failed.

use fleet::{Millis, ServerId, alert::Resolution, id::AlertRuleId};

use super::{incidents, judge::SET};
use crate::{
    engine::{PerEngine, Registry, RegistryError, Tx, count, id, json, query},
    servers::paused,
};

/// The judge's row is written this often, in ms.
const TOLD_EVERY: Millis = 5_000;

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

impl Registry {
    /// Resolves one set of incidents of servers that are paused; says how many.
    #[crate::engine::boxed]
    pub async fn resolve_paused(&self, now: Millis) -> Result<usize, RegistryError> {
        self.resolve_by(OF_PAUSED, Resolution::Paused, now).await
    }

    /// Resolves one set of incidents whose server is deleted; says how many. States of such servers go.
    #[crate::engine::boxed]
    pub async fn resolve_gone(&self, now: Millis) -> Result<usize, RegistryError> {
        let resolved = self.resolve_by(OF_GONE, Resolution::ServerGone, now).await?;
        self.writer().run(DROP_GONE).await?;
        Ok(resolved)
    }

    /// Resolves one set of incidents whose rule is gone, or looks at something else; says how many.
    #[crate::engine::boxed]
    pub async fn resolve_stateless(&self, now: Millis) -> Result<usize, RegistryError> {
        self.resolve_by(STATELESS, Resolution::RuleGone, now).await
    }

    /// The servers of which this rule has states, after `after` in the order of ids, a thousand at the most.
    #[crate::engine::boxed]
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
    #[crate::engine::boxed]
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
    #[crate::engine::boxed]
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
    #[crate::engine::boxed]
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
    #[crate::engine::boxed]
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
