//! Whether this clock and the registry's agree. Whether a sample is in time is told by the registry's clock, of samples that gates
//! stamped by theirs: one that is off by seconds keeps everything from being raised.

use chassis::Clock;
use fleet::Millis;
use metrics::{Gauge, Unit, describe_gauge, gauge};
use registry::Registry;
use tokio::time::{Duration, MissedTickBehavior, interval};

/// How often they are compared.
const EVERY: Duration = Duration::from_secs(10);

/// A clock that is off by more is worth a look, in ms: it is less than half of what is in time.
const WORTH_A_LOOK: Millis = 2_000;

const SKEW: &str = "rollcall_worker_clock_skew_seconds";

/// Compares them until it is dropped.
pub async fn compare(registry: Registry, clock: Clock) {
    describe_gauge!(SKEW, Unit::Seconds, "By how much this clock is ahead of the registry's");
    let skew = gauge!(SKEW);
    let mut agree = true;
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Some(ahead) = ahead(&registry, &clock, &skew).await {
            agree = tell(agree, ahead);
        }
    }
}

/// By how much this clock is ahead. `None`: the registry does not answer, which whoever stores logs.
async fn ahead(registry: &Registry, clock: &Clock, skew: &Gauge) -> Option<Millis> {
    let asked = clock.now();
    let theirs = registry.clock().await.ok()?;
    let ahead = (asked + clock.now()) / 2 - theirs;
    skew.set(ahead as f64 / 1_000.0);
    Some(ahead)
}

/// Logs what has changed, and answers whether they agree.
fn tell(agreed: bool, ahead_ms: Millis) -> bool {
    let agree = ahead_ms.abs() <= WORTH_A_LOOK;
    match (agreed, agree) {
        (true, false) => tracing::warn!(
            ahead_ms,
            "this clock and the registry's differ: samples that are stored in time may count as late, and then raise nothing; \
             set both by NTP"
        ),
        (false, true) => tracing::info!(ahead_ms, "this clock and the registry's agree again"),
        _ => {}
    }
    agree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clocks_are_compared_to_the_millisecond_either_way() {
        for (off, agree) in [(0, true), (2_000, true), (2_001, false)] {
            assert_eq!((tell(true, off), tell(false, -off)), (agree, agree), "{off}");
        }
        let folder = testkit::tempdir().unwrap();
        let registry = Registry::open_sqlite(&folder.path().join("registry.db")).await.unwrap();
        registry.migrate().await.unwrap();
        let theirs = registry.clock().await.unwrap();
        let ahead = ahead(&registry, &Clock::fixed(theirs + 60_000), &gauge!(SKEW)).await.unwrap();
        // They were asked one after the other.
        assert!((1..=60_000).contains(&ahead), "{ahead}");
    }
}
