//! From bytes to checked snapshots.
//!
//! What is right is parsed once, straight into its type. Only what is not is looked at again, to tell its sender which
//! part is at fault.

use std::fmt::Display;

use fleet::{
    Interval, Millis, Snapshot,
    snapshot::MAX_SNAPSHOTS,
    text::{self, MAX_TEXT_BYTES},
    wire::v1::{self, Refusal},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::rejection::Rejection;

/// A sample further ahead of the gate than this is refused.
const MOST_AHEAD: Millis = 30_000;

/// A checked request.
#[derive(Debug)]
pub struct Report {
    pub interval: Interval,
    pub snapshots: Vec<Snapshot>,
}

/// The times between which samples are taken.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The gate's clock.
    pub now: Millis,
    /// Before this nothing is kept.
    pub oldest: Millis,
}

/// The shape of a report of which some snapshots may have none.
#[derive(Deserialize)]
struct Outline<'a> {
    interval_ms: Millis,
    #[serde(borrow)]
    snapshots: Vec<&'a RawValue>,
}

/// Parses and checks a body.
pub fn parse(body: &[u8], window: Window) -> Result<Report, Rejection> {
    match serde_json::from_slice::<v1::Report>(body) {
        Ok(v1::Report { interval_ms, snapshots }) => {
            let interval = check_whole(interval_ms, snapshots.len())?;
            check_each(interval, snapshots.into_iter().map(Ok), window)
        }
        Err(_) => parse_slowly(body, window),
    }
}

fn parse_slowly(body: &[u8], window: Window) -> Result<Report, Rejection> {
    let json = str::from_utf8(body).map_err(|error| Rejection::Json(format!("not UTF-8: {error}")))?;
    serde_json::from_str::<IgnoredAny>(json).map_err(|error| Rejection::Json(bounded(error)))?;
    // serde would take the items of a list for the fields in their order.
    if !json.trim_ascii_start().starts_with('{') {
        return Err(Rejection::Body("the body must be a JSON object".to_owned()));
    }
    let Outline { interval_ms, snapshots } =
        serde_json::from_str(json).map_err(|error| Rejection::Body(bounded(error)))?;
    let interval = check_whole(interval_ms, snapshots.len())?;
    let parsed = snapshots.into_iter().map(|raw| serde_json::from_str(raw.get()).map_err(bounded));
    check_each(interval, parsed, window)
}

fn check_whole(interval_ms: Millis, count: usize) -> Result<Interval, Rejection> {
    if !(1..=MAX_SNAPSHOTS).contains(&count) {
        return Err(Rejection::Body(format!("snapshots must be 1 to {MAX_SNAPSHOTS}, not {count}")));
    }
    Interval::try_from(interval_ms).map_err(|bad| Rejection::Body(bad.to_string()))
}

/// All that are at fault are told, each with its first fault.
fn check_each(
    interval: Interval,
    parsed: impl ExactSizeIterator<Item = Result<v1::Snapshot, String>>,
    window: Window,
) -> Result<Report, Rejection> {
    let mut snapshots = Vec::with_capacity(parsed.len());
    let mut refused = Vec::new();
    for (index, parsed) in parsed.enumerate() {
        let checked = parsed
            .and_then(|raw| Snapshot::check(raw, interval).map_err(bounded))
            .map_err(|reason| ("invalid_snapshot", reason))
            .and_then(|snapshot| check_time(snapshot, window));
        match checked {
            Ok(snapshot) => snapshots.push(snapshot),
            Err((code, reason)) => refused.push(Refusal { index, code: code.to_owned(), reason }),
        }
    }
    if refused.is_empty() { Ok(Report { interval, snapshots }) } else { Err(Rejection::Snapshots(refused)) }
}

fn check_time(snapshot: Snapshot, window: Window) -> Result<Snapshot, (&'static str, String)> {
    let Window { now, oldest } = window;
    match snapshot.sampled_at() {
        at if at > now + MOST_AHEAD => {
            Err(("clock_ahead", format!("sampled_at is {} ms ahead of the gate", at - now)))
        }
        at if at < oldest => {
            Err(("too_old", format!("sampled_at is before {oldest}, the oldest that is kept")))
        }
        _ => Ok(snapshot),
    }
}

/// A parser's words may quote the body, which is hostile and long.
fn bounded(error: impl Display) -> String {
    let mut reason = error.to_string();
    reason.truncate(reason.floor_char_boundary(MAX_TEXT_BYTES));
    // One byte for one byte; it becomes U+FFFD with the others.
    let mut reason = reason.replace('\0', "\u{1}");
    match text::clean(&mut reason) {
        Ok(()) => reason,
        Err(_) => "is not what it should be".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { now: 1_000_000, oldest: 500_000 };

    fn refused(body: &str) -> Vec<(usize, String)> {
        match parse(body.as_bytes(), WINDOW) {
            Err(Rejection::Snapshots(refused)) => {
                refused.into_iter().map(|one| (one.index, one.code)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_clock_is_checked_to_the_millisecond() {
        let body = |at: Millis| {
            format!(r#"{{"interval_ms":30000,"snapshots":[{{"sampled_at":{at},"covers_ms":0}}]}}"#)
        };
        for at in [500_000, 1_030_000] {
            assert_eq!(parse(body(at).as_bytes(), WINDOW).unwrap().snapshots.len(), 1);
        }
        assert_eq!(refused(&body(1_030_001)), [(0, "clock_ahead".to_owned())]);
        assert_eq!(refused(&body(499_999)), [(0, "too_old".to_owned())]);
    }

    #[test]
    fn every_snapshot_at_fault_is_told_whatever_its_fault() {
        let body = r#"{"interval_ms":30000,"snapshots":[
            {"covers_ms":0}, {"sampled_at":1000000,"covers_ms":0}, {"sampled_at":"x","covers_ms":0}, 7,
            {"sampled_at":1000000,"covers_ms":-1}, {"sampled_at":9000000,"covers_ms":0}, {"sampled_at":1,"covers_ms":0}]}"#;
        let told = refused(body);
        let codes: Vec<_> = told.iter().map(|(index, code)| (*index, code.as_str())).collect();
        let invalid = "invalid_snapshot";
        assert_eq!(
            codes,
            [(0, invalid), (2, invalid), (3, invalid), (4, invalid), (5, "clock_ahead"), (6, "too_old")]
        );
    }

    #[test]
    fn a_reason_is_short_and_printable() {
        let reason = bounded(format!("{}\u{1b}\0{}", "ä".repeat(100), "x".repeat(1_000_000)));
        assert!(reason.len() <= MAX_TEXT_BYTES && !reason.contains(char::is_control), "{reason:?}");
        assert!(reason.contains("\u{fffd}\u{fffd}xx"), "{reason}");
    }
}
