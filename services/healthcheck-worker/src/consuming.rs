//! Takes messages from the queue and has them stored. While a store is away it first holds what it has in hand, then
//! hands it back, probes, and goes on when the store takes it.

use std::{collections::VecDeque, time::Duration};

use chassis::{random, trouble::causes};
use fleet::Message;
use queue::{Consumer, Delivery};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    Shared,
    apply::Stores,
    batch::{Admission, Batch},
    hand::Span,
    outage::{Cure, Failure, Next, Unstored, pause},
    room::Room,
};

/// Most messages in hand.
const MOST: usize = 10_000;
/// Most snapshots that are stored together. Messages differ in size: an agent's back-fill brings 240 snapshots in
/// one. In process publishers wait for ten seconds only, so a transaction has to be bounded.
const MOST_SNAPSHOTS: usize = 10_000;
/// Where a worker gathers, so many snapshots are enough for one call of history.
const ENOUGH_SNAPSHOTS: usize = 5_000;
/// And so many messages: half of what a broker hands out, so that the other half comes while these are stored.
const ENOUGH_MESSAGES: usize = 50;

/// The part of a worker that consumes. When it is dropped, at any moment, what is not settled returns to the queue.
pub struct Consuming<'a> {
    pub consumer: Consumer<Message>,
    pub stores: Stores,
    pub room: Room,
    pub shared: &'a Shared,
    /// How long messages in hand are held while a store is away.
    pub holding: Duration,
    /// For how long snapshots wait for company before they are stored.
    pub gathering: Duration,
    pub shutdown: &'a CancellationToken,
    /// In hand, oldest first.
    pub waiting: VecDeque<(Span, Delivery<Message>)>,
}

/// An outage of a store that has not ended yet.
struct Outage {
    began: Instant,
    failures: u32,
    /// The cure that was logged.
    told: Option<Cure>,
}

impl Consuming<'_> {
    /// Works until every publisher is gone, or until the shutdown; in that case it first settles what it has in hand
    /// or, while a store is away, hands it back.
    pub async fn run(mut self) -> Consumer<Message> {
        let mut outage: Option<Outage> = None;
        while !self.waiting.is_empty() || self.receive().await {
            let Err(error) = self.settle_next().await else {
                if outage.take().is_some() {
                    tracing::info!("the stores take everything again");
                }
                continue;
            };
            let lasting = outage.get_or_insert_with(Outage::begin);
            match lasting.failed(&error, self.holding, self.shutdown.is_cancelled()) {
                Next::Hold(pause) => self.gather(pause).await,
                Next::HandBack => {
                    let sample = self.hand_back();
                    if !self.probe(sample, lasting).await {
                        break;
                    }
                    outage = None;
                    tracing::info!("the stores take everything again; consuming goes on");
                }
            }
        }
        self.consumer
    }

    /// Receives what waits. False when nothing more is to be received.
    async fn receive(&mut self) -> bool {
        let received = self.shutdown.run_until_cancelled(self.consumer.receive(MOST)).await;
        let Some(Some(deliveries)) = received else { return false };
        self.take(deliveries);
        self.gather_company().await;
        true
    }

    /// Waits for more where few snapshots cost a store nearly as much as many, until there is enough. Under load there
    /// is at once; and ticks wait for nothing.
    async fn gather_company(&mut self) {
        let until = Instant::now() + self.gathering;
        while !self.gathering.is_zero() && self.may_wait() {
            let room = ENOUGH_MESSAGES - self.waiting.len();
            tokio::select! {
                () = sleep_until(until) => return,
                () = self.shutdown.cancelled() => return,
                received = self.consumer.receive(room) => match received {
                    Some(deliveries) => self.take(deliveries),
                    None => return,
                },
            }
        }
    }

    /// Whether there are snapshots in hand, and not enough of them. Somebody waits to hear what became of an order.
    fn may_wait(&self) -> bool {
        let has_results =
            |(_, delivery): &(Span, Delivery<Message>)| matches!(delivery.message(), Message::Results(_));
        if self.waiting.iter().any(has_results) {
            return false;
        }
        let count = |(_, delivery): &(Span, Delivery<Message>)| match delivery.message() {
            Message::Snapshots(records) => records.len(),
            Message::Tick(_) | Message::Results(_) => 0,
        };
        self.waiting.len() < ENOUGH_MESSAGES
            && (1..ENOUGH_SNAPSHOTS).contains(&self.waiting.iter().map(count).sum::<usize>())
    }

    fn take(&mut self, deliveries: Vec<Delivery<Message>>) {
        self.shared.instruments.received.increment(deliveries.len() as u64);
        let taken = deliveries.into_iter().map(|delivery| (Span::of(delivery.message()), delivery));
        let first = self.waiting.len();
        self.waiting.extend(taken);
        self.shared.hand().take(self.waiting.range(first..).map(|(span, _)| *span));
    }

    /// Settles one batch. If that fails, the batch is put back and is the next one again.
    #[tracing::instrument(target = "steps", level = "debug", name = "batch", skip_all)]
    async fn settle_next(&mut self) -> Result<(), Unstored> {
        let mut batch = Batch::next(&mut self.waiting, MOST_SNAPSHOTS);
        let (begun, instruments) = (Instant::now(), &self.shared.instruments);
        let applied = match self.stores.apply(&mut batch, instruments).await {
            Ok(applied) => applied,
            Err(error) => {
                batch.put_back(&mut self.waiting);
                return Err(error);
            }
        };
        self.shared.writers().wrote(batch.records(), self.shared.clock.now());
        let (size, refused) = (batch.records().len(), applied.rejected.len());
        let [unknown, deleted, revoked] =
            [Admission::Unknown, Admission::Deleted, Admission::Revoked].map(|why| batch.discarded(why));
        let room = self.room.take(batch.deliveries_of_unknown()).await;
        let ack = tracing::debug_span!(target: "steps", "ack");
        let (spans, ticks) = batch.settle(applied.rejected, room).instrument(ack).await;
        if self.shared.hand().settle(&spans, &ticks) {
            self.shared.first_settled.notify_one();
        }
        instruments.settled.increment(spans.len() as u64);
        instruments.stored.increment((size - refused) as u64);
        instruments.refused.increment(refused as u64);
        instruments.unknown.increment(unknown as u64);
        instruments.deleted.increment(deleted as u64);
        instruments.revoked.increment(revoked as u64);
        instruments.sightings.increment(applied.sightings as u64);
        instruments.observations.increment(applied.observations as u64);
        instruments.results_counted.increment(applied.orders.counted as u64);
        instruments.results_left.increment(applied.orders.left as u64);
        instruments.batch_size.record(size as f64);
        instruments.batch.record(begun.elapsed());
        Ok(())
    }

    /// Waits, and receives meanwhile what comes, so that this worker's row tells of it and the next batch has more
    /// than what failed alone.
    async fn gather(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut comes = true;
        loop {
            let room = MOST.saturating_sub(self.waiting.len());
            tokio::select! {
                () = sleep_until(until) => return,
                () = self.shutdown.cancelled() => return,
                received = self.consumer.receive(room), if comes && room > 0 => match received {
                    Some(deliveries) => self.take(deliveries),
                    None => comes = false,
                },
            }
        }
    }

    /// Returns everything in hand to the queue, each message once. Returns a copy of the batch that failed, to probe
    /// with.
    fn hand_back(&mut self) -> Batch {
        let spans: Vec<Span> = self.waiting.iter().map(|(span, _)| *span).collect();
        let failed = Batch::next(&mut self.waiting, MOST_SNAPSHOTS);
        let sample = failed.copy();
        // Before anything is dropped: else the queue would deliver it to this consumer again.
        self.consumer.pause();
        drop(failed);
        self.waiting.clear();
        self.shared.hand().give_back(spans.iter().copied());
        self.shared.instruments.handed_back.increment(spans.len() as u64);
        tracing::warn!(
            messages = spans.len(),
            "what was in hand is back in the queue; nothing is taken for now"
        );
        sample
    }

    /// Returns true once the stores take what failed, false when this worker is asked to stop.
    async fn probe(&mut self, mut sample: Batch, outage: &mut Outage) -> bool {
        let shutdown = self.shutdown;
        let probing = async {
            loop {
                sleep(pause(outage.failures, dice())).await;
                match self.stores.probe(&mut sample, &self.shared.instruments).await {
                    Ok(()) => return,
                    Err(error) => outage.note(&error),
                }
            }
        };
        shutdown.run_until_cancelled(probing).await.is_some()
    }
}

impl Outage {
    fn begin() -> Self {
        Self { began: Instant::now(), failures: 0, told: None }
    }

    fn failed(&mut self, error: &Unstored, holding: Duration, stopping: bool) -> Next {
        self.note(error);
        let lasting = self.began.elapsed();
        Failure { count: self.failures, lasting, holding, stopping }.next(dice())
    }

    /// Logs when the outage begins, and once more if it turns out that waiting does not cure it. (`chassis::Trouble`
    /// knows no such second stage.)
    fn note(&mut self, error: &Unstored) {
        self.failures = self.failures.saturating_add(1);
        let (store, cure) = (error.store(), error.cure());
        match (self.told, cure) {
            (None, Cure::Time) => {
                let error = causes(error);
                tracing::warn!(store, error, "a store does not answer; what came is held");
            }
            (None | Some(Cure::Time), Cure::Person) => {
                let error = causes(error);
                tracing::error!(
                    store,
                    error,
                    "waiting does not cure this, a person has to look; all is kept"
                );
            }
            (Some(Cure::Time), Cure::Time) | (Some(Cure::Person), _) => return,
        }
        self.told = Some(cure);
    }
}

fn dice() -> u64 {
    u64::from_le_bytes(random())
}
