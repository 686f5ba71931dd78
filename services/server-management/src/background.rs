//! What is done without being asked.

use actix_web::web;
use chassis::Trouble;
use tokio::time::{Duration, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// How often the denylist is rewritten: a cache that was emptied has it again by then.
const DENYLIST_EVERY: Duration = Duration::from_secs(5);

/// How often history looks for days that are too old.
const EXPIRE_EVERY: Duration = Duration::from_secs(3_600);

pub(crate) async fn run(app: &web::Data<App>, shutdown: CancellationToken) {
    shutdown.run_until_cancelled(async { tokio::join!(publish_denylist(app), expire(app)) }).await;
}

async fn publish_denylist(app: &App) {
    let registry = Trouble::new("the registry");
    let mut due = interval(DENYLIST_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        registry.watch(app.publish_denylist().await);
    }
}

async fn expire(app: &App) {
    let history = Trouble::new("expiring history");
    let mut due = interval(EXPIRE_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        history.watch(app.history.expire(app.clock.now()).await);
    }
}
