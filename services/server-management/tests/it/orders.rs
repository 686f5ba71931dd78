use cache::Noticed;
use fleet::{
    Interval, Scope, ServerId, Snapshot,
    id::OrderId,
    messages::{HostResult, Notice, Outcome},
    order::{id_of, open},
    wire::v1::{self, Order, OrderResult},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    place::Place,
    suite::{FIRST, HOUR, MINUTE, NOW, PASSWORD, SECOND, Suite, record},
};

pub const BOOT: &str = "0b6f9d3e-5a1c-4a44-9c1e-2f1d3a4b5c6d";
const KINDS: [&str; 2] = ["process.terminate", "unit.restart"];

/// What the host said last: that its owner takes orders of these kinds.
pub async fn takes(suite: &Suite, server: ServerId, boot: &str, kinds: &[&str]) {
    let told = said(suite, server, boot, kinds);
    suite.see(&told).await;
}

fn said(suite: &Suite, server: ServerId, boot: &str, kinds: &[&str]) -> fleet::Record {
    let bare = record(server, suite.clock.now(), 30 * SECOND);
    let hand = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    let agent = v1::Agent { boot: Some(boot.to_owned()), hand, ..v1::Agent::default() };
    let raw = v1::Snapshot { agent: Some(agent), ..bare.snapshot.as_wire().clone() };
    fleet::Record { snapshot: Snapshot::check(raw, Interval::DEFAULT).unwrap(), ..bare }
}

fn restart() -> Value {
    json!({"kind": "unit.restart", "unit": "shop.service", "reason": "it hangs"})
}

fn terminate() -> Value {
    json!({"kind": "process.terminate", "process": {"pid": 4711, "start_ms": 120, "executable": "/srv/worker"},
        "reason": "it fills the disk"})
}

async fn ready(place: Place) -> (Suite, ServerId, String) {
    let suite = Suite::spawn(place).await;
    let server = suite.enrol("web-1").await;
    takes(&suite, server, BOOT, &KINDS).await;
    suite.elevate().await;
    (suite, server, format!("/servers/{server}/orders"))
}

async fn made(suite: &Suite, path: &str, body: Value) -> Value {
    let answer = suite.post(path, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body
}

/// What gates are to tell the server.
async fn noticed(suite: &Suite, server: ServerId) -> Notice {
    let Noticed { notices, .. } = suite.cache.notices(None).await.unwrap();
    let notice = notices.into_iter().find(|(of, _)| *of == server).and_then(|(_, notice)| notice);
    notice.map(|notice| serde_json::from_str(&notice).unwrap()).unwrap_or_default()
}

async fn host_says(suite: &Suite, server: ServerId, order: &Value, state: &str) -> usize {
    let order = order["id"].as_str().unwrap().to_owned();
    let result = OrderResult { order, state: state.to_owned(), at: NOW, ..OrderResult::default() };
    let result = HostResult::check(result).unwrap();
    let outcome = Outcome { server, generation: FIRST, received_at: NOW, result };
    suite.registry.end_orders(&[&outcome], suite.clock.now()).await.unwrap().counted
}

async fn state(suite: &Suite, order: &Value) -> String {
    let order = suite.read(&format!("/orders/{}", order["id"].as_str().unwrap())).await;
    order["state"].as_str().unwrap().to_owned()
}

/// Logs in as another user with the role `admin`, with the password given just now. Answers the token of before.
async fn become_another(suite: &mut Suite, name: &str) -> String {
    let user = json!({"username": name, "password": "battery horse 17", "role": "admin"});
    let answer = suite.post("/users", user).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let session = suite.post("/sessions", json!({"username": name, "password": "battery horse 17"})).await;
    let token = session.body["access_token"].as_str().unwrap().to_owned();
    let before = std::mem::replace(&mut suite.token, token);
    let elevated = suite.post("/sessions/elevate", json!({"password": "battery horse 17"})).await;
    assert_eq!(elevated.status, 200, "{elevated:?}");
    before
}

pub async fn an_order_is_signed_told_to_the_gates_and_ends_by_its_hosts_word(place: Place) {
    let (suite, server, path) = ready(place).await;
    let answer = suite.post(&path, terminate()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let order = answer.body;
    let id = order["id"].as_str().unwrap();
    assert_eq!(answer.headers["location"], format!("/server-management/v1/orders/{id}"));
    assert_eq!(
        (&order["state"], &order["server"], &order["asked_by"]),
        (&json!("pending"), &json!("web-1"), &json!("admin"))
    );
    assert_eq!(
        (&order["not_after"], &order["signed_by"]),
        (&json!(NOW + 5 * MINUTE), &json!(["management"]))
    );
    assert_eq!(
        order["process"],
        json!({"pid": 4711, "start_ms": 120, "pin": null, "executable": "/srv/worker"})
    );

    let notice = noticed(&suite, server).await;
    let [due] = notice.orders.as_slice() else { panic!("{notice:?}") };
    assert_eq!((due.id.to_string().as_str(), due.not_after), (id, NOW + 5 * MINUTE));
    assert_eq!(id_of(&due.order), Some(due.id));
    let signed: Order = serde_json::from_slice(&open(&due.order).unwrap()).unwrap();
    assert_eq!((signed.boot.as_str(), signed.by.as_str(), signed.order.as_str()), (BOOT, "admin", id));
    assert_eq!(due.order.signatures[0].key, "management");

    assert_eq!(host_says(&suite, server, &order, "done").await, 1);
    let after = suite.read(&format!("/orders/{id}")).await;
    assert_eq!((&after["state"], &after["result"]["at"]), (&json!("done"), &json!(NOW)));
    suite.management.keep_orders().await.unwrap();
    assert_eq!(noticed(&suite, server).await, Notice::default());
    let listed = suite.read(&format!("/orders?server={server}&state=done")).await;
    assert_eq!((&listed["total"], &listed["items"][0]), (&json!(1), &after));
    assert_eq!(suite.read("/orders?state=pending").await["total"], 0);
    let cancelled = suite.post(&format!("/orders/{id}/cancel"), json!({})).await;
    assert_eq!((cancelled.status, cancelled.body["code"].as_str()), (409, Some("conflict")));
    let log = suite.read("/audit?object=order").await;
    let actions: Vec<_> = log["items"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["order.end", "order.create"]);
}

pub async fn who_has_no_log_in_no_password_or_no_scope_orders_nothing(place: Place) {
    let (mut suite, server, path) = ready(place).await;
    let order = made(&suite, &path, restart()).await;
    let of = |action: &str| format!("/orders/{}/{action}", order["id"].as_str().unwrap());
    let acting = [path.clone(), of("approve"), of("cancel")];
    let refused = async |suite: &Suite, path: &str| {
        let answer = suite.post(path, if path.ends_with("orders") { restart() } else { json!({}) }).await;
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    };
    // An API token that was made of whatever else there is; and one of an older release, which says that it may.
    let others: Vec<&str> = Scope::ALL.into_iter().filter(|scope| !scope.acts()).map(Scope::as_str).collect();
    let token = suite.api_token(&others).await;
    for scope in ["process:signal", "unit:control", "order:approve"] {
        let made = suite.post("/tokens", json!({"name": "t", "scopes": [scope]})).await;
        assert_eq!((made.status, made.body["field"].as_str()), (422, Some("scopes")), "{scope}");
        let id = token["id"].as_str().unwrap();
        suite
            .sql(&format!("INSERT INTO api_token_scopes (token_id, scope) VALUES ('{id}', '{scope}')"))
            .await;
    }
    let session = std::mem::replace(&mut suite.token, token["token"].as_str().unwrap().to_owned());
    for path in &acting {
        assert_eq!(refused(&suite, path).await, (403, "session_required".to_owned()), "{path}");
    }
    suite.token = session;
    suite.sql(&format!("UPDATE sessions SET elevated_until = {NOW}")).await;
    for path in &acting {
        assert_eq!(refused(&suite, path).await, (403, "elevation_required".to_owned()), "{path}");
    }
    suite.elevate().await;
    suite.give(&["process:read", "process:signal"]).await;
    assert_eq!(refused(&suite, &path).await, (403, "insufficient_scope".to_owned()), "a unit");
    assert_eq!(refused(&suite, &of("approve")).await, (403, "insufficient_scope".to_owned()));
    assert_eq!(
        refused(&suite, &of("cancel")).await,
        (403, "insufficient_scope".to_owned()),
        "a unit's order"
    );
    assert_eq!(suite.post(&path, terminate()).await.status, 201);
    suite.give(&["order:approve"]).await;
    assert_eq!(refused(&suite, &path).await, (403, "insufficient_scope".to_owned()));
    assert_eq!(suite.post(&of("cancel"), json!({})).await.status, 200);
    assert_eq!(noticed(&suite, server).await.orders.len(), 1, "the other one stands");
}

pub async fn an_order_that_cannot_be_is_refused_by_its_field(place: Place) {
    let (suite, server, path) = ready(place).await;
    let with = |field: &str, value: Value| {
        let mut body = terminate();
        body[field] = value;
        body
    };
    for (body, field) in [
        (with("kind", json!("shell")), "kind"),
        (with("reason", json!(" ")), ""),
        (with("unit", json!("shop.service")), "process"),
        (with("process", Value::Null), "process"),
        (with("process", json!({"pid": 0, "start_ms": 1})), "process.pid"),
        (with("process", json!({"pid": 1, "start_ms": 1, "executable": "sh"})), "process.executable"),
        (with("process", json!({"pid": 1, "start_ms": 1, "name": "sh"})), "process.name"),
        (with("command", json!("rm -rf /")), "command"),
        (with("not_after", json!(NOW)), "not_after"),
        (with("not_after", json!(NOW + 24 * HOUR + 1)), "not_after"),
        (json!({"kind": "unit.restart", "unit": "../x.service", "reason": "r"}), "unit"),
    ] {
        let answer = suite.post(&path, body.clone()).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (422, Some("invalid_body")), "{body}");
        assert_eq!(answer.body["field"].as_str().unwrap_or_default(), field, "{body}");
    }
    let nowhere = suite.post("/servers/0190a5c2-7b5e-7c3d-8e4f-0123456789ab/orders", restart()).await;
    assert_eq!(nowhere.status, 404);
    let no_hand = async |detail: &str| {
        let answer = suite.post(&path, restart()).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (409, Some("no_hand")), "{answer:?}");
        assert!(answer.body["detail"].as_str().unwrap().contains(detail), "{answer:?}");
    };
    suite.clock.advance(SECOND);
    takes(&suite, server, BOOT, &["process.kill"]).await;
    no_hand("only process.kill").await;
    suite.clock.advance(SECOND);
    takes(&suite, server, BOOT, &[]).await;
    no_hand("hand.conf").await;
    assert_eq!(suite.read("/orders").await["total"], 0);
    let keyless = suite.replica_without_order_key();
    suite.clock.advance(SECOND);
    takes(&suite, server, BOOT, &KINDS).await;
    let answer = keyless.post(&path, restart()).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (409, Some("no_order_key")));
    assert_eq!(keyless.read("/order-key").await["keys"], Value::Null);
    let key = suite.send(suite.call(Method::GET, "/order-key")).await.body;
    assert!(key["keys"].as_str().unwrap().starts_with("management:"), "{key}");
}

pub async fn what_a_host_takes_is_known_without_the_cache_too(place: Place) {
    let (suite, server, path) = ready(place).await;
    suite.history.append(&[said(&suite, server, BOOT, &KINDS)]).await.unwrap();
    let suite = suite.restart_without_cache().await;
    assert_eq!(made(&suite, &path, restart()).await["state"], "pending");
    assert_eq!(noticed(&suite, server).await.orders.len(), 1);
}

pub async fn an_emptied_cache_has_all_notices_again_and_what_is_over_goes(place: Place) {
    let (suite, server, path) = ready(place).await;
    let order = made(&suite, &path, restart()).await;
    suite.cache.put_notices(&[].into()).await.unwrap();
    assert_eq!(noticed(&suite, server).await, Notice::default());
    suite.management.keep_orders().await.unwrap();
    assert_eq!(noticed(&suite, server).await.orders.len(), 1);
    suite.clock.set(NOW + 5 * MINUTE - 1);
    suite.management.keep_orders().await.unwrap();
    assert_eq!(noticed(&suite, server).await.orders.len(), 1, "a host that is away has time until then");
    suite.clock.set(NOW + 5 * MINUTE);
    suite.management.keep_orders().await.unwrap();
    assert_eq!(noticed(&suite, server).await, Notice::default());
    let id: OrderId = order["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(suite.registry.order(id).await.unwrap().unwrap().state.as_str(), "expired");
    assert_eq!(host_says(&suite, server, &order, "done").await, 1, "it was done in time, and told late");
    assert_eq!(state(&suite, &order).await, "done");
}

pub async fn somebody_else_approves_where_the_label_says_so(place: Place) {
    let (mut suite, server, path) = ready(place).await;
    let label = async |suite: &Suite, labels: Value| {
        suite.patch(&format!("/servers/{server}"), "*", json!({"labels": labels})).await
    };
    suite.sql(&format!("UPDATE sessions SET elevated_until = {NOW}")).await;
    let plain = label(&suite, json!({"approvals": "1"})).await;
    assert_eq!((plain.status, plain.body["code"].as_str()), (403, Some("elevation_required")));
    assert_eq!(label(&suite, json!({"site": "eu"})).await.status, 200, "other labels are as they were");
    suite.elevate().await;
    assert_eq!(label(&suite, json!({"approvals": "1"})).await.status, 200);

    let order = made(&suite, &path, terminate()).await;
    assert_eq!((&order["state"], &order["approvals_needed"]), (&json!("awaiting"), &json!(1)));
    assert_eq!((&order["signed_at"], &order["signed_by"]), (&Value::Null, &json!([])));
    assert_eq!(noticed(&suite, server).await, Notice::default());
    let approve = format!("/orders/{}/approve", order["id"].as_str().unwrap());
    let own = suite.post(&approve, json!({})).await;
    assert_eq!((own.status, own.body["code"].as_str()), (409, Some("own_order")));

    let first = become_another(&mut suite, "bea").await;
    for wrong in [json!({"key": "x", "sig": "c2ln"}), json!({"key": "management", "sig": "A".repeat(86)})] {
        assert_eq!(suite.post(&approve, json!({"signature": wrong})).await.status, 422, "{wrong}");
    }
    let signature = json!({"key": "offline", "sig": "A".repeat(86)});
    let approved = suite.post(&approve, json!({"signature": signature})).await;
    assert_eq!((approved.status, &approved.body["state"]), (200, &json!("pending")), "{approved:?}");
    assert_eq!(approved.body["approvals"], json!([{"by": "bea", "at": NOW}]));
    assert_eq!(approved.body["signed_by"], json!(["management", "offline"]));
    let notice = noticed(&suite, server).await;
    assert_eq!(
        notice.orders[0].order.payload,
        order["payload"].as_str().unwrap(),
        "exactly what was approved"
    );

    // What was ordered for one boot is not signed for another, and who lost the scope has nothing signed.
    let second = made(&suite, &path, terminate()).await;
    let third = made(&suite, &path, restart()).await;
    suite.token = first;
    suite.give(&["order:approve", "process:read", "server:write"]).await;
    let approve = |order: &Value| format!("/orders/{}/approve", order["id"].as_str().unwrap());
    let lost = suite.post(&approve(&third), json!({})).await;
    assert_eq!((lost.status, lost.body["code"].as_str()), (409, Some("conflict")), "bea may not any more");
    suite.give(&Scope::ALL.map(Scope::as_str)).await;
    suite.clock.advance(SECOND);
    takes(&suite, server, "another-boot", &KINDS).await;
    let rebooted = suite.post(&approve(&second), json!({})).await;
    assert_eq!((rebooted.status, rebooted.body["code"].as_str()), (409, Some("conflict")), "{rebooted:?}");
    assert_eq!(state(&suite, &second).await, "awaiting");
    suite.give(&["server:read", "server:write"]).await;
    let without = label(&suite, json!({})).await;
    assert_eq!((without.status, without.body["scope"].as_str()), (403, Some("order:approve")));
    assert_eq!(suite.post("/sessions/elevate", json!({"password": PASSWORD})).await.status, 200);
}

pub async fn ten_orders_a_minute_are_enough(place: Place) {
    let (suite, _, path) = ready(place).await;
    for _ in 0..10 {
        let order = made(&suite, &path, restart()).await;
        let cancel = format!("/orders/{}/cancel", order["id"].as_str().unwrap());
        assert_eq!(suite.post(&cancel, json!({})).await.body["state"], "cancelled");
    }
    let answer = suite.post(&path, restart()).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (429, Some("rate_limited")));
    suite.clock.advance(MINUTE);
    assert_eq!(suite.post(&path, restart()).await.status, 201);
}
