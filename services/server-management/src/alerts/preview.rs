//! What a rule would do: whom it binds, who is over now, and how often it would have fired.

use actix_web::web::{Data, Json};
use fleet::{
    Interval, Millis, ServerId, Snapshot,
    alert::{
        Verdict, Watch, Watches,
        hindsight::{Hindsight, is_held},
    },
    wire::v1,
};
use futures_util::{StreamExt, stream};
use history::HistoryError;
use serde::Serialize;
use tokio::time::{Duration, Instant};
use utoipa::ToSchema;

use crate::{
    alerts::rules::{RuleToMake, checked},
    app::App,
    http::{
        body::{Body, label},
        failure::{Failure, invalid_body},
    },
};

/// Most servers that are looked at.
const MOST: u32 = 100_000;

/// For how long is looked at what is over now, and at history after that: what was not looked at by then is not.
const NOW_WITHIN: Duration = Duration::from_secs(2);
const HISTORY_WITHIN: Duration = Duration::from_secs(5);

/// Servers whose newest snapshots are asked for at once, and those whose history is.
const SET: usize = 500;
const AT_ONCE: usize = 8;

/// Most values that are told.
const TOLD: usize = 100;

const HOUR: Millis = 3_600_000;
const HOURS: u32 = 7 * 24;

/// What a rule would do.
#[derive(Serialize, ToSchema)]
pub(crate) struct AlertRulePreview {
    /// How many servers it binds now.
    binds: u64,
    /// How many of them were looked at for `over_now`, by name from the first: all, unless that takes longer than 2 s or they are
    /// more than 100,000.
    looked_at: usize,
    /// Which values are over now, by the newest snapshot of each: a hundred at the most. Empty of rules without thresholds.
    over_now: Vec<OverNow>,
    /// How often it would have fired in the last seven days; null where history holds the figure of no server, and of rules without
    /// thresholds.
    fired: Option<u64>,
    /// Of how many servers history was looked at for `fired`: of all that were looked at, unless that takes longer than 5 s.
    fired_looked_at: usize,
    /// Of how many of these history does not hold the figure by itself, as that of one disk, interface or sensor among several: what
    /// they would have fired is not in `fired`.
    fired_not_held: usize,
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
        fired_looked_at: 0,
        fired_not_held: 0,
        resolution: "hour",
        hold_ms_ignored: true,
    };
    match &rule.watches {
        Watches::Value(watch) => {
            let looked_at = over_now(&app, watch, &servers, &mut preview.over_now).await;
            preview.looked_at = looked_at.len();
            if is_held(watch.metric) {
                fired(&app, watch, looked_at, &mut preview).await?;
            }
        }
        Watches::Itself(..) => (preview.binds, preview.looked_at) = (0, 0),
        Watches::Silent(_) | Watches::Unheard(_) => {}
    }
    Ok(Json(preview))
}

/// Which values are over, and what history tells of each server that was looked at.
async fn over_now(
    app: &App,
    watch: &Watch,
    servers: &[(ServerId, String)],
    over: &mut Vec<OverNow>,
) -> Vec<(ServerId, Hindsight)> {
    let begun = Instant::now();
    let mut looked_at = Vec::with_capacity(servers.len());
    for set in servers.chunks(SET) {
        if begun.elapsed() > NOW_WITHIN {
            break;
        }
        let ids: Vec<ServerId> = set.iter().map(|(id, _)| *id).collect();
        let latest = app.cache_trouble.watch(app.cache.latest(&ids).await).unwrap_or_default();
        for (id, name) in set {
            let raw =
                latest.get(id).and_then(|latest| serde_json::from_str::<v1::Snapshot>(&latest.snapshot).ok());
            let snapshot = raw.and_then(|raw| Snapshot::check(raw, Interval::DEFAULT).ok());
            looked_at.push((*id, Hindsight::of(watch, snapshot.as_ref())));
            if let Some(snapshot) = snapshot {
                push_over(watch, &snapshot, (*id, name), over);
            }
        }
    }
    looked_at
}

fn push_over(watch: &Watch, snapshot: &Snapshot, (id, name): (ServerId, &str), over: &mut Vec<OverNow>) {
    watch.metric.each(snapshot, &mut |instance, value| {
        let reached = watch.levels().filter(|(_, t)| t.verdict(watch.op, value) == Verdict::Over);
        let worst = reached.map(|(level, _)| level).max();
        if let Some(level) = worst.filter(|_| watch.instance.matches(instance) && over.len() < TOLD) {
            over.push(OverNow {
                server_id: id,
                server: name.to_owned(),
                instance: Some(instance.to_owned()).filter(|instance| !instance.is_empty()),
                level: level.as_str(),
                value,
            });
        }
    });
}

/// Counts how often it would have fired, by whole hours, so that they are read from rollups; the hour that is open ends it.
async fn fired(
    app: &App,
    watch: &Watch,
    servers: Vec<(ServerId, Hindsight)>,
    preview: &mut AlertRulePreview,
) -> Result<(), HistoryError> {
    let open = app.clock.now().div_euclid(HOUR) * HOUR;
    let (from, to) = ((open - i64::from(HOURS) * HOUR).max(0), open + HOUR);
    let begun = Instant::now();
    let of_one = async |(server, hindsight): (ServerId, Hindsight)| match hindsight {
        Hindsight::NotHeld => Ok::<Option<u64>, HistoryError>(None),
        Hindsight::Nothing => Ok(Some(0)),
        Hindsight::Held(held) => {
            let hours = app.history.points(server, from, to, HOURS + 1).await?;
            Ok(Some(held.fired(watch, &hours)))
        }
    };
    let mut counted = stream::iter(servers).map(of_one).buffer_unordered(AT_ONCE);
    while let Some(of_one) = counted.next().await {
        preview.fired_looked_at += 1;
        match of_one? {
            None => preview.fired_not_held += 1,
            Some(times) => preview.fired = Some(preview.fired.unwrap_or(0) + times),
        }
        if begun.elapsed() > HISTORY_WITHIN {
            break;
        }
    }
    // Nobody is bound: it would not have fired.
    if preview.fired_looked_at == 0 {
        preview.fired = Some(0);
    }
    Ok(())
}
