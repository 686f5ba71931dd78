//! The variant for one process: a bounded line of messages. Its mutex is never held for longer than a push or a pop.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use crate::{PublishError, Refused};

/// How long a publisher waits for its message to be settled before it answers that the queue is unavailable.
const PATIENCE: Duration = Duration::from_secs(10);

type Outcome<M> = Result<(), Vec<Refused<M>>>;

/// A bounded queue within this process. All unsettled messages together weigh at most `capacity`, as `weigh` tells;
/// beyond that publishing is [`Unavailable`](crate::PublishError::Unavailable). A message whose publisher stopped
/// waiting is still in the queue, so it still counts.
pub fn in_process<M>(capacity: usize, weigh: fn(&M) -> usize) -> (crate::Publisher<M>, crate::Consumer<M>) {
    let shared = Arc::new(Shared {
        line: Mutex::new(Line {
            returned: BTreeMap::new(),
            waiting: VecDeque::new(),
            unsettled: 0,
            capacity,
            next: 0,
            abandoned: false,
            consumed: true,
        }),
        changed: Notify::new(),
        weigh,
    });
    let publisher = Publisher(Arc::new(Open(Arc::clone(&shared))));
    (crate::Publisher::InProcess(publisher), crate::Consumer::InProcess(Consumer(shared)))
}

pub struct Publisher<M>(Arc<Open<M>>);

pub struct Consumer<M>(Arc<Shared<M>>);

/// A message that the consumer has taken from the line and not settled, and the way back.
pub struct Taken<M> {
    envelope: Envelope<M>,
    shared: Arc<Shared<M>>,
}

/// Dropped with the last publisher.
struct Open<M>(Arc<Shared<M>>);

struct Shared<M> {
    line: Mutex<Line<M>>,
    weigh: fn(&M) -> usize,
    /// Something waits, or the last publisher is gone. There is one consumer, so one permit is enough.
    changed: Notify,
}

struct Line<M> {
    /// Messages that came back unsettled, by number. The one consumer receives in order, so they are older than all
    /// that wait.
    returned: BTreeMap<u64, Envelope<M>>,
    waiting: VecDeque<Envelope<M>>,
    /// Weight of all that waits or is in the consumer's hands.
    unsettled: usize,
    capacity: usize,
    /// Number of the next message.
    next: u64,
    /// Every publisher is gone.
    abandoned: bool,
    /// The consumer is there.
    consumed: bool,
}

struct Envelope<M> {
    number: u64,
    weight: usize,
    message: M,
    settled: oneshot::Sender<Outcome<M>>,
}

impl<M> Clone for Publisher<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Publisher<M> {
    pub async fn publish(&self, message: M) -> Result<(), PublishError<M>> {
        let settled = self.0.0.push(message).map_err(PublishError::Unavailable)?;
        match tokio::time::timeout(PATIENCE, settled).await {
            Ok(Ok(outcome)) => outcome.map_err(PublishError::Refused),
            Ok(Err(_)) => Err(PublishError::Unavailable("nobody consumes any more")),
            Err(_) => Err(PublishError::Unavailable("not stored within 10 s")),
        }
    }
}

impl<M> Consumer<M> {
    pub async fn receive(&mut self, most: usize) -> Option<Vec<Taken<M>>> {
        loop {
            let (envelopes, over) = self.0.lock().pop(most);
            if !envelopes.is_empty() {
                let taken = |envelope| Taken { envelope, shared: Arc::clone(&self.0) };
                return Some(envelopes.into_iter().map(taken).collect());
            }
            if over {
                return None;
            }
            self.0.changed.notified().await;
        }
    }
}

impl<M> Drop for Consumer<M> {
    fn drop(&mut self) {
        let mut line = self.0.lock();
        line.consumed = false;
        // Dropped outside the lock: what messages and wakers do when they are dropped is not known here.
        let waiting = (std::mem::take(&mut line.returned), std::mem::take(&mut line.waiting));
        drop(line);
        drop(waiting);
    }
}

impl<M> Taken<M> {
    pub fn message(&self) -> &M {
        &self.envelope.message
    }

    pub fn message_mut(&mut self) -> &mut M {
        &mut self.envelope.message
    }

    pub fn settle(self, outcome: Outcome<M>) {
        self.shared.lock().unsettled -= self.envelope.weight;
        // A publisher that stopped waiting does not hear it.
        drop(self.envelope.settled.send(outcome));
    }

    pub fn give_back(self) {
        let Self { envelope, shared } = self;
        let mut line = shared.lock();
        if !line.consumed {
            drop(line);
            return;
        }
        line.returned.insert(envelope.number, envelope);
        drop(line);
        shared.changed.notify_one();
    }
}

impl<M> Drop for Open<M> {
    fn drop(&mut self) {
        self.0.lock().abandoned = true;
        self.0.changed.notify_one();
    }
}

impl<M> Shared<M> {
    fn push(&self, message: M) -> Result<oneshot::Receiver<Outcome<M>>, &'static str> {
        let (settled, outcome) = oneshot::channel();
        let weight = (self.weigh)(&message);
        let mut line = self.lock();
        if !line.consumed {
            return Err("nobody consumes any more");
        }
        if line.unsettled + weight > line.capacity {
            return Err("full");
        }
        line.unsettled += weight;
        let number = line.next;
        line.next += 1;
        line.waiting.push_back(Envelope { number, weight, message, settled });
        drop(line);
        self.changed.notify_one();
        Ok(outcome)
    }

    /// No code under the lock can panic half-way, so a poisoned lock guards sound data.
    fn lock(&self) -> MutexGuard<'_, Line<M>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Line<M> {
    /// What waits, oldest first, and whether no more will come.
    fn pop(&mut self, most: usize) -> (Vec<Envelope<M>>, bool) {
        let mut envelopes = Vec::with_capacity(most.min(self.returned.len() + self.waiting.len()));
        while envelopes.len() < most
            && let Some((_, envelope)) = self.returned.pop_first()
        {
            envelopes.push(envelope);
        }
        let rest = (most - envelopes.len()).min(self.waiting.len());
        envelopes.extend(self.waiting.drain(..rest));
        (envelopes, self.abandoned)
    }
}
