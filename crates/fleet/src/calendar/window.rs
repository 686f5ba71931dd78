//! What a scheduled report is about: a piece of time before its run, in the schedule's zone.

use std::str::FromStr;

use chrono::{Datelike, Days, NaiveDate, NaiveTime};

use super::Zone;
use crate::Millis;

const DAY: Millis = 86_400_000;

/// Which piece of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The 24 hours before the run.
    LastDay,
    /// The calendar day before that of the run.
    Yesterday,
    /// The calendar week, Monday to Sunday, before that of the run.
    LastWeek,
    /// The calendar month before that of the run.
    LastMonth,
}

/// A text that names no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be last_24h, yesterday, last_week or last_month")]
pub struct BadWindow;

impl Window {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::LastDay, Self::Yesterday, Self::LastWeek, Self::LastMonth];

    /// As the interface spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LastDay => "last_24h",
            Self::Yesterday => "yesterday",
            Self::LastWeek => "last_week",
            Self::LastMonth => "last_month",
        }
    }

    /// `[from, to)` of a run at `at`. A day is as long as it is in that zone. If the day before the run does not exist
    /// there, the window is the day before that one. `None` for a time that no calendar has.
    pub fn range(self, zone: Zone, at: Millis) -> Option<(Millis, Millis)> {
        if self == Self::LastDay {
            return Some((at - DAY, at));
        }
        let mut end = self.begin(zone.local(at)?.date())?;
        loop {
            let begin = self.begin(end.pred_opt()?)?;
            let (from, to) = (midnight(zone, begin)?, midnight(zone, end)?);
            if from < to {
                return Some((from, to));
            }
            end = begin;
        }
    }

    /// First day of the piece of the calendar that this day is in.
    fn begin(self, day: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::LastDay | Self::Yesterday => Some(day),
            Self::LastWeek => day.checked_sub_days(Days::new(day.weekday().num_days_from_monday().into())),
            Self::LastMonth => day.with_day(1),
        }
    }
}

/// When `count` days begin of which the last one is that of `at`, and at last when that one ends. A day is as long as it is in
/// that zone; one that does not exist there has no length. `None` for a time that no calendar has.
pub fn days(zone: Zone, at: Millis, count: u32) -> Option<Vec<Millis>> {
    let end = zone.local(at)?.date().succ_opt()?;
    (0..=count).rev().map(|back| midnight(zone, end.checked_sub_days(Days::new(back.into()))?)).collect()
}

/// The first instant of a day, which is not everywhere at midnight.
fn midnight(zone: Zone, day: NaiveDate) -> Option<Millis> {
    zone.instant(day.and_time(NaiveTime::MIN))
}

impl FromStr for Window {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Self, BadWindow> {
        Self::ALL.into_iter().find(|window| window.as_str() == text).ok_or(BadWindow)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn utc(text: &str) -> Millis {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    #[test]
    fn a_window_is_a_piece_of_the_zones_calendar() {
        for (window, zone, at, from, to) in [
            (
                "last_24h",
                "Europe/Berlin",
                "2026-03-29T21:59:00Z",
                "2026-03-28T21:59:00Z",
                "2026-03-29T21:59:00Z",
            ),
            ("yesterday", "UTC", "2026-09-21T00:00:00Z", "2026-09-20T00:00:00Z", "2026-09-21T00:00:00Z"),
            // 23 and 25 hours.
            (
                "yesterday",
                "Europe/Berlin",
                "2026-03-30T06:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            (
                "yesterday",
                "Europe/Berlin",
                "2026-10-26T06:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (
                "yesterday",
                "Asia/Kolkata",
                "2026-09-21T00:00:00Z",
                "2026-09-19T18:30:00Z",
                "2026-09-20T18:30:00Z",
            ),
            // 30 December 2011 never was in Samoa.
            (
                "yesterday",
                "Pacific/Apia",
                "2011-12-30T12:00:00Z",
                "2011-12-29T10:00:00Z",
                "2011-12-30T10:00:00Z",
            ),
            // 2026-09-21 is a Monday.
            ("last_week", "UTC", "2026-09-21T00:00:00Z", "2026-09-14T00:00:00Z", "2026-09-21T00:00:00Z"),
            ("last_week", "UTC", "2026-09-20T23:59:00Z", "2026-09-07T00:00:00Z", "2026-09-14T00:00:00Z"),
            (
                "last_month",
                "America/New_York",
                "2026-12-01T06:00:00Z",
                "2026-11-01T04:00:00Z",
                "2026-12-01T05:00:00Z",
            ),
            ("last_month", "UTC", "2026-01-31T06:00:00Z", "2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ] {
            let range = window.parse::<Window>().unwrap().range(zone.parse().unwrap(), utc(at));
            assert_eq!(range, Some((utc(from), utc(to))), "{window} in {zone} at {at}");
        }
    }

    #[test]
    fn days_are_as_long_as_they_are_in_their_zone() {
        let lengths = |zone: &str, at, count| {
            let days = days(zone.parse().unwrap(), utc(at), count).unwrap();
            days.windows(2).map(|day| (day[1] - day[0]) / 3_600_000).collect::<Vec<_>>()
        };
        assert_eq!(lengths("Europe/Berlin", "2026-03-29T21:59:00Z", 2), [24, 23]);
        assert_eq!(lengths("Europe/Berlin", "2026-10-26T22:59:00Z", 3), [24, 25, 24]);
        // 30 December 2011 never was in Samoa.
        assert_eq!(lengths("Pacific/Apia", "2011-12-30T12:00:00Z", 3), [24, 0, 24]);
        let utc_days = days("UTC".parse().unwrap(), utc("2026-09-21T23:59:59Z"), 1).unwrap();
        assert_eq!(utc_days, [utc("2026-09-21T00:00:00Z"), utc("2026-09-22T00:00:00Z")]);
    }

    #[test]
    fn every_window_reads_back() {
        for window in Window::ALL {
            assert_eq!(window.as_str().parse(), Ok(window));
        }
        assert_eq!("today".parse::<Window>(), Err(BadWindow));
    }
}
