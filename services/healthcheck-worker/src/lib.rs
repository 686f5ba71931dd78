//! The worker: settles what the queue holds into history, registry and cache, in this order, then acks. Beside that one of
//! all workers rolls up history.
//!
//! Every write is idempotent, so a batch that was handed back half-done is simply done again.

mod alerts;
mod apply;
mod batch;
mod comparing;
mod consuming;
mod hand;
mod heard;
mod instruments;
mod outage;
mod reporters;
mod rolling;
mod room;
mod service;
pub mod settings;
mod writers;

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use apply::Stores;
use cache::Cache;
use chassis::{Clock, Running, Trouble};
use consuming::Consuming;
use fleet::{Message, Millis, liveness::TICK_EVERY};
use hand::Hand;
use history::History;
use instruments::Instruments;
use queue::Consumer;
use registry::Registry;
use rolling::Rolling;
use room::Room;
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use writers::Writers;

pub use service::{StartError, run};

/// How long a worker holds what it has in hand while a store is away. Its row in the registry is live for as long,
/// and says meanwhile how old the oldest message in hand is. Handing back sooner would cost deliveries, which a
/// broker counts.
const HOLDING: Duration = Duration::from_secs(60);

/// A worker. Any number of them may share a queue.
pub struct Worker {
    name: String,
    consumer: Consumer<Message>,
    stores: Stores,
    clock: Clock,
    holding: Duration,
    gathering: Duration,
}

/// What consuming and reporting share. Neither awaits anything while it holds the lock.
struct Shared {
    hand: Mutex<Hand>,
    /// The first message is settled: from now on there is progress to report.
    first_settled: Notify,
    clock: Clock,
    instruments: Instruments,
    writers: Mutex<Writers>,
}

impl Worker {
    /// A worker of this `name`, under which it tells the registry how far it has got.
    pub fn new(
        name: String,
        consumer: Consumer<Message>,
        registry: Registry,
        history: History,
        cache: Cache,
        clock: Clock,
    ) -> Self {
        let stores = Stores::new(registry, history, cache, clock.clone());
        Self { name, consumer, stores, clock, holding: HOLDING, gathering: Duration::ZERO }
    }

    /// Sets how long the worker holds what it has in hand while a store is away, before it hands that back; 60 s
    /// unless set.
    pub fn holding(self, holding: Duration) -> Self {
        Self { holding, ..self }
    }

    /// Sets for how long snapshots wait for company before they are stored and acked, where there are few; not at all
    /// unless set. For history that takes many snapshots for hardly more than few, and publishers that do not wait.
    pub fn gathering(self, gathering: Duration) -> Self {
        Self { gathering, ..self }
    }

    /// Works until every publisher is gone, or until `shutdown` is cancelled; in that case it first settles what it
    /// has in hand or, while a store is away, hands it back. If the future is dropped before that, what is not stored
    /// returns to the queue.
    pub fn run(self, shutdown: CancellationToken) -> Running<()> {
        Box::pin(self.until_stopped(shutdown))
    }

    async fn until_stopped(self, shutdown: CancellationToken) {
        let Self { name, consumer, stores, clock, holding, gathering } = self;
        let (hand, first_settled, instruments) = (Mutex::default(), Notify::new(), Instruments::new());
        let shared = Shared { hand, first_settled, clock, instruments, writers: Mutex::default() };
        let (registry, cache) = (stores.registry.clone(), stores.cache.clone());
        let history = stores.history.clone();
        let rolling = Rolling { name: &name, registry: &registry, history: &history, clock: &shared.clock };
        let consumed = CancellationToken::new();
        let (waiting, shutdown) = (VecDeque::new(), &shutdown);
        let room = Room::among(consumer.dead_letters());
        let shared = &shared;
        let consuming = Consuming { consumer, stores, room, shared, holding, gathering, shutdown, waiting };
        tokio::join!(
            async {
                let consumer = consuming.run().await;
                consumed.cancel();
                consumer.close().await;
            },
            shared.report(&name, &registry, &cache, &consumed),
            async {
                if consumed.run_until_cancelled(rolling.run()).await.is_none() {
                    rolling.end().await;
                }
            },
        );
    }
}

impl Shared {
    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes this worker's progress to the registry, and who wrote most to the cache: at once, when the first message is settled, every five seconds,
    /// and a last time when consuming has ended.
    async fn report(&self, name: &str, registry: &Registry, cache: &Cache, consumed: &CancellationToken) {
        let mut every = interval(Duration::from_millis(TICK_EVERY.unsigned_abs()));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let progress_trouble = Trouble::saying(
            "the registry does not take this worker's progress",
            "the registry takes this worker's progress again",
        );
        loop {
            let last = tokio::select! {
                _ = every.tick() => false,
                () = self.first_settled.notified() => false,
                () = consumed.cancelled() => true,
            };
            let progress = self.hand().progress(self.clock.now());
            if let Some(at) = progress.oldest_in_hand.or(progress.newest_settled) {
                self.instruments.lag.set(seconds(progress.written_at - at));
            }
            progress_trouble.watch(registry.put_progress(name, &progress).await);
            let most = self.writers().most(progress.written_at);
            // A cache that is away is told of where snapshots are written to it.
            let _ = cache.put_writers(name, &most, progress.written_at).await;
            if last {
                return;
            }
        }
    }
}

fn seconds(millis: Millis) -> f64 {
    millis as f64 / 1_000.0
}
