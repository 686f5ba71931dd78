//! Elects the agent that tells somebody when the suite is away, among those whose owners let them.

use std::collections::HashMap;

use cache::{Latest, Unavailable};
use fleet::{
    Millis, ServerId,
    alert::lease::{SLOWEST, elect},
    liveness::SILENT_INTERVALS,
    wire::v1,
};
use registry::RegistryError;

use crate::app::App;

/// Elects, or renews, and tells the gates. Without the cache nobody is heard, and nothing changes.
pub(crate) async fn turn(app: &App) -> Result<(), RegistryError> {
    let now = app.clock.now();
    let Some(living) = app.cache_trouble.watch(living(app, now).await) else { return Ok(()) };
    let standing = app.registry.standing(&living).await?;
    let living: Vec<ServerId> = living.into_iter().filter(|server| standing.contains_key(server)).collect();
    let held = app.registry.reporter_lease().await?;
    // A registry that was restored from a backup may know less than the cache.
    let cached = app.cache_trouble.watch(app.cache.reporter_lease().await).flatten();
    let held = held.into_iter().chain(cached).max_by_key(|lease| lease.until);
    if let Some(lease) = elect(held, &living, now)
        && app.registry.hold_reporter_lease(lease, now).await?
        && held.is_none_or(|held| held.server != lease.server)
    {
        tracing::info!(server = %lease.server, "this server's agent tells when no gate answers");
    }
    if let Some(lease) = app.registry.reporter_lease().await? {
        app.cache_trouble.watch(app.cache.put_reporter_lease(lease).await);
    }
    Ok(())
}

/// The servers that are heard now and whose agents say that they would tell, often enough to notice in time.
async fn living(app: &App, now: Millis) -> Result<Vec<ServerId>, Unavailable> {
    let said = app.cache.reporters(now).await?;
    let (latest, silent_at) = (app.cache.latest(&said).await?, app.cache.silent_at(&said).await?);
    Ok(said.into_iter().filter(|server| is_heard(*server, &latest, &silent_at, now)).collect())
}

fn is_heard(
    server: ServerId,
    latest: &HashMap<ServerId, Latest>,
    silent_at: &HashMap<ServerId, Millis>,
    now: Millis,
) -> bool {
    let (Some(latest), Some(silent_at)) = (latest.get(&server), silent_at.get(&server)) else { return false };
    let interval = (silent_at - latest.received_at) / SILENT_INTERVALS;
    let snapshot = serde_json::from_str::<v1::Snapshot>(&latest.snapshot);
    let says = snapshot.ok().and_then(|snapshot| snapshot.agent).is_some_and(|agent| agent.reporter);
    says && interval <= SLOWEST && *silent_at > now
}
