//! Publishing: one task owns the connection and publishes everything.
//!
//! It is one task because the driver numbers a message in one step and queues its frames in another. Two tasks on one
//! channel could do these steps in different order, and each would then take the other's confirm for its own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::FieldTable,
};
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

use super::{
    LARGEST, Settings,
    confirming::{Full, Outcome, Sent, drain, settle},
    connection::{Backoff, Broker, Lost, News, Session, State, first_reached},
};
use crate::{PublishError, Refused};

/// How long a publisher waits for a confirm before it answers that the queue is unavailable.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Most messages on the wire without a confirm. When one confirm is about several messages, the driver scans all of
/// them.
const WINDOW: usize = 1_000;
/// Most bytes that publishers may have waiting here, those on the wire included.
const ROOM: usize = 32 * 1024 * 1024;
/// A message counts as at least so many bytes of [`ROOM`], so that small ones are bounded in number too.
const LEAST: usize = 4 * 1024;
/// How often the state of an idle connection is checked.
const TICK: Duration = Duration::from_millis(250);

const AWAY: &str = "the broker is away";
const BLOCKED: &str = "the broker takes nothing: it is short of memory or disk";
const LATE: &str = "not confirmed within 10 s";
const LOST: &str = "the connection to the broker was lost";
const TOO_MUCH: &str = "too much waits for the broker";

pub struct Publisher<M> {
    line: Line,
    encode: fn(&M) -> serde_json::Result<Vec<u8>>,
}

/// The way to the broker for all who publish to one queue or its dead letters. Clones share one connection, which ends
/// with the last of them.
#[derive(Clone)]
pub struct Line {
    jobs: mpsc::UnboundedSender<Job>,
    room: Arc<Semaphore>,
    reached: watch::Receiver<bool>,
}

/// Which of the two queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Queue,
    Dead,
}

struct Job {
    to: To,
    payload: Vec<u8>,
    headers: FieldTable,
    deadline: Instant,
    done: oneshot::Sender<Result<(), &'static str>>,
    room: OwnedSemaphorePermit,
}

impl<M> Clone for Publisher<M> {
    fn clone(&self) -> Self {
        Self { line: self.line.clone(), encode: self.encode }
    }
}

impl<M: Serialize> Publisher<M> {
    pub fn open(settings: &Settings) -> Self {
        Self { line: Line::open(Broker::new(settings)), encode: serde_json::to_vec }
    }
}

impl<M> Publisher<M> {
    pub async fn publish(&self, message: M) -> Result<(), PublishError<M>> {
        let reason = match (self.encode)(&message) {
            Ok(payload) if payload.len() <= LARGEST => {
                let sent = self.line.send(To::Queue, payload, FieldTable::default());
                return sent.await.map_err(PublishError::Unavailable);
            }
            Ok(payload) => {
                format!("it is {} bytes long; a message may have {LARGEST}: split it", payload.len())
            }
            Err(error) => format!("it cannot be written as JSON: {error}"),
        };
        Err(PublishError::Refused(vec![Refused { message, reason }]))
    }

    pub async fn reached(&self) {
        self.line.reached().await;
    }
}

impl Line {
    pub fn open(broker: Broker) -> Self {
        let (jobs, taken) = mpsc::unbounded_channel();
        let (reach, reached) = watch::channel(false);
        tokio::spawn(keep(broker, taken, reach));
        Self { jobs, room: Arc::new(Semaphore::new(ROOM)), reached }
    }

    /// Returns once the broker has confirmed the message, or with the reason why it has not; then the message may or
    /// may not be in the queue. If the caller stops waiting, the message is sent all the same.
    pub fn send(
        &self,
        to: To,
        payload: Vec<u8>,
        headers: FieldTable,
    ) -> impl Future<Output = Result<(), &'static str>> + Send + use<> {
        let deadline = Instant::now() + PATIENCE;
        let cost = u32::try_from(payload.len().clamp(LEAST, ROOM)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(cost);
        let (done, settled) = oneshot::channel();
        let queued = room.map_err(|_| TOO_MUCH).and_then(|room| {
            let job = Job { to, payload, headers, deadline, done, room };
            self.jobs.send(job).map_err(|_| LOST)
        });
        async move {
            queued?;
            match timeout_at(deadline, settled).await {
                Ok(settled) => settled.unwrap_or(Err(LOST)),
                Err(_) => Err(LATE),
            }
        }
    }

    /// Returns once the broker was reached for the first time.
    pub async fn reached(&self) {
        first_reached(&self.reached).await;
    }
}

impl Job {
    fn fail(self, why: &'static str) {
        let _ = self.done.send(Err(why));
    }
}

/// Keeps a connection until every publisher is gone.
async fn keep(broker: Broker, mut jobs: mpsc::UnboundedReceiver<Job>, reach: watch::Sender<bool>) {
    let mut news = News::new("publish", &broker.queue);
    let mut backoff = Backoff::default();
    let mut full = Full::default();
    loop {
        let begun = Instant::now();
        let opened = tokio::select! {
            biased;
            () = turn_away(&mut jobs) => return,
            opened = open(&broker) => opened,
        };
        let ended = match opened {
            Ok(session) => {
                news.tell(full.state(), "");
                reach.send_replace(true);
                match serve(&broker, &session, &mut jobs, &mut news, &mut full).await {
                    Ok(End::Finished) => return session.close().await,
                    Ok(End::Full) => {
                        session.close().await;
                        continue;
                    }
                    Err(lost) => lost,
                }
            }
            Err(lost) => lost,
        };
        news.tell(State::Down, &ended.0);
        backoff.ended(begun);
        tokio::select! {
            biased;
            () = turn_away(&mut jobs) => return,
            () = backoff.wait() => {}
        }
    }
}

async fn open(broker: &Broker) -> Result<Session, Lost> {
    let session = broker.open("publish").await?;
    // Without it the broker does not confirm what it took.
    session.channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(session)
}

/// Refuses every message at once while there is no connection, so that none pile up. Returns when every publisher is
/// gone.
async fn turn_away(jobs: &mut mpsc::UnboundedReceiver<Job>) {
    while let Some(job) = jobs.recv().await {
        job.fail(AWAY);
    }
}

/// Why a session was ended although its connection was not lost.
enum End {
    /// Every publisher is gone, and everything is confirmed.
    Finished,
    /// The queue was full for a while; a new session shows whether it still is.
    Full,
}

/// Publishes what comes, until the session ends. What is unconfirmed then is dropped, which tells its publisher that
/// the connection was lost.
async fn serve(
    broker: &Broker,
    session: &Session,
    jobs: &mut mpsc::UnboundedReceiver<Job>,
    news: &mut News,
    full: &mut Full,
) -> Result<End, Lost> {
    let mut wire = FuturesUnordered::new();
    let mut sent: BTreeMap<u64, Sent> = BTreeMap::new();
    let mut number = 0;
    let mut open = true;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // When the broker last blocked this connection: it confirms nothing meanwhile, so a message is late only after
    // that.
    let mut unblocked = Instant::now();
    while open || !sent.is_empty() {
        tokio::select! {
            job = jobs.recv(), if open && (sent.len() < WINDOW || session.blocked()) => match job {
                None => open = false,
                Some(job) if session.blocked() => job.fail(BLOCKED),
                Some(job) if job.deadline < Instant::now() => job.fail(LATE),
                Some(Job { to, payload, headers, done, room, .. }) => {
                    number += 1;
                    sent.insert(number, Sent { since: Instant::now(), done, _room: room });
                    wire.push(publish(broker, session, number, to, payload, headers));
                }
            },
            Some(first) = wire.next(), if !wire.is_empty() => {
                let mut outcomes = vec![first];
                // The driver resolves all confirms of one answer under a lock. This call takes that lock once, and so
                // waits until the whole answer is resolved. After it a return that belongs to the answer is seen too.
                drop(session.channel.wait_for_confirms().now_or_never());
                drain(&mut wire, &mut outcomes);
                settle(outcomes, &mut sent, full)?;
            }
            _ = tick.tick() => {
                if !session.stands() {
                    return Err(Lost(LOST.to_owned()));
                }
                if session.blocked() {
                    unblocked = Instant::now();
                    news.tell(State::Blocked, "");
                } else {
                    news.tell(full.state(), "");
                }
                if full.for_long() {
                    return Ok(End::Full);
                }
                let oldest = sent.first_key_value().map(|(_, sent)| sent.since.max(unblocked));
                if oldest.is_some_and(|since| since.elapsed() > PATIENCE) {
                    // A reply was lost, or the network between here and the broker is.
                    return Err(Lost("a message was not confirmed within 10 s".to_owned()));
                }
            }
        }
    }
    Ok(End::Finished)
}

async fn publish(
    broker: &Broker,
    session: &Session,
    number: u64,
    to: To,
    payload: Vec<u8>,
    headers: FieldTable,
) -> Result<Outcome, lapin::Error> {
    let options = BasicPublishOptions {
        // A message for a queue that does not exist is returned; by default it is confirmed and dropped.
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default()
        // Persistent. A quorum queue writes every message to disk; other kinds of queues do so only with this.
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        // It identifies a returned message, which the driver may deliver with the confirm of another one.
        .with_message_id(number.to_string().into())
        .with_headers(headers);
    let queue = if to == To::Queue { &broker.queue } else { &broker.dead };
    // The default exchange: to the queue of that name.
    let sent = session.channel.basic_publish("".into(), queue.as_str().into(), options, &payload, properties);
    let (acked, returned) = match sent.await?.await? {
        Confirmation::Ack(returned) => (true, returned),
        Confirmation::Nack(returned) => (false, returned),
        Confirmation::NotRequested => (false, None),
    };
    let returned = returned.map(|message| message.properties.message_id().as_ref()?.as_str().parse().ok());
    Ok(Outcome { number, acked, returned })
}
