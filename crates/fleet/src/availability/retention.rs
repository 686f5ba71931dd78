//! How long raw snapshots are kept: by whole UTC days of `sampled_at`.

use crate::Millis;

/// One UTC day.
pub const DAY: Millis = 86_400_000;

/// `HISTORY_DAYS` unless set.
pub const DEFAULT_DAYS: u16 = 35;

/// `ROLLUP_DAYS` unless set, or `HISTORY_DAYS` if that is more.
pub const DEFAULT_ROLLUP_DAYS: u16 = 400;

/// For how many whole days before today history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Raw snapshots.
    pub raw: u16,
    /// Rollups; no fewer.
    pub rollups: u16,
}

impl Kept {
    /// Raw snapshots and rollups for so many days; rollups for [`DEFAULT_ROLLUP_DAYS`] unless said otherwise. `None` if
    /// rollups are to be kept for less than the snapshots that they are made of.
    pub fn new(raw: u16, rollups: Option<u16>) -> Option<Self> {
        let rollups = rollups.unwrap_or(DEFAULT_ROLLUP_DAYS.max(raw));
        (rollups >= raw).then_some(Self { raw, rollups })
    }
}

impl From<u16> for Kept {
    /// Raw snapshots for so many days, and rollups as long as that implies.
    fn from(raw: u16) -> Self {
        Self { raw, rollups: DEFAULT_ROLLUP_DAYS.max(raw) }
    }
}

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
