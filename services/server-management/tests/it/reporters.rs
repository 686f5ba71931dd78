//! Which agent is elected to tell when no gate answers.

use cache::Seen;
use chassis::Clock;
use fleet::{
    Interval, Millis, ServerId,
    alert::lease::{APART, LEASE, Lease},
    liveness::silent_at,
};
use serde_json::json;

use crate::{
    place::Place,
    suite::{MINUTE, NOW, SECOND, Suite},
};

/// What a worker does with a beat of an agent that says whether it would tell.
async fn beat(suite: &Suite, server: ServerId, at: Millis, interval: Millis, reporter: bool) {
    let latest = json!({"sampled_at": at, "covers_ms": 0, "agent": {"reporter": reporter}}).to_string();
    let silent_at = silent_at(at, Interval::try_from(interval).unwrap());
    let seen = Seen { server, received_at: at, silent_at, latest: latest.into(), sampled_at: at };
    suite.cache.see(vec![seen], suite.clock.now()).await.unwrap();
    if reporter {
        suite.cache.note_reporters(&[(server, at)]).await.unwrap();
    }
}

async fn elected(suite: &Suite) -> Option<Lease> {
    suite.management.elect_reporter().await.unwrap();
    let lease = suite.registry.reporter_lease().await.unwrap();
    assert_eq!(suite.cache.reporter_lease().await.unwrap(), lease, "gates are told");
    lease
}

pub async fn of_the_agents_that_would_tell_one_that_is_heard_has_the_lease(place: Place) {
    // Beats are of the real time, as Redis' clock is.
    let mut suite = Suite::spawn(place).await;
    let now = suite.cache.clock().await.unwrap().unwrap_or(NOW);
    suite.at(now).await;
    let mut servers = Vec::new();
    for name in ["would not", "too slow", "first", "second"] {
        servers.push(suite.enrol(name).await);
    }
    let [silent_one, slow, first, second] = servers[..] else { panic!("not four") };
    beat(&suite, silent_one, now, 30 * SECOND, false).await;
    beat(&suite, slow, now, 10 * MINUTE, true).await;
    assert_eq!(elected(&suite).await, None, "nobody would, or would notice in time");

    // An id that is no server (any more) is nobody.
    let stranger = ServerId::new(1, [9; 10]);
    beat(&suite, stranger, now, 30 * SECOND, true).await;
    beat(&suite, first, now, 30 * SECOND, true).await;
    beat(&suite, second, now, 30 * SECOND, true).await;
    let lease = elected(&suite).await.unwrap();
    assert_eq!(lease, Lease { server: first.min(second), until: now + LEASE });
    let other = first.max(second);

    // It is renewed by every replica, each by its own clock, and never shortened.
    let behind = suite.replica_at(Clock::fixed(now + 5 * SECOND));
    let ahead = suite.replica_at(Clock::fixed(now + 55 * SECOND));
    assert_eq!(elected(&ahead).await.unwrap(), Lease { until: now + 55 * SECOND + LEASE, ..lease });
    assert_eq!(elected(&behind).await.unwrap(), Lease { until: now + 55 * SECOND + LEASE, ..lease });

    // Its holder falls silent: nobody else is elected before it ended and a minute has passed.
    let until = now + 55 * SECOND + LEASE;
    for (at, expected) in
        [(until - 1, lease.server), (until + APART - 1, lease.server), (until + APART, other)]
    {
        suite.clock.set(at);
        beat(&suite, other, at, 30 * SECOND, true).await;
        assert_eq!(elected(&suite).await.unwrap().server, expected, "{}", at - until);
    }
    // Who says no longer that it would is not renewed.
    suite.clock.advance(31 * SECOND);
    let before = suite.registry.reporter_lease().await.unwrap();
    beat(&suite, other, suite.clock.now(), 30 * SECOND, false).await;
    assert_eq!(elected(&suite).await, before);
}

pub async fn a_restored_registry_elects_nobody_while_a_lease_may_run(place: Place) {
    let mut suite = Suite::spawn(place).await;
    let now = suite.cache.clock().await.unwrap().unwrap_or(NOW);
    suite.at(now).await;
    let (first, second) = (suite.enrol("first").await, suite.enrol("second").await);
    beat(&suite, first, now, 30 * SECOND, true).await;
    beat(&suite, second, now, 30 * SECOND, true).await;
    let lease = elected(&suite).await.unwrap();
    // The backup is of the time when the other one had it, long ago. The cache knows who has it now.
    let old = Lease { server: first.max(second), until: now - 60 * MINUTE };
    suite.sql(&format!("UPDATE leases SET holder = '{}', expires_at = {}", old.server, old.until)).await;
    suite.clock.advance(SECOND);
    suite.management.elect_reporter().await.unwrap();
    let kept = suite.cache.reporter_lease().await.unwrap().unwrap();
    assert!(kept == lease || kept == old, "{kept:?}: nobody else was elected");
    assert_ne!(suite.registry.reporter_lease().await.unwrap().map(|lease| lease.server), None);

    // Without the cache it is told by what is done after a restore.
    let suite = suite.restart_without_cache().await;
    suite.registry.after_restore(None, &registry::Actor::system(), suite.clock.now()).await.unwrap();
    let end = suite.clock.now() + LEASE;
    for server in [first, second] {
        beat(&suite, server, suite.clock.now(), 60 * SECOND, true).await;
    }
    let nobody = ServerId::from_bytes([0; 16]);
    for (at, is_free) in [(end, false), (end + APART - 1, false), (end + APART, true)] {
        suite.clock.set(at);
        beat(&suite, first, at, 60 * SECOND, true).await;
        assert_eq!(elected(&suite).await.unwrap().server != nobody, is_free, "{}", at - end);
    }
}
