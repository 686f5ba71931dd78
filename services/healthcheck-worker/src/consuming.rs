//! From the queue into the stores, and what happens while a store is away: hold everything, then hand it back, probe,
//! and go on.

use std::{collections::VecDeque, time::Duration};

use chassis::{random, trouble::causes};
use fleet::Message;
use queue::{Consumer, Delivery};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    Shared,
    apply::Stores,
    batch::{Batch, Verdict},
    hand::Span,
    outage::{Cure, Failure, Next, Unstored, pause},
};

/// Most messages in hand.
const MOST: usize = 10_000;
/// Most messages of them in one transaction per store, counted in snapshots: an agent's back-fill brings 240 in a
/// message, and publishers wait for ten seconds only.
const MOST_SNAPSHOTS: usize = 10_000;

/// The part of a worker that consumes. Dropped at any moment, it leaves to the queue what is not settled.
pub struct Consuming<'a> {
    pub consumer: Consumer<Message>,
    pub stores: Stores,
    pub shared: &'a Shared,
    /// For how long what is in hand is held while a store is away.
    pub holding: Duration,
    pub shutdown: &'a CancellationToken,
    /// In hand, oldest first.
    pub waiting: VecDeque<(Span, Delivery<Message>)>,
}

/// An outage that lasts.
struct Outage {
    began: Instant,
    failures: u32,
    /// What the log was told.
    told: Option<Cure>,
}

impl Consuming<'_> {
    /// Works until every publisher is gone, or until the shutdown and what is in hand is settled or, with a store away,
    /// handed back.
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

    /// Whether there is, or was, something to receive.
    async fn receive(&mut self) -> bool {
        let received = self.shutdown.run_until_cancelled(self.consumer.receive(MOST)).await;
        let Some(Some(deliveries)) = received else { return false };
        self.take(deliveries);
        true
    }

    fn take(&mut self, deliveries: Vec<Delivery<Message>>) {
        self.shared.instruments.received.increment(deliveries.len() as u64);
        let taken = deliveries.into_iter().map(|delivery| (Span::of(delivery.message()), delivery));
        let first = self.waiting.len();
        self.waiting.extend(taken);
        self.shared.hand().take(self.waiting.range(first..).map(|(span, _)| *span));
    }

    /// Settles one batch; if that fails it is the next one again.
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
        let (size, refused) = (batch.records().len(), applied.rejected.len());
        let [unknown, revoked] = [Verdict::Unknown, Verdict::Revoked].map(|why| batch.discarded(why));
        let (spans, ticks) = batch.settle(applied.rejected).await;
        if self.shared.hand().settle(&spans, &ticks) {
            self.shared.first_settled.notify_one();
        }
        instruments.settled.increment(spans.len() as u64);
        instruments.stored.increment((size - refused) as u64);
        instruments.refused.increment(refused as u64);
        instruments.unknown.increment(unknown as u64);
        instruments.revoked.increment(revoked as u64);
        instruments.sightings.increment(applied.sightings as u64);
        instruments.batch_size.record(size as f64);
        instruments.batch.record(begun.elapsed());
        Ok(())
    }

    /// Waits, and takes in what comes meanwhile: among others it shows whether one batch alone is at fault, and this
    /// worker's row tells of it.
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

    /// Everything in hand goes back, each message once. Answers a copy of the batch that failed.
    fn hand_back(&mut self) -> Batch {
        let spans: Vec<Span> = self.waiting.iter().map(|(span, _)| *span).collect();
        let failed = Batch::next(&mut self.waiting, MOST_SNAPSHOTS);
        let sample = failed.copy();
        // First, or the queue would hand them out here again.
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

    /// Returns once the stores take what failed; false when it is time to stop.
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

    /// Tells when it begins, and once more if waiting turns out not to help.
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
