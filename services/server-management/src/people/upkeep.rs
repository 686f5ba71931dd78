//! What ends by time, and what is forgotten. Any number of processes do so at once.

use chassis::Trouble;
use fleet::Millis;
use registry::RegistryError;
use tokio::time::{Duration, MissedTickBehavior, interval};

use crate::{app::App, people::api_tokens};

const DAY: Millis = 24 * 3_600_000;

const EVERY: Duration = Duration::from_secs(3_600);

/// For how long an API token that has expired is listed: whoever looks why a program fails still finds it.
const KEEP_EXPIRED: Millis = 30 * DAY;

/// Rows that are forgotten at once.
const PART: u32 = 1_000;

pub(crate) async fn run(app: &App) {
    let (tokens, audit) = (Trouble::new("ending API tokens"), Trouble::new("forgetting the audit log"));
    let sessions = Trouble::new("forgetting sessions");
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let now = app.clock.now();
        let ends = now + api_tokens::default_life(app);
        if let Some(ended @ 1..) = tokens.watch(app.registry.end_endless_api_tokens(ends).await) {
            let days = api_tokens::default_life(app) / DAY;
            tracing::warn!(
                tokens = ended,
                "API tokens of an earlier release had no end: they expire in {days} days from now; make new ones in time"
            );
        }
        tokens.watch(app.registry.forget_api_tokens(now - KEEP_EXPIRED).await);
        sessions.watch(forget_sessions(app, now).await);
        audit.watch(forget_audit(app, now).await);
    }
}

async fn forget_sessions(app: &App, now: Millis) -> Result<(), RegistryError> {
    // First, since with a session its refresh tokens go, and an earlier release kept thousands of one session.
    while app.registry.forget_refresh_tokens(now, PART).await? == u64::from(PART) {}
    while app.registry.forget_sessions(now, PART).await? == u64::from(PART) {}
    Ok(())
}

async fn forget_audit(app: &App, now: Millis) -> Result<(), RegistryError> {
    let before = now - i64::from(app.settings.audit_days) * DAY;
    while app.registry.forget_audit(before, PART).await? == u64::from(PART) {}
    Ok(())
}
