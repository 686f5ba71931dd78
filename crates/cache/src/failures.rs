//! Failed attempts by key, for throttling. Keys come from outside, so their number and their memory are bounded.

use std::collections::{HashMap, VecDeque};

use fleet::Millis;

/// How many failures of a key are remembered, the newest ones. Every limit on failures is at or below this.
pub const MOST_COUNTED: usize = 100;

/// Beyond this many keys those that failed longest ago are removed.
const MOST_KEYS: usize = 50_000;

/// Keys with no failure that still counts are removed only once there are this many keys.
const FEW_KEYS: usize = 1_024;

pub struct Failures {
    by_key: HashMap<Box<str>, Failed>,
    /// At this many keys they are looked through again for those to remove: twice what was left the last time, so
    /// that the cost of looking is spread over many failures.
    look_at: usize,
}

struct Failed {
    /// In the order in which they were counted.
    at: VecDeque<Millis>,
    window: Millis,
}

impl Default for Failures {
    fn default() -> Self {
        Self { by_key: HashMap::new(), look_at: FEW_KEYS }
    }
}

impl Failures {
    pub fn fail(&mut self, key: &str, now: Millis, window: Millis) {
        if self.by_key.len() >= self.look_at && !self.by_key.contains_key(key) {
            self.forget(now);
        }
        let failed = self.by_key.entry(key.into()).or_insert_with(|| Failed { at: VecDeque::new(), window });
        failed.window = window;
        failed.at.retain(|at| young(*at, now, window));
        if failed.at.len() == MOST_COUNTED {
            failed.at.pop_front();
        }
        failed.at.push_back(now);
    }

    /// How many failures of `key` still count, and when the oldest of them was.
    pub fn young(&self, key: &str, now: Millis, window: Millis) -> (usize, Option<Millis>) {
        let Some(failed) = self.by_key.get(key) else { return (0, None) };
        let mut young = failed.at.iter().copied().filter(|at| young(*at, now, window));
        match young.next() {
            Some(first) => {
                young.fold((1, Some(first)), |(count, oldest), at| (count + 1, oldest.min(Some(at))))
            }
            None => (0, None),
        }
    }

    fn forget(&mut self, now: Millis) {
        self.by_key.retain(|_, failed| young(failed.newest(), now, failed.window));
        if self.by_key.len() >= MOST_KEYS {
            let mut newest: Vec<Millis> = self.by_key.values().map(Failed::newest).collect();
            let (_, median, _) = newest.select_nth_unstable(MOST_KEYS / 2);
            let median = *median;
            self.by_key.retain(|_, failed| failed.newest() > median);
        }
        self.by_key.shrink_to(2 * self.by_key.len());
        self.look_at = (2 * self.by_key.len()).clamp(FEW_KEYS, MOST_KEYS);
    }
}

impl Failed {
    fn newest(&self) -> Millis {
        self.at.back().copied().unwrap_or(Millis::MIN)
    }
}

/// Whether a failure at `at` still counts.
pub fn young(at: Millis, now: Millis, window: Millis) -> bool {
    now.saturating_sub(at) < window
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Millis = 60_000;

    #[test]
    fn keys_that_failed_long_ago_are_forgotten() {
        let mut failures = Failures::default();
        for second in 0..100_000 {
            failures.fail(&format!("key {second}"), second * 1_000, WINDOW);
            assert!(failures.by_key.len() <= FEW_KEYS);
        }
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_forgets_the_oldest_first() {
        let mut failures = Failures::default();
        for key in 0..120_000 {
            failures.fail(&format!("key {key}"), key / 100, WINDOW);
            assert!(failures.by_key.len() <= MOST_KEYS);
        }
        assert_eq!(failures.young("key 119999", 1_200, WINDOW).0, 1);
        assert_eq!(failures.young("key 0", 1_200, WINDOW).0, 0);
    }

    #[test]
    fn one_key_is_bounded_too() {
        let mut failures = Failures::default();
        for at in 0..1_000 {
            failures.fail("key", at, WINDOW);
        }
        assert_eq!(failures.young("key", 1_000, WINDOW), (MOST_COUNTED, Some(900)));
        assert_eq!(failures.by_key["key"].at.len(), MOST_COUNTED);
    }
}
