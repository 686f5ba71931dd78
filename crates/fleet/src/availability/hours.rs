//! The server-hour: which hours of a server are closed, which of them are rolled up, and which are still to do.
//!
//! An hour is named by how many hours after the epoch it begins.

use std::{
    collections::HashMap,
    ops::{Range, RangeInclusive},
};

use crate::{Millis, ServerId, snapshot::Interval, uptime::Piece};

/// One hour.
pub const HOUR: Millis = 3_600_000;

/// An hour is closed at the earliest this long after its end.
pub const CLOSES_AFTER: Millis = 600_000;

/// Of a server whose interval is longer than this, an hour is closed later than [`CLOSES_AFTER`].
pub const LONG_INTERVAL: Millis = CLOSES_AFTER / 2;

/// Most hours that are rolled up in one step; they never reach over midnight.
const MOST_AT_ONCE: i64 = 24;

/// The hour of a moment.
pub fn hour(at: Millis) -> i64 {
    at.div_euclid(HOUR)
}

/// The time that an hour is about.
pub fn of_hour(hour: i64) -> Piece {
    Piece { from: hour.saturating_mul(HOUR), to: hour.saturating_add(1).saturating_mul(HOUR) }
}

/// The hours to whose rollups a snapshot matters that vouches for `(from, at]`: the one that it is sampled in, and those
/// that it reaches back into.
pub fn touched(from: Millis, at: Millis) -> RangeInclusive<i64> {
    hour(from.min(at))..=hour(at)
}

/// What tells which hours are closed: the watermark passed their end by ten minutes, or by two intervals of the server
/// if that is longer.
#[derive(Debug, Clone, Default)]
pub struct Closing {
    watermark: Millis,
    slow: HashMap<ServerId, Interval>,
}

impl Closing {
    /// At this watermark. `slow` has at least the servers whose interval is longer than [`LONG_INTERVAL`].
    pub fn new(watermark: Millis, slow: impl IntoIterator<Item = (ServerId, Interval)>) -> Self {
        Self { watermark, slow: slow.into_iter().collect() }
    }

    /// Every hour before this one is closed for servers of usual intervals.
    pub fn before_most(&self) -> i64 {
        hour(self.watermark.saturating_sub(CLOSES_AFTER))
    }

    /// Every hour of the server before this one is closed.
    pub fn before(&self, server: ServerId) -> i64 {
        let intervals = self.slow.get(&server).map_or(0, |interval| 2 * interval.millis());
        hour(self.watermark.saturating_sub(CLOSES_AFTER.max(intervals)))
    }
}

/// The hours of a server that are rolled up: `first` and those after it, up to and without `until`, apart from those that
/// a late snapshot has made dirty.
///
/// New hours are added at the end as they close, and meanwhile older ones at the beginning, so that history that was
/// there before does not hold up what comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rolled {
    /// The first hour.
    pub first: i64,
    /// The hour after the last one.
    pub until: i64,
}

impl Rolled {
    /// None yet. It begins where the closed hours end, or the history of the server, whose newest sample this is.
    pub fn none(closed: i64, newest: Millis) -> Self {
        let until = closed.min(hour(newest).saturating_add(1));
        Self { first: until, until }
    }

    /// Whether this hour is among them.
    pub fn contains(&self, hour: i64) -> bool {
        (self.first..self.until).contains(&hour)
    }

    /// The next hours to roll up that closed lately, if any. After the newest sample there is nothing.
    pub fn later(&self, closed: i64, newest: Millis) -> Option<Range<i64>> {
        let end = closed.min(hour(newest).saturating_add(1)).min(day_after(self.until));
        (self.until < end).then_some(self.until..end)
    }

    /// The next hours to roll up before all of these, if there is older history; it begins at `oldest`.
    pub fn earlier(&self, oldest: Millis) -> Option<Range<i64>> {
        let begin = hour(oldest).max(day_after(self.first - 1) - MOST_AT_ONCE);
        (begin < self.first).then_some(begin..self.first)
    }

    /// These and `hours`, which [`later`](Self::later) or [`earlier`](Self::earlier) gave.
    pub fn with(self, hours: &Range<i64>) -> Self {
        Self { first: self.first.min(hours.start), until: self.until.max(hours.end) }
    }

    /// How many hours are still to do.
    pub fn left(&self, closed: i64, oldest: Millis, newest: Millis) -> i64 {
        let end = closed.min(hour(newest).saturating_add(1));
        (end - self.until).max(0) + (self.first - hour(oldest)).max(0)
    }
}

/// The first hour of the day after the one of `hour`.
fn day_after(hour: i64) -> i64 {
    (hour.div_euclid(MOST_AT_ONCE) + 1) * MOST_AT_ONCE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server(n: u8) -> ServerId {
        ServerId::new(1, [n; 10])
    }

    #[test]
    fn an_hour_closes_ten_minutes_after_its_end_or_two_intervals_if_that_is_longer() {
        let hourly = Interval::try_from(HOUR).unwrap();
        for (passed, of, closed) in [
            (CLOSES_AFTER - 1, server(1), false),
            (CLOSES_AFTER, server(1), true),
            (2 * HOUR - 1, server(2), false),
            (2 * HOUR, server(2), true),
        ] {
            let closing = Closing::new(8 * HOUR + passed, [(server(2), hourly)]);
            assert_eq!(closing.before(of) >= 8, closed, "{passed}");
        }
    }

    #[test]
    fn a_snapshot_touches_where_it_is_sampled_and_what_it_vouches_for() {
        assert_eq!(touched(HOUR - 1, HOUR), 0..=1);
        assert_eq!(touched(HOUR, HOUR + 1), 1..=1);
        assert_eq!(touched(HOUR, HOUR), 1..=1);
        assert_eq!(touched(HOUR / 2, 3 * HOUR - 1), 0..=2);
    }

    proptest! {
        #[test]
        fn every_closed_hour_is_done_once_the_latest_first_and_none_over_midnight(
            oldest in 0i64..100, length in 0i64..100, closed in 0i64..250, more in 0i64..50
        ) {
            let (oldest, newest) = (oldest * HOUR + 7, (oldest + length) * HOUR + 8);
            let mut rolled = Rolled::none(closed, newest);
            let mut done = Vec::new();
            let (closed, newest) = (closed + more, newest + more * HOUR);
            let mut left = rolled.left(closed, oldest, newest);
            while let Some(hours) = rolled.later(closed, newest).or_else(|| rolled.earlier(oldest)) {
                prop_assert_eq!(hours.start.div_euclid(24), (hours.end - 1).div_euclid(24));
                rolled = rolled.with(&hours);
                left -= hours.end - hours.start;
                prop_assert_eq!(rolled.left(closed, oldest, newest), left);
                done.extend(hours);
            }
            done.sort_unstable();
            let end = closed.min(hour(newest) + 1);
            let wanted: Vec<i64> = (hour(oldest)..end).collect();
            prop_assert!(done.iter().filter(|hour| **hour >= super::hour(oldest)).copied().eq(wanted));
            prop_assert_eq!(left, 0);
        }
    }
}
