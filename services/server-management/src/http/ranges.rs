//! Times and ranges of time.

use chassis::Problem;
use chrono::DateTime;
use fleet::{Millis, series::MAX_POINTS, snapshot::MAX_TIME};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use crate::http::{
    document::{self, parameter, whole},
    failure::invalid_parameter,
    query::{FromParameters, Parameters, decimal},
};

const DEFAULT_POINTS: u32 = 60;
const HOUR: Millis = 3_600_000;
const DAY: Millis = 24 * HOUR;

/// A half-open range of time; the last 24 h unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: Millis,
    pub(crate) to: Millis,
}

/// A range and into how many buckets it is reduced; the last hour in 60 unless said otherwise.
pub(crate) struct Points {
    pub(crate) range: Range,
    pub(crate) points: u32,
}

/// Either end of a half-open range of time may be open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) from: Option<Millis>,
    pub(crate) to: Option<Millis>,
}

impl Range {
    /// Of the parameters `from` and `to`: it ends `now` and is `length` long unless they say otherwise.
    pub(crate) fn ending_now(
        parameters: &mut Parameters,
        now: Millis,
        length: Millis,
    ) -> Result<Self, Problem> {
        let Bounds { from, to } = Bounds::take(parameters, now)?;
        let to = to.unwrap_or(now);
        let from = from.unwrap_or((to - length).max(0));
        in_order(from, to)?;
        Ok(Self { from, to })
    }
}

impl FromParameters for Bounds {
    fn take(parameters: &mut Parameters, _: Millis) -> Result<Self, Problem> {
        let (from, to) = (parameters.parsed("from", time)?, parameters.parsed("to", time)?);
        from.zip(to).map_or(Ok(()), |(from, to)| in_order(from, to))?;
        Ok(Self { from, to })
    }
}

impl FromParameters for Range {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        Self::ending_now(parameters, now, DAY)
    }
}

impl FromParameters for Points {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let range = Range::ending_now(parameters, now, HOUR)?;
        let points = parameters.number("points", MAX_POINTS)?.unwrap_or(DEFAULT_POINTS);
        Ok(Self { range, points })
    }
}

fn in_order(from: Millis, to: Millis) -> Result<(), Problem> {
    if from < to { Ok(()) } else { Err(invalid_parameter("from", "must be before to")) }
}

/// Unix milliseconds or, for people, RFC 3339. In a query an unescaped `+` means a space. No time has a space where
/// `…T08:00:00+02:00` has its `+`, so a space there is read as the `+` that was meant.
pub(crate) fn time(text: &str) -> Result<Millis, &'static str> {
    let at = decimal(text).or_else(|| {
        let separated = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
        let meant = text.replacen(' ', "+", 1);
        DateTime::parse_from_rfc3339(&meant).ok().filter(|_| separated).map(|time| time.timestamp_millis())
    });
    at.filter(|at| (0..=MAX_TIME).contains(at))
        .ok_or("must be Unix milliseconds or a time such as 2026-01-31T08:00:00Z")
}

/// The parameters of a [`Range`] that is `length` long by default.
pub(crate) fn parameters(length: &str) -> Vec<Parameter> {
    let from = format!("Start, in it: Unix ms or RFC 3339. {length} before `to` by default");
    vec![
        parameter("from", &from, document::time()),
        parameter("to", "End, not in it: Unix ms or RFC 3339. Now by default", document::time()),
    ]
}

impl IntoParams for Bounds {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            parameter("from", "Start, in it: Unix ms or RFC 3339", document::time()),
            parameter("to", "End, not in it: Unix ms or RFC 3339", document::time()),
        ]
    }
}

impl IntoParams for Range {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        parameters("24 h")
    }
}

impl IntoParams for Points {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = parameters("1 h");
        parameters.push(parameter(
            "points",
            "Into how many equal buckets",
            whole(MAX_POINTS, DEFAULT_POINTS),
        ));
        parameters
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::query::parse;

    const NOW: Millis = 1_790_000_000_000;

    #[test]
    fn a_time_is_unix_milliseconds_or_rfc_3339() {
        assert_eq!(time("0"), Ok(0));
        assert_eq!(time("1790000000000"), Ok(NOW));
        assert_eq!(time("2026-09-21T14:13:20Z"), Ok(NOW));
        assert_eq!(time("2026-09-21T16:13:20.5+02:00"), Ok(NOW + 500));
        assert_eq!(time("2026-09-21T16:13:20 02:00"), Ok(NOW));
        assert_eq!(time("2026-09-21t10:13:20-04:00"), Ok(NOW));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let hostile = [
            "-1",
            "+1",
            "1e3",
            "1.5",
            " 1",
            "now",
            "2026-09-21",
            "2026-09-21 14:13:20Z",
            "2026-09-21T14:13:20",
            "2026-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "253402300800000",
            "99999999999999999999",
            "2026-09-21T14:13:20 02:00 ",
            "٣",
            "2026-09-2é1",
        ];
        for text in hostile {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_ends_now_unless_said_otherwise_and_never_starts_below_zero() {
        assert_eq!(parse::<Range>("", NOW).unwrap(), Range { from: NOW - DAY, to: NOW });
        assert_eq!(parse::<Range>("to=5&from=", NOW).unwrap(), Range { from: 0, to: 5 });
        assert!(parse::<Range>("to=0", NOW).is_err());
        assert!(parse::<Range>("from=7&to=7", NOW).is_err());
    }

    #[test]
    fn bounds_may_be_open_and_are_in_order() {
        assert_eq!(parse::<Bounds>("", NOW).unwrap(), Bounds { from: None, to: None });
        assert_eq!(parse::<Bounds>("from=8", NOW).unwrap(), Bounds { from: Some(8), to: None });
        assert!(parse::<Bounds>("from=7&to=7", NOW).is_err());
    }

    proptest! {
        #[test]
        fn a_time_reads_back(at in 0..=MAX_TIME) {
            let text = DateTime::from_timestamp_millis(at).unwrap().to_rfc3339();
            prop_assert_eq!(time(&text), Ok(at));
            prop_assert_eq!(time(&at.to_string()), Ok(at));
        }
    }
}
