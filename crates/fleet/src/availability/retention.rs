//! How long raw snapshots are kept: by whole UTC days of `sampled_at`.

use crate::Millis;

/// One UTC day.
pub const DAY: Millis = 86_400_000;

/// `HISTORY_DAYS` unless set.
pub const DEFAULT_DAYS: u16 = 35;

/// Midnight that begins the day of `at`.
pub fn midnight(at: Millis) -> Millis {
    at - at.rem_euclid(DAY)
}

/// The oldest midnight from which raw snapshots are kept: `days` whole days before the one of `now`.
pub fn oldest_retained(now: Millis, days: u16) -> Millis {
    midnight(now) - Millis::from(days) * DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_leaves_as_a_whole_at_midnight() {
        assert_eq!(oldest_retained(40 * DAY, 35), 5 * DAY);
        assert_eq!(oldest_retained(41 * DAY - 1, 35), 5 * DAY);
        assert_eq!(oldest_retained(41 * DAY, 35), 6 * DAY);
    }
}
