//! Which part of what is asked about is read from rollups, and which from the snapshots themselves.

use std::{collections::BTreeSet, ops::Range};

use fleet::{
    Millis,
    hours::{self, HOUR, of_hour},
    uptime::Piece,
};

/// A part of a piece, and where it is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// From the snapshots.
    Raw(Piece),
    /// From the rollups of these hours, as a whole.
    Hours(Range<i64>),
    /// From the rollup of this hour, which is not wholly in the piece.
    Cut(i64, Piece),
}

/// Of one server, which hours are read from rollups.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    /// The hours that are rolled up, and whose rollups are kept.
    pub rolled: Range<i64>,
    /// Those of them that are out of date.
    pub dirty: BTreeSet<i64>,
    /// After this there are no snapshots.
    pub end: Millis,
}

impl Timeline {
    /// The parts of a piece, in order of time.
    pub fn segments(&self, piece: Piece) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut raw = |from: Millis, to: Millis| {
            let to = to.min(self.end);
            if from < to {
                segments.push(Segment::Raw(Piece { from, to }));
            }
        };
        let (begin, end) = (self.rolled.start.saturating_mul(HOUR), self.rolled.end.saturating_mul(HOUR));
        let (from, to) = (piece.from.max(begin), piece.to.min(end));
        if from >= to {
            raw(piece.from, piece.to);
            return segments;
        }
        raw(piece.from, from);
        let mut hour = hours::hour(from);
        while hour * HOUR < to {
            let of_hour = of_hour(hour);
            let part = Piece { from: of_hour.from.max(from), to: of_hour.to.min(to) };
            let next_dirty = self.dirty.range(hour..).next().copied().unwrap_or(i64::MAX);
            if next_dirty == hour {
                segments.push(Segment::Raw(part));
            } else if part != of_hour {
                segments.push(Segment::Cut(hour, part));
            } else {
                let last = hours::hour(to).min(next_dirty);
                segments.push(Segment::Hours(hour..last));
                hour = last;
                continue;
            }
            hour += 1;
        }
        if to < piece.to {
            let to = piece.to.min(self.end);
            if end < to {
                segments.push(Segment::Raw(Piece { from: end, to }));
            }
        }
        segments
    }

    /// Whether this hour is read from its rollup.
    pub fn contains(&self, hour: i64) -> bool {
        self.rolled.contains(&hour) && !self.dirty.contains(&hour)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn segments_are_the_piece_in_order_and_rollups_only_where_they_are_good(
            rolled in 0i64..20, length in 0i64..20, dirty in prop::collection::btree_set(0i64..40, 0..6),
            from in -100i64..2_500, to in -100i64..2_500, end in 0i64..3_000,
        ) {
            let minute = HOUR / 60;
            let dirty: BTreeSet<i64> =
                dirty.into_iter().filter(|hour| (rolled..rolled + length).contains(hour)).collect();
            let timeline = Timeline { rolled: rolled..rolled + length, dirty: dirty.clone(), end: end * minute };
            let piece = Piece { from: from * minute, to: to * minute };
            let segments = timeline.segments(piece);
            let part = |segment: &Segment| match segment {
                Segment::Raw(piece) | Segment::Cut(_, piece) => *piece,
                Segment::Hours(hours) => Piece { from: hours.start * HOUR, to: hours.end * HOUR },
            };
            prop_assert!(segments.iter().map(part).all(|part| part.from < part.to));
            prop_assert!(segments.windows(2).all(|pair| part(&pair[0]).to <= part(&pair[1]).from));
            for moment in -100..2_500 {
                let (at, hour) = (moment * minute, hours::hour(moment * minute));
                let of = segments.iter().find(|of| part(of).overlap(at, at + minute) > 0);
                let good = timeline.rolled.contains(&hour) && !dirty.contains(&hour);
                let asked = from <= moment && moment < to;
                let wanted = asked && (timeline.rolled.contains(&hour) || moment < end);
                prop_assert_eq!(of.is_some(), wanted, "{} {:?}", moment, segments);
                if let Some(of) = of {
                    prop_assert_eq!(!matches!(of, Segment::Raw(_)), good);
                }
                if let Some(Segment::Cut(of, _)) = of {
                    prop_assert_eq!(*of, hour);
                }
            }
        }
    }
}
