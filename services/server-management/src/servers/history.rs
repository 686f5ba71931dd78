//! What history holds of a server goes when somebody asks for it, or deletes the server.

use actix_web::{HttpResponse, web::Data};
use chassis::Trouble;
use fleet::{Millis, ServerId};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep};

use crate::{
    app::App,
    http::{body::Id, failure::Failure},
    people::By,
};

/// How often servers are looked for whose history has to go.
const EVERY: Duration = Duration::from_secs(1);

/// Whoever has taken one and does not say that it is done has this long, before another takes it.
const PATIENCE: Millis = 300_000;

/// Forget what history holds of a server so far. From now on nothing that it sampled before counts for uptime and outages; its
/// snapshots go in the background, and the room that they took comes back. The server stays, and goes on reporting.
#[utoipa::path(
    delete, path = "/servers/{id}/history", operation_id = "forget_history", tag = "servers",
    params(("id" = String, Path, description = "Id of the server")),
    responses((status = 202, description = "It goes")),
    security(("token" = ["server:write"]))
)]
pub(crate) async fn forget(app: Data<App>, by: By, id: Id<ServerId>) -> Result<HttpResponse, Failure> {
    app.registry.forget_history(id.0, &by.0, app.clock.now()).await??;
    Ok(HttpResponse::Accepted().finish())
}

/// Removes from history what is due to go, and gives space back to the disk.
pub(crate) async fn forget_due(app: &App) {
    let (registry, history) = (Trouble::new("the registry"), Trouble::new("forgetting history"));
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        history.watch(give_back(app).await);
        let now = app.clock.now();
        let taken = registry.watch(app.registry.take_forgetting(now, now + PATIENCE).await).flatten();
        let Some(forgetting) = taken else { continue };
        let forgotten = remove(app, forgetting.server, forgetting.before).await;
        if history.watch(forgotten) == Some(true) {
            registry.watch(app.registry.forgot(&forgetting, app.clock.now()).await);
        }
    }
}

/// Whether all of it is gone; a long history goes in several turns.
async fn remove(app: &App, server: ServerId, before: Millis) -> Result<bool, history::HistoryError> {
    let (mut from, begun) = (0, Instant::now());
    while begun.elapsed().as_millis() < PATIENCE.unsigned_abs().into() {
        let step = Instant::now();
        match app.history.forget(server, before, from).await? {
            Some(next) => from = next,
            None => return Ok(true),
        }
        // It has no more than a quarter of a processor, and of the disk.
        sleep(3 * step.elapsed()).await;
    }
    Ok(false)
}

async fn give_back(app: &App) -> Result<(), history::HistoryError> {
    loop {
        let step = Instant::now();
        if !app.history.give_back().await? {
            return Ok(());
        }
        sleep(3 * step.elapsed()).await;
    }
}
