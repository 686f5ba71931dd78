//! Rules of alerts, as people make them.

use std::collections::{BTreeMap, HashMap};

use fleet::{
    Millis, ServerId,
    alert::{Binding, Draft, shipped},
    id::AlertRuleId,
};
use serde_json::{Value, json as told};

use super::binding::scope;
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Page, PerEngine, Registry, RegistryError, Stop, Tx, count, fold, id, json, one_of, query, row},
    refusal::Refusal,
};

/// Most rules: each is looked at with every snapshot.
const MOST: i64 = 500;

/// A rule of alerts.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRule {
    /// Its id.
    pub id: AlertRuleId,
    /// As it was given; no other rule has it, regardless of case.
    pub name: String,
    /// Whether it counts.
    pub enabled: bool,
    /// What it says, as it was checked when it was written.
    pub draft: Draft,
    /// Rises with each change.
    pub version: i64,
    /// Unix ms.
    pub created_at: Millis,
    /// When a person changed it last, in Unix ms.
    pub updated_at: Millis,
}

row! {
    struct Row {
        id: String,
        name: String,
        enabled: i64,
        kind: String,
        metric: String,
        instance: String,
        op: String,
        level: String,
        warning: Option<f64>,
        warning_clear: Option<f64>,
        critical: Option<f64>,
        critical_clear: Option<f64>,
        hold_ms: Millis,
        clear_hold_ms: Millis,
        version: i64,
        created_at: Millis,
        updated_at: Millis,
    }
}

macro_rules! columns {
    () => {
        "id, name, enabled, kind, metric, instance, op, level, warning, warning_clear, critical, critical_clear, \
         hold_ms, clear_hold_ms, version, created_at, updated_at"
    };
}

const LIST: &str =
    concat!("SELECT ", columns!(), " FROM alert_rules ORDER BY name_folded LIMIT $1 OFFSET $2");
const TOTAL: &str = "SELECT COUNT(*) FROM alert_rules";
const EVERY: &str = concat!("SELECT ", columns!(), " FROM alert_rules ORDER BY id");
const ONE: &str = concat!("SELECT ", columns!(), " FROM alert_rules WHERE id = $1");
/// Changes nothing, and holds the row.
const HOLD: &str = concat!("UPDATE alert_rules SET version = version WHERE id = $1 RETURNING ", columns!());
const SCOPE: PerEngine =
    one_of!("SELECT rule, effect, key, value FROM alert_rule_scope WHERE rule", " ORDER BY key, value");
const EXCLUDED: PerEngine =
    one_of!("SELECT rule, server FROM alert_rule_exclusions WHERE rule", " ORDER BY server");
const ADD: &str =
    "INSERT INTO alert_rules (id, name, name_folded, enabled, kind, metric, instance, op, level, warning,
warning_clear, critical, critical_clear, hold_ms, clear_hold_ms, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 1, $16, $16)
ON CONFLICT (name_folded) DO NOTHING";
const CHANGE: &str =
    "UPDATE alert_rules SET name = $2, name_folded = $3, enabled = $4, kind = $5, metric = $6,
instance = $7, op = $8, level = $9, warning = $10, warning_clear = $11, critical = $12, critical_clear = $13,
hold_ms = $14, clear_hold_ms = $15, updated_at = $16, version = version + 1 WHERE id = $1";
const TAKEN: &str = "SELECT id FROM alert_rules WHERE name_folded = $1 AND id <> $2";
const DELETE: &str = "DELETE FROM alert_rules WHERE id = $1";
const CLEAR_SCOPE: &str = "DELETE FROM alert_rule_scope WHERE rule = $1";
const CLEAR_EXCLUDED: &str = "DELETE FROM alert_rule_exclusions WHERE rule = $1";
const FORGET_STATES: &str = "DELETE FROM alert_states WHERE rule = $1";
const FORGET_LEVEL: &str = "DELETE FROM alert_states WHERE rule = $1 AND level = $2";

const VERSION: &str = "SELECT version FROM versions WHERE name = 'alert_rules'";
/// Takes the row of the version of all rules, which whoever changes a rule holds to the end.
const RAISE: &str = "UPDATE versions SET version = version + 1 WHERE name = 'alert_rules'";
const SHIPPED: &str = "SELECT name FROM shipped_rules";
const SHIP: &str = "INSERT INTO shipped_rules (name) VALUES ($1) ON CONFLICT (name) DO NOTHING";

impl Registry {
    /// Makes the rules that this release ships and that were never made here: what people delete stays deleted. One whose name
    /// is taken by then is left out. `id` makes ids. True: some were made.
    pub async fn ship_alert_rules(
        &self,
        mut id: impl FnMut() -> AlertRuleId + Send,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let before: Vec<(String,)> = self.reader().all(SHIPPED).await?;
        if shipped().iter().all(|(name, _)| before.iter().any(|(one,)| one == name)) {
            return Ok(false);
        }
        self.write(async |tx| {
            // Of several processes one makes them.
            tx.run(RAISE).await?;
            let mut made = false;
            for (name, draft) in shipped() {
                if tx.run(query(SHIP).bind(name)).await? > 0 {
                    made |= add(tx, &AlertRule::new(id(), name, true, draft, now)).await?;
                }
            }
            Ok(made)
        })
        .await
    }

    /// Rises with every change of a rule.
    #[crate::engine::boxed]
    pub async fn alert_rules_version(&self) -> Result<i64, RegistryError> {
        let (version,): (i64,) = self.reader().one(VERSION).await?;
        Ok(version)
    }

    /// Every rule that is enabled, and the version of them all, of one moment.
    #[crate::engine::boxed]
    pub async fn enabled_alert_rules(&self) -> Result<(i64, Vec<AlertRule>), RegistryError> {
        self.read(async |tx| {
            let (version,): (i64,) = tx.one(VERSION).await?;
            let rows: Vec<Row> = tx.all(EVERY).await?;
            let enabled = rows.into_iter().filter(|row| row.enabled != 0).collect();
            Ok((version, complete(tx, enabled).await?))
        })
        .await
    }

    /// One page of the rules, by name, and the total.
    #[crate::engine::boxed]
    pub async fn alert_rules(&self, page: Page) -> Result<(Vec<AlertRule>, u64), RegistryError> {
        self.read(async |tx| {
            let rows: Vec<Row> = tx.all(query(LIST).bind(page.limit()).bind(page.offset())).await?;
            let (total,): (i64,) = tx.one(TOTAL).await?;
            Ok((complete(tx, rows).await?, count("alert_rules", "total", "", total)?))
        })
        .await
    }

    /// One rule; `None` if there is none of this id.
    #[crate::engine::boxed]
    pub async fn alert_rule(&self, id: AlertRuleId) -> Result<Option<AlertRule>, RegistryError> {
        self.read(async |tx| {
            let row: Option<Row> = tx.maybe(query(ONE).bind(id.to_string())).await?;
            Ok(complete(tx, row.into_iter().collect()).await?.pop())
        })
        .await
    }

    /// Makes a rule, whose draft [was checked](Draft::check).
    #[crate::engine::boxed]
    pub async fn make_alert_rule(
        &self,
        rule: &AlertRule,
        by: &Actor,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        self.change(async |tx| {
            tx.run(RAISE).await?;
            let (total,): (i64,) = tx.one(TOTAL).await?;
            if total >= MOST {
                return Err(Refusal::TooMany.into());
            }
            if !add(tx, rule).await? {
                return Err(Refusal::NameTaken.into());
            }
            let change =
                Change::new(by, rule.created_at, Action::AlertRuleCreate, rule.id).after(rule.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }

    /// Puts `wanted` in the place of the rule of its id, and answers what it is then. With `expected`, only if its version is
    /// one of these. States of what it does not look at any more go, and the judge then resolves their incidents.
    #[crate::engine::boxed]
    pub async fn change_alert_rule(
        &self,
        wanted: &AlertRule,
        expected: Option<&[i64]>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<AlertRule, Refusal>, RegistryError> {
        let key = wanted.id.to_string();
        self.change(async |tx| {
            tx.run(RAISE).await?;
            let before = hold(tx, &key, expected).await?;
            if tx.any(query(TAKEN).bind(fold::fold_name(&wanted.name)).bind(&key)).await? {
                return Err(Refusal::NameTaken.into());
            }
            tx.run(wanted.bound(CHANGE).bind(now)).await?;
            tx.run(query(CLEAR_SCOPE).bind(&key)).await?;
            tx.run(query(CLEAR_EXCLUDED).bind(&key)).await?;
            scope(tx, wanted).await?;
            for forget in before.outdated_by(wanted) {
                tx.run(forget.map_or_else(
                    || query(FORGET_STATES).bind(&key),
                    |level| query(FORGET_LEVEL).bind(&key).bind(level),
                ))
                .await?;
            }
            let row: Row = tx.one(query(ONE).bind(&key)).await?;
            let after = complete(tx, vec![row]).await?.pop().ok_or(Refusal::NotFound)?;
            let change = Change::new(by, now, Action::AlertRuleChange, &key);
            audit::record(tx, &[change.before(before.told()).after(after.told())]).await?;
            Ok(after)
        })
        .await
    }

    /// Deletes a rule and its states; the judge then resolves its incidents, which stay. With `expected`, only if its version
    /// is one of these.
    #[crate::engine::boxed]
    pub async fn delete_alert_rule(
        &self,
        id: AlertRuleId,
        expected: Option<&[i64]>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let key = id.to_string();
        self.change(async |tx| {
            tx.run(RAISE).await?;
            let before = hold(tx, &key, expected).await?;
            tx.run(query(DELETE).bind(&key)).await?;
            tx.run(query(FORGET_STATES).bind(&key)).await?;
            let change = Change::new(by, now, Action::AlertRuleDelete, id).before(before.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }
}

/// The rule of this id, held to the end of the transaction.
async fn hold(tx: &mut Tx<'_>, key: &str, expected: Option<&[i64]>) -> Result<AlertRule, Stop> {
    let row: Option<Row> = tx.maybe(query(HOLD).bind(key)).await?;
    let row = row.ok_or(Refusal::NotFound)?;
    Refusal::unless_expected(expected, row.version)?;
    Ok(complete(tx, vec![row]).await?.pop().ok_or(Refusal::NotFound)?)
}

/// False: another one has its name.
async fn add(tx: &mut Tx<'_>, rule: &AlertRule) -> Result<bool, RegistryError> {
    if tx.run(rule.bound(ADD).bind(rule.created_at)).await? == 0 {
        return Ok(false);
    }
    scope(tx, rule).await?;
    Ok(true)
}

/// The rules of these rows, with what they bind.
async fn complete(tx: &mut Tx<'_>, rows: Vec<Row>) -> Result<Vec<AlertRule>, RegistryError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let ids = json(&ids)?;
    let labels: Vec<(String, String, String, String)> = tx.all(query(SCOPE).bind(&ids)).await?;
    let excluded: Vec<(String, String)> = tx.all(query(EXCLUDED).bind(&ids)).await?;
    let mut bindings: HashMap<String, Binding> = HashMap::new();
    for (rule, effect, key, value) in labels {
        let binding = bindings.entry(rule).or_default();
        let labels = if effect == "needs" { &mut binding.needs } else { &mut binding.excludes };
        labels.push((key, value));
    }
    for (rule, server) in excluded {
        let server: ServerId = id("alert_rule_exclusions", "server", &server)?;
        bindings.entry(rule).or_default().exclude_servers.push(server);
    }
    rows.into_iter()
        .map(|row| {
            let binding = bindings.remove(&row.id).unwrap_or_default();
            row.rule(binding)
        })
        .collect()
}

impl AlertRule {
    /// One that is made now.
    pub fn new(id: AlertRuleId, name: &str, enabled: bool, draft: Draft, now: Millis) -> Self {
        Self { id, name: name.to_owned(), enabled, draft, version: 1, created_at: now, updated_at: now }
    }

    /// The first fifteen values of both statements that write a rule.
    fn bound(&self, statement: &'static str) -> crate::engine::Query {
        let Self { id, name, enabled, draft, .. } = self;
        query(statement)
            .bind(id.to_string())
            .bind(name)
            .bind(fold::fold_name(name))
            .bind(i64::from(*enabled))
            .bind(&draft.kind)
            .bind(&draft.metric)
            .bind(&draft.instance)
            .bind(&draft.op)
            .bind(&draft.level)
            .bind(draft.warning)
            .bind(draft.warning_clear)
            .bind(draft.critical)
            .bind(draft.critical_clear)
            .bind(draft.hold_ms)
            .bind(draft.clear_hold_ms)
    }

    /// Of which levels (`None`: of all) the states say nothing any more once the rule is `other`.
    fn outdated_by(&self, other: &Self) -> Vec<Option<&'static str>> {
        let same = |a: &Draft, b: &Draft| {
            (&a.kind, &a.metric, &a.instance, &a.op, &a.level)
                == (&b.kind, &b.metric, &b.instance, &b.op, &b.level)
        };
        if !same(&self.draft, &other.draft) || !other.enabled {
            return vec![None];
        }
        let gone = |before: Option<f64>, after: Option<f64>| before.is_some() && after.is_none();
        let mut levels = Vec::new();
        if gone(self.draft.warning, other.draft.warning) {
            levels.push(Some("warning"));
        }
        if gone(self.draft.critical, other.draft.critical) {
            levels.push(Some("critical"));
        }
        levels
    }

    /// As the audit log has it.
    fn told(&self) -> Value {
        let Draft { kind, metric, instance, op, level, hold_ms, clear_hold_ms, binding, .. } = &self.draft;
        let Draft { warning, warning_clear, critical, critical_clear, .. } = &self.draft;
        let labels = |labels: &[(String, String)]| -> Vec<String> {
            labels.iter().map(|(key, value)| format!("{key}:{value}")).collect()
        };
        told!({
            "name": self.name, "enabled": self.enabled, "kind": kind, "metric": metric, "instance": instance,
            "op": op, "level": level, "warning": warning, "warning_clear": warning_clear, "critical": critical,
            "critical_clear": critical_clear, "hold_ms": hold_ms, "clear_hold_ms": clear_hold_ms,
            "needs": labels(&binding.needs), "excludes": labels(&binding.excludes),
            "exclude_servers": binding.exclude_servers,
        })
    }

    /// Whether it binds a server with these labels.
    pub fn binds(&self, server: ServerId, labels: &BTreeMap<String, String>) -> bool {
        self.draft.binding.binds(server, labels)
    }
}

impl Row {
    fn rule(self, binding: Binding) -> Result<AlertRule, RegistryError> {
        Ok(AlertRule {
            id: id("alert_rules", "id", &self.id)?,
            name: self.name,
            enabled: self.enabled != 0,
            draft: Draft {
                kind: self.kind,
                metric: self.metric,
                instance: self.instance,
                op: self.op,
                level: self.level,
                warning: self.warning,
                warning_clear: self.warning_clear,
                critical: self.critical,
                critical_clear: self.critical_clear,
                hold_ms: self.hold_ms,
                clear_hold_ms: self.clear_hold_ms,
                binding,
            },
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}
