//! Finds the longest gap of each server whose stretches do not overlap, without reading every snapshot. Sums over stretches of time tell how long a
//! gap each stretch can hold at most. Only stretches that can hold a longer gap than those known are divided into
//! shorter ones and asked about again, the most promising first.

use std::{cmp::Reverse, collections::BTreeSet};

use fleet::{
    Millis, ServerId,
    retention::DAY,
    uptime::{Gaps, Piece},
};

use crate::LONGEST_COVERS;

/// The lengths of stretches. Each is a multiple of the next. A stretch of the shortest length holds at most two
/// snapshots.
const WIDTHS: [Millis; 6] = [DAY, HOUR, 120_000, 4_000, 100, 2];
const HOUR: Millis = 3_600_000;
/// A span of at most this length is first asked about by the hour, a longer one by the day.
const FEW_DAYS: Millis = 3 * DAY;

/// Asks what a server sampled in `[first, first + length)`, in stretches of `width`. `first` and `length` are
/// multiples of `width`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question {
    pub server: ServerId,
    pub first: Millis,
    pub length: Millis,
    pub width: Millis,
}

/// The snapshots of one server that were sampled within one stretch, those that cover no time left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub count: i64,
    /// The sum of what they cover.
    pub covers: Millis,
    /// The least and the greatest start: `sampled_at − covers`.
    pub from: [Millis; 2],
    /// The least and the greatest `sampled_at`.
    pub at: [Millis; 2],
}

/// Finds the longest gap of each server, and the earliest of several as long. Its [`questions`](Self::questions) are
/// to be answered, each once, until it has none left.
pub struct Longest<'a> {
    searches: Vec<Search<'a>>,
    questions: Vec<Question>,
    /// For each question, the index of the search that asks it.
    of: Vec<usize>,
    /// How many stretches of a server are divided in one round. Mostly the first candidate is the right one; where it
    /// is not, there may be many, so the number doubles with each round.
    at_once: usize,
}

/// What is known of one server.
struct Search<'a> {
    server: ServerId,
    pieces: &'a [Piece],
    /// The stretches that are known, each with its width, in order of time.
    stretches: Vec<(Millis, Stretch)>,
}

impl<'a> Longest<'a> {
    pub fn new(asked: &'a [(ServerId, Vec<Piece>)]) -> Self {
        let searches: Vec<Search<'a>> = asked.iter().map(Search::new).collect();
        let first = searches.iter().enumerate();
        let (of, questions) =
            first.filter_map(|(position, search)| Some((position, search.first_question()?))).unzip();
        Self { searches, questions, of, at_once: 1 }
    }

    /// What is to be asked next. The first questions span the most: all later ones are about parts of their spans.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// Takes the answers, in any order: the index of a question, and a stretch of that question which is not empty.
    pub fn answer(&mut self, found: Vec<(usize, Stretch)>) {
        for (question, stretch) in found {
            if let (Some(position), Some(question)) = (self.of.get(question), self.questions.get(question)) {
                self.searches[*position].stretches.push((question.width, stretch));
            }
        }
        self.questions.clear();
        let asking: BTreeSet<usize> = self.of.drain(..).collect();
        for position in asking {
            self.questions.extend(self.searches[position].look_closer(self.at_once));
            self.of.resize(self.questions.len(), position);
        }
        self.at_once = self.at_once.saturating_mul(2);
    }

    /// In the order asked.
    pub fn finish(&self) -> Vec<Option<Piece>> {
        self.searches.iter().map(Search::longest).collect()
    }
}

impl Question {
    /// The last millisecond of it.
    pub fn last(&self) -> Millis {
        self.first.saturating_add(self.length).saturating_sub(1)
    }
}

impl<'a> Search<'a> {
    fn new((server, pieces): &'a (ServerId, Vec<Piece>)) -> Self {
        Self { server: *server, pieces, stretches: Vec::new() }
    }

    /// A question about all snapshots that can reach into the pieces.
    fn first_question(&self) -> Option<Question> {
        let Piece { from, to } = Gaps::new(self.pieces.to_vec(), 0).open()?;
        let (first, last) = (from.saturating_add(1), to.saturating_add(LONGEST_COVERS));
        let width = if last.saturating_sub(first) <= FEW_DAYS { HOUR } else { DAY };
        let first = first.div_euclid(width).saturating_mul(width);
        let end = last.div_euclid(width).saturating_add(1).saturating_mul(width);
        Some(Question { server: self.server, first, length: end.saturating_sub(first), width })
    }

    /// Removes the stretches that may hold a longer gap than any known one, at most `at_once` of them, and returns the
    /// questions whose answers replace them by shorter ones.
    fn look_closer(&mut self, at_once: usize) -> Vec<Question> {
        self.stretches.sort_unstable_by_key(|(_, stretch)| stretch.at);
        let best = self.longest();
        let mut candidates: Vec<(Millis, Reverse<Millis>, usize)> = Vec::new();
        for (index, (_, stretch)) in self.stretches.iter().enumerate() {
            let (most, starts) = (stretch.longest_within(self.pieces), stretch.from[0]);
            let known = best.map_or((0, Reverse(Millis::MAX)), |best| (best.length(), Reverse(best.from)));
            if most > 0 && (most, Reverse(starts)) > known {
                candidates.push((most, Reverse(starts), index));
            }
        }
        candidates.sort_unstable_by_key(|candidate| Reverse(*candidate));
        candidates.truncate(at_once);
        let mut taken: Vec<usize> = candidates.into_iter().map(|(_, _, index)| index).collect();
        taken.sort_unstable_by_key(|index| Reverse(*index));
        taken.into_iter().filter_map(|index| self.closer(index)).collect()
    }

    fn closer(&mut self, index: usize) -> Option<Question> {
        let (length, stretch) = self.stretches[index];
        let width = WIDTHS.into_iter().find(|width| *width < length)?;
        self.stretches.remove(index);
        let first = stretch.at[0].div_euclid(length).saturating_mul(length);
        Some(Question { server: self.server, first, length, width })
    }

    /// The longest gap that is known: between stretches, or within one of two snapshots.
    fn longest(&self) -> Option<Piece> {
        let mut gaps = Gaps::new(self.pieces.to_vec(), usize::MAX);
        for (_, stretch) in self.stretches.iter().rev() {
            let ([start, last_start], [at, last_at]) = (stretch.from, stretch.at);
            if stretch.count == 2 {
                // It is not known which start belongs to which snapshot. That makes no difference to the gap between
                // them.
                gaps.pass(last_start, last_at);
                gaps.pass(start, at);
            } else {
                gaps.pass(start, last_at);
            }
        }
        gaps.finish().gaps.into_iter().max_by_key(|gap| (gap.length(), Reverse(gap.from)))
    }
}

impl Stretch {
    /// The greatest length that a gap between its snapshots can have.
    fn longest_within(&self, pieces: &[Piece]) -> Millis {
        let (from, to) = (self.from[0], self.at[1]);
        let left = (to - from).saturating_sub(self.covers);
        if self.count <= 2 || left == 0 {
            return 0;
        }
        let expected = pieces.iter().map(|piece| piece.overlap(from, to)).max().unwrap_or(0);
        // If some of the snapshots overlap, the sum does not bound the gap.
        if left < 0 { expected } else { expected.min(left) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn server() -> ServerId {
        ServerId::new(1, [1; 10])
    }

    /// The longest gap, and how many stretches were told of.
    fn search(snapshots: &[(Millis, Millis)], pieces: &[Piece]) -> (Option<Piece>, usize) {
        let asked = [(server(), pieces.to_vec())];
        let mut longest = Longest::new(&asked);
        let mut told = 0;
        while !longest.questions().is_empty() {
            let mut found = Vec::new();
            for (position, question) in longest.questions().iter().enumerate() {
                let stretches = stretches(snapshots, question);
                told += stretches.len();
                found.extend(stretches.into_iter().map(|stretch| (position, stretch)));
            }
            longest.answer(found);
        }
        (longest.finish()[0], told)
    }

    fn stretches(snapshots: &[(Millis, Millis)], question: &Question) -> Vec<Stretch> {
        let mut stretches: BTreeMap<Millis, Stretch> = BTreeMap::new();
        for (from, at) in snapshots.iter().copied().filter(|(from, at)| from < at) {
            if at < question.first || at > question.last() {
                continue;
            }
            let alone = Stretch { count: 0, covers: 0, from: [from; 2], at: [at; 2] };
            let stretch = stretches.entry(at.div_euclid(question.width)).or_insert(alone);
            stretch.count += 1;
            stretch.covers += at - from;
            stretch.from = [stretch.from[0].min(from), stretch.from[1].max(from)];
            stretch.at = [stretch.at[0].min(at), stretch.at[1].max(at)];
        }
        stretches.into_values().collect()
    }

    fn walked(snapshots: &[(Millis, Millis)], pieces: &[Piece]) -> Option<Piece> {
        let mut gaps = Gaps::new(pieces.to_vec(), usize::MAX);
        for (from, at) in snapshots.iter().rev() {
            gaps.pass(*from, *at);
        }
        gaps.finish().gaps.into_iter().max_by_key(|gap| (gap.length(), Reverse(gap.from)))
    }

    #[test]
    fn a_day_with_small_gaps_is_not_read_whole() {
        let missing = [100, 101, 700, 1_500, 2_222, 2_223, 2_224, 2_800];
        let sampled = (1..=2_880).filter(|n| !missing.contains(n));
        let snapshots: Vec<_> = sampled.map(|n| (n * 30_000 - 30_000, n * 30_000)).collect();
        let (found, told) = search(&snapshots, &[Piece { from: 0, to: DAY }]);
        assert_eq!(found, Some(Piece { from: 2_221 * 30_000, to: 2_224 * 30_000 }));
        assert!(told < 100, "{told}");
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        for (from, to) in [(i64::MIN / 2, i64::MAX / 2), (0, i64::MAX), (i64::MAX, i64::MIN)] {
            let _ = search(&[(5, 10)], &[Piece { from, to }]);
        }
    }

    proptest! {
        #[test]
        fn it_is_the_longest_that_a_walk_finds(
            unit in prop::sample::select(vec![1, 997, 30_000, 400_000]),
            snapshots in prop::collection::vec((0i64..4, 0i64..9, 0i64..3), 0..60),
            edges in prop::collection::btree_set(-5i64..300, 0..8),
            overlap in 0i64..3,
        ) {
            let (mut at, mut all) = (0, Vec::new());
            for (gap, covers, back) in snapshots {
                // No two snapshots have the same `sampled_at`.
                at += (gap + covers).max(1);
                all.push(((at - covers - back * overlap) * unit, at * unit));
            }
            let edges: Vec<i64> = edges.into_iter().map(|edge| edge * unit).collect();
            let pieces: Vec<Piece> =
                edges.chunks_exact(2).map(|edge| Piece { from: edge[0], to: edge[1] }).collect();
            let (found, wanted) = (search(&all, &pieces).0, walked(&all, &pieces));
            if overlap == 0 {
                prop_assert_eq!(found, wanted);
            }
            // `twice` is how much time two snapshots both cover.
            let covers: Millis = all.iter().map(|(from, at)| at - from).sum();
            let mut reached: Vec<bool> = vec![false; 2_000];
            for moment in all.iter().flat_map(|(from, at)| from / unit..at / unit) {
                reached[usize::try_from(moment + 100).unwrap()] = true;
            }
            let twice = covers - unit * reached.iter().filter(|reached| **reached).count() as i64;
            let length = |gap: Option<Piece>| gap.map_or(0, |gap| gap.length());
            prop_assert!(length(found) <= length(wanted) && length(found) >= length(wanted) - twice);
        }
    }
}
