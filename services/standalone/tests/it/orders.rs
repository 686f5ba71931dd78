//! An order from a person to a host that waits, and what became of it on its way back.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use fleet::{
    order::{open, signers},
    wire::v1::{Bulletin, Order},
};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use testkit::tempdir;

use crate::{
    binary::Running,
    suite::{Client, Host},
};

/// What is promised is two seconds; a busy machine adds to that.
const SOON: Duration = Duration::from_secs(10);
const BOOT: &str = "0b6f9d3e-5a1c-4a44-9c1e-2f1d3a4b5c6d";

fn now() -> i64 {
    chassis::Clock::system().now()
}

/// A host whose owner takes orders to restart units.
async fn host(client: &Client, name: &str) -> Host {
    let host = client.enrol(name).await;
    let agent = json!({"boot": BOOT, "hand": ["unit.restart"]});
    let snapshots = json!([{"sampled_at": now(), "covers_ms": 1_000, "agent": agent}]);
    let body = json!({"interval_ms": 1_000, "snapshots": snapshots});
    let (status, answer) = client.post_as("/healthcheck/v1/snapshots", &host.credential, &body).await;
    assert_eq!(status, 202, "{answer}");
    host
}

async fn ordered(client: &Client, host: &Host) -> Value {
    let path = format!("/server-management/v1/servers/{}/orders", host.id);
    let body = json!({"kind": "unit.restart", "unit": "shop.service", "reason": "it hangs"});
    let (status, order) = client.post(&path, &body).await;
    assert_eq!(status, 201, "{order}");
    order
}

async fn says(client: &Client, host: &Host, order: &Value, state: &str) {
    let body = json!({"results": [{"order": order["id"], "state": state, "at": now()}]});
    let (status, answer) = client.post_as("/healthcheck/v1/results", &host.credential, &body).await;
    assert_eq!(status, 202, "{answer}");
}

async fn state(client: &Client, order: &Value) -> String {
    let order = client.get(&format!("orders/{}", order["id"].as_str().unwrap())).await;
    order["state"].as_str().unwrap().to_owned()
}

async fn started(dir: &Path) -> (Running, Client) {
    let suite = Running::start(dir, &["--no-agent"]);
    let mut client = Client::new(suite.address);
    client.log_in(dir).await;
    client.elevate(dir).await;
    (suite, client)
}

#[tokio::test]
async fn a_host_that_waits_has_its_order_and_a_person_its_result_within_seconds() {
    let dir = tempdir().unwrap();
    let (_suite, client) = started(dir.path()).await;
    let web = host(&client, "web-1").await;
    let shown = client.get("order-key").await;
    let key = shown["keys"].as_str().and_then(|keys| keys.strip_prefix("management:")).unwrap();
    let key = URL_SAFE_NO_PAD.decode(key).unwrap();
    let mut slowest = Duration::ZERO;
    let mut have = Vec::new();
    for _ in 0..5 {
        let query = format!("wait_ms=25000&have={}", have.join(","));
        let begun = Instant::now();
        let (bulletin, order) = tokio::join!(client.poll(&web, &query), ordered(&client, &web));
        let id = order["id"].as_str().unwrap().to_owned();
        let bulletin: Bulletin = serde_json::from_value(bulletin).unwrap();
        let [envelope] = bulletin.orders.as_slice() else { panic!("{bulletin:?}") };
        let payload = open(envelope).unwrap();
        let verify = |name: &str, message: &[u8], sig: &[u8]| {
            (name == "management")
                .then(|| UnparsedPublicKey::new(&ED25519, &key).verify(message, sig).is_ok())
        };
        assert!(signers(envelope, &payload, verify).unwrap().contains("management"));
        let signed: Order = serde_json::from_slice(&payload).unwrap();
        assert_eq!(
            (signed.order.as_str(), signed.server.as_str(), signed.boot.as_str()),
            (&*id, &*web.id, BOOT)
        );
        says(&client, &web, &order, "done").await;
        assert_eq!(state(&client, &order).await, "done", "202 means that it counts");
        slowest = slowest.max(begun.elapsed());
        have.push(id);
        // Until the notice without it is there, a poll that names it waits.
        testkit::eventually("it is not handed out any more", async || {
            client.poll(&web, &format!("wait_ms=300&have={}", have.join(","))).await["orders"].is_null()
        })
        .await;
    }
    assert!(slowest < SOON, "{slowest:?}");
    println!("order to result: {slowest:?} at most");
}

#[tokio::test]
async fn another_hosts_word_does_nothing_and_a_restart_loses_no_order() {
    let dir = tempdir().unwrap();
    let (suite, client) = started(dir.path()).await;
    let (web, db) = (host(&client, "web-1").await, host(&client, "db-1").await);
    let order = ordered(&client, &web).await;
    says(&client, &db, &order, "done").await;
    assert_eq!(state(&client, &order).await, "pending");
    assert!(client.poll(&db, "wait_ms=0").await["orders"].is_null());
    let address = suite.address;
    drop(suite);
    let _suite = Running::start_at(address, dir.path(), &["--no-agent"]);
    testkit::eventually("it is back", async || client.ready().await).await;
    testkit::eventually("the order is handed out again", async || {
        client.poll(&web, "wait_ms=300").await["orders"].is_array()
    })
    .await;
    says(&client, &web, &order, "refused").await;
    assert_eq!(state(&client, &order).await, "refused");
}
