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
/// Where boots have no id: two moments that are nearer to each other are those of one boot, and the clock was set
/// between.
const SAME_BOOT: Millis = 10_000;
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
    /// `anchor` is the one of the state file; it holds if this is still the same boot. `earlier` names the boot in
    /// which an earlier run took its last sample.
    pub fn new(wall: Clock, anchor: Option<Anchor>, earlier: Option<&str>) -> Self {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let up = uptime();
        let known = anchor.iter().map(|anchor| &*anchor.boot).chain(earlier);
        let boot = boot_name(&id, up.map(|up| wall.now() - up), known);
        let anchor = anchor.filter(|anchor| anchor.boot == boot);
        Self { wall, boot, started: Instant::now(), base: up.unwrap_or(0), anchor, off: false }
    }

    /// Names this boot, in each run of the agent alike.
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

    /// Time since the boot. The monotonic clock stands still while the host is suspended, and not every system tells
    /// the time since the boot to the millisecond: so the one is followed, and mended by the other when they part.
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

/// Names a boot: by the last 12 digits of the id that the system has for it or, where it has none, by the moment
/// `began` at which it was. That is reckoned from the wall clock, which may be set a little: the name of a `known` boot
/// is taken if it is as good as the same moment. Without either, each run counts as a boot.
fn boot_name<'a>(id: &str, began: Option<Millis>, known: impl Iterator<Item = &'a str>) -> String {
    if let Some(digits) = id.trim().get(24..36) {
        return digits.to_owned();
    }
    let Some(began) = began else { return format!("run-{:x}", crate::random()) };
    let same = |name: &&str| {
        let moment = name.strip_prefix("at-").and_then(|moment| moment.parse::<Millis>().ok());
        moment.is_some_and(|moment| (moment - began).abs() < SAME_BOOT)
    };
    let mut known = known;
    known.find(same).map_or_else(|| format!("at-{began}"), str::to_owned)
}

/// Time since the boot, suspension included. Not from /proc/uptime: in a container that may be the time since the
/// container started, which begins anew while the boot, by its id, is the same.
#[cfg(target_os = "linux")]
fn uptime() -> Option<Millis> {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Some(millis(Duration::try_from(since).ok()?))
}

/// Time since the boot, in whole seconds.
#[cfg(not(target_os = "linux"))]
fn uptime() -> Option<Millis> {
    Some(millis(Duration::from_secs(sysinfo::System::uptime()))).filter(|up| *up > 0)
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
        let mut clocks = Clocks::new(wall.clone(), None, None);
        assert!(clocks.learn(now, Duration::ZERO));
        assert!(!clocks.learn(now, Duration::ZERO));
        let reading = clocks.read();
        assert!((reading.at - now).abs() < 5_000);
        assert!((reading.skew.unwrap() - 2 * HOUR).abs() < 5_000);

        let mut restarted = Clocks::new(wall.clone(), clocks.anchor().cloned(), None);
        assert!((restarted.read().at - now).abs() < 5_000);
        wall.step(2 * HOUR);
        assert_eq!(restarted.read().skew, None);
    }

    #[test]
    fn a_step_is_seen_without_asking_anyone() {
        let wall = Clock::system();
        let mut clocks = Clocks::new(wall.clone(), None, None);
        assert!(!clocks.learn(wall.now(), Duration::from_millis(4)));
        let before = clocks.read().at;
        wall.step(2 * HOUR);
        assert!((clocks.read().at - before).abs() < 5_000);
    }

    #[test]
    fn the_anchor_of_another_boot_says_nothing() {
        let anchor = Anchor { boot: "another".to_owned(), gate: 1, up: 0 };
        assert_eq!(Clocks::new(Clock::system(), Some(anchor), None).anchor(), None);
    }

    #[test]
    fn a_restart_is_in_the_same_boot_whether_or_not_boots_have_an_id() {
        let id = "6ca26903-7f7d-4915-a506-6de3d7583991\n";
        let name = |id, began, known: &[&str]| boot_name(id, began, known.iter().copied());
        assert_eq!(name(id, Some(1), &["at-1"]), "6de3d7583991");
        let first = name("", Some(1_790_000_000_000), &[]);
        assert_eq!(name("", Some(1_790_000_000_000), &["other"]), first);
        for set_by in [-9_999, 9_999] {
            assert_eq!(name("", Some(1_790_000_000_000 + set_by), &["other", &first]), first);
        }
        assert_ne!(name("", Some(1_790_000_010_000), &[&first]), first, "the host was started again");
        assert_ne!(name("", None, &[&first]), name("", None, &[&first]));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_time_since_the_boot_passes() {
        let before = uptime().unwrap();
        std::thread::sleep(Duration::from_millis(2));
        assert!(uptime().unwrap() > before && before > 0);
    }
}
