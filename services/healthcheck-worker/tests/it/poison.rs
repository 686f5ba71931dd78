//! What nobody should have written, among what is good.

use std::time::Duration;

use ::fleet::Message;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    app::{BEAT, FIRST, NOW, beat, server},
    fleet,
};

const LONG: Duration = Duration::from_secs(600);

/// A message on the wire, with one record.
fn wire(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut message = serde_json::to_value(Message::Snapshots(vec![beat(1, NOW + BEAT)])).unwrap();
    change(&mut message);
    serde_json::to_vec(&message).unwrap()
}

#[tokio::test]
async fn poison_is_a_dead_letter_at_the_first_try_and_its_neighbours_are_stored() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        let poison = [
            b"\xff\xfe{}".to_vec(),
            b"not json".to_vec(),
            wire(|message| message["version"] = json!(2)),
            wire(|message| message["records"][0]["snapshot"]["host"] = json!({"hostname": "a\0b"})),
            wire(|message| message["records"][0]["server_id"] = json!("nobody")),
            [b"[".to_vec(), b"1,".repeat(450_000)].concat(),
        ];
        for (number, bytes) in poison.iter().enumerate() {
            fleet.publish(vec![beat(1, NOW - number as i64)]).await;
            fleet.put(bytes).await;
        }
        let worker = fleet.worker("worker", LONG);
        let letters = fleet.take_dead(poison.len() as u32).await;
        fleet.until_stored(poison.len() as u64).await;
        worker.stop().await;
        fleet.nothing_is_left().await;
        let reasons: Vec<&str> = letters.iter().map(|letter| letter.reason.as_str()).collect();
        for expected in [
            "it is not UTF-8",
            "it is not a message: expected",
            "version 2 is not known here",
            "host.hostname contains NUL",
            "server_id",
            "it is not a message: invalid type",
        ] {
            assert!(reasons.iter().any(|reason| reason.contains(expected)), "{expected}: {reasons:?}");
        }
        for letter in &letters {
            assert_eq!(letter.origin, fleet.queue());
            assert!(poison.contains(&letter.payload), "{}", letter.reason);
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_later_release_adds_is_ignored() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        let newer = wire(|message| {
            message["shard"] = json!({"of": [1, null]});
            message["records"][0]["tenant"] = json!("a");
            message["records"][0]["snapshot"]["gpu"] = json!([{"name": "b"}]);
            message["records"][0]["snapshot"]["host"] = json!({"hostname": "web-1", "rack": 7});
        });
        fleet.put(&newer).await;
        let worker = fleet.worker("worker", LONG);
        fleet.until_stored(1).await;
        worker.stop().await;
        fleet.nothing_is_left().await;
        assert_eq!(fleet.marks(1).await.unwrap().facts_at, Some(NOW + BEAT));
    })
    .await;
}

#[tokio::test]
async fn deleted_and_revoked_servers_are_discarded() {
    fleet::with(async |fleet| {
        fleet.enrol([1, 2, 3]).await;
        fleet.registry.revoke(server(2), &registry::Actor::system(), NOW).await.unwrap().unwrap();
        fleet
            .registry
            .delete_server(server(3), None, &registry::Actor::system(), NOW)
            .await
            .unwrap()
            .unwrap();
        fleet.publish(vec![beat(1, NOW), beat(2, NOW), beat(3, NOW)]).await;
        fleet.publish(vec![beat(2, NOW + 1)]).await;
        let worker = fleet.worker("worker", LONG);
        fleet.until_stored(1).await;
        let settled = async || {
            let rows = fleet.registry.progress().await.unwrap();
            rows.iter().any(|row| row.newest_settled == Some(NOW) && row.oldest_in_hand.is_none())
        };
        eventually("all is settled", settled).await;
        worker.stop().await;
        fleet.nothing_is_left().await;
        assert_eq!(fleet.stored().await, 1);
        let silent = fleet.cache.silent(0, i64::MAX).await.unwrap();
        assert_eq!(silent, [(server(1), NOW + 4 * BEAT)]);
    })
    .await;
}

#[tokio::test]
async fn what_the_broker_held_of_unknown_servers_waits_packed_until_they_are_adopted() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        let sent = vec![beat(9, NOW), beat(1, NOW), beat(9, NOW + BEAT), beat(8, NOW)];
        fleet.publish(sent).await;
        let worker = fleet.worker("worker", LONG);
        fleet.until_stored(1).await;
        let dead = fleet.dead();
        eventually("the rest is one dead letter", async || fleet.ready(&dead).await == 1).await;
        let unknown = fleet.cache.unknown(NOW).await.unwrap();
        let told =
            |number, last_seen| cache::Unknown { server: server(number), generation: FIRST, last_seen };
        assert_eq!(unknown, [told(8, NOW), told(9, NOW + BEAT)]);
        for number in [8, 9] {
            let (name, me) = (format!("found-{number}"), registry::Actor::system());
            fleet.registry.adopt(server(number), FIRST, &name, &me, NOW).await.unwrap().unwrap();
        }
        let url = fleet.servers.rabbitmq().direct.parse().unwrap();
        let queue = queue::rabbitmq::Settings::new(url, fleet.prefix(), "snapshots");
        assert_eq!(queue::rabbitmq::redrive(&queue).await, Ok(1));
        fleet.until_stored(4).await;
        worker.stop().await;
        fleet.nothing_is_left().await;
    })
    .await;
}
