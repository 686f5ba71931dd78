//! Consuming: one task keeps the connection and passes on what arrives. Whoever has a delivery in hand settles it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::{FutureExt, StreamExt};
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use metrics::Counter;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    Settings,
    connection::{Backoff, Broker, Lost, News, Session, State, first_reached, text},
    publishing::{Line, PATIENCE, To},
    receipt::{Desk, Ledger, Receipt, Settlement},
};
use crate::Refused;

/// Largest message in bytes that is read: ten times what a publisher of this release may send.
const LARGEST_READ: usize = 1_000_000;
/// Most characters of a reason that are kept: some quote the message that they are about.
const REASON: usize = 500;
/// Most settlements that are sent at once.
const SETTLEMENTS: usize = 256;

pub struct Consumer<M> {
    arriving: mpsc::UnboundedReceiver<Received<M>>,
    /// Whether the task is to be subscribed.
    wanted: watch::Sender<bool>,
    reached: watch::Receiver<bool>,
    /// While this or a delivery in hand exists, the task keeps the connection.
    desk: Desk,
    settings: Box<Settings>,
    pump: JoinHandle<()>,
}

/// A received message, its receipt, and the way of its parts to the dead letters.
pub struct Received<M> {
    message: M,
    receipt: Receipt,
    dead_letters: DeadLetterQueue,
    encode: fn(&M) -> serde_json::Result<Vec<u8>>,
}

/// The way to the queue of dead letters.
#[derive(Clone)]
struct DeadLetterQueue {
    line: Line,
    origin: String,
    dead_lettered: Counter,
}

/// What is to become a dead letter.
struct DeadLetter {
    payload: Vec<u8>,
    reason: String,
}

/// What the task of a consumer needs.
struct Pump<M> {
    broker: Broker,
    dead_letters: DeadLetterQueue,
    arriving: mpsc::UnboundedSender<Received<M>>,
    settling: mpsc::UnboundedReceiver<Settlement>,
    /// Weak, so that `settling` ends when the consumer and the last delivery in hand are gone.
    settlements: mpsc::WeakUnboundedSender<Settlement>,
    current: Arc<AtomicU64>,
    /// Number of the latest session.
    session: u64,
    wanted: watch::Receiver<bool>,
}

/// Why a session ended.
enum End {
    /// The consumer and all deliveries in hand are gone.
    Finished,
    /// The consumer wants nothing for now.
    Paused,
    Lost(Lost),
}

impl<M: Serialize + DeserializeOwned + Send + 'static> Consumer<M> {
    pub fn open(settings: &Settings) -> Self {
        let broker = Broker::new(settings);
        let origin = broker.queue.clone();
        metrics::describe_counter!(
            "rollcall_queue_dead_lettered_total",
            "Messages, or parts of them, that this process made dead letters, by queue"
        );
        let dead_lettered =
            metrics::counter!("rollcall_queue_dead_lettered_total", "queue" => origin.clone());
        let dead_letters = DeadLetterQueue { line: Line::open(broker.clone()), origin, dead_lettered };
        let (arrive, arriving) = mpsc::unbounded_channel();
        let (settlements, settling) = mpsc::unbounded_channel();
        let (wanted, subscribed) = watch::channel(true);
        let (reach, reached) = watch::channel(false);
        let current = Arc::new(AtomicU64::new(0));
        let pump = Pump {
            broker,
            dead_letters,
            arriving: arrive,
            settling,
            settlements: settlements.downgrade(),
            current: Arc::clone(&current),
            session: 0,
            wanted: subscribed,
        };
        let pump = tokio::spawn(pump.run(reach));
        let settings = Box::new(settings.clone());
        Self { arriving, wanted, reached, desk: Desk { settlements, current }, settings, pump }
    }
}

impl<M> Consumer<M> {
    pub async fn receive(&mut self, most: usize) -> Option<Vec<Received<M>>> {
        self.want(true);
        let mut received = Vec::new();
        loop {
            if self.arriving.recv_many(&mut received, most.max(1)).await == 0 {
                return None;
            }
            // What came by a connection that is lost comes again.
            received.retain(|one: &Received<M>| !one.receipt.is_void());
            if !received.is_empty() {
                return Some(received);
            }
        }
    }

    pub fn pause(&mut self) {
        self.want(false);
        while self.arriving.try_recv().is_ok() {}
    }

    pub async fn reached(&self) {
        first_reached(&self.reached).await;
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub async fn close(self) {
        let Self { arriving, wanted, desk, pump, .. } = self;
        drop((arriving, wanted, desk));
        drop(pump.await);
    }

    fn want(&self, wanted: bool) {
        self.wanted.send_if_modified(|value| std::mem::replace(value, wanted) != wanted);
    }
}

impl<M> Received<M> {
    pub fn message(&self) -> &M {
        &self.message
    }

    pub fn message_mut(&mut self) -> &mut M {
        &mut self.message
    }

    pub fn ack(self) {
        self.receipt.ack();
    }

    /// If it takes longer than 10 s, or the caller gives up, it goes on in the background.
    pub async fn refuse(self, refused: Vec<Refused<M>>) {
        let Self { receipt, dead_letters, encode, .. } = self;
        let mut letters = Vec::with_capacity(refused.len());
        for Refused { message, reason } in refused {
            match encode(&message) {
                Ok(payload) => letters.push(DeadLetter { payload, reason }),
                Err(error) => {
                    tracing::error!(%error, queue = dead_letters.origin, "a refused part cannot be written as JSON");
                    return;
                }
            }
        }
        drop(timeout(PATIENCE, tokio::spawn(dead_letters.send(letters, receipt))).await);
    }
}

impl DeadLetterQueue {
    /// Sends the letters, and acks their message once all of them are confirmed. Tries until that works, or until the
    /// connection is lost and with it the right to settle the message.
    async fn send(self, letters: Vec<DeadLetter>, receipt: Receipt) {
        for DeadLetter { payload, reason } in letters {
            let mut headers = FieldTable::default();
            headers.insert("reason".into(), text(&reason.chars().take(REASON).collect::<String>()));
            headers.insert("origin".into(), text(&self.origin));
            let mut backoff = Backoff::default();
            loop {
                let begun = Instant::now();
                if self.line.send(To::Dead, payload.clone(), headers.clone()).await.is_ok() {
                    break;
                }
                backoff.ended(begun);
                backoff.wait().await;
                if receipt.is_void() {
                    return;
                }
            }
            self.dead_lettered.increment(1);
        }
        receipt.ack();
    }
}

impl<M: Serialize + DeserializeOwned + Send + 'static> Pump<M> {
    /// Keeps a connection until the consumer and all deliveries in hand are gone.
    async fn run(mut self, reach: watch::Sender<bool>) {
        let mut news = News::new("consume", &self.broker.queue);
        let mut backoff = Backoff::default();
        loop {
            if !*self.wanted.borrow_and_update() {
                tokio::select! {
                    // Without a session every settlement is void.
                    () = until_none(&mut self.settling) => return,
                    changed = self.wanted.changed() => if changed.is_err() { return },
                }
                continue;
            }
            let begun = Instant::now();
            let opened = tokio::select! {
                () = until_none(&mut self.settling) => return,
                opened = subscribe(&self.broker) => opened,
            };
            let ended = match opened {
                Ok((session, subscription)) => {
                    news.tell(State::Up, "");
                    reach.send_replace(true);
                    self.session += 1;
                    self.current.store(self.session, Ordering::Release);
                    let ended = self.serve(&session, subscription).await;
                    self.current.store(0, Ordering::Release);
                    session.close().await;
                    ended
                }
                Err(lost) => End::Lost(lost),
            };
            let lost = match ended {
                End::Finished => return,
                End::Paused => continue,
                End::Lost(lost) => lost,
            };
            news.tell(State::Down, &lost.0);
            backoff.ended(begun);
            tokio::select! {
                () = until_none(&mut self.settling) => return,
                () = backoff.wait() => {}
            }
        }
    }

    async fn serve(&mut self, session: &Session, mut subscription: lapin::Consumer) -> End {
        let channel = &session.channel;
        let mut ledger = Ledger::new(self.session);
        let mut settlements = Vec::with_capacity(SETTLEMENTS);
        loop {
            tokio::select! {
                // A pause comes first. What is handed back because of it returns to the queue at once, when the session
                // ends. Requeued one by one, each message would be delivered here again before the session ends.
                biased;
                changed = self.wanted.changed() => match changed {
                    Ok(()) if !*self.wanted.borrow() => {
                        self.settle_acks(channel, &mut ledger).await;
                        return End::Paused;
                    }
                    Ok(()) => {}
                    Err(_) => break,
                },
                settled = self.settling.recv_many(&mut settlements, SETTLEMENTS) => match settled {
                    0 => break,
                    _ => ledger.settle(channel, &mut settlements).await,
                },
                arrived = subscription.next() => match arrived {
                    Some(Ok(delivery)) => self.take(delivery, &mut ledger),
                    Some(Err(error)) => return End::Lost(error.into()),
                    None => return End::Lost(Lost("the queue is gone".to_owned())),
                },
            }
        }
        // The consumer is gone, but deliveries may still be in hand: they may be settled, no more messages come, and
        // those that came meanwhile return. The queue answers a cancel after it has done everything that it was told
        // before.
        let options = BasicCancelOptions { nowait: false };
        if let Err(error) = channel.basic_cancel(subscription.tag(), options).await {
            return End::Lost(error.into());
        }
        while let Some(Some(Ok(delivery))) = subscription.next().now_or_never() {
            // The consumer is gone, so this returns the message.
            self.take(delivery, &mut ledger);
        }
        while self.settling.recv_many(&mut settlements, SETTLEMENTS).await > 0 {
            ledger.settle(channel, &mut settlements).await;
        }
        End::Finished
    }

    /// Sends the acks so far. All other messages return to the queue when the session ends.
    async fn settle_acks(&mut self, channel: &Channel, ledger: &mut Ledger) {
        let mut acks = Vec::new();
        while let Ok(settlement) = self.settling.try_recv() {
            acks.extend(settlement.is_ack().then_some(settlement));
        }
        ledger.settle(channel, &mut acks).await;
    }

    /// Passes on a message that can be decoded, and sends any other to the dead letters.
    fn take(&self, delivery: Delivery, ledger: &mut Ledger) {
        // Nobody is left who could settle it: it returns to the queue with the connection.
        let Some(settlements) = self.settlements.upgrade() else { return };
        let desk = Desk { settlements, current: Arc::clone(&self.current) };
        let receipt = ledger.receipt(delivery.delivery_tag, desk);
        match decode(&delivery.data) {
            // If the consumer is gone, sending fails and drops the message, which returns it.
            Ok(message) => drop(self.arriving.send(Received {
                message,
                receipt,
                dead_letters: self.dead_letters.clone(),
                encode: serde_json::to_vec,
            })),
            Err(reason) => {
                let letter = DeadLetter { payload: delivery.data, reason };
                tokio::spawn(self.dead_letters.clone().send(vec![letter], receipt));
            }
        }
    }
}

async fn subscribe(broker: &Broker) -> Result<(Session, lapin::Consumer), Lost> {
    let session = broker.open("consume").await?;
    // Set for this channel alone, and before the subscription: without it the broker sends all it has. Each new
    // session sets it again, so it also holds after a restart of the broker.
    session.channel.basic_qos(broker.prefetch(), BasicQosOptions { global: false }).await?;
    let options = BasicConsumeOptions {
        // The broker keeps a message until we say that it is stored.
        no_ack: false,
        // Several workers share the queue.
        exclusive: false,
        ..BasicConsumeOptions::default()
    };
    let (queue, tag) = (broker.queue.as_str().into(), "".into());
    let subscription = session.channel.basic_consume(queue, tag, options, FieldTable::default()).await?;
    Ok((session, subscription))
}

async fn until_none(settling: &mut mpsc::UnboundedReceiver<Settlement>) {
    while settling.recv().await.is_some() {}
}

fn decode<M: DeserializeOwned>(payload: &[u8]) -> Result<M, String> {
    if payload.len() > LARGEST_READ {
        return Err(format!("it is {} bytes long; at most {LARGEST_READ} are read", payload.len()));
    }
    let text = std::str::from_utf8(payload).map_err(|error| format!("it is not UTF-8: {error}"))?;
    serde_json::from_str(text).map_err(|error| format!("it is not a message: {error}"))
}
