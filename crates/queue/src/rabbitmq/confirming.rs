//! What becomes of messages on the wire: which message each confirm is for, which ones were returned, and whether the
//! queue is full.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::connection::{Lost, State};

/// When the queue was full for this long, a new channel asks again. The broker tells a channel when there is room
/// again, but not when the queue's bound was raised or removed.
const FULL_FOR: Duration = Duration::from_secs(5);
const FULL: &str = "the queue is full";
const RETURNED: &str = "the queue is gone";

/// A message on the wire that has no confirm yet.
pub struct Sent {
    pub since: Instant,
    pub done: oneshot::Sender<Result<(), &'static str>>,
    /// Released when the message is settled.
    pub _room: OwnedSemaphorePermit,
}

/// What became of a message on the wire.
pub struct Outcome {
    pub number: u64,
    pub acked: bool,
    /// The confirm came with a returned message: the `message_id` of that one.
    pub returned: Option<Option<u64>>,
}

/// Whether the queue refuses for being full, across sessions.
#[derive(Default)]
pub struct Full {
    /// Since when the queue refuses in this session.
    since: Option<Instant>,
    lasting: bool,
}

impl Full {
    fn note(&mut self, outcomes: &[Outcome]) {
        if outcomes.iter().any(|outcome| outcome.acked) {
            *self = Self::default();
        } else if !outcomes.is_empty() {
            self.lasting = true;
            self.since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether the queue has refused for [`FULL_FOR`] in this session. After a yes the time counts anew.
    pub fn for_long(&mut self) -> bool {
        let long = self.since.is_some_and(|since| since.elapsed() > FULL_FOR);
        if long {
            self.since = None;
        }
        long
    }

    pub fn state(&self) -> State {
        if self.lasting { State::Full } else { State::Up }
    }
}

/// Tells each publisher what became of its message. An error ends the session: the queue or the connection is gone.
pub fn settle(
    outcomes: Vec<Result<Outcome, lapin::Error>>,
    sent: &mut BTreeMap<u64, Sent>,
    full: &mut Full,
) -> Result<(), Lost> {
    let outcomes: Vec<Outcome> = outcomes.into_iter().collect::<Result<_, _>>()?;
    full.note(&outcomes);
    let gone = outcomes.iter().any(|outcome| outcome.returned.is_some());
    for (number, answer) in answers(&outcomes) {
        if let Some(Sent { done, .. }) = sent.remove(&number) {
            // A publisher that stopped waiting does not hear it.
            let _ = done.send(answer);
        }
    }
    if gone { Err(Lost(RETURNED.to_owned())) } else { Ok(()) }
}

/// The answer to the publisher of each message. A returned message was not taken although it is confirmed, and the
/// driver may deliver it with the confirm of another message. A message whose confirm brought another one may be
/// returned itself, later: so both count as not taken.
fn answers(outcomes: &[Outcome]) -> Vec<(u64, Result<(), &'static str>)> {
    let returned: HashSet<u64> = outcomes.iter().filter_map(|outcome| outcome.returned.flatten()).collect();
    let answer = |outcome: &Outcome| match outcome {
        Outcome { returned: Some(_), .. } => Err(RETURNED),
        Outcome { number, .. } if returned.contains(number) => Err(RETURNED),
        Outcome { acked: false, .. } => Err(FULL),
        Outcome { acked: true, .. } => Ok(()),
    };
    outcomes.iter().map(|outcome| (outcome.number, answer(outcome))).collect()
}

/// Takes every item that is ready. A set of futures may return `Pending` although some are ready, to let other tasks
/// run; in that case it has woken its waker, and is polled again.
pub fn drain<S: Stream + Unpin>(stream: &mut S, items: &mut Vec<S::Item>) {
    struct Again(AtomicBool);
    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }
    let again = Arc::new(Again(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&again));
    let mut context = Context::from_waker(&waker);
    while again.0.swap(false, Ordering::AcqRel) {
        while let Poll::Ready(Some(item)) = stream.poll_next_unpin(&mut context) {
            items.push(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::FuturesUnordered;

    use super::*;

    fn outcome(number: u64, acked: bool, returned: Option<Option<u64>>) -> Outcome {
        Outcome { number, acked, returned }
    }

    #[test]
    fn a_returned_message_is_found_whoever_carries_it() {
        let plain = [outcome(1, true, None), outcome(2, false, None)];
        assert_eq!(answers(&plain), [(1, Ok(())), (2, Err(FULL))]);
        let own = [outcome(1, true, Some(Some(1))), outcome(2, true, None)];
        assert_eq!(answers(&own), [(1, Err(RETURNED)), (2, Ok(()))]);
        let swapped = [outcome(1, true, None), outcome(2, true, Some(Some(1))), outcome(3, true, None)];
        assert_eq!(answers(&swapped), [(1, Err(RETURNED)), (2, Err(RETURNED)), (3, Ok(()))]);
        let nameless = [outcome(1, true, Some(None))];
        assert_eq!(answers(&nameless), [(1, Err(RETURNED))]);
    }

    #[test]
    fn draining_takes_all_that_is_ready() {
        let mut set = FuturesUnordered::new();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..1_000).map(|_| oneshot::channel::<usize>()).unzip();
        for receiver in receivers {
            set.push(async move {
                // What yields makes the set give up its turn.
                tokio::task::yield_now().await;
                receiver.await.unwrap()
            });
        }
        let mut items = Vec::new();
        drain(&mut set, &mut items);
        assert!(items.is_empty());
        let mut kept = Vec::new();
        for (number, sender) in senders.into_iter().enumerate() {
            if number % 2 == 0 { sender.send(number).unwrap() } else { kept.push(sender) }
        }
        drain(&mut set, &mut items);
        items.sort_unstable();
        assert_eq!(items, (0..1_000).step_by(2).collect::<Vec<_>>());
    }
}
