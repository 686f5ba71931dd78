//! The worker: settles what the queue holds into history, registry and cache, in this order, then acks.
//!
//! Every write is idempotent, so a batch that was handed back half-done is simply done again.

mod apply;
mod batch;
mod hand;
mod heard;
mod service;
pub mod settings;

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use apply::{Stores, Unstored};
use batch::Batch;
use cache::Cache;
use chassis::Clock;
use fleet::{Message, liveness::TICK_EVERY};
use hand::{Hand, Span};
use history::History;
use metrics::{counter, histogram};
use queue::{Consumer, Delivery};
use registry::Registry;
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

pub use service::{StartError, run};

/// Most messages taken from the queue at once.
const MOST: usize = 10_000;
/// Most messages of them in one transaction per store, counted in snapshots: an agent's back-fill brings 240 in a
/// message, and publishers wait for ten seconds only.
const MOST_SNAPSHOTS: usize = 10_000;
/// How long the stores are left alone after a first failure, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A worker. Any number of them may share a queue.
pub struct Worker {
    name: String,
    consumer: Consumer<Message>,
    stores: Stores,
    clock: Clock,
}

/// What consuming and reporting share. Neither holds the lock while it waits.
struct Shared {
    hand: Mutex<Hand>,
    /// The first message is settled: from then on there is something to tell.
    first_settled: Notify,
    clock: Clock,
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
        Self { name, consumer, stores: Stores::new(registry, history, cache), clock }
    }

    /// Works until every publisher is gone, or until `shutdown` is cancelled and what it holds is settled.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { name, consumer, stores, clock } = self;
        let shared = Shared { hand: Mutex::default(), first_settled: Notify::new(), clock };
        let registry = stores.registry.clone();
        let consumed = CancellationToken::new();
        tokio::join!(
            async {
                shared.consume(consumer, stores, &shutdown).await;
                consumed.cancel();
            },
            shared.report(&name, &registry, &consumed),
        );
    }
}

impl Shared {
    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn consume(
        &self,
        mut consumer: Consumer<Message>,
        mut stores: Stores,
        shutdown: &CancellationToken,
    ) {
        let (shortest, longest) = BACK_OFF;
        let mut back_off = shortest;
        loop {
            let received = shutdown.run_until_cancelled(consumer.receive(MOST)).await;
            let Some(Some(deliveries)) = received else { return };
            match self.settle_all(deliveries, &mut stores).await {
                Ok(()) if back_off == shortest => {}
                Ok(()) => {
                    tracing::info!("the stores answer again");
                    back_off = shortest;
                }
                Err(error) => {
                    if back_off == shortest {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "a store does not answer; what came is back in the queue");
                    }
                    counter!("rollcall_worker_handed_back_total").increment(1);
                    shutdown.run_until_cancelled(sleep(back_off)).await;
                    back_off = longest.min(2 * back_off);
                }
            }
        }
    }

    /// Settles in order; at the first failure all that is left returns to the queue.
    async fn settle_all(
        &self,
        deliveries: Vec<Delivery<Message>>,
        stores: &mut Stores,
    ) -> Result<(), Unstored> {
        let mut waiting: VecDeque<_> =
            deliveries.into_iter().map(|delivery| (Span::of(delivery.message()), delivery)).collect();
        self.hand().take(waiting.iter().map(|(span, _)| *span));
        while !waiting.is_empty() {
            let mut batch = Batch::next(&mut waiting, MOST_SNAPSHOTS);
            let begun = Instant::now();
            match stores.apply(&mut batch).await {
                Ok(rejected) => {
                    let (spans, ticks) = batch.settle(rejected).await;
                    if self.hand().settle(&spans, &ticks) {
                        self.first_settled.notify_one();
                    }
                    histogram!("rollcall_worker_batch_seconds").record(begun.elapsed());
                }
                Err(error) => {
                    let left = batch.spans().chain(waiting.iter().map(|(span, _)| *span));
                    self.hand().give_back(left);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Tells the registry at once, when the first message is settled, every five seconds, and a last time when all is
    /// consumed.
    async fn report(&self, name: &str, registry: &Registry, consumed: &CancellationToken) {
        let mut every = interval(Duration::from_millis(TICK_EVERY.unsigned_abs()));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reached = true;
        loop {
            let last = tokio::select! {
                _ = every.tick() => false,
                () = self.first_settled.notified() => false,
                () = consumed.cancelled() => true,
            };
            let progress = self.hand().progress(self.clock.now());
            let written = registry.put_progress(name, &progress).await;
            if reached != written.is_ok() {
                reached = !reached;
                match written {
                    Ok(()) => tracing::info!("the registry takes this worker's progress again"),
                    Err(error) => tracing::warn!(%error, "the registry does not take this worker's progress"),
                }
            }
            if last {
                return;
            }
        }
    }
}
