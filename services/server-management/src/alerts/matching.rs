//! Which incidents a route or a silence is about, as bodies have it.

use std::collections::BTreeMap;

use chassis::Problem;
use fleet::{ServerId, alert::route::Match, id::AlertRuleId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::channels::field;
use crate::http::body::label;

/// Most labels, rules and servers that it names.
const MOST: usize = 500;

/// Which incidents. What is left out narrows nothing: `{}` is all of them.
#[derive(Deserialize, Serialize, ToSchema, Default)]
#[schema(as = IncidentMatch, example = json!({"labels": {"site": "eu"}}))]
pub(crate) struct MatchBody {
    /// All of these are labels of the server.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    /// Ids of rules, one of which it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, max_items = 500, example = json!([]))]
    rules: Vec<AlertRuleId>,
    /// Ids of servers, one of which it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, max_items = 500, example = json!([]))]
    servers: Vec<ServerId>,
}

impl MatchBody {
    pub(super) fn read(self) -> Result<Match, Problem> {
        let Self { labels, rules, servers } = self;
        for (name, length) in [("labels", labels.len()), ("rules", rules.len()), ("servers", servers.len())] {
            if length > MOST {
                return Err(field(&format!("match.{name}"), "has more than 500"));
            }
        }
        let clean = |(key, value): (String, String)| {
            Ok::<_, Problem>((label("match.labels", key)?, label("match.labels", value)?))
        };
        let labels = labels.into_iter().map(clean).collect::<Result<_, _>>()?;
        Ok(Match { labels, rules, servers })
    }
}

impl From<Match> for MatchBody {
    fn from(matches: Match) -> Self {
        let Match { labels, rules, servers } = matches;
        Self { labels, rules, servers }
    }
}
