//! What `/metrics` tells of the suite as a whole. Each process of management measures it by itself and seldom, so that nobody
//! who scrapes costs the stores anything.

use std::time::Duration;

use chassis::Trouble;
use metrics::{Unit, describe_gauge, gauge};
use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;

/// How often states and reports are counted.
const EVERY: Duration = Duration::from_secs(10);

/// Every so many times the stores are asked how large they are.
const SIZES_EVERY: u32 = 6;

const SERVERS: &str = "rollcall_servers";
const LAG: &str = "rollcall_pipeline_lag_seconds";
const LATE: &str = "rollcall_pipeline_late";
const REPORTS: &str = "rollcall_reports";
const LAST_REPORT: &str = "rollcall_last_report_timestamp_seconds";
const DELIVERIES: &str = "rollcall_mail_deliveries";
const REGISTRY: &str = "rollcall_registry_bytes";
const HISTORY: &str = "rollcall_history_bytes";
const MEASURED: &str = "rollcall_measured_timestamp_seconds";

/// Describes it.
pub(super) fn describe() {
    describe_gauge!(SERVERS, Unit::Count, "Servers, by status");
    describe_gauge!(LAG, Unit::Seconds, "How far what is stored is behind; none before anything was stored");
    describe_gauge!(LATE, Unit::Count, "1 while that is more than 30 s, so that states stand still");
    describe_gauge!(REPORTS, Unit::Count, "Reports that are kept, by state");
    describe_gauge!(LAST_REPORT, Unit::Seconds, "Unix time when a report was computed last");
    describe_gauge!(DELIVERIES, Unit::Count, "Mails of the reports that are kept, by state");
    describe_gauge!(REGISTRY, Unit::Bytes, "Size of the database of servers and people");
    describe_gauge!(HISTORY, Unit::Bytes, "Size of the snapshots as they are stored");
    describe_gauge!(MEASURED, Unit::Seconds, "Unix time when these figures were measured last");
}

/// Measures until it is dropped.
pub(crate) async fn watch(app: &App) {
    let (registry, history) = (Trouble::new("counting for the metrics"), Trouble::new("measuring history"));
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for turn in 0_u32.. {
        due.tick().await;
        let counted = registry.watch(count(app).await);
        if turn.is_multiple_of(SIZES_EVERY) {
            if let Some(bytes) = registry.watch(app.registry.size().await) {
                gauge!(REGISTRY).set(bytes as f64);
            }
            if let Some(bytes) = history.watch(app.history.size().await) {
                gauge!(HISTORY).set(bytes as f64);
            }
        }
        if counted.is_some() {
            gauge!(MEASURED).set(app.clock.now() as f64 / 1_000.0);
        }
    }
}

async fn count(app: &App) -> Result<(), registry::RegistryError> {
    let roll = app.roll().await?;
    let servers = app.registry.counts(&roll).await?;
    let states = [
        ("up", servers.up),
        ("down", servers.down),
        ("unknown", servers.unknown),
        ("paused", servers.paused),
    ];
    for (status, servers) in states {
        gauge!(SERVERS, "status" => status).set(servers as f64);
    }
    let now = app.clock.now();
    if let Some(lag) = roll.pipeline.lag(now) {
        gauge!(LAG).set(lag as f64 / 1_000.0);
    }
    gauge!(LATE).set(f64::from(u8::from(roll.pipeline.late(now))));
    let reports = app.registry.report_counts().await?;
    for (state, count) in reports.reports {
        gauge!(REPORTS, "state" => state).set(count as f64);
    }
    for (state, count) in reports.deliveries {
        gauge!(DELIVERIES, "state" => state).set(count as f64);
    }
    // 0 is a time long ago: whoever asks for the age of the last one is told so.
    gauge!(LAST_REPORT).set(reports.computed_at.unwrap_or(0) as f64 / 1_000.0);
    Ok(())
}
