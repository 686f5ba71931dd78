//! From a rule to an incident and its end, in the whole suite.

use chassis::Clock;
use serde_json::{Value, json};
use testkit::{eventually, tempdir};

use crate::suite::{Client, Suite};

/// The incidents of this state that the suite has about servers.
async fn incidents(client: &Client, state: &str) -> Vec<Value> {
    let listed = client.get(&format!("incidents?state={state}")).await;
    let about_servers = |one: &&Value| !one["server_id"].is_null();
    listed["items"].as_array().unwrap().iter().filter(about_servers).cloned().collect()
}

#[tokio::test]
async fn what_breaks_a_rule_and_who_falls_silent_are_incidents_until_they_are_over() {
    let dir = tempdir().unwrap();
    let clock = Clock::system();
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    let client = &suite.client;
    let rule = json!({"name": "any work", "kind": "value", "metric": "cpu.total", "op": "above", "warning": 0.0,
        "clear_hold_ms": 0});
    let (status, made) = client.post("/server-management/v1/alert-rules", &rule).await;
    assert_eq!((status, &made["warning_clear"]), (201, &json!(0.0)), "{made}");
    let host = client.enrol("web-1").await;

    // The worker knows the rule within 5 s.
    let busy = async || {
        client.beat(&host, clock.now()).await;
        incidents(client, "open").await.iter().any(|one| one["rule"] == "any work")
    };
    eventually("the rule is broken", busy).await;
    let open = incidents(client, "open").await;
    let about = open.iter().find(|one| one["rule"] == "any work").unwrap();
    assert_eq!(
        (&about["server"], &about["level"], &about["value"]),
        (&json!("web-1"), &json!("warning"), &json!(12.5))
    );
    let id = about["id"].as_str().unwrap();
    let path = format!("/server-management/v1/incidents/{id}/acknowledge");
    let (status, taken) = client.post(&path, &json!({"note": "mine"})).await;
    assert_eq!(
        (status, &taken["state"], &taken["acknowledged_by"]),
        (200, &json!("acknowledged"), &json!("admin"))
    );

    // It falls silent: four of its intervals are 4 s.
    eventually("it is missed", async || {
        incidents(client, "open").await.iter().any(|one| one["kind"] == "silent" && one["server"] == "web-1")
    })
    .await;
    assert_eq!(incidents(client, "acknowledged").await.len(), 1, "no data resolves nothing");

    let idle = json!({"sampled_at": clock.now(), "covers_ms": 1_000, "cpu": {"total": 0.0}});
    let body = json!({"interval_ms": 1_000, "snapshots": [idle]});
    let (status, answer) = client.post_as("/healthcheck/v1/snapshots", &host.credential, &body).await;
    assert_eq!(status, 202, "{answer}");
    eventually("all of it is over", async || incidents(client, "unresolved").await.is_empty()).await;
    let shown = client.get(&format!("incidents/{id}")).await;
    let kinds: Vec<_> = shown["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
    assert_eq!(kinds, ["opened", "acknowledged", "resolved"]);
    assert_eq!(shown["resolution"], "recovered");
    suite.stop().await;
}
