//! What is acked is stored, and only what should be.

use fleet::{Interval, Message, Record, Snapshot, liveness::SIGHTING_SLACK, wire::v1};
use queue::{PublishError, Refused};

use crate::app::{self, BEAT, FIRST, NOW, beat, host, record, server};

#[tokio::test]
async fn what_is_acked_is_in_all_three_stores() {
    let app = app::spawn().await;
    app.enrol(1).await;
    app.publish(vec![record(1, NOW, NOW - 100, Some(host("web-1"))), beat(1, NOW - BEAT)]).await.unwrap();
    assert_eq!(app.stored(1).await, 2);
    let marks = app.marks(1).await.unwrap();
    assert_eq!((marks.beat.silent_at, marks.sampled_at), (NOW + 4 * BEAT, NOW - 100));
    assert_eq!(marks.facts_at, Some(NOW - 100));
    let latest = app.latest(1).await.unwrap();
    assert_eq!((latest.received_at, latest.sampled_at), (NOW, NOW - 100));
    assert!(latest.snapshot.contains("web-1"));
    assert_eq!(app.cache.silent(0, i64::MAX).await.unwrap(), [(server(1), NOW + 4 * BEAT)]);
}

#[tokio::test]
async fn sending_twice_is_once() {
    let app = app::spawn().await;
    app.enrol(1).await;
    app.publish(vec![beat(1, NOW), beat(1, NOW)]).await.unwrap();
    app.publish(vec![beat(1, NOW)]).await.unwrap();
    assert_eq!(app.stored(1).await, 1);
}

#[tokio::test]
async fn deleted_and_revoked_servers_are_discarded_and_their_neighbours_are_not() {
    let app = app::spawn().await;
    app.enrol(1).await;
    app.enrol(2).await;
    app.registry.revoke(server(2), &registry::Actor::system(), NOW).await.unwrap().unwrap();
    app.enrol(3).await;
    app.registry.delete_server(server(3), None, &registry::Actor::system(), NOW).await.unwrap().unwrap();
    app.publish(vec![beat(1, NOW), beat(2, NOW), beat(3, NOW)]).await.unwrap();
    let mut renewed = beat(2, NOW + 1);
    renewed.generation += 1;
    app.publish(vec![beat(3, NOW)]).await.unwrap();
    assert_eq!([app.stored(1).await, app.stored(2).await, app.stored(3).await], [1, 0, 0]);
    assert_eq!((app.marks(2).await, app.latest(2).await, app.latest(3).await), (None, None, None));
    app.publish(vec![renewed]).await.unwrap();
    assert_eq!(app.stored(2).await, 1);
}

#[tokio::test]
async fn what_a_server_sends_that_was_never_known_goes_back_and_its_neighbours_do_not() {
    let app = app::spawn().await;
    app.enrol(1).await;
    let sent = vec![beat(3, NOW), beat(1, NOW), beat(3, NOW + 1)];
    let refused = Refused {
        message: Message::Snapshots(vec![sent[0].clone(), sent[2].clone()]),
        reason: "unknown_server".to_owned(),
    };
    assert_eq!(app.publish(sent).await, Err(PublishError::Refused(vec![refused])));
    assert_eq!([app.stored(1).await, app.stored(3).await], [1, 0]);
    let unknown = cache::Unknown { server: server(3), generation: FIRST, last_seen: NOW + 1 };
    assert_eq!(app.cache.unknown(NOW).await.unwrap(), [unknown]);
    app.registry.adopt(server(3), FIRST, "found", &registry::Actor::system(), NOW).await.unwrap().unwrap();
    app.publish(vec![beat(3, NOW)]).await.unwrap();
    assert_eq!(app.stored(3).await, 1);
}

#[tokio::test]
async fn the_registry_hears_of_a_steady_server_once_in_five_minutes() {
    let app = app::spawn().await;
    app.enrol(1).await;
    let mut writes = Vec::new();
    for number in 0..21 {
        let at = NOW + number * BEAT;
        app.publish(vec![record(1, at, at, Some(host("web-1")))]).await.unwrap();
        let silent_at = app.marks(1).await.unwrap().beat.silent_at;
        if writes.last() != Some(&silent_at) {
            writes.push(silent_at);
        }
        assert_eq!(app.latest(1).await.unwrap().received_at, at, "the cache hears every one");
    }
    let first = NOW + 4 * BEAT;
    assert_eq!(writes, [first, first + SIGHTING_SLACK, first + 2 * SIGHTING_SLACK]);
    assert_eq!(app.stored(1).await, 21);
}

#[tokio::test]
async fn late_snapshots_fill_history_and_change_nothing_else() {
    let app = app::spawn().await;
    app.enrol(1).await;
    app.publish(vec![record(1, NOW, NOW, Some(host("new")))]).await.unwrap();
    let (marks, latest) = (app.marks(1).await, app.latest(1).await);
    // A snapshot that was six hours in the pipeline: sampled and received long before those that are known.
    let late = NOW - 6 * 3_600_000;
    app.publish(vec![record(1, late, late, Some(host("old")))]).await.unwrap();
    assert_eq!((app.marks(1).await, app.latest(1).await), (marks, latest.clone()));
    assert_eq!(app.stored(1).await, 2);
    // Back-fill: sampled long ago and received now. It is a sign of life, but neither latest nor facts come from it.
    app.publish(vec![record(1, NOW + BEAT, late + BEAT, Some(host("old")))]).await.unwrap();
    assert_eq!(app.marks(1).await, marks);
    let heard = app.latest(1).await.unwrap();
    assert_eq!((heard.received_at, heard.snapshot), (NOW + BEAT, latest.unwrap().snapshot));
    assert_eq!(app.stored(1).await, 3);
}

#[tokio::test]
async fn a_tick_shows_in_the_workers_row() {
    let app = app::spawn().await;
    app.tick(NOW - 10, NOW - 5_000).await.unwrap();
    app.tick(NOW - 5, NOW - 4_000).await.unwrap();
    app.stop.cancel();
    app.running.await.unwrap();
    let progress = app.registry.progress().await.unwrap();
    let [row] = progress[..] else { panic!("{progress:?}") };
    assert_eq!((row.newest_settled, row.oldest_in_hand), (Some(NOW - 5), None));
    assert_eq!((row.open_since, row.written_at), (Some(NOW - 5_000), NOW));
}

#[tokio::test]
async fn what_history_will_never_take_comes_back_alone() {
    let app = app::spawn().await;
    app.enrol(1).await;
    app.history.expire(NOW).await.unwrap();
    let expired = beat(1, NOW - 40 * 86_400_000);
    let refused = app.publish(vec![beat(1, NOW - 1), expired.clone(), beat(1, NOW)]).await.unwrap_err();
    let PublishError::Refused(parts) = refused else { panic!("{refused}") };
    let parts: Vec<_> = parts.into_iter().map(|part| part.message).collect();
    assert_eq!(parts, [Message::Snapshots(vec![expired.clone()])]);
    assert_eq!(app.stored(1).await, 2);
    assert!(app.publish(vec![expired]).await.is_err());
    assert_eq!(app.publish(vec![beat(1, NOW + 1)]).await, Ok(()));
}

#[tokio::test]
async fn who_says_that_it_would_tell_when_no_gate_answers_is_remembered() {
    let app = app::spawn().await;
    for number in 1..=3 {
        app.enrol(number).await;
    }
    let said = |number, at, reporter| {
        let agent = Some(v1::Agent { reporter, ..v1::Agent::default() });
        let raw = v1::Snapshot { sampled_at: at, covers_ms: BEAT, agent, ..v1::Snapshot::default() };
        Record { snapshot: Snapshot::check(raw, Interval::DEFAULT).unwrap(), ..beat(number, at) }
    };
    app.publish(vec![said(1, NOW, true), said(2, NOW, false), beat(3, NOW), said(9, NOW, true)])
        .await
        .unwrap_err();
    app.publish(vec![said(1, NOW + BEAT, true), said(2, NOW, false), beat(3, NOW)]).await.unwrap();
    assert_eq!(app.cache.reporters(NOW).await.unwrap(), [server(1)]);
    // What gates and management read of it later has it too.
    assert!(app.latest(1).await.unwrap().snapshot.contains("\"reporter\":true"));
}
