//! What incidents there were in a stretch of time: how many, the longest, and how long it took until they were over.

use std::collections::HashMap;

use fleet::{Millis, ServerId};
use serde::{Deserialize, Serialize};

use crate::engine::{PerEngine, Registry, RegistryError, count, id, json, query};

/// Most incidents that are named.
const NAMED: i64 = 10;

/// What is said of several incidents together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentFigures {
    /// How many lasted at some moment of the time.
    pub count: u64,
    /// How many of them had not ended at its end.
    pub open: u64,
    /// From the opening of the longest to its end, or to the end of the time; in ms. `None`: there was none.
    pub longest_ms: Option<Millis>,
    /// How many recovered, or were closed, in the time.
    pub resolved: u64,
    /// From their openings to their ends, all together; in ms.
    pub resolved_in_ms: Millis,
}

/// An incident as a report names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedIncident {
    /// The rule's name when it opened.
    pub rule: String,
    /// The server's name when it opened; `""`: of the suite itself.
    pub server: String,
    /// Of what of it; `""` for none.
    pub instance: String,
    /// Unix ms.
    pub opened_at: Millis,
    /// From there to its end, or to the end of the time; in ms.
    pub length_ms: Millis,
    /// Whether it had not ended then.
    pub lasts: bool,
}

/// The incidents of a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodIncidents {
    /// Of all of them.
    pub all: IncidentFigures,
    /// The longest ones, the longest first: ten at the most.
    pub longest: Vec<NamedIncident>,
}

impl IncidentFigures {
    /// How long it took on average until one was over, in ms; `None`: none was.
    pub fn mean_ms(&self) -> Option<Millis> {
        let resolved = i64::try_from(self.resolved).ok().filter(|resolved| *resolved > 0)?;
        Some(self.resolved_in_ms / resolved)
    }

    fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            open: self.open + other.open,
            longest_ms: self.longest_ms.max(other.longest_ms),
            resolved: self.resolved + other.resolved,
            resolved_in_ms: self.resolved_in_ms + other.resolved_in_ms,
        }
    }
}

/// `$1` to `$2` is the time, `$3` the servers, or nothing.
macro_rules! of_period {
    ($select:literal, $one_of:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $select,
            " FROM incidents i WHERE i.opened_at < $2 AND (i.resolved_at IS NULL OR i.resolved_at >= $1) AND ",
            $one_of,
            $rest
        )
    };
}
macro_rules! per_engine {
    ($select:literal, $rest:literal) => {
        PerEngine {
            sqlite: of_period!(
                $select,
                "($3 IS NULL OR i.server IN (SELECT value FROM json_each($3)))",
                $rest
            ),
            postgres: of_period!(
                $select,
                "(CAST($3 AS JSONB) IS NULL OR i.server = ANY (ARRAY(
                    SELECT jsonb_array_elements_text(CAST($3 AS JSONB)))))",
                $rest
            ),
        }
    };
}
const FIGURES: PerEngine = per_engine!(
    "i.server, COUNT(*), CAST(SUM(CASE WHEN i.resolved_at < $2 THEN 0 ELSE 1 END) AS BIGINT),
    MAX(CASE WHEN i.resolved_at < $2 THEN i.resolved_at ELSE $2 END - i.opened_at),
    CAST(SUM(CASE WHEN i.resolved_at < $2 AND i.resolution IN ('recovered', 'closed') THEN 1 ELSE 0 END) AS BIGINT),
    CAST(SUM(CASE WHEN i.resolved_at < $2 AND i.resolution IN ('recovered', 'closed')
        THEN i.resolved_at - i.opened_at ELSE 0 END) AS BIGINT)",
    " GROUP BY i.server"
);
const LONGEST: PerEngine = per_engine!(
    "i.rule_name, i.server_name, i.instance, i.opened_at,
    CASE WHEN i.resolved_at < $2 THEN i.resolved_at ELSE $2 END - i.opened_at AS lasted,
    CASE WHEN i.resolved_at < $2 THEN 0 ELSE CAST(1 AS BIGINT) END",
    " ORDER BY lasted DESC, i.opened_at, i.id LIMIT $4"
);

type FiguresRow = (String, i64, i64, Millis, i64, Millis);
type NamedRow = (String, String, String, Millis, Millis, i64);

impl Registry {
    /// The incidents that lasted at some moment of this time (Unix ms, half-open), and of each server that had any what is
    /// said of them. `servers`: of these alone; `None`: of all, of those that are gone, and of the suite itself.
    #[crate::engine::boxed]
    pub async fn incidents_of_period(
        &self,
        from: Millis,
        to: Millis,
        servers: Option<&[ServerId]>,
    ) -> Result<(PeriodIncidents, HashMap<ServerId, IncidentFigures>), RegistryError> {
        let servers = servers.map(|servers| json(&servers)).transpose()?;
        let figures = query(FIGURES).bind(from).bind(to).bind(servers.clone());
        let longest = query(LONGEST).bind(from).bind(to).bind(servers).bind(NAMED);
        let (figures, longest): (Vec<FiguresRow>, Vec<NamedRow>) =
            self.read(async |tx| Ok((tx.all(figures).await?, tx.all(longest).await?))).await?;
        let (mut all, mut of_servers) = (IncidentFigures::default(), HashMap::new());
        for (server, incidents, open, longest_ms, resolved, resolved_in_ms) in figures {
            let counted = |column, number| count("incidents", column, &server, number);
            let of_one = IncidentFigures {
                count: counted("count", incidents)?,
                open: counted("open", open)?,
                longest_ms: Some(longest_ms),
                resolved: counted("resolved", resolved)?,
                resolved_in_ms,
            };
            all = all.and(of_one);
            if !server.is_empty() {
                of_servers.insert(id("incidents", "server", &server)?, of_one);
            }
        }
        let named = |(rule, server, instance, opened_at, length_ms, lasts)| NamedIncident {
            rule,
            server,
            instance,
            opened_at,
            length_ms,
            lasts: lasts != 0,
        };
        Ok((PeriodIncidents { all, longest: longest.into_iter().map(named).collect() }, of_servers))
    }
}
