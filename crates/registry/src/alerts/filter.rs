//! What narrows a list of incidents.

use fleet::{
    Millis,
    alert::{IncidentState, Level},
};

use crate::engine::{Statement, fold};

/// Which incidents; all that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct IncidentFilter {
    /// In one of these states; none: in any.
    pub states: Vec<IncidentState>,
    /// Of this level.
    pub level: Option<Level>,
    /// Id of the rule, or its name regardless of case as it is now.
    pub rule: Option<String>,
    /// Id of the server, or its name regardless of case as it is now.
    pub server: Option<String>,
    /// Of servers with all of these labels.
    pub labels: Vec<(String, String)>,
    /// That lasted at this time or later.
    pub from: Option<Millis>,
    /// That began before this time.
    pub to: Option<Millis>,
}

impl IncidentFilter {
    pub(super) fn push(&self, statement: &mut Statement) {
        let Self { states, level, rule, server, labels, from, to } = self;
        // No row has a NUL in it, and PostgreSQL does not take one: an empty text finds nothing just as well.
        let storable = |text: &String| if fold::is_storable(text) { text.clone() } else { String::new() };
        if !states.is_empty() {
            statement.push(" AND i.state IN ('none'");
            for state in states {
                statement.push(", ").bind(state.as_str());
            }
            statement.push(")");
        }
        if let Some(level) = level {
            statement.push(" AND i.level = ").bind(level.as_str());
        }
        if let Some(rule) = rule.as_ref().map(storable) {
            let folded = fold::fold_name(&rule);
            statement.push(" AND (i.rule = ").bind(rule);
            statement
                .push(" OR i.rule IN (SELECT id FROM alert_rules WHERE name_folded = ")
                .bind(folded)
                .push("))");
        }
        if let Some(server) = server.as_ref().map(storable) {
            let folded = fold::fold_name(&server);
            statement.push(" AND (i.server = ").bind(server);
            statement
                .push(" OR i.server IN (SELECT id FROM servers WHERE name_folded = ")
                .bind(folded)
                .push("))");
        }
        for (key, value) in labels {
            statement.push(" AND i.server IN (SELECT server_id FROM labels WHERE key = ").bind(storable(key));
            statement.push(" AND value = ").bind(storable(value)).push(")");
        }
        if let Some(from) = *from {
            statement.push(" AND (i.resolved_at IS NULL OR i.resolved_at >= ").bind(from).push(")");
        }
        if let Some(to) = *to {
            statement.push(" AND i.opened_at < ").bind(to);
        }
    }
}
