//! The interface against its own document: schemathesis asks for what the document allows and for what it does not, and
//! holds each answer against it.

use std::{collections::BTreeSet, fs, path::Path};

use cache::Unknown;
use fleet::{
    ServerId,
    order::{Kind, seal},
    wire::v1::{Order, VERSION},
};
use registry::{Actor, NewOrder, Profile, ProfileChange, Who};
use serde_json::{Value, json};
use testkit::{python, tempdir};
use tokio::process::Command;

use crate::{
    orders,
    place::Place,
    suite::{HOUR, NOW, Suite, steady},
};

/// A server that the registry never knew, as schemathesis.toml has it too.
const UNKNOWN: &str = "01a0c450-6c00-7909-8909-090909090909";

/// A message that failed, as schemathesis.toml has it too, and its channel.
const FAILED: &str = "01a0c450-6c00-7909-8909-090909090908";
const CHANNEL: &str = "01a0c450-6c00-7909-8909-090909090907";

/// An order that waits for approval, as schemathesis.toml has it too.
const WAITS: &str = "01a0c450-6c00-7909-8909-090909090906";

/// A server whose host takes orders, as schemathesis.toml has it too.
const TAKES_ORDERS: &str = "01a0c450-6c00-7909-8909-090909090905";

const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// What the gate serves.
const GATES: [&str; 3] = ["send_snapshots", "send_results", "wait_for_orders"];

/// These want a secret or an id that only another answer gives; whether it tries that one is chance.
const BY_CHANCE: [&str; 3] = ["POST /enrolments", "POST /sessions/refresh", "DELETE /sessions/own/{id}"];

pub async fn every_answer_is_as_documented(place: Place) {
    let agents = tempdir().unwrap();
    fs::write(agents.path().join("rollcall-agent-x86_64"), "an agent").unwrap();
    let mut suite = Suite::offering(place, agents.path()).await;
    let server = suite.enrol("web-1").await;
    suite.hear(server, &steady(NOW - HOUR, NOW)).await;
    suite.management.ship_alert_rules().await.unwrap();
    for name in ["silent-1", "silent-2", "silent-3"] {
        let silent = suite.enrol(name).await;
        suite.hear(silent, &[(NOW - HOUR / 4, 0)]).await;
    }
    suite.settle(NOW, NOW - HOUR).await;
    suite.management.judge().await.unwrap();
    let unknown = Unknown { server: UNKNOWN.parse().unwrap(), generation: 1_790_000_000, last_seen: NOW };
    suite.cache.note_unknown(&[unknown]).await.unwrap();
    a_message_failed(&suite).await;
    an_order_waits(&suite).await;
    // What it says of the password may count as wrong too often before it makes a token.
    suite.elevate().await;
    // These end the session that they are asked with, or may: schemathesis knows ids from other answers.
    let ending = ["log_out", "end_own_session", "end_own_sessions"];
    let without: Vec<&str> =
        ending.iter().chain(&GATES).flat_map(|name| ["--exclude-operation-id", name]).collect();
    let mut succeeded = asked(&suite, &without).await;
    for ends in ending {
        succeeded.extend(asked(&suite, &["--include-operation-id", ends]).await);
        suite.log_in().await;
    }
    let document = suite.read("/openapi.json").await;
    let ours = |(_, operation): &(&String, &Value)| {
        !GATES.iter().any(|name| operation["operationId"] == json!(name))
    };
    let methods = |item: &Value| {
        item.as_object().unwrap().iter().filter(ours).map(|(m, _)| m.to_uppercase()).collect::<Vec<_>>()
    };
    let paths = document["paths"].as_object().unwrap().iter();
    let operations =
        paths.flat_map(|(path, item)| methods(item).into_iter().map(move |m| format!("{m} {path}")));
    let chance = |operation: &String| BY_CHANCE.contains(&operation.as_str());
    let never: Vec<_> = operations.filter(|found| !chance(found) && !succeeded.contains(found)).collect();
    assert!(never.is_empty(), "nothing was seen of their answers: {never:?}");
}

/// The operations that succeeded, of those that the filter leaves.
async fn asked(suite: &Suite, filter: &[&str]) -> BTreeSet<String> {
    let folder = tempdir().unwrap();
    let seen = folder.path().join("seen.ndjson");
    let schemathesis = python(Path::new(env!("CARGO_TARGET_TMPDIR")), SCHEMATHESIS).join("schemathesis");
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/schemathesis.toml");
    let mut command = Command::new(schemathesis);
    command.arg("--config-file").arg(settings).args(["run", "--no-color"]).args(filter);
    // What the document does not allow is refused before a store is asked, so that one composition is enough for it.
    let mode = if suite.place.is_embedded() { "all" } else { "positive" };
    command.args(["--mode", mode]).arg("--report-ndjson-path").arg(&seen).arg(suite.url("/openapi.json"));
    command.current_dir(folder.path()).env("ROLLCALL_TOKEN", &suite.token).kill_on_drop(true);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let text = fs::read_to_string(seen).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter_map(|event| success(&event["ScenarioFinished"]["recorder"])).collect()
}

/// The operation, if it succeeded once.
fn success(recorder: &Value) -> Option<String> {
    let operation = recorder["label"].as_str()?;
    let (method, _) = operation.split_once(' ')?;
    let succeeded = recorder["interactions"].as_object()?.values().any(|asked| {
        let status = asked["response"]["status_code"].as_u64();
        asked["request"]["method"] == json!(method) && status.is_some_and(|status| status < 300)
    });
    succeeded.then(|| operation.to_owned())
}

/// Somebody else's, for approval; schemathesis.toml has its id too.
async fn an_order_waits(suite: &Suite) {
    // Were there two with the role admin, one could be made something else, and would answer 403 from then on.
    suite.post("/roles", json!({"name": "hands", "scopes": ["unit:control"]})).await;
    let made = json!({"username": "bea", "password": "battery horse 17", "role": "hands"});
    let user = suite.post("/users", made).await.body["id"].as_str().unwrap().parse().unwrap();
    let server: ServerId = TAKES_ORDERS.parse().unwrap();
    let profile = Profile { name: "shop-1".to_owned(), ..Profile::default() };
    suite.registry.make_server(server, &profile, &Actor::system(), NOW).await.unwrap().unwrap();
    orders::takes(suite, server, orders::BOOT, &Kind::ALL.map(Kind::as_str)).await;
    let labels = [("approvals".to_owned(), "1".to_owned())].into();
    let change =
        ProfileChange { labels: Some(labels), may_change_approvals: true, ..ProfileChange::default() };
    suite.registry.change_server(server, None, &change, &Actor::system(), NOW).await.unwrap().unwrap();
    let content = Order {
        version: VERSION,
        order: WAITS.to_owned(),
        server: server.to_string(),
        boot: orders::BOOT.to_owned(),
        kind: "unit.restart".to_owned(),
        process: None,
        unit: Some("shop.service".to_owned()),
        dry_run: false,
        not_after: NOW + HOUR,
        by: "bea".to_owned(),
        reason: "it hangs".to_owned(),
    };
    let envelope = seal(&content, &"management".parse().unwrap(), |_| vec![0; 64]).unwrap();
    let order = NewOrder { id: WAITS.parse().unwrap(), server, content, envelope };
    let by = Actor { who: Who::User(user), name: Some("bea".to_owned()), address: None };
    suite.registry.make_order(&order, &by, NOW).await.unwrap().unwrap();
}

async fn a_message_failed(suite: &Suite) {
    suite
        .sql(&format!(
            "INSERT INTO channels (id, name, name_folded, kind, target_key, language, time_zone, config, version, created_at,
             updated_at) VALUES ('{CHANNEL}', 'mail', 'mail', 'mail', 'x', 'en', 'UTC',
             '{{\"recipients\": [\"ops@example.org\"]}}', 1, {NOW}, {NOW})"
        ))
        .await;
    suite
        .sql(&format!(
            "INSERT INTO notifications (id, channel, channel_name, target_key, kind, state, attempts, created_at, updated_at)
             VALUES ('{FAILED}', '{CHANNEL}', 'mail', 'x', 'test', 'failed', 1, {NOW}, {NOW})"
        ))
        .await;
}
