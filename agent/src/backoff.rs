//! When to try again, so that a million agents do not come back at once.

use std::time::Duration;

/// Nothing waits for longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(300);

/// Doubles from `first` with each failure, up to [`LONGEST`].
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    failures: u32,
}

impl Backoff {
    /// One that waits `first` after the first failure.
    pub fn new(first: Duration) -> Self {
        Self { first, failures: 0 }
    }

    /// All is well.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one more failure: between half of the full wait and all of it, as `random` decides, and
    /// at least what the other side asked for (of which an hour is believed).
    pub fn failed(&mut self, asked: Option<Duration>, random: u32) -> Duration {
        let full = self.first.saturating_mul(1 << self.failures.min(20)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let wait = full / 2 + jitter(full / 2, random);
        asked.map_or(wait, |asked| wait.max(asked.min(Duration::from_secs(3_600))))
    }
}

/// A share of `span` as `random` decides.
pub(crate) fn jitter(span: Duration, random: u32) -> Duration {
    span.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let longest: Vec<_> = (0..11).map(|_| backoff.failed(None, u32::MAX).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(backoff.failed(None, 0), LONGEST / 2);
        backoff.reset();
        assert_eq!(backoff.failed(None, 0), Duration::from_millis(500));
    }

    #[test]
    fn what_was_asked_for_is_honoured_within_reason() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        assert_eq!(backoff.failed(Some(Duration::from_secs(20)), 0).as_secs(), 20);
        assert_eq!(backoff.failed(Some(Duration::from_secs(1 << 40)), 0).as_secs(), 3_600);
    }
}
