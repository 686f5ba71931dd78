//! Rules of alerts.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header::LOCATION,
    web::{Data, Json},
};
use chassis::{Problem, random};
use fleet::{
    ServerId,
    alert::{Binding, DEFAULT_CLEAR_HOLD, Draft, RuleFault},
    id::AlertRuleId,
};
use registry::AlertRule;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    alerts::fields::{faulty, ids, labels, text},
    app::App,
    http::{
        PREFIX,
        body::{Body, Id, given, label},
        failure::Failure,
        paging::{Listed, Paging},
        precondition::{IfMatch, IfMatchGiven, tagged},
        query::Parsed,
    },
    people::By,
};

/// A rule to make.
#[derive(Deserialize, ToSchema)]
#[schema(as = MakeAlertRule)]
pub(crate) struct RuleToMake {
    /// Unique regardless of case.
    #[schema(min_length = 1, max_length = 256, example = "Disk of databases")]
    name: String,
    /// Whether it counts; true unless set.
    enabled: Option<bool>,
    /// `value` looks at a measurement, `silent` at servers that were heard and are not any more, `unheard` at those that
    /// enrolled and never were, `self` at the suite itself.
    #[schema(pattern = "^(silent|unheard|value|self)$", example = "value")]
    kind: String,
    /// Of `value`: `cpu.total|user|system|iowait|steal`, `load.1|5|15|per_core`, `memory.used_percent|available`,
    /// `swap.used_percent`, `disk.used_percent|free|read|written`, `network.received|sent`, `temperature`,
    /// `agent.skew_ms|spooled`. Of `self`: `late`, `deaf`, `dead_letters`, `mail`, `channel`, `disk`, `report`,
    /// `rule_too_wide`.
    #[schema(example = "disk.used_percent")]
    metric: Option<String>,
    /// Of a metric of disks, networks or temperatures: which mounts, interfaces or sensors; `*` and `?` stand for any text
    /// and any character. All of them unless set.
    #[schema(max_length = 256, example = "/srv*")]
    instance: Option<String>,
    /// Of `value`: on which side of a threshold the trouble is.
    #[schema(pattern = "^(above|below)$", example = "above")]
    op: Option<String>,
    /// Of all kinds but `value`: how bad it is.
    #[schema(pattern = "^(warning|critical)$")]
    level: Option<String>,
    /// Of `value`, one of the two thresholds at the least.
    #[schema(example = 80.0)]
    warning: Option<f64>,
    /// Where a warning is over; 5 % of its threshold inside it unless set.
    warning_clear: Option<f64>,
    /// Of `value`, one of the two thresholds at the least.
    #[schema(example = 90.0)]
    critical: Option<f64>,
    /// Where it is not critical any more; 5 % of its threshold inside it unless set.
    critical_clear: Option<f64>,
    /// For how long it has to last before it is raised; 0 unless set, at most a week.
    #[schema(minimum = 0, maximum = 604_800_000)]
    hold_ms: Option<i64>,
    /// For how long a value has to be inside its clear threshold; 60,000 unless set.
    #[schema(minimum = 0, maximum = 604_800_000)]
    clear_hold_ms: Option<i64>,
    /// Labels, each `key:value`, all of which a server must have. None: every server, future ones too.
    #[serde(default)]
    #[schema(max_items = 16, example = json!(["role:db"]))]
    needs: Vec<String>,
    /// Labels, none of which a server may have.
    #[serde(default)]
    #[schema(max_items = 16)]
    excludes: Vec<String>,
    /// Servers that it does not bind, whatever their labels.
    #[serde(default)]
    #[schema(max_items = 500)]
    exclude_servers: Vec<String>,
}

/// What is to change of a rule; what is left out stays, what is null is as if it was never set.
#[derive(Deserialize, ToSchema)]
pub(crate) struct AlertRuleChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 256)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>, nullable = false)]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, pattern = "^(silent|unheard|value|self)$")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    metric: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 256)]
    instance: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, pattern = "^(above|below)$")]
    op: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, pattern = "^(warning|critical)$")]
    level: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<f64>)]
    warning: Option<Option<f64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<f64>)]
    warning_clear: Option<Option<f64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<f64>)]
    critical: Option<Option<f64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<f64>)]
    critical_clear: Option<Option<f64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, nullable = false, minimum = 0, maximum = 604_800_000)]
    hold_ms: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, nullable = false, minimum = 0, maximum = 604_800_000)]
    clear_hold_ms: Option<i64>,
    /// All of them anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>, nullable = false, max_items = 16, example = json!(["role:db"]))]
    needs: Option<Vec<String>>,
    /// All of them anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>, nullable = false, max_items = 16)]
    excludes: Option<Vec<String>>,
    /// All of them anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>, nullable = false, max_items = 500)]
    exclude_servers: Option<Vec<String>>,
}

/// A rule. What does not apply is null.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertRule)]
pub(crate) struct RuleItem {
    #[schema(value_type = String, format = "uuid")]
    id: AlertRuleId,
    name: String,
    enabled: bool,
    #[schema(pattern = "^(silent|unheard|value|self)$")]
    kind: String,
    metric: Option<String>,
    instance: Option<String>,
    #[schema(pattern = "^(above|below)$")]
    op: Option<String>,
    #[schema(pattern = "^(warning|critical)$")]
    level: Option<String>,
    warning: Option<f64>,
    warning_clear: Option<f64>,
    critical: Option<f64>,
    critical_clear: Option<f64>,
    hold_ms: i64,
    clear_hold_ms: i64,
    needs: Vec<String>,
    excludes: Vec<String>,
    #[schema(value_type = Vec<String>)]
    exclude_servers: Vec<ServerId>,
    /// Unix ms.
    created_at: i64,
    /// Unix ms; last change by a person.
    updated_at: i64,
}

/// List rules, by name.
#[utoipa::path(
    get, path = "/alert-rules", operation_id = "list_alert_rules", tag = "alerts", params(Paging),
    responses((status = 200, description = "A page of them", body = Listed<RuleItem>)),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn list(app: Data<App>, paging: Parsed<Paging>) -> Result<Json<Listed<RuleItem>>, Failure> {
    let page = paging.0.0;
    let (rules, total) = app.registry.alert_rules(page).await?;
    Ok(Json(Listed::new(rules.into_iter().map(item).collect(), total, page)))
}

/// Make a rule. Workers know it within 5 s.
#[utoipa::path(
    post, path = "/alert-rules", operation_id = "make_alert_rule", tag = "alerts", request_body = RuleToMake,
    responses((status = 201, description = "The rule", body = RuleItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`"),
            ("Location" = String, description = "Where it is")))),
    security(("token" = ["alert:write"]))
)]
pub(crate) async fn make(app: Data<App>, by: By, body: Body<RuleToMake>) -> Result<HttpResponse, Failure> {
    let (name, enabled) = (label("name", body.0.name.clone())?, body.0.enabled.unwrap_or(true));
    let draft = checked(&app, body.0.draft()?).await?;
    let now = app.clock.now();
    let rule = AlertRule::new(AlertRuleId::new(now, random()), &name, enabled, draft, now);
    app.registry.make_alert_rule(&rule, &by.0).await??;
    let mut answer = HttpResponse::Created();
    answer.insert_header((LOCATION, format!("{PREFIX}/alert-rules/{}", rule.id)));
    Ok(answered(answer, rule))
}

/// Read one rule.
#[utoipa::path(
    get, path = "/alert-rules/{id}", operation_id = "show_alert_rule", tag = "alerts",
    params(("id" = String, Path, description = "Id of the rule")),
    responses((status = 200, description = "The rule", body = RuleItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<AlertRuleId>) -> Result<HttpResponse, Failure> {
    let rule = app.registry.alert_rule(id.0).await?.ok_or_else(Problem::not_found)?;
    Ok(answered(HttpResponse::Ok(), rule))
}

/// Change a rule, if nobody did since it was read. Incidents of what it does not look at any more are resolved.
#[utoipa::path(
    patch, path = "/alert-rules/{id}", operation_id = "change_alert_rule", tag = "alerts",
    params(("id" = String, Path, description = "Id of the rule"),
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`")),
    request_body = AlertRuleChange,
    responses((status = 200, description = "The rule as it is now", body = RuleItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["alert:write"]))
)]
pub(crate) async fn change(
    app: Data<App>,
    by: By,
    id: Id<AlertRuleId>,
    seen: IfMatch,
    body: Body<AlertRuleChange>,
) -> Result<HttpResponse, Failure> {
    let before = app.registry.alert_rule(id.0).await?.ok_or_else(Problem::not_found)?;
    // What was read is what is changed: whoever does not mind which version that is, does not mind this one.
    let version = [before.version];
    let expected = seen.0.as_deref().unwrap_or(&version);
    let AlertRule { name, enabled, draft, .. } = before.clone();
    let wanted = AlertRule {
        name: body.0.name.clone().map(|name| label("name", name)).transpose()?.unwrap_or(name),
        enabled: body.0.enabled.unwrap_or(enabled),
        draft: checked(&app, body.0.applied_to(draft)?).await?,
        ..before
    };
    let changed = app.registry.change_alert_rule(&wanted, Some(expected), &by.0, app.clock.now()).await??;
    Ok(answered(HttpResponse::Ok(), changed))
}

/// Delete a rule. Its incidents are resolved, and stay.
#[utoipa::path(
    delete, path = "/alert-rules/{id}", operation_id = "delete_alert_rule", tag = "alerts",
    params(("id" = String, Path, description = "Id of the rule"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read: only that version is deleted")),
    responses((status = 204, description = "It is gone")),
    security(("token" = ["alert:write"]))
)]
pub(crate) async fn remove(
    app: Data<App>,
    by: By,
    id: Id<AlertRuleId>,
    seen: IfMatchGiven,
) -> Result<HttpResponse, Failure> {
    app.registry.delete_alert_rule(id.0, seen.0.as_deref(), &by.0, app.clock.now()).await??;
    Ok(HttpResponse::NoContent().finish())
}

/// A draft that can work, with the thresholds that were left out.
pub(super) async fn checked(app: &App, mut draft: Draft) -> Result<Draft, Failure> {
    let rule = draft.check().map_err(|fault| refused(&fault))?;
    if let fleet::alert::Watches::Value(watch) = &rule.watches {
        draft.instance =
            if watch.metric.has_instances() { watch.instance.to_string() } else { String::new() };
        draft.warning_clear = watch.warning.map(|threshold| threshold.clear);
        draft.critical_clear = watch.critical.map(|threshold| threshold.clear);
    }
    let excluded = &draft.binding.exclude_servers;
    let known = app.registry.names(excluded).await?;
    if let Some(unknown) = excluded.iter().find(|server| !known.contains_key(server)) {
        return Err(faulty("exclude_servers", format!("has {unknown}, which is no server")).into());
    }
    Ok(draft)
}

fn refused(fault: &RuleFault) -> Problem {
    faulty(fault.field, fault.reason.clone())
}

impl RuleToMake {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// As a draft; nothing of it is checked but its labels.
    pub(super) fn draft(self) -> Result<Draft, Problem> {
        Ok(Draft {
            kind: self.kind,
            metric: text("metric", self.metric)?,
            instance: text("instance", self.instance)?,
            op: text("op", self.op)?,
            level: text("level", self.level)?,
            warning: self.warning,
            warning_clear: self.warning_clear,
            critical: self.critical,
            critical_clear: self.critical_clear,
            hold_ms: self.hold_ms.unwrap_or(0),
            clear_hold_ms: self.clear_hold_ms.unwrap_or(DEFAULT_CLEAR_HOLD),
            binding: Binding {
                needs: labels("needs", self.needs)?,
                excludes: labels("excludes", self.excludes)?,
                exclude_servers: ids("exclude_servers", self.exclude_servers)?,
            },
        })
    }
}

impl AlertRuleChange {
    /// A threshold that moves takes its clear threshold with it, unless that is given.
    fn applied_to(self, draft: Draft) -> Result<Draft, Problem> {
        let Draft { binding, .. } = draft;
        let or = |field, given: Option<Option<String>>, before: String| match given {
            Some(given) => text(field, given),
            None => Ok(before),
        };
        let moved = |moves: bool, clear: Option<Option<f64>>, before: Option<f64>| {
            clear.unwrap_or(if moves { None } else { before })
        };
        let turns = self.op.is_some();
        Ok(Draft {
            kind: self.kind.unwrap_or(draft.kind),
            metric: or("metric", self.metric, draft.metric)?,
            instance: or("instance", self.instance, draft.instance)?,
            op: or("op", self.op, draft.op)?,
            level: or("level", self.level, draft.level)?,
            warning_clear: moved(turns || self.warning.is_some(), self.warning_clear, draft.warning_clear),
            critical_clear: moved(
                turns || self.critical.is_some(),
                self.critical_clear,
                draft.critical_clear,
            ),
            warning: self.warning.unwrap_or(draft.warning),
            critical: self.critical.unwrap_or(draft.critical),
            hold_ms: self.hold_ms.unwrap_or(draft.hold_ms),
            clear_hold_ms: self.clear_hold_ms.unwrap_or(draft.clear_hold_ms),
            binding: Binding {
                needs: self.needs.map_or(Ok(binding.needs), |texts| labels("needs", texts))?,
                excludes: self.excludes.map_or(Ok(binding.excludes), |texts| labels("excludes", texts))?,
                exclude_servers: match self.exclude_servers {
                    Some(texts) => ids("exclude_servers", texts)?,
                    None => binding.exclude_servers,
                },
            },
        })
    }
}

fn answered(with: HttpResponseBuilder, rule: AlertRule) -> HttpResponse {
    tagged(with, rule.version, item(rule))
}

fn item(rule: AlertRule) -> RuleItem {
    let AlertRule { id, name, enabled, draft, created_at, updated_at, .. } = rule;
    let Binding { needs, excludes, exclude_servers } = draft.binding;
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let spelt = |labels: Vec<(String, String)>| {
        labels.into_iter().map(|(key, value)| format!("{key}:{value}")).collect()
    };
    RuleItem {
        id,
        name,
        enabled,
        kind: draft.kind,
        metric: some(draft.metric),
        instance: some(draft.instance),
        op: some(draft.op),
        level: some(draft.level),
        warning: draft.warning,
        warning_clear: draft.warning_clear,
        critical: draft.critical,
        critical_clear: draft.critical_clear,
        hold_ms: draft.hold_ms,
        clear_hold_ms: draft.clear_hold_ms,
        needs: spelt(needs),
        excludes: spelt(excludes),
        exclude_servers,
        created_at,
        updated_at,
    }
}
