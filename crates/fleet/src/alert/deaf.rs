//! Whether the way to us is cut: servers that beat through the address that everybody uses, the canaries, tell it.

use crate::{Interval, Millis};

/// The label of a canary: its key and its value.
pub const CANARY: (&str, &str) = ("rollcall", "canary");

/// So many of its intervals after its newest beat a canary lacks one, whatever delays a beat.
const LACKS_ONE: i64 = 2;

/// So many intervals before it counts as silent it should have been heard again.
const DUE: i64 = 3;

/// A server by which deafness is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// From when it counts as silent.
    pub silent_at: Millis,
    /// How often it reports.
    pub interval: Interval,
}

/// That no canary was heard when it was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// If anybody else was heard at this time or later, it is the canaries that are silent, and not we who are deaf.
    pub heard_since: Millis,
    /// Since when the first of them counts as silent, if all of them do.
    pub silent_since: Option<Millis>,
}

impl Canary {
    /// When it was heard last.
    pub fn heard_at(&self) -> Millis {
        self.silent_at - crate::liveness::SILENT_INTERVALS * self.interval.millis()
    }
}

/// Whether there is reason to doubt that we hear. While there is, nobody is to be called silent: if the way to us is cut,
/// others count as silent before the last canary does.
pub fn doubt(canaries: &[Canary], watermark: Millis) -> Option<Doubt> {
    let first = canaries.iter().min_by_key(|canary| canary.silent_at)?;
    if canaries.iter().any(|canary| canary.silent_at - DUE * canary.interval.millis() >= watermark) {
        return None;
    }
    let lacks_one = |canary: &Canary| {
        canary.silent_at - (crate::liveness::SILENT_INTERVALS - LACKS_ONE) * canary.interval.millis()
    };
    let heard_since = canaries.iter().map(lacks_one).min()?;
    let all = canaries.iter().all(|canary| canary.silent_at < watermark);
    Some(Doubt { heard_since, silent_since: all.then_some(first.silent_at) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::liveness::silent_at;

    const SECOND: Millis = 1_000;

    fn heard(at: Millis) -> Canary {
        Canary { silent_at: silent_at(at, Interval::DEFAULT), interval: Interval::DEFAULT }
    }

    #[test]
    fn there_is_no_doubt_while_any_canary_is_heard_or_without_one() {
        assert_eq!(doubt(&[], 1_000 * SECOND), None);
        let canaries = [heard(0), heard(100 * SECOND)];
        assert_eq!(doubt(&canaries, 130 * SECOND), None);
        assert_eq!(canaries[1].heard_at(), 100 * SECOND);
    }

    #[test]
    fn whoever_is_silent_first_is_doubted_and_deafness_takes_all_canaries() {
        // The way is cut at 30 s. Whoever beat at 1 s counts as silent from 121 s on, and the canary from 150 s on.
        let canaries = [heard(30 * SECOND), heard(20 * SECOND)];
        let at = |watermark| doubt(&canaries, watermark).unwrap();
        let doubts = Doubt { heard_since: 80 * SECOND, silent_since: None };
        assert_eq!(at(121 * SECOND), doubts);
        assert_eq!(at(150 * SECOND), doubts);
        assert_eq!(at(150 * SECOND + 1), Doubt { silent_since: Some(140 * SECOND), ..doubts });
    }
}
