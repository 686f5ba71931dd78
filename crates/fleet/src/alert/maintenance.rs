//! Maintenance windows: when servers are not expected to report.

use crate::{Cron, Millis, Zone};

/// Longest window, in ms.
pub const MAX_WINDOW: Millis = 31 * 86_400_000;

/// How far back a window may reach: as far as uptime does, unless more history is kept.
pub const BACK: Millis = 35 * 86_400_000;

/// When a window is open.
#[derive(Debug, Clone, PartialEq)]
pub enum Maintenance {
    /// Once, in `[starts_at, ends_at)`, Unix ms.
    Once {
        /// Unix ms.
        starts_at: Millis,
        /// Unix ms.
        ends_at: Millis,
    },
    /// Again and again, each time for so long from when it is due.
    Recurring {
        /// When it begins.
        cron: Cron,
        /// By which wall clock.
        zone: Zone,
        /// In ms of time, whatever the wall clock does meanwhile.
        duration: Millis,
    },
}

/// One time that a window is open. Times are Unix ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// When it begins by the wall clock of its zone: what makes it one at any number of replicas.
    pub local_start: String,
    /// When it begins.
    pub starts_at: Millis,
    /// When it ends.
    pub ends_at: Millis,
}

impl Maintenance {
    /// The openings that begin in `(after, until]`, in order, `most` at the most.
    pub fn openings(&self, after: Millis, until: Millis, most: usize) -> Vec<Opening> {
        match self {
            Self::Once { starts_at, ends_at } => {
                let opening = Opening {
                    local_start: Zone::UTC.rfc3339(*starts_at),
                    starts_at: *starts_at,
                    ends_at: *ends_at,
                };
                let begins = (after < *starts_at && *starts_at <= until).then_some(opening);
                begins.into_iter().take(most).collect()
            }
            Self::Recurring { cron, zone, duration } => {
                let due = cron.due(*zone, after, until, most).into_iter();
                due.map(|due| Opening {
                    local_start: due.local,
                    starts_at: due.at,
                    ends_at: due.at + duration,
                })
                .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600_000;

    #[test]
    fn an_opening_lasts_as_long_as_it_says_whatever_the_wall_clock_does() {
        let nightly = Maintenance::Recurring {
            cron: "30 2 * * *".parse().unwrap(),
            zone: "Europe/Berlin".parse().unwrap(),
            duration: 2 * HOUR,
        };
        // Clocks go from 02:00 to 03:00 on 2026-03-29, and back from 03:00 to 02:00 on 2026-10-25.
        for (from, expected) in [
            (
                1_774_652_400_000,
                vec![("2026-03-28T02:30", 1_774_661_400_000), ("2026-03-29T02:30", 1_774_746_000_000)],
            ),
            (
                1_792_792_800_000,
                vec![("2026-10-24T02:30", 1_792_801_800_000), ("2026-10-25T02:30", 1_792_888_200_000)],
            ),
        ] {
            let openings = nightly.openings(from, from + 40 * HOUR, 9);
            let told: Vec<_> = openings.iter().map(|one| (one.local_start.as_str(), one.starts_at)).collect();
            assert_eq!(told, expected);
            assert!(openings.iter().all(|one| one.ends_at - one.starts_at == 2 * HOUR));
        }
    }

    #[test]
    fn what_is_once_begins_once() {
        let once = Maintenance::Once { starts_at: 5_000, ends_at: 9_000 };
        assert_eq!(once.openings(5_000, 99_000, 9), []);
        assert_eq!(once.openings(0, 4_999, 9), []);
        let opening =
            Opening { local_start: "1970-01-01T00:00:05Z".to_owned(), starts_at: 5_000, ends_at: 9_000 };
        assert_eq!(once.openings(4_999, 5_000, 9), [opening]);
    }
}
