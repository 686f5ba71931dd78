//! What a broker gets of many requests, and of large ones.

use fleet::{Message, Millis};
use futures_util::future::join_all;
use queue::rabbitmq::LARGEST;
use serde_json::{Value, json};

use crate::{
    app::{self, NOW, credential, gzip, records, report, server},
    place::Place,
};

/// Which server, and when, in order.
fn whats_in(messages: &[Message]) -> Vec<(fleet::ServerId, Millis)> {
    let mut taken: Vec<_> =
        records(messages).iter().map(|record| (record.server, record.snapshot.sampled_at())).collect();
    taken.sort_unstable();
    taken
}

fn disks(count: usize) -> Value {
    let text = "x".repeat(256);
    vec![json!({"mount": text, "device": text, "filesystem": text}); count].into()
}

#[tokio::test]
async fn requests_of_many_servers_at_once_arrive_whole_in_fewer_messages() {
    let place = Place::new().await;
    let app = app::spawn_on(place.publisher().await, place.cache());
    let snapshot = |at| json!({"sampled_at": at, "covers_ms": 0});
    let post = async |number: u8| {
        let snapshots: Vec<_> = (0..1 + Millis::from(number) % 3).map(|at| snapshot(NOW - at)).collect();
        let body = json!({"interval_ms": 30_000, "snapshots": snapshots}).to_string();
        let answer = app.post(&credential(number), body).await;
        assert_eq!((answer.status.as_u16(), &answer.body["accepted"]), (202, &json!(snapshots.len())));
    };
    join_all((0..200).map(post)).await;
    let messages = place.take().await;
    let mut sent: Vec<_> = (0..200)
        .flat_map(|number| (0..1 + Millis::from(number) % 3).map(move |at| (server(number), NOW - at)))
        .collect();
    sent.sort_unstable();
    assert_eq!(whats_in(&messages), sent);
    assert!(messages.len() < 200, "{} messages", messages.len());
    for record in records(&messages) {
        assert_eq!((record.generation, record.received_at, record.interval.millis()), (3, NOW, 30_000));
    }
}

#[tokio::test]
async fn a_request_larger_than_a_message_is_split_and_acknowledged_once() {
    let place = Place::new().await;
    let app = app::spawn_on(place.publisher().await, place.cache());
    let snapshot = |at| json!({"sampled_at": NOW - at, "covers_ms": 0, "disks": disks(1)});
    let snapshots: Vec<_> = (0..240).map(snapshot).collect();
    let body = json!({"interval_ms": 30_000, "snapshots": snapshots}).to_string();
    assert!(body.len() > 2 * LARGEST);
    let answer = app.post_gzip(&credential(1), gzip(body.as_bytes())).await;
    assert_eq!(answer.body["accepted"], 240, "{}", answer.body);
    let messages = place.take().await;
    assert!(messages.len() >= 3, "{} messages", messages.len());
    for message in &messages {
        assert!(serde_json::to_vec(message).unwrap().len() <= LARGEST);
    }
    assert_eq!(whats_in(&messages), (0..240).rev().map(|at| (server(1), NOW - at)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_snapshot_larger_than_a_message_is_refused_by_its_place_and_its_neighbours_are_not() {
    let place = Place::new().await;
    let app = app::spawn_on(place.publisher().await, place.cache());
    let text = "x".repeat(256);
    let large = json!({
        "sampled_at": NOW, "covers_ms": 0, "disks": disks(64),
        "networks": vec![json!({"name": text}); 64], "temperatures": vec![json!({"name": text}); 128],
    });
    let body = |snapshots: Value| json!({"interval_ms": 30_000, "snapshots": snapshots}).to_string();
    let both = body(json!([{"sampled_at": NOW - 1, "covers_ms": 0}, large]));
    let (first, second) = (credential(1), credential(2));
    let beside = app.post(&second, report(json!({})).to_string());
    let (refused, beside) = tokio::join!(app.post(&first, both), beside);
    refused.is_problem(422, "invalid_body");
    assert_eq!(refused.refused(), [(1, "invalid_snapshot")]);
    let reason = refused.body["refused"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("bytes"), "{reason}");
    assert_eq!(beside.status, 202);
    assert_eq!(whats_in(&place.take().await), [(server(2), NOW)]);
}
