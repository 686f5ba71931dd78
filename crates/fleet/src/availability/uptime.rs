//! Uptime: the time for which snapshots vouch, divided by the time for which they were expected to.

use serde::Serialize;

use crate::Millis;

/// A piece of time `(from, to]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its start, not in it.
    pub from: Millis,
    /// Its end, in it.
    pub to: Millis,
}

/// What bounds the time in which a server was expected to be covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<'a> {
    /// Start of the range that was asked for.
    pub from: Millis,
    /// End of that range.
    pub to: Millis,
    /// When the server enrolled.
    pub enrolled_at: Millis,
    /// Midnight from which raw snapshots are kept.
    pub oldest_retained: Millis,
    /// Start of what the server's oldest snapshot vouches for.
    pub oldest_start: Option<Millis>,
    /// Its newest `sampled_at`.
    pub newest: Option<Millis>,
    /// The watermark, if the server is down.
    pub down_at: Option<Millis>,
    /// When it was paused, as half-open ranges in any order.
    pub pauses: &'a [(Millis, Millis)],
}

/// An uptime figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Uptime {
    /// Time for which snapshots vouch, at most `expected_ms`.
    pub covered_ms: Millis,
    /// Time for which they were expected to.
    pub expected_ms: Millis,
    /// `covered_ms / expected_ms`, 0 to 1; `None` where nothing was expected.
    pub uptime: Option<f64>,
}

/// Finds the gaps in what was expected, by walking over the snapshots from the newest to the oldest.
///
/// A snapshot vouches for time before it. So once all later snapshots were passed, time that none of them reached is a
/// gap, even if the snapshots of an agent overlap.
#[derive(Debug, Clone)]
pub struct Gaps {
    /// The pieces in which gaps may still be found, in order. The end of the last one moves back as snapshots are
    /// passed.
    pieces: Vec<Piece>,
    /// The gaps, the latest first.
    found: Vec<Piece>,
    /// How many are kept; `None` to measure all of them and keep none.
    most: Option<usize>,
    /// The end of the latest gap that is left out, as `most` were found.
    more_before: Option<Millis>,
    missing: Missing,
}

/// How much of what was expected no snapshot vouches for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missing {
    /// The lengths of all gaps together.
    pub total: Millis,
    /// The longest gap, and the earliest of several as long; `None` where there is none.
    pub longest: Option<Piece>,
}

/// When a server was not heard though it was expected to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outages {
    /// In order of time. Their sum is what was expected less what is covered.
    pub gaps: Vec<Piece>,
    /// Set if there are earlier gaps that are left out: the end of the latest of them.
    pub more_before: Option<Millis>,
    /// Whether some of them are exact to the hour alone.
    pub rounded: bool,
}

impl Piece {
    /// Its length.
    pub fn length(&self) -> Millis {
        self.to - self.from
    }

    /// How much of it the stretch `(from, to]` covers.
    pub fn overlap(&self, from: Millis, to: Millis) -> Millis {
        (self.to.min(to) - self.from.max(from)).max(0)
    }
}

impl Expected<'_> {
    /// E: `[max(from, since, oldest retained), end)` minus pauses, as pieces in order. Empty where nothing is expected.
    ///
    /// `since` is the earlier of the enrolment and the start of the oldest snapshot. `end` is the watermark for a
    /// server that is down, else its newest sample: what comes after that is not known yet.
    pub fn pieces(&self) -> Vec<Piece> {
        let since = self.oldest_start.map_or(self.enrolled_at, |start| start.min(self.enrolled_at));
        let mut from = self.from.max(since).max(self.oldest_retained);
        let end = self.to.min(self.down_at.or(self.newest).unwrap_or(from));
        let mut pauses = self.pauses.to_vec();
        pauses.sort_unstable();
        let mut pieces = Vec::new();
        for (paused, resumed) in pauses {
            let to = paused.min(end);
            if from < to {
                pieces.push(Piece { from, to });
            }
            from = from.max(resumed);
        }
        if from < end {
            pieces.push(Piece { from, to: end });
        }
        pieces
    }
}

impl Gaps {
    /// Will find the latest `most` gaps in these pieces, which have to be in order.
    pub fn new(pieces: Vec<Piece>, most: usize) -> Self {
        Self { most: Some(most), ..Self::measured(pieces) }
    }

    /// Will measure all gaps in these pieces, which have to be in order, in as much memory as the pieces take.
    pub fn measured(pieces: Vec<Piece>) -> Self {
        Self { pieces, found: Vec::new(), most: None, more_before: None, missing: Missing::default() }
    }

    /// The time `(from, to]` whose snapshots have still to be passed; `None` when the rest would change nothing.
    pub fn open(&self) -> Option<Piece> {
        let (first, last) = (self.pieces.first()?, self.pieces.last()?);
        Some(Piece { from: first.from, to: last.to })
    }

    /// Takes the next older snapshot, which vouches for `(from, at]`. A snapshot that vouches for nothing does not
    /// divide a gap.
    pub fn pass(&mut self, from: Millis, at: Millis) {
        if from >= at {
            return;
        }
        while let Some(piece) = self.pieces.last().copied() {
            if at < piece.to {
                self.find(Piece { from: at.max(piece.from), to: piece.to });
            }
            let Some(open) = self.pieces.last_mut() else { return };
            open.to = open.to.min(from);
            if open.to > open.from {
                return;
            }
            self.pieces.pop();
        }
    }

    /// The gaps, once all snapshots were passed.
    pub fn finish(mut self) -> Outages {
        self.close();
        self.found.reverse();
        Outages { gaps: self.found, more_before: self.more_before, rounded: false }
    }

    /// The measure of the gaps, once all snapshots were passed. Gaps that were left out are not in it.
    pub fn missing(mut self) -> Missing {
        self.close();
        self.missing
    }

    /// No snapshot reaches what is still open.
    fn close(&mut self) {
        while let Some(piece) = self.pieces.last().copied() {
            self.find(piece);
            self.pieces.pop();
        }
    }

    fn find(&mut self, gap: Piece) {
        if gap.from >= gap.to {
            return;
        }
        if self.most.is_some_and(|most| self.found.len() >= most) {
            self.more_before = Some(gap.to);
            self.pieces.clear();
            return;
        }
        if self.most.is_some() {
            self.found.push(gap);
        }
        self.missing.total += gap.length();
        // The latest gap is found first.
        if self.missing.longest.is_none_or(|longest| gap.length() >= longest.length()) {
            self.missing.longest = Some(gap);
        }
    }
}

impl Uptime {
    /// The figure for these sums; covered is capped at expected.
    pub fn new(covered_ms: Millis, expected_ms: Millis) -> Self {
        if expected_ms <= 0 {
            return Self { covered_ms: 0, expected_ms: 0, uptime: None };
        }
        let covered_ms = covered_ms.clamp(0, expected_ms);
        Self { covered_ms, expected_ms, uptime: Some(covered_ms as f64 / expected_ms as f64) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected(from: Millis, to: Millis) -> Expected<'static> {
        Expected {
            from,
            to,
            enrolled_at: 0,
            oldest_retained: 0,
            oldest_start: Some(0),
            newest: Some(1_000),
            down_at: None,
            pauses: &[],
        }
    }

    #[test]
    fn the_future_is_not_expected() {
        assert_eq!(expected(500, 5_000).pieces(), [Piece { from: 500, to: 1_000 }]);
        assert_eq!(expected(1_000, 5_000).pieces(), []);
    }

    #[test]
    fn a_server_that_is_down_is_expected_up_to_the_watermark() {
        let down = Expected { down_at: Some(3_000), ..expected(500, 5_000) };
        assert_eq!(down.pieces(), [Piece { from: 500, to: 3_000 }]);
    }

    #[test]
    fn nothing_is_expected_before_enrolment_unless_history_was_brought_along() {
        let fresh = Expected { enrolled_at: 700, oldest_start: None, ..expected(0, 1_000) };
        assert_eq!(fresh.pieces(), [Piece { from: 700, to: 1_000 }]);
        let brought = Expected { oldest_start: Some(200), ..fresh };
        assert_eq!(brought.pieces(), [Piece { from: 200, to: 1_000 }]);
        let never_heard = Expected { newest: None, oldest_start: None, ..fresh };
        assert_eq!(never_heard.pieces(), []);
    }

    #[test]
    fn an_empty_expectation_has_no_figure() {
        assert_eq!(Uptime::new(5, 0), Uptime { covered_ms: 0, expected_ms: 0, uptime: None });
        assert_eq!(Uptime::new(7, 5).uptime, Some(1.0));
    }

    proptest! {
        #[test]
        fn gaps_are_the_moments_that_no_snapshot_reaches(
            snapshots in proptest::collection::btree_map(0i64..60, 0i64..12, 0..12),
            edges in proptest::collection::btree_set(0i64..70, 0..8),
            most in 0usize..6,
        ) {
            let edges: Vec<i64> = edges.into_iter().collect();
            let pieces: Vec<Piece> =
                edges.chunks_exact(2).map(|edge| Piece { from: edge[0], to: edge[1] }).collect();
            let walk = |most: usize| {
                let mut gaps = Gaps::new(pieces.clone(), most);
                for (at, covers) in snapshots.iter().rev() {
                    gaps.pass(at - covers, *at);
                }
                gaps.finish()
            };
            // The moment m stands for the unit of time (m, m + 1].
            let reached = |m: i64| snapshots.iter().any(|(at, covers)| at - covers <= m && m < *at);
            let wanted: Vec<i64> =
                pieces.iter().flat_map(|piece| piece.from..piece.to).filter(|m| !reached(*m)).collect();
            let all = walk(usize::MAX);
            let got: Vec<i64> = all.gaps.iter().flat_map(|gap| gap.from..gap.to).collect();
            prop_assert_eq!((got, all.more_before), (wanted, None));
            // No two of one piece touch.
            for pair in all.gaps.windows(2) {
                prop_assert!(pair[0].to < pair[1].from || edges.contains(&pair[0].to));
            }
            let mut measured = Gaps::measured(pieces.clone());
            for (at, covers) in snapshots.iter().rev() {
                measured.pass(at - covers, *at);
            }
            let missing = measured.missing();
            prop_assert_eq!(missing.total, all.gaps.iter().map(Piece::length).sum::<Millis>());
            let longest = all.gaps.iter().copied().min_by_key(|gap| (-gap.length(), gap.from));
            prop_assert_eq!(missing.longest, longest);
            let cut = walk(most);
            let left_out = all.gaps.len().saturating_sub(most);
            prop_assert_eq!(&cut.gaps, &all.gaps[left_out..]);
            prop_assert_eq!(cut.more_before, left_out.checked_sub(1).map(|last| all.gaps[last].to));
        }

        #[test]
        fn pieces_are_the_moments_that_brute_force_finds(
            from in 0i64..100, to in 0i64..100, enrolled_at in 0i64..100, oldest_retained in 0i64..50,
            oldest_start in proptest::option::of(0i64..100), newest in proptest::option::of(0i64..120),
            down_at in proptest::option::of(0i64..120),
            pauses in proptest::collection::vec((0i64..100, 0i64..40), 0..4),
        ) {
            let pauses: Vec<_> = pauses.into_iter().map(|(at, length)| (at, at + length)).collect();
            let asked = Expected { from, to, enrolled_at, oldest_retained, oldest_start, newest, down_at, pauses: &pauses };
            let since = oldest_start.unwrap_or(enrolled_at).min(enrolled_at);
            let end = down_at.or(newest).unwrap_or(0).min(to);
            // The moment m stands for the unit of time (m, m + 1].
            let wanted: Vec<i64> = (0..200)
                .filter(|m| *m >= from && *m >= since && *m >= oldest_retained && *m < end)
                .filter(|m| !pauses.iter().any(|(a, b)| a <= m && m < b))
                .collect();
            let got: Vec<i64> = asked.pieces().iter().flat_map(|piece| piece.from..piece.to).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}
