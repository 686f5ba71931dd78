//! One cell, and its times as sheets have them.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat};

const MILLIS_PER_DAY: i64 = 86_400_000;
/// Day number of 1970-01-01 in a workbook, which counts from 1900.
const EPOCH_DAY: i64 = 25_569;
/// Workbooks that once came from a Macintosh count from 1904.
const DAYS_TO_1904: i64 = 1_462;
/// The days on which all spreadsheets agree: from 1900-03-01, before which Excel counts a day that never was, to
/// 9999-12-31.
const DAYS: std::ops::Range<i64> = 61..2_958_466;

/// What a cell holds. A csv knows texts only, so ask by [`Cell::number`], [`Cell::bool`] and [`Cell::time`], which take the
/// text of such a value as well.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Cell {
    /// Nothing. An empty text is written and read as this.
    #[default]
    Empty,
    /// Any text; see the crate for what becomes of it.
    Text(String),
    /// A finite number; any other is written as an empty cell.
    Number(f64),
    /// True or false.
    Bool(bool),
    /// Unix milliseconds: a date cell in UTC, in csv RFC 3339. A time that sheets do not know (before March 1900 or
    /// after the year 9999) is written as this number.
    Time(i64),
}

impl Cell {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Text(text) => text.is_empty(),
            Self::Number(_) | Self::Bool(_) | Self::Time(_) => false,
        }
    }

    /// As people would type it; `None` if empty. A number without a fraction has no point, so a name that a spreadsheet
    /// made a number of is a name again, less its leading zeros.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Empty => None,
            Self::Text(text) => (!text.is_empty()).then_some(Cow::Borrowed(text)),
            Self::Number(number) => Some(Cow::Owned(number.to_string())),
            Self::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Time(at) => Some(Cow::Owned(rfc3339(*at).unwrap_or_else(|| at.to_string()))),
        }
    }

    /// A finite number, or the text of one.
    pub fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.trim().parse().ok()?,
            Self::Empty | Self::Bool(_) | Self::Time(_) => return None,
        };
        number.is_finite().then_some(number)
    }

    /// True or false, or one of these words regardless of case.
    pub fn bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Text(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
            Self::Text(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
            Self::Text(_) | Self::Empty | Self::Number(_) | Self::Time(_) => None,
        }
    }

    /// Unix milliseconds of a date cell, or of a text in RFC 3339.
    pub fn time(&self) -> Option<i64> {
        match self {
            Self::Time(at) => Some(*at),
            Self::Text(text) => Some(DateTime::parse_from_rfc3339(text.trim()).ok()?.timestamp_millis()),
            Self::Empty | Self::Number(_) | Self::Bool(_) => None,
        }
    }
}

/// `None` if sheets do not know that time.
pub fn rfc3339(at: i64) -> Option<String> {
    serial(at)?;
    Some(DateTime::from_timestamp_millis(at)?.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// The day number of a time, its fraction the time of day. `None` if sheets do not know that time.
pub fn serial(at: i64) -> Option<f64> {
    let days = at.div_euclid(MILLIS_PER_DAY).checked_add(EPOCH_DAY)?;
    let fraction = at.rem_euclid(MILLIS_PER_DAY) as f64 / MILLIS_PER_DAY as f64;
    DAYS.contains(&days).then_some(days as f64 + fraction)
}

/// Unix milliseconds of a day number; the inverse of [`serial`] to the millisecond.
pub fn time(serial: f64, from_1904: bool) -> Option<i64> {
    let days = if from_1904 { serial + DAYS_TO_1904 as f64 } else { serial };
    let known = days >= DAYS.start as f64 && days < DAYS.end as f64;
    known.then(|| ((days - EPOCH_DAY as f64) * MILLIS_PER_DAY as f64).round() as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_are_those_of_excel() {
        assert_eq!(serial(0), Some(25_569.0));
        assert_eq!(serial(946_684_800_000 + 43_200_000), Some(36_526.5));
        assert_eq!(time(36_526.5 - 1_462.0, true), Some(946_684_800_000 + 43_200_000));
        assert_eq!(time(60.0, false), None);
        assert_eq!(time(f64::NAN, false), None);
        for at in [i64::MIN, i64::MAX, -2_203_891_200_001, 253_402_300_800_000] {
            assert_eq!((serial(at), rfc3339(at)), (None, None), "{at}");
        }
    }

    #[test]
    fn a_number_reads_as_people_type_it() {
        assert_eq!(Cell::Number(42.0).text().unwrap(), "42");
        assert_eq!(Cell::Text(" 42 ".to_owned()).number(), Some(42.0));
        assert_eq!(Cell::Text("inf".to_owned()).number(), None);
        assert_eq!(Cell::Text("TRUE".to_owned()).bool(), Some(true));
    }

    proptest! {
        #[test]
        fn a_time_survives_its_day_number_and_its_text(at in -2_203_891_200_000_i64..253_402_300_800_000) {
            prop_assert_eq!(time(serial(at).unwrap(), false), Some(at));
            prop_assert_eq!(Cell::Text(rfc3339(at).unwrap()).time(), Some(at));
        }
    }
}
