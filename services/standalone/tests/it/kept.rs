//! A data folder that the release before wrote. `tests/kept/data.zip` is one, kept when that release was current: a host with 30
//! hours of history and an outage of 90 min, a paused one, a revoked one, a user, an API token, a schedule; `facts.json` in it
//! tells what that release answered.

use std::{fs, io::Cursor, os::unix::fs::PermissionsExt, path::Path};

use chassis::Clock;
use serde_json::{Value, json};
use testkit::tempdir;
use zip::ZipArchive;

use crate::suite::Suite;

const DATA: &[u8] = include_bytes!("../kept/data.zip");
const DAY: i64 = 86_400_000;

/// Puts the folder there, and gives what is known of it.
fn unpack(dir: &Path) -> Value {
    let mut archive = ZipArchive::new(Cursor::new(DATA)).unwrap();
    archive.extract(dir).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    let facts = fs::read(dir.join("facts.json")).unwrap();
    fs::remove_file(dir.join("facts.json")).unwrap();
    serde_json::from_slice(&facts).unwrap()
}

fn text<'a>(facts: &'a Value, pointer: &str) -> &'a str {
    facts.pointer(pointer).and_then(Value::as_str).unwrap()
}

#[tokio::test]
async fn a_data_folder_of_the_release_before_opens_and_answers_as_it_did() {
    let dir = tempdir().unwrap();
    let facts = unpack(dir.path());
    let clock = Clock::fixed(facts["now"].as_i64().unwrap() + 1_000);
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    let client = &suite.client;

    let servers = client.get("servers?sort=name").await;
    let shown =
        |server: &Value| json!([server["name"], server["status"], server["address"], server["labels"]]);
    let shown: Vec<Value> = servers["items"].as_array().unwrap().iter().map(shown).collect();
    let wanted = json!([
        ["db-1", "paused", "192.0.2.7", {"env": "test"}],
        ["made-1", "unknown", null, {}],
        ["old-1", "up", null, {}],
        ["web-1", "up", null, {"env": "prod", "site": "eu"}],
    ]);
    assert_eq!(json!(shown), wanted);

    let (web, from, to) = (text(&facts, "/web/server_id"), &facts["start"], &facts["end"]);
    let uptime = client.get(&format!("servers/{web}/uptime?from={from}&to={to}")).await;
    for field in ["covered_ms", "expected_ms", "uptime"] {
        assert_eq!(uptime[field], facts["uptime"][field], "{field}");
    }
    let outages = client.get(&format!("servers/{web}/outages?from={from}&to={to}")).await;
    assert_eq!(outages["outages"], facts["outages"]["outages"]);
    let points = client.get(&format!("servers/{web}/snapshots?from={from}&to={to}&points=1")).await;
    // The last one was sampled when the range ends.
    let count = points["points"][0]["count"].as_i64().unwrap() + 1;
    assert_eq!(Some(count * 60_000), uptime["covered_ms"].as_i64());

    let snapshot = json!({"sampled_at": clock.now(), "covers_ms": 0, "cpu": {"total": 1.0}});
    let body = json!({"interval_ms": 60_000, "snapshots": [snapshot]});
    let beat =
        async |pointer| client.post_as("/healthcheck/v1/snapshots", text(&facts, pointer), &body).await.0;
    assert_eq!([beat("/web/credential").await, beat("/old/credential").await], [202, 401]);

    let refresh = json!({"refresh_token": facts["refresh"]});
    assert_eq!(client.post("/server-management/v1/sessions/refresh", &refresh).await.0, 200);
    let ops = json!({"username": "ops", "password": "a long pass phrase of ops"});
    assert_eq!(client.post("/server-management/v1/sessions", &ops).await.0, 200);
    let tokens = client.get("tokens").await;
    let (token, ends) = (&tokens["items"][0], tokens["items"][0]["expires_at"].as_i64().unwrap());
    assert_eq!((&token["name"], ends - clock.now()), (&json!("inventory"), 90 * DAY), "it ends now");
    let audit = client.get("audit?action=report_schedule.change").await;
    assert_eq!(audit["total"], 1, "an action under its new name");
    assert_eq!(client.get("report-schedules").await["items"][0]["cron"], "59 23 * * *");
    suite.stop().await;
}

#[tokio::test]
async fn an_api_token_of_the_release_before_is_good_for_ninety_days() {
    let dir = tempdir().unwrap();
    let facts = unpack(dir.path());
    let now = facts["now"].as_i64().unwrap() + 1_000;
    let clock = Clock::fixed(now);
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    let has_end = async || suite.client.get("tokens").await["items"][0]["expires_at"].is_i64();
    testkit::eventually("it has an end", has_end).await;
    let used = async || suite.client.get_as("servers", text(&facts, "/api")).await;
    clock.set(now + 90 * DAY - 1);
    assert_eq!(used().await, 200);
    clock.set(now + 90 * DAY);
    assert_eq!(used().await, 401);
    suite.stop().await;
}
