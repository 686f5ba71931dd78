//! When something is due: a cron expression in local time, and the instants that it means in a zone.
//!
//! The expression is the usual one of five fields, minute hour day month weekday, with Sunday as 0 or 7. If both day
//! and weekday are restricted, either is enough, as cron has always had it.
//!
//! When clocks change, an hour of local time comes twice or not at all. What is due in an hour that comes twice is due
//! once, at the first of the two; what is due in one that does not exist is due at the first instant after it.

use std::{collections::BTreeSet, fmt, str::FromStr};

use chrono::{DateTime, LocalResult, NaiveDateTime, SecondsFormat, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

use crate::Millis;

/// Longest text of an expression, in bytes.
const MAX_TEXT_BYTES: usize = 256;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A cron expression of five fields.
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    /// The expression is due when one of these is.
    any: Vec<cron::Schedule>,
}

/// A text that is no cron expression; says which field is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCron {
    /// Not five fields.
    #[error("must have five fields: minute hour day month weekday, such as 59 23 * * *")]
    Fields,
    /// A field that cannot be read or is out of its bounds.
    #[error("has a bad {0}: numbers from {1} to {2}, lists a,b, ranges a-b, steps */n and a-b/n are known")]
    Field(&'static str, u32, u32),
}

/// A time zone of the IANA database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(pub(crate) Tz);

/// A text that names no time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a time zone of the IANA database, such as Europe/Berlin or UTC")]
pub struct BadZone;

/// A moment at which something is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The time by the wall clock of the zone, such as `2026-03-29T02:30`; if several fall on one instant, the last of
    /// them. It identifies the run: every replica that finds the run due finds the same text.
    pub local: String,
    /// The instant.
    pub at: Millis,
}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
    /// Number of the first name.
    first: u32,
}

const MINUTE: Field = Field { name: "minute", least: 0, most: 59, names: &[], first: 0 };
const HOUR: Field = Field { name: "hour", least: 0, most: 23, names: &[], first: 0 };
const DAY: Field = Field { name: "day", least: 1, most: 31, names: &[], first: 0 };
const MONTH: Field = Field { name: "month", least: 1, most: 12, names: &MONTHS, first: 1 };
const WEEKDAY: Field = Field { name: "weekday", least: 0, most: 7, names: &WEEKDAYS, first: 0 };

impl FromStr for Cron {
    type Err = BadCron;

    fn from_str(text: &str) -> Result<Self, BadCron> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else { return Err(BadCron::Fields) };
        if text.len() > MAX_TEXT_BYTES {
            return Err(BadCron::Fields);
        }
        let (minutes, hours) = (MINUTE.read(minute)?, HOUR.read(hour)?);
        let (days, months, weekdays) = (DAY.read(day)?, MONTH.read(month)?, WEEKDAY.read(weekday)?);
        // The library counts Sunday as 1.
        let weekdays: BTreeSet<u32> = weekdays.into_iter().map(|day| day % 7 + 1).collect();
        let (every_day, every_weekday) = (day.starts_with('*'), weekday.starts_with('*'));
        let schedule = |days: &str, weekdays: &str| {
            let (minutes, hours, months) = (listed(&minutes), listed(&hours), listed(&months));
            let text = format!("0 {minutes} {hours} {days} {months} {weekdays}");
            text.parse().map_err(|_| BadCron::Fields)
        };
        let (days, weekdays) = (listed(&days), listed(&weekdays));
        let any = if every_day || every_weekday {
            vec![schedule(&days, &weekdays)?]
        } else {
            vec![schedule(&days, "*")?, schedule("*", &weekdays)?]
        };
        Ok(Self { text: fields.join(" "), any })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

fn listed(numbers: &BTreeSet<u32>) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

impl Field {
    fn read(&self, text: &str) -> Result<BTreeSet<u32>, BadCron> {
        let mut numbers = BTreeSet::new();
        for part in text.split(',') {
            self.read_part(part, &mut numbers).ok_or(BadCron::Field(self.name, self.least, self.most))?;
        }
        Ok(numbers)
    }

    fn read_part(&self, part: &str, numbers: &mut BTreeSet<u32>) -> Option<()> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(digits(step).filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (self.number(from)?, self.number(to)?),
            None if range == "*" => (self.least, if self.most == 7 { 6 } else { self.most }),
            // A step from a single number means something else in each cron.
            None if step.is_some() => return None,
            None => (self.number(range)?, self.number(range)?),
        };
        if from > to {
            return None;
        }
        numbers.extend((from..=to).step_by(usize::try_from(step.unwrap_or(1)).ok()?));
        Some(())
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = match named {
            Some(at) => self.first + u32::try_from(at).ok()?,
            None => digits(text)?,
        };
        (self.least..=self.most).contains(&number).then_some(number)
    }
}

fn digits(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl FromStr for Zone {
    type Err = BadZone;

    fn from_str(text: &str) -> Result<Self, BadZone> {
        text.parse().map(Self).map_err(|_| BadZone)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Tz::UTC);

    /// What the wall clock shows; `None` for a time that no calendar has.
    pub fn local(self, at: Millis) -> Option<NaiveDateTime> {
        Some(self.0.from_utc_datetime(&DateTime::from_timestamp_millis(at)?.naive_utc()).naive_local())
    }

    /// For people: `2026-03-29 02:30 CEST`.
    pub fn tell(self, at: Millis) -> String {
        match DateTime::from_timestamp_millis(at) {
            Some(time) => time.with_timezone(&self.0).format("%Y-%m-%d %H:%M %Z").to_string(),
            None => at.to_string(),
        }
    }

    /// For programs: RFC 3339 with the zone's offset, `2026-03-29T02:30:00+02:00`.
    pub fn rfc3339(self, at: Millis) -> String {
        match DateTime::from_timestamp_millis(at) {
            Some(time) => time.with_timezone(&self.0).to_rfc3339_opts(SecondsFormat::Secs, true),
            None => at.to_string(),
        }
    }

    /// What the wall clock shows, as if it were UTC: for what knows no zones, such as a date in a workbook.
    pub fn wall(self, at: Millis) -> Option<Millis> {
        Some(self.local(at)?.and_utc().timestamp_millis())
    }

    /// The instant of a wall-clock time: the first of two, or the first after it where there is none.
    pub(crate) fn instant(self, local: NaiveDateTime) -> Option<Millis> {
        let at = match self.0.from_local_datetime(&local) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at,
            LocalResult::None => GapInfo::new(&local, &self.0)?.end?,
        };
        Some(at.timestamp_millis())
    }
}

impl Cron {
    /// What is due in `(after, until]`, in order, `most` at the most.
    pub fn due(&self, zone: Zone, after: Millis, until: Millis, most: usize) -> Vec<Due> {
        let Some(begin) = zone.local(after) else { return Vec::new() };
        // When clocks are set back, it is by less than this.
        let end = zone.local(until).and_then(|local| local.checked_add_signed(TimeDelta::hours(26)));
        let mut runs: Vec<Due> = Vec::new();
        for local in self.locals(begin) {
            if end.is_some_and(|end| local > end) {
                break;
            }
            let Some(at) = zone.instant(local) else { continue };
            if at > until {
                break;
            }
            let due = Due { local: local.format("%Y-%m-%dT%H:%M").to_string(), at };
            if at <= after {
                continue;
            }
            // Times in an hour that does not exist all fall on the instant after it. They are one run, also with what
            // is due at that instant anyway.
            if runs.last().is_some_and(|last| last.at == at) {
                runs.pop();
            } else if runs.len() == most {
                break;
            }
            runs.push(due);
        }
        runs
    }

    /// The wall-clock times that match after `begin`, in order.
    fn locals(&self, begin: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
        // A second earlier, because a fraction of `begin` would be cut off.
        let begin = Utc.from_utc_datetime(&(begin - TimeDelta::seconds(1)));
        let mut sources: Vec<_> = self.any.iter().map(|one| one.after(&begin).peekable()).collect();
        std::iter::from_fn(move || {
            let next = sources.iter_mut().filter_map(|source| source.peek().copied()).min()?;
            for source in &mut sources {
                source.next_if_eq(&next);
            }
            Some(next.naive_utc())
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use proptest::prelude::*;

    use super::*;

    fn utc(text: &str) -> Millis {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    fn runs(cron: &str, zone: &str, after: &str, until: &str) -> Vec<(String, String)> {
        let cron: Cron = cron.parse().unwrap();
        let due = cron.due(zone.parse().unwrap(), utc(after), utc(until), 1_000);
        let told = |at| DateTime::from_timestamp_millis(at).unwrap().to_rfc3339();
        due.into_iter().map(|due| (due.local, told(due.at).replace("+00:00", "Z"))).collect()
    }

    fn pair(local: &str, at: &str) -> (String, String) {
        (local.to_owned(), at.to_owned())
    }

    #[test]
    fn weekdays_are_those_of_unix() {
        // 2026-09-20 is a Sunday.
        for sunday in ["0", "7", "sun", "SUN"] {
            let due =
                runs(&format!("0 12 * * {sunday}"), "UTC", "2026-09-14T00:00:00Z", "2026-09-28T00:00:00Z");
            let wanted =
                [("2026-09-20T12:00", "2026-09-20T12:00:00Z"), ("2026-09-27T12:00", "2026-09-27T12:00:00Z")];
            assert_eq!(due, wanted.map(|(local, at)| pair(local, at)), "{sunday}");
        }
        let friday_to_sunday = runs("0 0 * * 5-7", "UTC", "2026-09-14T00:00:00Z", "2026-09-21T00:00:00Z");
        let days: Vec<_> = friday_to_sunday.iter().map(|(local, _)| &local[8..10]).collect();
        assert_eq!(days, ["18", "19", "20"]);
        assert_eq!(runs("0 0 * * mon-fri", "UTC", "2026-09-13T12:00:00Z", "2026-09-20T12:00:00Z").len(), 5);
    }

    #[test]
    fn a_restricted_day_and_weekday_are_either_enough() {
        let due = runs("0 0 1 * 1", "UTC", "2026-09-30T12:00:00Z", "2026-10-12T12:00:00Z");
        let days: Vec<_> = due.iter().map(|(local, _)| &local[8..10]).collect();
        assert_eq!(days, ["01", "05", "12"]);
    }

    #[test]
    fn an_hour_that_comes_twice_counts_once() {
        let night = ("2026-10-24T22:00:00Z", "2026-10-25T03:00:00Z");
        let due = runs("30 2 * * *", "Europe/Berlin", night.0, night.1);
        assert_eq!(due, [pair("2026-10-25T02:30", "2026-10-25T00:30:00Z")]);
        // Asked for in its second coming, it is not due again.
        assert_eq!(runs("30 2 * * *", "Europe/Berlin", "2026-10-25T00:59:00Z", night.1), []);
        assert_eq!(runs("0 * * * *", "Europe/Berlin", night.0, night.1).len(), 4);
    }

    #[test]
    fn an_hour_that_does_not_exist_is_due_at_the_first_instant_after() {
        let night = ("2026-03-29T00:30:00Z", "2026-03-29T06:00:00Z");
        let due = runs("30 2 * * *", "Europe/Berlin", night.0, night.1);
        assert_eq!(due, [pair("2026-03-29T02:30", "2026-03-29T01:00:00Z")]);
        // Two that fall on one instant are one.
        let due = runs("*/30 2,3 * * *", "Europe/Berlin", night.0, night.1);
        let wanted =
            [("2026-03-29T03:00", "2026-03-29T01:00:00Z"), ("2026-03-29T03:30", "2026-03-29T01:30:00Z")];
        assert_eq!(due, wanted.map(|(local, at)| pair(local, at)));
        // Half an hour of Lord Howe.
        let due = runs("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", "2026-10-03T20:00:00Z");
        assert_eq!(due, [pair("2026-10-04T02:15", "2026-10-03T15:30:00Z")]);
    }

    #[test]
    fn a_day_that_does_not_exist_is_due_at_the_next() {
        let due = runs("59 23 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", "2012-01-01T12:00:00Z");
        let wanted = [
            ("2011-12-28T23:59", "2011-12-29T09:59:00Z"),
            ("2011-12-29T23:59", "2011-12-30T09:59:00Z"),
            ("2011-12-30T23:59", "2011-12-30T10:00:00Z"),
            ("2011-12-31T23:59", "2011-12-31T09:59:00Z"),
            ("2012-01-01T23:59", "2012-01-01T09:59:00Z"),
        ];
        assert_eq!(due, wanted.map(|(local, at)| pair(local, at)));
    }

    #[test]
    fn the_range_is_without_its_start_and_with_its_end() {
        let noon = "2026-09-20T12:00:00Z";
        assert_eq!(runs("0 12 * * *", "UTC", "2026-09-20T11:59:59.999Z", noon).len(), 1);
        assert_eq!(runs("0 12 * * *", "UTC", noon, "2026-09-21T11:59:59Z"), []);
        let cron: Cron = "* * * * *".parse().unwrap();
        assert_eq!(cron.due("UTC".parse().unwrap(), 0, 86_400_000, 7).len(), 7);
    }

    #[test]
    fn what_is_no_expression_is_refused_by_its_field() {
        for (text, field) in [
            ("60 * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day"),
            ("* * * 13 *", "month"),
            ("* * * foo *", "month"),
            ("* * * * 8", "weekday"),
            ("5-1 * * * *", "minute"),
            ("*/0 * * * *", "minute"),
            ("5/2 * * * *", "minute"),
            ("+5 * * * *", "minute"),
            ("1,,2 * * * *", "minute"),
            ("*/99999999999 * * * *", "minute"),
        ] {
            assert!(text.parse::<Cron>().unwrap_err().to_string().contains(field), "{text}");
        }
        for text in ["", "* * * *", "0 * * * * *", "@daily"] {
            assert_eq!(text.parse::<Cron>(), Err(BadCron::Fields), "{text}");
        }
        assert_eq!("Mars/Olympus".parse::<Zone>(), Err(BadZone));
        let never: Cron = "0 0 30 2 *".parse().unwrap();
        assert_eq!(never.due("UTC".parse().unwrap(), 0, Millis::MAX / 4, 1), []);
    }

    const ZONES: [&str; 5] =
        ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Ten years of a daily run: each local day has one, asked for in pieces of any length by processes that
        /// stall, and the instants rise.
        #[test]
        fn ten_years_have_one_run_a_day(
            zone in proptest::sample::select(&ZONES[..]), hour in 0u32..24, minute in 0u32..60,
            pieces in proptest::collection::vec(1i64..40 * 86_400_000, 1..40),
        ) {
            let cron: Cron = format!("{minute} {hour} * * *").parse().unwrap();
            let zone: Zone = zone.parse().unwrap();
            let (begin, end) = (utc("2007-06-01T00:00:00Z"), utc("2017-06-01T00:00:00Z"));
            let whole = cron.due(zone, begin, end, usize::MAX);
            let (mut after, mut joined) = (begin, Vec::new());
            for piece in pieces.iter().cycle() {
                let until = (after + piece).min(end);
                joined.extend(cron.due(zone, after, until, usize::MAX));
                after = until;
                if after == end {
                    break;
                }
            }
            prop_assert_eq!(&joined, &whole);
            prop_assert!(whole.windows(2).all(|pair| pair[0].at < pair[1].at));
            let days: BTreeSet<&str> = whole.iter().map(|due| &due.local[..10]).collect();
            prop_assert_eq!(days.len(), whole.len());
            let first = NaiveDate::parse_from_str(days.first().unwrap(), "%Y-%m-%d").unwrap();
            let last = NaiveDate::parse_from_str(days.last().unwrap(), "%Y-%m-%d").unwrap();
            let all = usize::try_from((last - first).num_days() + 1).unwrap();
            // The day that Samoa never had ends where the next begins, and a run at midnight is then one for both.
            prop_assert!(days.len() == all || (days.len() == all - 1 && hour == 0 && minute == 0));
            prop_assert!((3_650..=3_654).contains(&all));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,40}|([0-9*,/-]{1,6} ){4}[0-9*,/-]{1,6}") {
            if let Ok(cron) = text.parse::<Cron>() {
                prop_assert_eq!(cron.to_string().parse::<Cron>().unwrap(), cron);
            }
        }
    }
}
