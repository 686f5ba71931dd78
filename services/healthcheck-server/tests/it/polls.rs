//! Orders on their way to agents that wait, and what became of them on its way back.

use std::time::{Duration, Instant};

use cache::Denylist;
use fleet::{
    Millis, ServerId,
    id::OrderId,
    messages::{DueOrder, Notice},
    wire::v1::{Bulletin, Signature, SignedOrder},
};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;
use tokio::task::JoinHandle;

use crate::{
    app::{self, App, Consume, NOW, credential, report, server},
    place::Place,
};

/// What is promised is two seconds from an order to its result; a busy machine adds to that. Nobody waits so long in vain.
const SOON: Duration = Duration::from_secs(10);

fn order_id(number: u8) -> OrderId {
    OrderId::new(NOW, [number; 10])
}

fn notice(orders: &[(u8, Millis)]) -> String {
    let due = |(number, not_after): &(u8, Millis)| DueOrder {
        id: order_id(*number),
        not_after: *not_after,
        order: SignedOrder {
            payload: format!("payload-{number}"),
            signatures: vec![Signature { key: "management".to_owned(), sig: "c2ln".to_owned() }],
        },
    };
    serde_json::to_string(&Notice { orders: orders.iter().map(due).collect() }).unwrap()
}

async fn tell(app: &App, server: ServerId, orders: &[(u8, Millis)]) {
    app.cache.put_notice(server, Some(&notice(orders))).await.unwrap();
}

/// The status, and the payloads of the orders that came.
async fn poll(app: &App, number: u8, query: &str) -> (u16, Vec<String>) {
    let response =
        app.call(Method::GET, &format!("bulletin?{query}"), &credential(number)).send().await.unwrap();
    let status = response.status().as_u16();
    if status != 200 {
        return (status, Vec::new());
    }
    let bulletin: Bulletin = response.json().await.unwrap();
    assert_eq!(bulletin.now, NOW);
    (status, bulletin.orders.into_iter().map(|order| order.payload).collect())
}

/// A poll that is held, once the gate has it.
async fn held(app: &App, number: u8, query: &str) -> JoinHandle<u16> {
    let request = app.call(Method::GET, &format!("bulletin?{query}"), &credential(number));
    let sent = tokio::spawn(async move { request.send().await.unwrap().status().as_u16() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!sent.is_finished());
    sent
}

#[tokio::test]
async fn who_waits_is_told_of_an_order_at_once_and_nobody_else_is() {
    let app = app::spawn(Consume::AllBut(0)).await;
    app.run();
    let begun = Instant::now();
    let waiting = poll(&app, 1, "wait_ms=25000");
    let order = async {
        tell(&app, server(2), &[(2, NOW + 1)]).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        tell(&app, server(1), &[(1, NOW + 1)]).await;
    };
    let (told, ()) = tokio::join!(waiting, order);
    assert_eq!(told, (200, vec!["payload-1".to_owned()]));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn who_has_all_waits_for_another_one_or_in_vain() {
    let app = app::spawn(Consume::AllBut(0)).await;
    tell(&app, server(1), &[(1, NOW + 1)]).await;
    app.gate.read_denylist().await;
    app.run();
    let have = format!("have={}", order_id(1));
    assert_eq!(poll(&app, 1, "wait_ms=25000").await.1, ["payload-1"]);
    let begun = Instant::now();
    assert_eq!(poll(&app, 1, &format!("wait_ms=400&{have}")).await.1, ["payload-1"]);
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert_eq!(poll(&app, 2, "wait_ms=0&later=thing").await, (200, vec![]));
    assert_eq!(poll(&app, 2, "").await, (200, vec![]));
    let query = format!("wait_ms=25000&{have},{}", order_id(9));
    let (told, ()) =
        tokio::join!(poll(&app, 1, &query), tell(&app, server(1), &[(1, NOW + 1), (2, NOW + 1)]));
    assert_eq!(told.1, ["payload-1", "payload-2"]);
}

#[tokio::test]
async fn what_is_over_is_handed_to_nobody_and_an_answer_to_a_beat_brings_the_rest() {
    let app = app::spawn(Consume::AllBut(0)).await;
    tell(&app, server(1), &[(1, NOW), (2, NOW + 1)]).await;
    app.gate.read_denylist().await;
    assert_eq!(poll(&app, 1, "").await.1, ["payload-2"]);
    let beat = app.post(&credential(1), report(json!({})).to_string()).await;
    assert_eq!(beat.body["bulletin"]["orders"][0]["payload"], "payload-2");
    let other = app.post(&credential(2), report(json!({})).to_string()).await;
    assert_eq!(other.body["bulletin"], json!({"now": NOW}));
    app.cache.put_notice(server(1), Some("garbage")).await.unwrap();
    app.gate.read_denylist().await;
    assert_eq!(poll(&app, 1, "").await, (200, vec![]));
}

#[tokio::test]
async fn who_finds_no_place_is_told_when_to_ask_again_and_a_beat_goes_on() {
    let app = app::spawn(Consume::AllBut(0)).await;
    app.run();
    // The gate of this test holds three.
    let _first = held(&app, 1, "wait_ms=20000").await;
    let _second = held(&app, 1, "wait_ms=20000").await;
    let third = app.call(Method::GET, "bulletin?wait_ms=20000", &credential(1)).send().await.unwrap();
    assert_eq!((third.status().as_u16(), third.headers()["again-ms"].to_str().unwrap()), (204, "20000"));
    let other = held(&app, 2, "wait_ms=20000").await;
    let fourth = app.call(Method::GET, "bulletin?wait_ms=20000", &credential(3)).send().await.unwrap();
    assert_eq!(fourth.status().as_u16(), 204);
    assert_eq!(poll(&app, 3, "wait_ms=0").await, (200, vec![]), "who does not wait needs no place");
    assert_eq!(app.post(&credential(1), report(json!({})).to_string()).await.status, 202);
    tell(&app, server(2), &[(1, NOW + 1)]).await;
    assert_eq!(other.await.unwrap(), 200);
    eventually("the place is free", async || poll(&app, 3, "wait_ms=1").await.0 == 200).await;
}

#[tokio::test]
async fn a_credential_that_is_revoked_while_it_waits_is_told_nothing() {
    let app = app::spawn(Consume::AllBut(0)).await;
    app.run();
    let waits = held(&app, 1, "wait_ms=25000").await;
    let denylist = Denylist { version: 1, lowest: [(server(1), 4)].into() };
    app.cache.put_denylist(denylist).await.unwrap();
    eventually("it is denied", async || poll(&app, 1, "").await.0 == 401).await;
    tell(&app, server(1), &[(1, NOW + 1)]).await;
    assert_eq!(waits.await.unwrap(), 401);
    for path in ["bulletin", "results"] {
        let strange = app.call(Method::POST, path, "garbage").send().await.unwrap();
        assert!([401, 405].contains(&strange.status().as_u16()), "{path}");
    }
}

#[tokio::test]
async fn a_gate_that_stops_lets_who_waits_go() {
    let app = app::spawn(Consume::AllBut(0)).await;
    app.run();
    let (waits, begun) = (held(&app, 1, "wait_ms=25000").await, Instant::now());
    app.stop();
    assert_eq!(waits.await.unwrap(), 200);
    assert!(begun.elapsed() < SOON);
    assert_eq!(poll(&app, 1, "wait_ms=25000").await.0, 204);
}

fn results(state: &str) -> Value {
    json!({"results": [{"order": order_id(1), "state": state, "at": NOW, "later": [1]}]})
}

async fn post(app: &App, body: String) -> app::Answer {
    app.send(app.call(Method::POST, "results", &credential(1)).body(body)).await
}

#[tokio::test]
async fn results_are_queued_as_the_word_of_who_sends_them() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let answer = post(&app, results("done").to_string()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body),
        (202, &json!({"accepted": 1, "bulletin": {"now": NOW}}))
    );
    let outcome = app.outcomes().pop().unwrap();
    assert_eq!((outcome.server, outcome.generation, outcome.received_at), (server(1), 3, NOW));
    assert_eq!(outcome.result.order(), order_id(1));
    for (body, status, code) in [
        (results("pending").to_string(), 422, "invalid_body"),
        (json!({"results": []}).to_string(), 422, "invalid_body"),
        (
            json!({"results": vec![results("done")["results"][0].clone(); 65]}).to_string(),
            422,
            "invalid_body",
        ),
        (json!([1]).to_string(), 422, "invalid_body"),
        ("{".to_owned(), 400, "invalid_json"),
        ("x".repeat(300_000), 413, "too_large"),
    ] {
        post(&app, body).await.is_problem(status, code);
    }
    assert_eq!(app.outcomes().len(), 1);
    let wrong = app.send(app.call(Method::GET, "results", &credential(1))).await;
    wrong.is_problem(405, "method_not_allowed");
    let full = app::spawn(Consume::Full).await;
    post(&full, results("done").to_string()).await.is_problem(503, "unavailable");
}

#[tokio::test]
async fn between_real_servers_an_order_comes_and_its_result_goes() {
    let place = Place::new().await;
    let app = app::spawn_on(place.publisher().await, place.cache());
    eventually("the cache is reached", async || app.cache.clock().await.is_ok()).await;
    app.run();
    let waiting = poll(&app, 1, "wait_ms=25000");
    let (told, ()) = tokio::join!(waiting, tell(&app, server(1), &[(1, NOW + 1)]));
    assert_eq!(told.1, ["payload-1"]);
    place.redis().cut();
    assert_eq!(poll(&app, 1, "").await.1, ["payload-1"], "what was told stands while the cache is away");
    place.redis().mend();
    app.stop();
    assert_eq!(post(&app, results("done").to_string()).await.status, 202);
    let messages = place.take().await;
    let outcomes = messages.iter().filter(|message| matches!(message, fleet::Message::Results(_)));
    assert_eq!(outcomes.count(), 1);
}
