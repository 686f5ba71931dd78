//! A machine that was cloned after it enrolled: two agents with one credential.

use chassis::Clock;
use serde_json::{Value, json};
use testkit::tempdir;

use crate::suite::{Client, Host, Suite};

const NOW: i64 = 1_790_000_000_000;
const BEAT: i64 = 30_000;
const MINUTES: i64 = 60_000;

/// A beat of an agent on a machine that booted at `boot_at`.
async fn beat(client: &Client, host: &Host, at: i64, boot_at: i64) {
    let snapshot =
        json!({"sampled_at": at, "covers_ms": BEAT, "host": {"hostname": "web-1", "boot_at": boot_at}});
    let body = json!({"interval_ms": BEAT, "snapshots": [snapshot]});
    let (status, answer) = client.post_as("/healthcheck/v1/snapshots", &host.credential, &body).await;
    assert_eq!(status, 202, "{answer}");
}

async fn conflict(client: &Client, host: &Host) -> Value {
    client.get(&format!("servers/{}", host.id)).await["conflict"].take()
}

#[tokio::test]
async fn two_agents_with_one_credential_are_a_conflict_until_one_is_gone_for_ten_minutes() {
    let dir = tempdir().unwrap();
    let clock = Clock::fixed(NOW);
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    let (host, well) = (suite.client.enrol("web-1").await, suite.client.enrol("web-2").await);
    let (original, clone) = (NOW - 100 * MINUTES, NOW - 3 * MINUTES);

    // A host that boots again and again is one agent.
    for boot in 0..5 {
        clock.advance(BEAT);
        beat(&suite.client, &well, clock.now(), NOW + boot * BEAT).await;
        assert_eq!(conflict(&suite.client, &well).await, false, "boot {boot}");
    }
    for (beats, boot_at) in [original, clone, original, clone].into_iter().enumerate() {
        assert_eq!(conflict(&suite.client, &host).await, false, "after {beats} beats");
        clock.advance(BEAT / 2);
        beat(&suite.client, &host, clock.now(), boot_at).await;
    }
    assert_eq!(conflict(&suite.client, &host).await, true);
    let listed = suite.client.get("servers?sort=name").await;
    let listed: Vec<_> = listed["items"].as_array().unwrap().iter().map(|one| &one["conflict"]).collect();
    assert_eq!(listed, [true, false]);

    for _ in 0..20 {
        clock.advance(BEAT);
        beat(&suite.client, &host, clock.now(), clone).await;
    }
    assert_eq!(conflict(&suite.client, &host).await, true, "ten minutes after the last change");
    clock.advance(BEAT);
    beat(&suite.client, &host, clock.now(), clone).await;
    assert_eq!(conflict(&suite.client, &host).await, false);
    suite.stop().await;
}
