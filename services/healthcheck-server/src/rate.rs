//! How much one agent may bring: so many requests, so many snapshots, so many bytes, and so many bodies at once.
//!
//! A host needs one snapshot an interval. It may bring 200 times that, so that what it measured in seven days without us comes
//! through within an hour (20,160 snapshots at 30 s, where 2,000 and 24,000 are allowed); and 2,000 snapshots at once. A
//! snapshot counts as 4 KiB for this: what most hosts send is a quarter of that.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fleet::{Interval, Millis, ServerId};

/// Requests that an agent may make in a second.
const REQUESTS: i64 = 20;
/// Requests that may come at once.
const REQUESTS_AT_ONCE: i64 = 100;
/// How many times what a host needs an agent may bring.
const TIMES: i64 = 200;
/// Snapshots that may come at once.
const SNAPSHOTS_AT_ONCE: i64 = 2_000;
/// Of these, those that are left to requests of one snapshot: a fresh sample comes through while an agent back-fills.
const LEFT_TO_FRESH: i64 = 20;
/// Bytes that a snapshot may have, inflated, on average.
const SNAPSHOT_BYTES: i64 = 4 * 1024;
/// Bodies of one agent that may be under way. An agent has one, or a fresh sample beside what it makes up for.
const BODIES: u8 = 4;

/// Of a millisecond.
const MICROS: i64 = 1_000;
/// So many locks that cores rarely meet at one.
const SHARDS: usize = 16;
/// A shard is swept only once it holds this many.
const FEW: usize = 256;

/// What one agent brought, as three counts by the generic cell rate algorithm in its virtual scheduling form (ITU-T I.371,
/// annex A): for each the theoretical arrival time of what comes next. A time that has passed is as good as none, so memory is
/// bounded by the servers that sent within the time that their requests stand for: seconds, unless they are at their limits.
#[derive(Default)]
pub struct Rates {
    shards: [Mutex<Shard>; SHARDS],
}

/// More than an agent may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    pub detail: &'static str,
    /// In milliseconds, after which it may come again.
    pub wait: Millis,
}

/// A body that is under way, until it is dropped.
pub struct UnderWay<'a> {
    rates: &'a Rates,
    server: ServerId,
}

struct Shard {
    agents: HashMap<ServerId, Agent>,
    sweep_at: usize,
}

#[derive(Default)]
struct Agent {
    requests: Meter,
    snapshots: Meter,
    bytes: Meter,
    bodies: u8,
}

/// When the next one would come if all came evenly, in microseconds.
#[derive(Clone, Copy, Default)]
struct Meter(i64);

impl Rates {
    /// Counts a request of `server`; in vain, if it comes too early.
    pub fn knock(&self, server: ServerId, now: Millis) -> Result<(), Excess> {
        let mut shard = self.shard(server);
        shard.sweep(now);
        let one = MICROS * 1_000 / REQUESTS;
        let requests = &mut shard.agents.entry(server).or_default().requests;
        let excess =
            |wait| Excess { detail: "more than 20 requests a second; send several snapshots in one", wait };
        requests.settle(REQUESTS_AT_ONCE * one, now);
        requests.0 = requests.after(one, REQUESTS_AT_ONCE * one, now).map_err(excess)?;
        Ok(())
    }

    /// Counts a body that is being read.
    pub fn body(&self, server: ServerId) -> Result<UnderWay<'_>, Excess> {
        let mut shard = self.shard(server);
        let bodies = &mut shard.agents.entry(server).or_default().bodies;
        if *bodies >= BODIES {
            return Err(Excess {
                detail: "4 bodies of one agent are under way; wait for their answers",
                wait: 1_000,
            });
        }
        *bodies += 1;
        Ok(UnderWay { rates: self, server })
    }

    /// Counts what a request brings; in vain, if it is too much.
    pub fn bring(
        &self,
        server: ServerId,
        interval: Interval,
        snapshots: usize,
        bytes: usize,
        now: Millis,
    ) -> Result<(), Excess> {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        // The time that one snapshot stands for, in microseconds.
        let one = interval.millis() * MICROS / TIMES;
        let most = SNAPSHOTS_AT_ONCE * one;
        let free = if snapshots > 1 { LEFT_TO_FRESH * one } else { 0 };
        let mut shard = self.shard(server);
        let Agent { snapshots: counted, bytes: weighed, .. } = shard.agents.entry(server).or_default();
        counted.settle(most, now);
        weighed.settle(most, now);
        let excess =
            |wait| Excess { detail: "more than 200 times what a host needs; send the rest later", wait };
        let snapshots = counted.after(count(snapshots) * one, most - free, now);
        let bytes = weighed.after(count(bytes) * one / SNAPSHOT_BYTES, most - free, now);
        (counted.0, weighed.0) = match (snapshots, bytes) {
            (Ok(snapshots), Ok(bytes)) => (snapshots, bytes),
            (Err(wait), Ok(_)) | (Ok(_), Err(wait)) => return Err(excess(wait)),
            (Err(wait), Err(other)) => return Err(excess(wait.max(other))),
        };
        Ok(())
    }

    fn shard(&self, server: ServerId) -> MutexGuard<'_, Shard> {
        // The last byte of an id is random.
        let shard = usize::from(server.as_bytes()[15]) % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(agent) = self.rates.shard(self.server).agents.get_mut(&self.server) {
            agent.bodies = agent.bodies.saturating_sub(1);
        }
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self { agents: HashMap::new(), sweep_at: FEW }
    }
}

impl Shard {
    /// Forgets those who rest, once there are many.
    fn sweep(&mut self, now: Millis) {
        if self.agents.len() >= self.sweep_at {
            self.agents.retain(|_, agent| !agent.rests(now));
            self.sweep_at = FEW.max(2 * self.agents.len());
        }
    }
}

impl Agent {
    fn rests(&self, now: Millis) -> bool {
        let meters = [self.requests, self.snapshots, self.bytes];
        self.bodies == 0 && meters.iter().all(|Meter(arrival)| *arrival <= now * MICROS)
    }
}

impl Meter {
    /// Where `most` may come at once, in microseconds. What lies further ahead than that was counted before the clock stepped
    /// back: nobody waits for that to be made good.
    fn settle(&mut self, most: i64, now: Millis) {
        self.0 = self.0.clamp(now * MICROS, now * MICROS + most);
    }

    /// The arrival after something that stands for `cost`; or by how many milliseconds it is too early.
    fn after(self, cost: i64, most: i64, now: Millis) -> Result<i64, Millis> {
        let arrival = self.0 + cost;
        let early = arrival - now * MICROS - most;
        if early > 0 { Err(early.unsigned_abs().div_ceil(1_000).cast_signed()) } else { Ok(arrival) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Millis = 1_000;
    const HOUR: Millis = 3_600 * SECOND;

    fn server(number: Millis) -> ServerId {
        ServerId::new(number, [3; 10])
    }

    fn allowed(rates: &Rates, now: Millis) -> usize {
        (0..1_000).filter(|_| rates.knock(server(1), now).is_ok()).count()
    }

    fn bring(rates: &Rates, snapshots: usize, bytes: usize, now: Millis) -> Result<(), Millis> {
        rates.bring(server(1), Interval::DEFAULT, snapshots, bytes, now).map_err(|excess| excess.wait)
    }

    #[test]
    fn a_hundred_at_once_then_twenty_a_second() {
        let rates = Rates::default();
        assert_eq!(allowed(&rates, 0), 100);
        let wait = |now| rates.knock(server(1), now).unwrap_err().wait;
        assert_eq!(wait(0), 50);
        assert_eq!(wait(49), 1);
        assert_eq!(allowed(&rates, 1_000), 20);
        assert_eq!(allowed(&rates, 3_600_000), 100);
    }

    #[test]
    fn two_thousand_snapshots_at_once_then_two_hundred_an_interval() {
        let rates = Rates::default();
        let allowed = |now| (0..10_000).filter(|_| bring(&rates, 1, 700, now).is_ok()).count();
        assert_eq!(allowed(0), 2_000);
        assert_eq!(bring(&rates, 1, 700, 0), Err(150));
        assert_eq!(bring(&rates, 240, 700, 0), Err((240 + 20) * 150));
        assert_eq!(allowed(30 * SECOND), 200);
        assert_eq!(allowed(HOUR), 2_000);
    }

    #[test]
    fn bytes_are_limited_as_snapshots_of_4_kib_are() {
        let rates = Rates::default();
        let mebibyte = 1024 * 1024;
        let allowed = |now| (0..100).filter(|_| bring(&rates, 1, mebibyte, now).is_ok()).count();
        // 8,000 KiB, less what does not fill a whole request.
        assert_eq!(allowed(0), 7);
        // 800 KiB an interval.
        assert_eq!(allowed(30 * SECOND), 1);
        assert_eq!(bring(&rates, 1, 700, 30 * SECOND), Ok(()), "a small sample beside it comes through");
    }

    #[test]
    fn seven_days_come_through_within_an_hour() {
        let rates = Rates::default();
        let (mut left, mut now) = (7 * 24 * 120, 0);
        while left > 0 {
            // A fresh sample each 30 s, and as much as is let through, by an agent that waits as long as it is told.
            assert_eq!(bring(&rates, 1, 1_000, now), Ok(()), "a fresh sample at {now}");
            let next = now + 30 * SECOND;
            while left > 0 && now < next - SECOND {
                match bring(&rates, left.min(240), left.min(240) * 1_000, now) {
                    Ok(()) => left -= left.min(240),
                    // Told in whole seconds.
                    Err(wait) => now += (wait as u64).div_ceil(1_000) as i64 * 1_000,
                }
            }
            now = now.max(next);
        }
        assert!(now <= HOUR, "{} minutes", now / 60_000);
    }

    #[test]
    fn a_host_that_reports_each_second_may_bring_as_many_times_what_it_needs() {
        let rates = Rates::default();
        let interval = Interval::try_from(1_000).unwrap();
        let allowed =
            |now| (0..10_000).filter(|_| rates.bring(server(1), interval, 1, 700, now).is_ok()).count();
        assert_eq!(allowed(0), 2_000);
        assert_eq!(allowed(SECOND), 200);
        // Another interval does not begin anew.
        assert_eq!(bring(&rates, 240, 700, SECOND), Ok(()));
        assert_eq!(allowed(SECOND), 0);
    }

    #[test]
    fn a_fifth_body_waits_for_one_of_the_four() {
        let rates = Rates::default();
        let mut under_way: Vec<_> = (0..4).filter_map(|_| rates.body(server(1)).ok()).collect();
        assert_eq!(under_way.len(), 4);
        assert_eq!(rates.body(server(1)).err().map(|excess| excess.wait), Some(1_000));
        assert!(rates.body(server(2)).is_ok());
        under_way.pop();
        assert!(rates.body(server(1)).is_ok());
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
        assert_eq!(rates.knock(server(1), 0).unwrap_err().wait, 50);
        assert_eq!(rates.knock(server(1), 50), Ok(()));
    }

    #[test]
    fn those_who_rest_are_forgotten_and_those_with_a_body_under_way_are_not() {
        let rates = Rates::default();
        let under_way = rates.body(server(1)).ok();
        for number in 2..1_000_000 {
            assert_eq!(rates.knock(server(number), number), Ok(()));
        }
        let shard = rates.shard(server(1));
        assert!(shard.agents.len() <= FEW && shard.agents.contains_key(&server(1)));
        drop(shard);
        drop(under_way);
    }
}
