//! Since when this gate has been open.

use fleet::{Millis, liveness::TICK_GAP};

/// What the confirmed ticks of a gate tell.
#[derive(Debug, Default)]
pub struct Opening {
    last: Option<Confirmed>,
}

#[derive(Debug)]
struct Confirmed {
    /// When the last tick was confirmed.
    at: Millis,
    open_since: Millis,
}

impl Opening {
    /// What a tick that is made at `now` says.
    pub fn open_since(&self, now: Millis) -> Millis {
        self.unbroken(now).unwrap_or(now)
    }

    /// A tick is confirmed at `now`. If it is the first, or the first after a gap, the gate has been open since `now` and
    /// not since the tick was made: the clock may have stepped in between.
    pub fn confirmed(&mut self, now: Millis) {
        let open_since = self.unbroken(now).unwrap_or(now);
        self.last = Some(Confirmed { at: now, open_since });
    }

    /// Since when there was no gap. A clock that stepped, either way, is a gap too: times from before the step cannot be
    /// compared with times from after it.
    fn unbroken(&self, now: Millis) -> Option<Millis> {
        let last = self.last.as_ref()?;
        (last.at..=last.at + TICK_GAP).contains(&now).then_some(last.open_since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_open_since_its_first_confirmed_tick() {
        let mut opening = Opening::default();
        assert_eq!(opening.open_since(1_000), 1_000);
        assert_eq!(opening.open_since(6_000), 6_000, "the first was never confirmed");
        opening.confirmed(6_100);
        for at in [11_000, 16_000, 21_000] {
            assert_eq!(opening.open_since(at), 6_100);
            opening.confirmed(at + 100);
        }
    }

    #[test]
    fn a_gap_over_fifteen_seconds_starts_anew_and_fifteen_do_not() {
        let mut opening = Opening::default();
        opening.confirmed(0);
        assert_eq!(opening.open_since(15_000), 0);
        assert_eq!(opening.open_since(15_001), 15_001);
        opening.confirmed(15_000);
        assert_eq!(opening.open_since(20_000), 0);
        opening.confirmed(30_001);
        assert_eq!(opening.open_since(35_000), 30_001, "made in time, confirmed too late");
    }

    #[test]
    fn a_stepping_clock_starts_anew() {
        let mut opening = Opening::default();
        opening.confirmed(100_000);
        assert_eq!(opening.open_since(7_300_000), 7_300_000);
        assert_eq!(opening.open_since(99_999), 99_999);
    }
}
