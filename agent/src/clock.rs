//! What time it is, by this host and by the gate.
//!
//! A wall clock may be off, and may step. The time since the boot does neither. So what a gate said of the time once
//! holds for the rest of the boot: the gate's `now`, and the time since the boot at that moment, are the *anchor*.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fleet::Millis;
use serde::{Deserialize, Serialize};

/// Samples are not stamped by a wall clock that differs from the gate's by more. Gates refuse what is further ahead.
pub(crate) const OFF: Millis = 30_000;
/// A wall clock that was off is trusted again when it differs by less.
const AGREES: Millis = 15_000;
/// A new anchor is set when the gate's clock differs from the anchor by more than this and half a round trip.
const DRIFT: Millis = 1_000;

/// The wall clock: the system's, unless a test shifts it.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    shift: Arc<AtomicI64>,
}

/// The gate's clock at a moment of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Anchor {
    /// Which boot.
    pub boot: String,
    /// The gate's clock.
    pub gate: Millis,
    /// Time since the boot.
    pub up: Millis,
}

/// One look at all clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The time by which to stamp.
    pub at: Millis,
    /// Time since the boot.
    pub up: Millis,
    /// Gate's clock less the wall clock, while stamps are not by the wall clock.
    pub skew: Option<Millis>,
}

/// The clocks of one run of an agent.
#[derive(Debug)]
pub(crate) struct Clocks {
    wall: Clock,
    boot: String,
    started: Instant,
    /// Time since the boot at `started`.
    base: Millis,
    anchor: Option<Anchor>,
    off: bool,
}

impl Clock {
    /// This host's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// Steps every copy of this clock by so many milliseconds: what an administrator, or a bad NTP server, does.
    pub fn step(&self, by: Millis) {
        self.shift.fetch_add(by, Ordering::Relaxed);
    }

    /// Unix ms.
    #[expect(clippy::disallowed_methods, reason = "this is the agent's clock")]
    pub fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        millis(since) + self.shift.load(Ordering::Relaxed)
    }
}

impl Anchor {
    /// The gate's clock when this much time had passed since the boot.
    pub fn at(&self, up: Millis) -> Millis {
        self.gate + (up - self.up)
    }
}

impl Clocks {
    /// `anchor` is the one of the state file; it holds if this is still the same boot.
    pub fn new(wall: Clock, anchor: Option<Anchor>) -> Self {
        let boot = boot_id();
        let anchor = anchor.filter(|anchor| anchor.boot == boot);
        Self { wall, boot, started: Instant::now(), base: uptime().unwrap_or(0), anchor, off: false }
    }

    /// Names this boot. Where the system has no name for it, each run counts as one.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// What a gate said of the time, in this boot.
    pub fn anchor(&self) -> Option<&Anchor> {
        self.anchor.as_ref()
    }

    /// Looks at all clocks, and tells once when the wall clock goes wrong or right.
    pub fn read(&mut self) -> Reading {
        let (wall, up) = (self.wall.now(), self.up());
        let (at, off) = stamp(self.anchor.as_ref(), wall, up, self.off);
        let skew = at - wall;
        if off != self.off {
            self.off = off;
            if off {
                tracing::warn!(skew_ms = skew, "this host's clock is off: stamping by the gate's");
            } else {
                tracing::info!("this host's clock agrees with the gate's again");
            }
        }
        Reading { at, up, skew: off.then_some(skew) }
    }

    /// Takes in a gate's `now`, answered within `round_trip`. Answers whether the samples that were taken in this boot
    /// need new stamps, as the ones they have are too far off.
    pub fn learn(&mut self, now: Millis, round_trip: Duration) -> bool {
        let half = millis(round_trip / 2);
        let (gate, before) = (now + half, self.read());
        let far = self.anchor.as_ref().is_none_or(|old| (old.at(before.up) - gate).abs() > DRIFT + half);
        if far {
            self.anchor = Some(Anchor { boot: self.boot.clone(), gate, up: before.up });
        }
        (before.at - self.read().at).abs() > OFF
    }

    /// Time since the boot to the millisecond, by the monotonic clock. /proc/uptime tells it to 10 ms only, but goes on
    /// while the host is suspended, when the monotonic clock stands still: if the two part, it is right.
    fn up(&mut self) -> Millis {
        let mut up = self.base + millis(self.started.elapsed());
        if let Some(told) = uptime()
            && (told - up).abs() > DRIFT
        {
            self.base += told - up;
            up = told;
        }
        up
    }
}

/// The time by which to stamp, and whether the wall clock is off.
fn stamp(anchor: Option<&Anchor>, wall: Millis, up: Millis, off: bool) -> (Millis, bool) {
    let Some(anchor) = anchor else { return (wall, false) };
    let gate = anchor.at(up);
    let off = (gate - wall).abs() > if off { AGREES } else { OFF };
    (if off { gate } else { wall }, off)
}

/// Whole milliseconds; what does not fit is far beyond any use.
pub(crate) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX / 4)
}

/// The last 12 digits of its id name a boot well enough.
fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match id.trim().get(24..36) {
        Some(digits) => digits.to_owned(),
        None => format!("run-{:x}", crate::random()),
    }
}

/// Time since the boot, suspension included, to 10 ms.
fn uptime() -> Option<Millis> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = text.split(' ').next()?.parse().ok()?;
    Some(millis(Duration::try_from_secs_f64(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600_000;

    #[test]
    fn stamps_follow_the_gate_only_when_the_wall_clock_is_off() {
        let anchor = Anchor { boot: String::new(), gate: 1_000_000, up: 500_000 };
        let cases = [
            // (wall, up, was off) → (stamp, off)
            (1_000_000, 500_000, false, (1_000_000, false)),
            (1_030_000, 500_000, false, (1_030_000, false)),
            (1_030_001, 500_000, false, (1_000_000, true)),
            (969_999, 500_000, false, (1_000_000, true)),
            (1_020_000, 500_000, true, (1_000_000, true)),
            (1_015_000, 500_000, true, (1_015_000, false)),
            (1_000_000 + HOUR, 500_000 + HOUR, false, (1_000_000 + HOUR, false)),
            (1_000_000 - HOUR, 500_000 + HOUR, false, (1_000_000 + HOUR, true)),
        ];
        for (wall, up, off, expected) in cases {
            assert_eq!(stamp(Some(&anchor), wall, up, off), expected, "wall {wall}, up {up}, off {off}");
        }
        assert_eq!(stamp(None, 7, 500_000, true), (7, false));
    }

    #[test]
    fn a_wrong_clock_is_learnt_once_and_outlives_a_restart() {
        let wall = Clock::system();
        let now = wall.now();
        wall.step(-2 * HOUR);
        let mut clocks = Clocks::new(wall.clone(), None);
        assert!(clocks.learn(now, Duration::ZERO));
        assert!(!clocks.learn(now, Duration::ZERO));
        let reading = clocks.read();
        assert!((reading.at - now).abs() < 5_000);
        assert!((reading.skew.unwrap() - 2 * HOUR).abs() < 5_000);

        let mut restarted = Clocks::new(wall.clone(), clocks.anchor().cloned());
        assert!((restarted.read().at - now).abs() < 5_000);
        wall.step(2 * HOUR);
        assert_eq!(restarted.read().skew, None);
    }

    #[test]
    fn a_step_is_seen_without_asking_anyone() {
        let wall = Clock::system();
        let mut clocks = Clocks::new(wall.clone(), None);
        assert!(!clocks.learn(wall.now(), Duration::from_millis(4)));
        let before = clocks.read().at;
        wall.step(2 * HOUR);
        assert!((clocks.read().at - before).abs() < 5_000);
    }

    #[test]
    fn the_anchor_of_another_boot_says_nothing() {
        let anchor = Anchor { boot: "another".to_owned(), gate: 1, up: 0 };
        assert_eq!(Clocks::new(Clock::system(), Some(anchor)).anchor(), None);
    }
}
