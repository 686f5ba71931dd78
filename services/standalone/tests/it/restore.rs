//! A backup is restored, and what came after it is not lost.

use std::{fs, path::Path};

use chassis::Clock;
use serde_json::{Value, json};
use testkit::{eventually, tempdir};

use crate::suite::{Client, Host, Suite};

const NOW: i64 = 1_790_000_000_000;
const SECOND: i64 = 1_000;

/// What the gate says to a snapshot that covers a second.
async fn try_beat(client: &Client, host: &Host, at: i64) -> (u16, Value) {
    let snapshot = json!({"sampled_at": at, "covers_ms": SECOND});
    let body = json!({"interval_ms": SECOND, "snapshots": [snapshot]});
    client.post_as("/healthcheck/v1/snapshots", &host.credential, &body).await
}

/// What a backup of a stopped suite holds.
fn copy(from: &Path, to: &Path) {
    for name in ["registry.db", "agent-key", "token-key", "admin-password"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[tokio::test]
async fn a_host_that_enrolled_after_the_backup_is_adopted_with_what_it_kept_and_can_be_revoked() {
    let (dir, backup, restored) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let clock = Clock::fixed(NOW);
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    suite.client.enrol("old").await;
    suite.stop().await;
    copy(dir.path(), backup.path());

    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    let host = suite.client.enrol("new").await;
    for beat in 1..=3 {
        clock.advance(SECOND);
        suite.client.beat(&host, NOW + beat * SECOND).await;
    }
    suite.stop().await;

    copy(backup.path(), restored.path());
    // History is not older than the disaster: what was acknowledged is in it.
    fs::copy(dir.path().join("history.db"), restored.path().join("history.db")).unwrap();
    let mut suite = Suite::start(restored.path(), &clock);
    suite.client.log_in(restored.path()).await;
    let at = NOW + 4 * SECOND;
    clock.set(at);
    let (status, answer) = try_beat(&suite.client, &host, at).await;
    assert_eq!((status, &answer["code"], &answer["now"]), (503, &json!("unknown_server"), &json!(at)));
    let listed = suite.client.get("servers/unknown").await;
    assert_eq!((&listed["total"], &listed["items"][0]["id"]), (&json!(1), &json!(host.id)), "{listed}");
    assert_eq!(listed["items"][0]["last_seen_at"], at);
    let path = format!("/server-management/v1/servers/unknown/{}/adopt", host.id);
    assert_eq!(suite.client.post(&path, &json!({"name": "OLD"})).await.0, 409);
    let (status, server) = suite.client.post(&path, &json!({"name": "new"})).await;
    assert_eq!((status, &server["id"], &server["name"]), (201, &json!(host.id), &json!("new")), "{server}");
    assert_eq!(suite.client.post(&path, &json!({"name": "newer"})).await.0, 404);
    eventually("the gate lets it in, and the agent did nothing", async || {
        clock.advance(50);
        try_beat(&suite.client, &host, at).await.0 == 202
    })
    .await;
    let range = format!("from={NOW}&to={}&points=1", at + 1);
    let points = suite.client.get(&format!("servers/{}/snapshots?{range}", host.id)).await;
    assert_eq!(points["points"][0]["count"], 4, "{points}");
    let (status, _) =
        suite.client.post(&format!("/server-management/v1/servers/{}/revoke", host.id), &json!(null)).await;
    assert_eq!(status, 204);
    eventually("its credential is refused", async || {
        clock.advance(50);
        try_beat(&suite.client, &host, at).await.0 == 401
    })
    .await;
    suite.stop().await;
}
