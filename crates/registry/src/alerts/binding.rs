//! Which servers a rule binds.

use fleet::{ServerId, alert::Binding};
use serde_json::{Value, json as told};

use super::rules::AlertRule;
use crate::{
    engine::{PerEngine, Registry, RegistryError, Statement, Tx, count, id, json, query},
    servers::push_labelled,
};

const ADD_SCOPE: PerEngine = PerEngine {
    sqlite: "INSERT INTO alert_rule_scope (rule, effect, key, value)
        SELECT $1, value ->> 'effect', value ->> 'key', value ->> 'value' FROM json_each($2)
        WHERE true ON CONFLICT DO NOTHING",
    postgres: "INSERT INTO alert_rule_scope (rule, effect, key, value)
        SELECT $1, effect, key, value FROM jsonb_to_recordset(CAST($2 AS JSONB))
        AS label (effect TEXT, key TEXT, value TEXT) ON CONFLICT DO NOTHING",
};
/// A server that is deleted at this moment is left out.
const ADD_EXCLUDED: PerEngine = PerEngine {
    sqlite: "INSERT INTO alert_rule_exclusions (rule, server)
        SELECT $1, id FROM servers WHERE id IN (SELECT value FROM json_each($2))",
    postgres: "INSERT INTO alert_rule_exclusions (rule, server) SELECT $1, id FROM servers
        WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($2 AS JSONB))))",
};

impl Registry {
    /// The servers that a binding binds now, by name, `limit` at the most; and how many there are.
    #[crate::engine::boxed]
    pub async fn bound_servers(
        &self,
        binding: &Binding,
        limit: u32,
    ) -> Result<(Vec<(ServerId, String)>, u64), RegistryError> {
        let mut rows = Statement::new(self.dialect());
        rows.push("SELECT s.id, s.name FROM servers s WHERE true");
        push_bound(&mut rows, binding)?;
        rows.push(" ORDER BY s.name_folded, s.id LIMIT ").bind(i64::from(limit));
        let mut total = Statement::new(self.dialect());
        total.push("SELECT COUNT(*) FROM servers s WHERE true");
        push_bound(&mut total, binding)?;
        let (rows, (total,)) = self
            .read(async |tx| Ok((tx.all::<(String, String)>(rows).await?, tx.one::<(i64,)>(total).await?)))
            .await?;
        let read = |(server, name): (String, String)| Ok((id("servers", "id", &server)?, name));
        let servers = rows.into_iter().map(read).collect::<Result<_, RegistryError>>()?;
        Ok((servers, count("servers", "total", "", total)?))
    }
}

/// Appends the condition that a binding binds `servers s`.
fn push_bound(statement: &mut Statement, binding: &Binding) -> Result<(), RegistryError> {
    if !binding.needs.is_empty() {
        statement.push(" AND s.id IN (");
        push_labelled(statement, &binding.needs);
        statement.push(")");
    }
    for label in &binding.excludes {
        statement.push(" AND s.id NOT IN (");
        push_labelled(statement, std::slice::from_ref(label));
        statement.push(")");
    }
    if !binding.exclude_servers.is_empty() {
        statement.push(" AND NOT (s.id").one_of(json(&binding.exclude_servers)?).push(")");
    }
    Ok(())
}

pub(super) async fn scope(tx: &mut Tx<'_>, rule: &AlertRule) -> Result<(), RegistryError> {
    let Binding { needs, excludes, exclude_servers } = &rule.draft.binding;
    let scoped =
        |effect, (key, value): &'_ (String, String)| told!({"effect": effect, "key": key, "value": value});
    let labels: Vec<Value> = needs
        .iter()
        .map(|label| scoped("needs", label))
        .chain(excludes.iter().map(|label| scoped("excludes", label)))
        .collect();
    let key = rule.id.to_string();
    if !labels.is_empty() {
        tx.run(query(ADD_SCOPE).bind(&key).bind(json(&labels)?)).await?;
    }
    if !exclude_servers.is_empty() {
        tx.run(query(ADD_EXCLUDED).bind(&key).bind(json(exclude_servers)?)).await?;
    }
    Ok(())
}
