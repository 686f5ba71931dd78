//! What management does on its own, beside answering requests.

use std::sync::atomic::Ordering;

use chassis::{Room, Trouble};
use fleet::MailJob;
use queue::Publisher;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    alerts::{self, Sealing},
    app::App,
    operations::{self, DeadLetters},
    orders, people, reports, servers,
};

/// How often the denylist is written to the cache: one that was emptied has it again after this long.
const DENYLIST_EVERY: Duration = Duration::from_secs(5);

/// How often history looks for days that are too old, and how soon again if it could not.
const EXPIRE_EVERY: Duration = Duration::from_secs(3_600);
const EXPIRE_AGAIN: Duration = Duration::from_secs(10);

/// How often history looks at what came out of order.
const DECIDE_EVERY: Duration = Duration::from_secs(60);

/// How often dead letters are counted.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// How often servers are resumed whose pause has ended: until then they are shown as paused, at most this long.
const RESUME_EVERY: Duration = Duration::from_secs(5);

/// How often beats that are ahead of the clock are looked for.
const CORRECT_EVERY: Duration = Duration::from_secs(60);

pub(crate) async fn run(
    app: &App,
    sealing: &Sealing,
    dead_letters: &DeadLetters,
    disk: Option<&Room>,
    jobs: &Publisher<MailJob>,
    shutdown: CancellationToken,
) {
    let work = async {
        tokio::join!(
            publish_denylist(app),
            expire(app),
            decide_overlaps(app),
            count_dead_letters(app, dead_letters),
            resume_due(app),
            correct_beats(app),
            Box::pin(servers::forget_due(app)),
            operations::watch(app),
            people::run(app),
            Box::pin(orders::run(app)),
            alerts::run(app, sealing, dead_letters, disk),
            reports::run(app, jobs)
        )
    };
    shutdown.run_until_cancelled(work).await;
}

async fn publish_denylist(app: &App) {
    let registry = Trouble::new("the registry");
    let mut due = interval(DENYLIST_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        registry.watch(app.publish_denylist().await);
        registry.watch(app.forget_known().await);
    }
}

async fn expire(app: &App) {
    let history = Trouble::new("expiring history");
    loop {
        let expired = history.watch(app.history.expire(app.clock.now()).await);
        if expired.is_some() {
            app.awaited.retention.store(false, Ordering::Relaxed);
        }
        sleep(if expired.is_some() { EXPIRE_EVERY } else { EXPIRE_AGAIN }).await;
    }
}

/// So that uptime is as quick after a back-fill, or an upgrade, as before.
async fn decide_overlaps(app: &App) {
    let history = Trouble::new("looking at what came out of order");
    let mut due = interval(DECIDE_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        loop {
            let begun = Instant::now();
            if history.watch(app.history.decide_overlaps().await) != Some(true) {
                break;
            }
            // It has no more than a quarter of a processor.
            sleep(3 * begun.elapsed()).await;
        }
    }
}

async fn count_dead_letters(app: &App, dead_letters: &DeadLetters) {
    let mut due = interval(COUNT_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        dead_letters.count(app.clock.now()).await;
    }
}

async fn resume_due(app: &App) {
    let registry = Trouble::new("ending pauses");
    let mut due = interval(RESUME_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        registry.watch(app.registry.resume_due(app.clock.now()).await);
    }
}

/// A clock of ours that was ahead for a while must not keep servers up that are gone.
async fn correct_beats(app: &App) {
    let (cache, registry) = (Trouble::new("the cache"), Trouble::new("correcting beats"));
    let mut due = interval(CORRECT_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let clock = cache.watch(app.cache.clock().await).flatten();
        let now = clock.unwrap_or_else(|| app.clock.now());
        if let Some(corrected @ 1..) = registry.watch(app.registry.correct_beats(now).await) {
            tracing::warn!(corrected, "servers were heard ahead of the clock; taken as heard now");
        }
        // After the registry: an entry of the cache counts only if it is no older than the registry's.
        cache.watch(app.cache.correct(now).await);
    }
}
