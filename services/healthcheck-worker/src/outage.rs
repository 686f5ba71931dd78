//! What to do when a batch cannot be stored. Pure.

use std::time::Duration;

use history::HistoryError;
use registry::RegistryError;

/// Pause before the first new attempt, and the longest one.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A store does not take a batch. Some of the batch may be stored, but none of it counts as stored.
#[derive(Debug, thiserror::Error)]
pub enum Unstored {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// What ends an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    Time,
    /// Waiting alone does not help; a person has to look.
    Person,
}

/// What is known when an attempt failed.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// How many attempts have failed in a row, this one included.
    pub count: u32,
    /// For how long they have.
    pub lasting: Duration,
    /// For how long what is in hand may be held.
    pub holding: Duration,
    /// The worker was asked to stop.
    pub stopping: bool,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Keep everything in hand, and try again after this pause.
    Hold(Duration),
    /// Leave everything to the queue, and take nothing before the stores have it.
    HandBack,
}

impl Unstored {
    /// Name of the store, as in the metrics.
    pub fn store(&self) -> &'static str {
        match self {
            Self::Registry(_) => "registry",
            Self::History(_) => "history",
        }
    }

    pub fn cure(&self) -> Cure {
        match self {
            Self::Registry(RegistryError::Unavailable(_)) | Self::History(HistoryError::Unavailable(_)) => {
                Cure::Time
            }
            Self::Registry(
                RegistryError::Damaged(_) | RegistryError::Schema(_) | RegistryError::Corrupt { .. },
            )
            | Self::History(
                HistoryError::Damaged(_) | HistoryError::Schema(_) | HistoryError::Corrupt { .. },
            ) => Cure::Person,
        }
    }
}

impl Failure {
    /// During a short outage the worker keeps everything in hand, because a broker counts how often it delivers a
    /// message and dead-letters the message beyond a limit. During a long one it hands everything back: another
    /// worker may reach the store, and a broker does not wait for an ack without end. A worker that is asked to stop
    /// hands back at once.
    pub fn next(&self, random: u64) -> Next {
        let left = self.holding.saturating_sub(self.lasting);
        if self.stopping || left.is_zero() {
            return Next::HandBack;
        }
        Next::Hold(pause(self.count, random).min(left))
    }
}

/// Doubled with each failure up to the longest, then between half and all of that at random, so that workers that
/// failed together do not try again together.
pub fn pause(failures: u32, random: u64) -> Duration {
    let (shortest, longest) = BACK_OFF;
    let most = shortest.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
    let half = most / 2;
    half + Duration::from_millis(random % (half.as_millis() as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_outage_is_held_for_a_minute_and_then_handed_back() {
        let seconds = Duration::from_secs;
        let millis = Duration::from_millis;
        for (count, lasting, stopping, expected) in [
            (1, seconds(0), false, Next::Hold(millis(100))),
            (2, millis(120), false, Next::Hold(millis(200))),
            (5, seconds(3), false, Next::Hold(millis(1_600))),
            (9, seconds(30), false, Next::Hold(seconds(5))),
            (u32::MAX, seconds(30), false, Next::Hold(seconds(5))),
            (15, seconds(59), false, Next::Hold(seconds(1))),
            (16, seconds(60), false, Next::HandBack),
            // One attempt alone took so long.
            (1, seconds(80), false, Next::HandBack),
            (1, seconds(0), true, Next::HandBack),
        ] {
            let failure = Failure { count, lasting, holding: MINUTE, stopping };
            let longest = pause(count, 0).as_millis() as u64;
            assert_eq!(failure.next(longest), expected, "{failure:?}");
        }
    }

    #[test]
    fn pauses_are_jittered_between_half_and_all_of_their_bound() {
        for (failures, most) in [(0, 100), (1, 100), (2, 200), (6, 3_200), (7, 5_000), (u32::MAX, 5_000)] {
            assert_eq!(pause(failures, 0), Duration::from_millis(most / 2), "{failures}");
            assert_eq!(pause(failures, most / 2), Duration::from_millis(most), "{failures}");
            for random in [1, 7, u64::MAX] {
                let bounds = Duration::from_millis(most / 2)..=Duration::from_millis(most);
                assert!(bounds.contains(&pause(failures, random)), "{failures} {random}");
            }
        }
    }

    #[test]
    fn only_a_store_that_is_away_is_cured_by_time() {
        let (text, lost) = (|| "odd".to_owned(), || sqlx::Error::PoolTimedOut);
        let corrupt = HistoryError::Corrupt { table: text(), row: text(), reason: text() };
        let table: [(Unstored, &str, Cure); 8] = [
            (RegistryError::Unavailable(lost()).into(), "registry", Cure::Time),
            (RegistryError::Damaged(lost()).into(), "registry", Cure::Person),
            (RegistryError::Schema(text()).into(), "registry", Cure::Person),
            (
                RegistryError::Corrupt { table: "servers", column: "id", row: text() }.into(),
                "registry",
                Cure::Person,
            ),
            (HistoryError::Unavailable("away".into()).into(), "history", Cure::Time),
            (HistoryError::Damaged(lost()).into(), "history", Cure::Person),
            (HistoryError::Schema(text()).into(), "history", Cure::Person),
            (corrupt.into(), "history", Cure::Person),
        ];
        for (error, store, cure) in table {
            assert_eq!((error.store(), error.cure()), (store, cure), "{error}");
        }
    }
}
