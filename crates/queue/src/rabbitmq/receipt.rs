//! Receipts: whoever has a message in hand holds its receipt, and settles the message by it.

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

/// The right to settle one message. If it is dropped unsettled, the message returns to the queue.
pub struct Receipt {
    session: u64,
    tag: DeliveryTag,
    desk: Desk,
    settled: bool,
}

/// The way from receipts to the task that talks with the broker. A delivery tag is valid only in the session that
/// issued it: in another session the same number is another message.
#[derive(Clone)]
pub struct Desk {
    pub settlements: mpsc::UnboundedSender<Settlement>,
    /// The session that stands; 0 while none does.
    pub current: Arc<AtomicU64>,
}

/// What became of one message.
pub struct Settlement {
    session: u64,
    tag: DeliveryTag,
    disposition: Disposition,
}

/// What a session has handed out and not yet settled.
pub struct Ledger {
    session: u64,
    unsettled: BTreeSet<DeliveryTag>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disposition {
    /// It is stored.
    Ack,
    /// It returns to the queue.
    Requeue,
}

/// What is sent to the broker: a `basic.ack` or a `basic.nack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    tag: DeliveryTag,
    disposition: Disposition,
    /// Whether it also settles all earlier messages that are not settled yet.
    multiple: bool,
}

impl Receipt {
    /// Whether its connection is lost. The broker has delivered the message to another consumer by then, or will.
    pub fn is_void(&self) -> bool {
        self.desk.current.load(Ordering::Acquire) != self.session
    }

    /// If the ack is lost with its connection, the message comes again; whatever is done with a message can be done
    /// twice.
    pub fn ack(mut self) {
        self.settle(Disposition::Ack);
    }

    fn settle(&mut self, disposition: Disposition) {
        if !std::mem::replace(&mut self.settled, true) {
            let Self { session, tag, .. } = *self;
            // Fails only when the runtime has ended, and the connection with it.
            drop(self.desk.settlements.send(Settlement { session, tag, disposition }));
        }
    }
}

impl Settlement {
    pub fn is_ack(&self) -> bool {
        self.disposition == Disposition::Ack
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.settle(Disposition::Requeue);
    }
}

impl Ledger {
    pub fn new(session: u64) -> Self {
        Self { session, unsettled: BTreeSet::new() }
    }

    /// Makes the receipt of a message that has arrived.
    pub fn receipt(&mut self, tag: DeliveryTag, desk: Desk) -> Receipt {
        self.unsettled.insert(tag);
        Receipt { session: self.session, tag, desk, settled: false }
    }

    /// Returns once all settlements are sent to the broker. One that cannot be sent is void: the connection is lost,
    /// which the subscription reports.
    pub async fn settle(&mut self, channel: &Channel, settlements: &mut Vec<Settlement>) {
        let frames = self.frames(settlements.drain(..)).into_iter();
        let sent = frames.map(|Frame { tag, disposition, multiple }| async move {
            match disposition {
                Disposition::Ack => channel.basic_ack(tag, BasicAckOptions { multiple }).await,
                // `requeue`: to this or another consumer. `nack`, because `reject` counts as a crash since 4.3.
                Disposition::Requeue => {
                    channel.basic_nack(tag, BasicNackOptions { requeue: true, multiple }).await
                }
            }
        });
        join_all(sent).await;
    }

    /// As few frames as possible, in the order of the tags. A quorum queue logs each; and when a channel ends with
    /// more than 32 on their way, the queue drops the last ones, whose messages then come again.
    fn frames(&mut self, settlements: impl Iterator<Item = Settlement>) -> Vec<Frame> {
        let ours = settlements.filter(|settlement| settlement.session == self.session);
        let ours = ours.filter(|settlement| self.unsettled.remove(&settlement.tag));
        let settled: BTreeMap<_, _> =
            ours.map(|settlement| (settlement.tag, settlement.disposition)).collect();
        let first_in_hand = self.unsettled.first().copied().unwrap_or(DeliveryTag::MAX);
        let mut frames: Vec<Frame> = Vec::new();
        for (tag, disposition) in settled {
            let multiple = tag < first_in_hand;
            match frames.last_mut() {
                Some(frame) if multiple && frame.disposition == disposition => frame.tag = tag,
                _ => frames.push(Frame { tag, disposition, multiple }),
            }
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_hand_is_never_settled_with_others() {
        use Disposition::{Ack, Requeue};
        type Case<'a> = (&'a [(u64, Disposition)], &'a [(u64, Disposition, bool)]);
        let cases: [Case; 7] = [
            (&[(1, Ack), (2, Ack), (3, Ack)], &[(3, Ack, true)]),
            (&[(3, Ack), (1, Ack)], &[(1, Ack, true), (3, Ack, false)]),
            (&[(2, Ack), (3, Ack)], &[(2, Ack, false), (3, Ack, false)]),
            (&[(3, Ack), (2, Requeue), (1, Ack)], &[(1, Ack, true), (2, Requeue, true), (3, Ack, true)]),
            (&[(1, Requeue), (2, Requeue)], &[(2, Requeue, true)]),
            (&[(2, Requeue), (3, Requeue)], &[(2, Requeue, false), (3, Requeue, false)]),
            (&[(1, Ack), (1, Requeue), (9, Ack)], &[(1, Ack, true)]),
        ];
        for (settled, expected) in cases {
            let mut ledger = Ledger { session: 7, unsettled: BTreeSet::from([1, 2, 3, 4]) };
            let of = |session| {
                move |&(tag, disposition): &(u64, Disposition)| Settlement { session, tag, disposition }
            };
            assert_eq!(ledger.frames(settled.iter().map(of(6))), [], "another session's: {settled:?}");
            let frames = ledger.frames(settled.iter().map(of(7)));
            let frames: Vec<_> =
                frames.iter().map(|frame| (frame.tag, frame.disposition, frame.multiple)).collect();
            assert_eq!(frames, expected, "{settled:?}");
            assert!(ledger.unsettled.contains(&4));
        }
    }
}
