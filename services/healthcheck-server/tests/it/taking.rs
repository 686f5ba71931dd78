//! What honest agents see.

use fleet::{Interval, Keyring, wire::v1};
use serde_json::json;

use crate::app::{self, Consume, NOW, credential, gzip, key, report, ring, server};

#[tokio::test]
async fn two_numbers_by_hand_are_a_beat_whatever_the_content_type() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let body = report(json!({})).to_string();
    for content_type in ["application/json", "application/x-www-form-urlencoded", "text/plain"] {
        let request = app.request().bearer_auth(credential(1)).header("content-type", content_type);
        let answer = app.send(request.body(body.clone())).await;
        assert_eq!(answer.status, 202);
        assert_eq!(answer.body, json!({"accepted": 1, "bulletin": {"now": NOW}}));
    }
    let record = app.records().pop().unwrap();
    assert_eq!((record.server, record.generation, record.received_at), (server(1), 3, NOW));
    assert_eq!((record.interval, record.snapshot.sampled_at()), (Interval::DEFAULT, NOW));
}

#[tokio::test]
async fn gzip_and_the_bounds_themselves_are_taken() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let snapshots = vec![json!({"sampled_at": NOW + 30_000, "covers_ms": 60_000}); 240];
    let mut body = json!({"interval_ms": 30_000, "snapshots": snapshots}).to_string().into_bytes();
    body.resize(256 * 1024, b' ');
    assert_eq!(app.post(&credential(1), body.clone()).await.body["accepted"], 240);
    body.resize(1024 * 1024, b' ');
    assert_eq!(app.post_gzip(&credential(1), gzip(&body)).await.body["accepted"], 240);
}

#[tokio::test]
async fn control_characters_are_taken_and_made_visible() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let body = report(json!({"host": {"hostname": "web\u{1b}[31m\u{202e}1"}})).to_string();
    assert_eq!(app.post(&credential(1), body).await.status, 202);
    let record = app.records().pop().unwrap();
    let host = record.snapshot.as_wire().host.clone().unwrap();
    assert_eq!(host.hostname.unwrap(), "web\u{fffd}[31m\u{fffd}1");
}

#[tokio::test]
async fn what_a_newer_agent_sends_besides_is_ignored() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let deep = serde_json::from_str::<serde_json::Value>(&format!("{}{}", "[".repeat(100), "]".repeat(100)));
    let body = report(json!({"containers": [{"id": 1}], "deep": deep.unwrap()})).to_string();
    assert_eq!(app.post(&credential(1), body).await.status, 202);
}

#[tokio::test]
async fn a_credential_of_the_previous_key_brings_the_new_one() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let old = Keyring::new(key(1), None).issue(server(1), 3);
    let answer = app.post(&old, report(json!({})).to_string()).await;
    let accepted: v1::Accepted = serde_json::from_value(answer.body).unwrap();
    assert_eq!(accepted.bulletin.credential, Some(ring().issue(server(1), 3)));
    let answer = app.post(&credential(1), report(json!({})).to_string()).await;
    assert_eq!(answer.body["bulletin"], json!({"now": NOW}));
}

#[tokio::test]
async fn the_hundred_and_first_request_at_once_waits_a_second() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let body = report(json!({})).to_string();
    for _ in 0..100 {
        assert_eq!(app.post(&credential(1), body.clone()).await.status, 202);
    }
    let answer = app.post(&credential(1), body.clone()).await;
    answer.is_problem(429, "rate_limited");
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(app.post(&credential(2), body.clone()).await.status, 202);
    app.clock.advance(50);
    assert_eq!(app.post(&credential(1), body).await.status, 202);
    assert_eq!(app.records().len(), 102);
}

#[tokio::test]
async fn a_queue_that_takes_nothing_is_unavailable_for_at_most_an_interval() {
    for consume in [Consume::Full, Consume::Closed] {
        let app = app::spawn(consume).await;
        for (interval_ms, retry_after) in [(1_000, "1"), (30_000, "5")] {
            let snapshots = json!([{"sampled_at": NOW, "covers_ms": 0}]);
            let body = json!({"interval_ms": interval_ms, "snapshots": snapshots}).to_string();
            let answer = app.post(&credential(1), body).await;
            answer.is_problem(503, "unavailable");
            assert_eq!(answer.headers["retry-after"], retry_after);
        }
    }
}

#[tokio::test]
async fn what_a_store_will_never_take_is_refused_by_its_place() {
    let app = app::spawn(Consume::AllBut(NOW - 1)).await;
    let snapshot = |at| json!({"sampled_at": at, "covers_ms": 0});
    let snapshots = [snapshot(NOW), snapshot(NOW - 1), snapshot(NOW - 2)];
    let body = json!({"interval_ms": 30_000, "snapshots": snapshots}).to_string();
    let answer = app.post(&credential(1), body).await;
    answer.is_problem(422, "invalid_body");
    assert_eq!(answer.refused(), [(1, "invalid_snapshot")]);
    assert_eq!(answer.body["refused"][0]["reason"], "odd");
}

#[tokio::test]
async fn another_method_is_told_which_one_is_known() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let answer = app.get().await;
    answer.is_problem(405, "method_not_allowed");
    assert_eq!(answer.headers["allow"], "POST");
}
