//! Which messages this worker has in hand, and how far it has settled them, in gate time. Pure.

use std::collections::{BTreeMap, VecDeque};

use fleet::{
    Message, Millis, Tick,
    liveness::{Progress, TICK_GAP},
};

/// Smallest and greatest gate time in a message; `None` for a message without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(Option<(Millis, Millis)>);

/// What a worker has in hand and has settled, counted by gate time: the source of its row in the registry.
#[derive(Debug, Default)]
pub struct Hand {
    /// How many messages in hand have this as their smallest gate time.
    held: BTreeMap<Millis, usize>,
    newest_settled: Option<Millis>,
    ticks: VecDeque<Tick>,
}

impl Span {
    pub fn of(message: &Message) -> Self {
        Self(message.oldest().zip(message.newest()))
    }
}

impl Hand {
    /// Messages with these spans were received.
    pub fn take(&mut self, spans: impl Iterator<Item = Span>) {
        for (oldest, _) in spans.filter_map(|span| span.0) {
            *self.held.entry(oldest).or_default() += 1;
        }
    }

    /// Messages with these spans are stored and acked; `ticks` were among them. Returns whether they are the first.
    pub fn settle(&mut self, spans: &[Span], ticks: &[Tick]) -> bool {
        let first = self.newest_settled.is_none();
        self.give_back(spans.iter().copied());
        let newest = spans.iter().filter_map(|span| span.0).map(|(_, newest)| newest).max();
        self.newest_settled = self.newest_settled.max(newest);
        self.ticks.extend(ticks.iter().cloned());
        first && self.newest_settled.is_some()
    }

    /// Messages with these spans are no longer in hand.
    pub fn give_back(&mut self, spans: impl Iterator<Item = Span>) {
        for (oldest, _) in spans.filter_map(|span| span.0) {
            if let Some(count) = self.held.get_mut(&oldest) {
                *count -= 1;
                if *count == 0 {
                    self.held.remove(&oldest);
                }
            }
        }
    }

    /// The row of this worker at `now`.
    ///
    /// Ticks count by the gate's own time: one that waited out an outage in the queue says nothing of the present.
    /// What was settled never counts as later than `now`: a gate's clock that once leapt ahead must not hold the
    /// watermark there.
    pub fn progress(&mut self, now: Millis) -> Progress {
        self.ticks.retain(|tick| tick.at >= now - TICK_GAP);
        self.newest_settled = self.newest_settled.map(|newest| newest.min(now));
        Progress {
            newest_settled: self.newest_settled,
            oldest_in_hand: self.held.keys().next().copied(),
            open_since: self.ticks.iter().map(|tick| tick.open_since).min(),
            written_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(oldest: Millis, newest: Millis) -> Span {
        Span(Some((oldest, newest)))
    }

    fn tick(at: Millis, open_since: Millis) -> Tick {
        Tick { gate: "gate".to_owned(), at, open_since }
    }

    #[test]
    fn the_oldest_in_hand_is_of_what_is_neither_settled_nor_returned() {
        let mut hand = Hand::default();
        hand.take([span(10, 20), span(10, 11), span(15, 30), Span(None)].into_iter());
        hand.settle(&[span(10, 20)], &[]);
        assert_eq!(hand.progress(100).oldest_in_hand, Some(10), "the other one of 10 is still here");
        hand.give_back([span(10, 11)].into_iter());
        assert_eq!(hand.progress(100).oldest_in_hand, Some(15));
        assert_eq!(hand.progress(100).newest_settled, Some(20), "what is returned is not settled");
        hand.settle(&[span(15, 30), Span(None)], &[]);
        let progress = hand.progress(100);
        assert_eq!((progress.oldest_in_hand, progress.newest_settled), (None, Some(30)));
    }

    #[test]
    fn the_newest_settled_never_goes_back() {
        let mut hand = Hand::default();
        hand.settle(&[span(50, 60)], &[]);
        hand.settle(&[span(1, 2)], &[]);
        assert_eq!(hand.progress(100).newest_settled, Some(60));
    }

    #[test]
    fn a_gate_ahead_of_its_time_does_not_hold_the_watermark_there() {
        let mut hand = Hand::default();
        hand.settle(&[span(1_000, 1_000)], &[]);
        assert_eq!(hand.progress(100).newest_settled, Some(100));
        hand.settle(&[span(105, 105)], &[]);
        assert_eq!(hand.progress(110).newest_settled, Some(105));
    }

    #[test]
    fn open_since_is_the_smallest_of_the_last_fifteen_seconds() {
        let mut hand = Hand::default();
        assert_eq!(hand.progress(0).open_since, None);
        hand.settle(&[], &[tick(1_000, 900), tick(2_000, 500), tick(10_000, 9_000)]);
        assert_eq!(hand.progress(17_000).open_since, Some(500));
        assert_eq!(hand.progress(17_001).open_since, Some(9_000));
        assert_eq!(hand.progress(25_001).open_since, None);
    }

    #[test]
    fn a_tick_that_waited_out_an_outage_says_nothing() {
        let mut hand = Hand::default();
        hand.settle(&[], &[tick(1_000, 500), tick(3_600_000, 3_600_000)]);
        assert_eq!(hand.progress(3_600_500).open_since, Some(3_600_000));
    }
}
