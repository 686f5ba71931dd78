//! Receipts: who has a message in hand holds one, and hands it in to say what became of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::join_all;
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions},
    types::DeliveryTag,
};
use tokio::sync::mpsc;

/// The broker's claim on a message. Dropped unsettled, the message goes back.
pub struct Receipt {
    session: u64,
    tag: DeliveryTag,
    desk: Desk,
    settled: bool,
}

/// Where receipts are handed in. A tag means something to its own session alone: in another one it is somebody else's
/// message.
#[derive(Clone)]
pub struct Desk {
    pub settlements: mpsc::UnboundedSender<Settlement>,
    /// The session that stands; 0 while none does.
    pub current: Arc<AtomicU64>,
}

pub struct Settlement {
    session: u64,
    tag: DeliveryTag,
    verdict: Verdict,
}

/// What a session has handed out and not yet settled.
pub struct Ledger {
    session: u64,
    unsettled: BTreeSet<DeliveryTag>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ack,
    Return,
}

/// What is told to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    tag: DeliveryTag,
    verdict: Verdict,
    /// Of all before it too that were not told of yet.
    multiple: bool,
}

impl Receipt {
    /// Whether its connection is lost: the broker has given the message to another by then, or will.
    pub fn is_void(&self) -> bool {
        self.desk.current.load(Ordering::Acquire) != self.session
    }

    /// An ack that is lost with its connection makes the message come again; all that is done with one can be done twice.
    pub fn ack(mut self) {
        self.settle(Verdict::Ack);
    }

    fn settle(&mut self, verdict: Verdict) {
        if !std::mem::replace(&mut self.settled, true) {
            let Self { session, tag, .. } = *self;
            // Nobody listens any more once the runtime ends, and the connection with it.
            drop(self.desk.settlements.send(Settlement { session, tag, verdict }));
        }
    }
}

impl Settlement {
    pub fn is_ack(&self) -> bool {
        self.verdict == Verdict::Ack
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.settle(Verdict::Return);
    }
}

impl Ledger {
    pub fn new(session: u64) -> Self {
        Self { session, unsettled: BTreeSet::new() }
    }

    /// For a message that has arrived.
    pub fn receipt(&mut self, tag: DeliveryTag, desk: Desk) -> Receipt {
        self.unsettled.insert(tag);
        Receipt { session: self.session, tag, desk, settled: false }
    }

    /// Returns once all of them are told to the broker. One that cannot be told is void; the subscription tells of it.
    pub async fn settle(&mut self, channel: &Channel, settlements: &mut Vec<Settlement>) {
        let words = self.words(settlements.drain(..)).into_iter();
        let told = words.map(|Word { tag, verdict, multiple }| async move {
            match verdict {
                Verdict::Ack => channel.basic_ack(tag, BasicAckOptions { multiple }).await,
                // `requeue`: to this or another consumer. `nack`, because `reject` counts as a crash since 4.3.
                Verdict::Return => {
                    channel.basic_nack(tag, BasicNackOptions { requeue: true, multiple }).await
                }
            }
        });
        join_all(told).await;
    }

    /// As few words as possible, in the order of the tags. A quorum queue logs each, and of a channel that ends with more
    /// than 32 on their way it drops the last, whose messages then come again.
    fn words(&mut self, settlements: impl Iterator<Item = Settlement>) -> Vec<Word> {
        let ours = settlements.filter(|settlement| settlement.session == self.session);
        let ours = ours.filter(|settlement| self.unsettled.remove(&settlement.tag));
        let settled: BTreeMap<_, _> = ours.map(|settlement| (settlement.tag, settlement.verdict)).collect();
        let first_in_hand = self.unsettled.first().copied().unwrap_or(DeliveryTag::MAX);
        let mut words: Vec<Word> = Vec::new();
        for (tag, verdict) in settled {
            let multiple = tag < first_in_hand;
            match words.last_mut() {
                Some(word) if multiple && word.verdict == verdict => word.tag = tag,
                _ => words.push(Word { tag, verdict, multiple }),
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_hand_is_never_settled_with_others() {
        use Verdict::{Ack, Return};
        type Case<'a> = (&'a [(u64, Verdict)], &'a [(u64, Verdict, bool)]);
        let cases: [Case; 7] = [
            (&[(1, Ack), (2, Ack), (3, Ack)], &[(3, Ack, true)]),
            (&[(3, Ack), (1, Ack)], &[(1, Ack, true), (3, Ack, false)]),
            (&[(2, Ack), (3, Ack)], &[(2, Ack, false), (3, Ack, false)]),
            (&[(3, Ack), (2, Return), (1, Ack)], &[(1, Ack, true), (2, Return, true), (3, Ack, true)]),
            (&[(1, Return), (2, Return)], &[(2, Return, true)]),
            (&[(2, Return), (3, Return)], &[(2, Return, false), (3, Return, false)]),
            (&[(1, Ack), (1, Return), (9, Ack)], &[(1, Ack, true)]),
        ];
        for (settled, expected) in cases {
            let mut ledger = Ledger { session: 7, unsettled: BTreeSet::from([1, 2, 3, 4]) };
            let of = |session| move |&(tag, verdict): &(u64, Verdict)| Settlement { session, tag, verdict };
            assert_eq!(ledger.words(settled.iter().map(of(6))), [], "another session's: {settled:?}");
            let words = ledger.words(settled.iter().map(of(7)));
            let words: Vec<_> = words.iter().map(|word| (word.tag, word.verdict, word.multiple)).collect();
            assert_eq!(words, expected, "{settled:?}");
            assert!(ledger.unsettled.contains(&4));
        }
    }
}
