//! Who is up and who is down, judged by the gate's clock alone.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Millis, snapshot::Interval};

/// A server that missed this many intervals is silent.
pub const SILENT_INTERVALS: Millis = 4;

/// `silent_at` reaches the registry at most this often per server; so a server of which only the registry knows is
/// given this much longer before it counts as silent: later, never false.
pub const SIGHTING_SLACK: Millis = 300_000;

/// Above this lag monitoring is late.
pub const LATE_AFTER: Millis = 30_000;

/// A worker's row is live for this long after it was written.
pub const WORKER_LIVE: Millis = 60_000;

/// Gates publish a tick, and workers write their row, this often.
pub const TICK_EVERY: Millis = 5_000;

/// A gate whose ticks were not confirmed for longer than this starts a new `open_since`; a worker looks back this far.
pub const TICK_GAP: Millis = 15_000;

/// A gate time that is further ahead of the clock that it is judged by comes from a clock that is wrong.
pub const FROM_A_WRONG_CLOCK: Millis = 30_000;

/// When a server was heard, and from when it counts as silent after that. Unix ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Beat {
    /// Gate time.
    pub received_at: Millis,
    /// [`silent_at`] of it.
    pub silent_at: Millis,
}

/// The state of a server as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Heard, and not silent yet.
    Up,
    /// Silent, while we were listening.
    Down,
    /// Never heard.
    Unknown,
    /// A person said not to expect it.
    Paused,
}

/// A text that names no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be up, down, unknown or paused")]
pub struct BadStatus;

/// How far one worker has got; one registry row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Greatest gate time of what it settled.
    pub newest_settled: Option<Millis>,
    /// Smallest gate time of what it received and has not settled.
    pub oldest_in_hand: Option<Millis>,
    /// Smallest `open_since` among the ticks of the last [`TICK_GAP`].
    pub open_since: Option<Millis>,
    /// When the row was written.
    pub written_at: Millis,
}

/// How far the pipeline as a whole has got, in gate time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pipeline {
    /// Everything the gates took before this is stored. `None` until a worker settled something.
    pub watermark: Option<Millis>,
    /// Since when gates have been open without a gap. `None` while no gate is heard.
    pub open_since: Option<Millis>,
}

impl Status {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Up, Self::Down, Self::Unknown, Self::Paused];

    /// As stores and the interface spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Paused => "paused",
        }
    }
}

impl FromStr for Status {
    type Err = BadStatus;

    fn from_str(text: &str) -> Result<Self, BadStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(BadStatus)
    }
}

/// The moment from which a server that was heard at `received_at` counts as silent.
pub fn silent_at(received_at: Millis, interval: Interval) -> Millis {
    received_at + SILENT_INTERVALS * interval.millis()
}

impl Beat {
    /// Whether this one is to replace the one that is stored: it was heard later, or at the same time with a later
    /// `silent_at`; or the stored one is from a clock that was wrong, and so are all its words.
    ///
    /// The newest word counts, not the greatest: a server that shortens its interval is judged by the new one at once.
    pub fn replaces(self, stored: Self, now: Millis) -> bool {
        self > stored || stored.is_from_a_wrong_clock(now)
    }

    /// Whether it was received later than it can have been.
    pub fn is_from_a_wrong_clock(self, now: Millis) -> bool {
        self.received_at > now + FROM_A_WRONG_CLOCK
    }

    /// The same, as if it were received now.
    pub fn moved_to(self, now: Millis) -> Self {
        Self { received_at: now, silent_at: now + (self.silent_at - self.received_at) }
    }
}

impl Pipeline {
    /// What all workers' rows say together. Nothing was settled later than now, and a row from the future is of a worker
    /// whose clock is wrong.
    pub fn of(rows: &[Progress], now: Millis) -> Self {
        let live = || {
            let written = now - WORKER_LIVE..=now + FROM_A_WRONG_CLOCK;
            rows.iter().filter(move |row| written.contains(&row.written_at))
        };
        let settled = rows.iter().filter_map(|row| row.newest_settled).max().map(|settled| settled.min(now));
        let in_hand = live().filter_map(|row| row.oldest_in_hand).min();
        Self {
            watermark: settled.map(|settled| in_hand.map_or(settled, |in_hand| settled.min(in_hand))),
            open_since: live().filter_map(|row| row.open_since).min(),
        }
    }

    /// How far it is behind; `None` before anything was settled.
    pub fn lag(&self, now: Millis) -> Option<Millis> {
        self.watermark.map(|watermark| (now - watermark).max(0))
    }

    /// Whether monitoring is late, which is then the one thing to say.
    pub fn late(&self, now: Millis) -> bool {
        self.lag(now).is_none_or(|lag| lag > LATE_AFTER)
    }

    /// Whether we have listened for long enough to call a server of this interval down.
    pub fn listened(&self, interval: Interval) -> bool {
        match (self.watermark, self.open_since) {
            (Some(watermark), Some(open)) => watermark - open > SILENT_INTERVALS * interval.millis(),
            _ => false,
        }
    }

    /// The state of a server that counts as silent from `silent_at` (`None`: never heard).
    pub fn status(&self, paused: bool, silent_at: Option<Millis>, interval: Interval) -> Status {
        if paused {
            return Status::Paused;
        }
        let Some(silent_at) = silent_at else { return Status::Unknown };
        let past = self.watermark.is_some_and(|watermark| watermark > silent_at);
        if past && self.listened(interval) { Status::Down } else { Status::Up }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Millis = 60_000;

    fn pipeline(watermark: Millis, open_since: Millis) -> Pipeline {
        Pipeline { watermark: Some(watermark), open_since: Some(open_since) }
    }

    #[test]
    fn every_status_reads_back_and_is_spelt_as_serde_does() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert_eq!("Up".parse::<Status>(), Err(BadStatus));
    }

    #[test]
    fn silent_after_four_intervals_and_not_a_moment_earlier() {
        let silent = silent_at(10 * MINUTE, Interval::DEFAULT);
        assert_eq!(silent, 12 * MINUTE);
        assert_eq!(pipeline(silent, 0).status(false, Some(silent), Interval::DEFAULT), Status::Up);
        assert_eq!(pipeline(silent + 1, 0).status(false, Some(silent), Interval::DEFAULT), Status::Down);
    }

    #[test]
    fn after_an_outage_of_ours_nobody_is_down_for_four_intervals() {
        let (silent, restarted) = (2 * MINUTE, 60 * MINUTE);
        let status =
            |watermark| pipeline(watermark, restarted).status(false, Some(silent), Interval::DEFAULT);
        assert_eq!(status(restarted + 2 * MINUTE), Status::Up);
        assert_eq!(status(restarted + 2 * MINUTE + 1), Status::Down);
    }

    #[test]
    fn a_stalled_pipeline_downs_nobody() {
        let stalled = pipeline(10 * MINUTE, 0);
        assert_eq!(stalled.status(false, Some(11 * MINUTE), Interval::DEFAULT), Status::Up);
        assert!(stalled.late(70 * MINUTE));
        assert!(!stalled.late(10 * MINUTE + LATE_AFTER));
    }

    #[test]
    fn never_heard_is_unknown_and_paused_is_paused() {
        assert_eq!(pipeline(MINUTE, 0).status(false, None, Interval::DEFAULT), Status::Unknown);
        assert_eq!(pipeline(MINUTE, 0).status(true, None, Interval::DEFAULT), Status::Paused);
        assert_eq!(Pipeline::default().status(false, Some(1), Interval::DEFAULT), Status::Up);
    }

    #[test]
    fn the_watermark_waits_for_what_a_live_worker_holds_and_forgets_a_dead_one() {
        let ahead = Progress {
            newest_settled: Some(900),
            oldest_in_hand: None,
            open_since: Some(5),
            written_at: 1_000,
        };
        let holding = Progress {
            newest_settled: Some(100),
            oldest_in_hand: Some(200),
            open_since: Some(7),
            written_at: 1_000,
        };
        assert_eq!(Pipeline::of(&[ahead, holding], 1_000), pipeline(200, 5));
        assert_eq!(
            Pipeline::of(&[Progress { written_at: MINUTE, ..ahead }, holding], 61_001),
            pipeline(900, 5)
        );
        assert_eq!(Pipeline::of(&[], 0), Pipeline::default());
    }

    #[test]
    fn a_clock_that_was_ahead_neither_hides_a_lag_nor_holds_the_watermark() {
        let ahead = Progress {
            newest_settled: Some(500_000),
            oldest_in_hand: Some(1),
            open_since: Some(1),
            written_at: 130_001,
        };
        let now = 100_000;
        assert_eq!(Pipeline::of(&[ahead], now), Pipeline { watermark: Some(now), open_since: None });
        assert_eq!(Pipeline::of(&[Progress { written_at: 130_000, ..ahead }], now), pipeline(1, 1));
    }

    #[test]
    fn the_newest_word_counts_and_one_from_the_future_loses_to_any() {
        let beat = |received_at, silent_at| Beat { received_at, silent_at };
        let stored = beat(100_000, 340_000);
        for (new, now, replaces, why) in [
            (beat(100_001, 108_001), 100_001, true, "heard later with a shorter interval"),
            (beat(99_999, 999_999), 100_001, false, "heard earlier with a longer one"),
            (beat(100_000, 340_001), 100_001, true, "a tie goes to the later moment"),
            (beat(100_000, 340_000), 100_001, false, "again"),
            (beat(50_000, 50_004), 70_000, false, "30 s ahead is not yet wrong"),
            (beat(50_000, 50_004), 69_999, true, "further ahead is"),
        ] {
            assert_eq!(new.replaces(stored, now), replaces, "{why}");
        }
        assert_eq!(stored.moved_to(7), beat(7, 240_007));
    }
}
