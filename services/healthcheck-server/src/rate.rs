//! How often one agent may knock: 20 requests a second, 100 at once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use fleet::{Millis, ServerId};

/// Time that one request stands for.
const EMISSION: Millis = 1_000 / 20;
/// Requests that may come at once.
const BURST: Millis = 100;
/// So many locks that cores rarely meet at one.
const SHARDS: usize = 16;
/// A shard is swept only once it holds this many.
const FEW: usize = 256;

/// The generic cell rate algorithm in its virtual scheduling form (ITU-T I.371, annex A): for each server the
/// theoretical arrival time of its next request. One that has passed is as good as none, so memory is bounded by the
/// servers that sent within the last five seconds.
#[derive(Default)]
pub struct Rates {
    shards: [Mutex<Shard>; SHARDS],
}

struct Shard {
    arrival: HashMap<ServerId, Millis>,
    sweep_at: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self { arrival: HashMap::new(), sweep_at: FEW }
    }
}

impl Rates {
    /// Counts a request of `server`; in vain, if it comes too early: then the error says by how many milliseconds.
    pub fn knock(&self, server: ServerId, now: Millis) -> Result<(), Millis> {
        // The last byte of an id is random.
        let shard = usize::from(server.as_bytes()[15]) % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner).knock(server, now)
    }
}

impl Shard {
    fn knock(&mut self, server: ServerId, now: Millis) -> Result<(), Millis> {
        if self.arrival.len() >= self.sweep_at {
            self.arrival.retain(|_, arrival| *arrival > now);
            self.sweep_at = FEW.max(2 * self.arrival.len());
        }
        let arrival = self.arrival.entry(server).or_insert(now);
        // The upper bound holds by itself, unless the clock stepped back: nobody waits for that to be made good.
        *arrival = (*arrival).clamp(now, now + BURST * EMISSION);
        let early = *arrival - now - (BURST - 1) * EMISSION;
        if early > 0 {
            return Err(early);
        }
        *arrival += EMISSION;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: Millis) -> ServerId {
        ServerId::new(number, [3; 10])
    }

    fn allowed(rates: &Rates, now: Millis) -> usize {
        (0..1_000).filter(|_| rates.knock(server(1), now).is_ok()).count()
    }

    #[test]
    fn a_hundred_at_once_then_twenty_a_second() {
        let rates = Rates::default();
        assert_eq!(allowed(&rates, 0), 100);
        assert_eq!(rates.knock(server(1), 0), Err(50));
        assert_eq!(rates.knock(server(1), 49), Err(1));
        assert_eq!(allowed(&rates, 1_000), 20);
        assert_eq!(allowed(&rates, 3_600_000), 100);
    }

    #[test]
    fn servers_do_not_pay_for_each_other() {
        let rates = Rates::default();
        allowed(&rates, 0);
        assert_eq!(rates.knock(server(2), 0), Ok(()));
    }

    #[test]
    fn a_clock_that_steps_back_locks_nobody_out() {
        let rates = Rates::default();
        allowed(&rates, 7_200_000);
        assert_eq!(rates.knock(server(1), 0), Err(50));
        assert_eq!(rates.knock(server(1), 50), Ok(()));
    }

    #[test]
    fn those_who_rest_are_forgotten() {
        let mut shard = Shard::default();
        for number in 0..1_000_000 {
            assert_eq!(shard.knock(server(number), number), Ok(()));
            assert!(shard.arrival.len() <= FEW);
        }
    }
}
