//! What a rule would do: whom it binds, who is over now, and how often it would have fired.

use actix_web::web::{Data, Json};
use fleet::{
    Interval, Millis, ServerId, Snapshot,
    alert::{Metric, Op, Verdict, Watch, Watches},
    series::Point,
    wire::v1,
};
use history::HistoryError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    alerts::rules::{RuleToMake, checked},
    app::App,
    http::{
        body::{Body, label},
        failure::{Failure, invalid_body},
    },
};

/// Most servers that are looked at: each is a question to history.
const MOST: u32 = 200;

/// Most values that are told.
const TOLD: usize = 100;

const HOUR: Millis = 3_600_000;
const HOURS: u32 = 7 * 24;

/// What a rule would do.
#[derive(Serialize, ToSchema)]
pub(crate) struct AlertRulePreview {
    /// How many servers it binds now.
    binds: u64,
    /// How many of them were looked at for what follows, by name from the first: 200 at the most.
    looked_at: usize,
    /// Which values are over now, by the newest snapshot of each: a hundred at the most. Empty of rules without thresholds.
    over_now: Vec<OverNow>,
    /// How often it would have fired in the last seven days; null where history does not hold the figure by itself, as those of
    /// single disks, interfaces and sensors, and of rules without thresholds.
    fired: Option<u64>,
    /// How that was counted: by the greatest value of each hour, or by its mean for what is below a threshold.
    #[schema(pattern = "^hour$")]
    resolution: &'static str,
    /// Always true: `hold_ms` makes no difference to `fired`.
    hold_ms_ignored: bool,
}

/// A value that is over.
#[derive(Serialize, ToSchema)]
pub(crate) struct OverNow {
    #[schema(value_type = String, format = "uuid")]
    server_id: ServerId,
    server: String,
    instance: Option<String>,
    /// The worst that it reaches.
    #[schema(pattern = "^(warning|critical)$")]
    level: &'static str,
    value: f64,
}

/// What a rule would do, without making it.
#[utoipa::path(
    post, path = "/alert-rules/preview", operation_id = "preview_alert_rule", tag = "alerts", request_body = RuleToMake,
    responses((status = 200, description = "Whom it binds, who is over, how often it would have fired", body = AlertRulePreview)),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn preview(
    app: Data<App>,
    body: Body<RuleToMake>,
) -> Result<Json<AlertRulePreview>, Failure> {
    label("name", body.0.name().to_owned())?;
    let draft = checked(&app, body.0.draft()?).await?;
    let rule = draft.check().map_err(|fault| invalid_body(fault.to_string()))?;
    let (servers, binds) = app.registry.bound_servers(&rule.binding, MOST).await?;
    let mut preview = AlertRulePreview {
        binds,
        looked_at: servers.len(),
        over_now: Vec::new(),
        fired: None,
        resolution: "hour",
        hold_ms_ignored: true,
    };
    match &rule.watches {
        Watches::Value(watch) => {
            preview.over_now = over_now(&app, watch, &servers).await;
            preview.fired = fired(&app, watch, &servers).await?;
        }
        Watches::Itself(..) => (preview.binds, preview.looked_at) = (0, 0),
        Watches::Silent(_) | Watches::Unheard(_) => {}
    }
    Ok(Json(preview))
}

async fn over_now(app: &App, watch: &Watch, servers: &[(ServerId, String)]) -> Vec<OverNow> {
    let ids: Vec<ServerId> = servers.iter().map(|(id, _)| *id).collect();
    let latest = app.cache_trouble.watch(app.cache.latest(&ids).await).unwrap_or_default();
    let mut over = Vec::new();
    for (id, name) in servers {
        let raw =
            latest.get(id).and_then(|latest| serde_json::from_str::<v1::Snapshot>(&latest.snapshot).ok());
        let Some(snapshot) = raw.and_then(|raw| Snapshot::check(raw, Interval::DEFAULT).ok()) else {
            continue;
        };
        watch.metric.each(&snapshot, &mut |instance, value| {
            let reached = watch.levels().filter(|(_, t)| t.verdict(watch.op, value) == Verdict::Over);
            let worst = reached.map(|(level, _)| level).max();
            if let Some(level) = worst.filter(|_| watch.instance.matches(instance) && over.len() < TOLD) {
                over.push(OverNow {
                    server_id: *id,
                    server: name.clone(),
                    instance: Some(instance.to_owned()).filter(|instance| !instance.is_empty()),
                    level: level.as_str(),
                    value,
                });
            }
        });
    }
    over
}

async fn fired(
    app: &App,
    watch: &Watch,
    servers: &[(ServerId, String)],
) -> Result<Option<u64>, HistoryError> {
    if figure(watch.metric, watch.op, &Point::default()).is_none() {
        return Ok(None);
    }
    let to = app.clock.now();
    let from = (to - i64::from(HOURS) * HOUR).max(0);
    let mut fired = 0;
    for (server, _) in servers {
        let points = app.history.points(*server, from, to, HOURS).await?;
        let mut was_over = false;
        for point in points {
            let value = figure(watch.metric, watch.op, &point).flatten();
            let Some(value) = value else { continue };
            let is_over = watch.is_over(value);
            fired += u64::from(is_over && !was_over);
            // Between the thresholds it stays as it was.
            let is_inside = watch.levels().all(|(_, t)| t.verdict(watch.op, value) == Verdict::Inside);
            was_over = is_over || was_over && !is_inside;
        }
    }
    Ok(Some(fired))
}

/// The value of an hour. The outer `None`: history has no such figure.
fn figure(metric: Metric, op: Op, point: &Point) -> Option<Option<f64>> {
    let extent = match metric {
        Metric::CpuTotal => point.cpu,
        Metric::CpuIowait => point.iowait,
        Metric::Load1 => point.load,
        _ => return None,
    };
    Some(extent.map(|extent| match op {
        Op::Above => extent.max,
        Op::Below => extent.avg,
    }))
}
