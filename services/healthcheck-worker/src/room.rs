//! How many dead letters unknown servers may fill.

use std::time::Duration;

use queue::DeadLetters;
use tokio::time::Instant;

/// Most dead letters beside which what unknown servers sent becomes one more; beyond that it is discarded. Whatever a broker
/// held when an older backup was restored fits, and a fleet that nobody adopts does not fill the disk.
const MOST: usize = 10_000;

/// For how long a count is believed: counting opens a connection.
const FRESH: Duration = Duration::from_secs(1);

/// The room that is left.
pub struct Room {
    dead_letters: DeadLetters,
    /// When they were counted, and how many there are with those that this worker has added since.
    counted: Option<(Instant, usize)>,
}

impl Room {
    pub fn among(dead_letters: DeadLetters) -> Self {
        Self { dead_letters, counted: None }
    }

    /// How many of `wanted` there is room for; it is taken. In process nothing is kept: a refusal goes to its publisher.
    pub async fn take(&mut self, wanted: usize) -> usize {
        if matches!(self.dead_letters, DeadLetters::InProcess) || wanted == 0 {
            return wanted;
        }
        let known = self.counted.filter(|(at, _)| at.elapsed() < FRESH);
        let (at, count) = match known {
            Some(known) => known,
            // A broker that is away takes no letter either; then the message returns.
            None => (Instant::now(), self.dead_letters.count().await.map_or(0, |count| count as usize)),
        };
        let taken = room(wanted, count);
        self.counted = Some((at, count + taken));
        taken
    }
}

/// How many of `wanted` there is room for beside `count`.
fn room(wanted: usize, count: usize) -> usize {
    wanted.min(MOST.saturating_sub(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_servers_fill_at_most_ten_thousand_dead_letters() {
        for (wanted, count, taken) in
            [(1, 0, 1), (5, 9_997, 3), (5, 10_000, 0), (1, 20_000, 0), (20_000, 0, 10_000)]
        {
            assert_eq!(room(wanted, count), taken, "{wanted} beside {count}");
        }
    }

    #[tokio::test]
    async fn in_process_all_of_it_goes_back() {
        let mut room = Room::among(DeadLetters::InProcess);
        assert_eq!(room.take(50_000).await, 50_000);
    }
}
