//! From a rule to an incident and its end, in the whole suite.

use chassis::Clock;
use registry::Registry;
use serde_json::{Value, json};
use testkit::{Receiver, Service, eventually, tempdir};

use crate::suite::{Client, Host, Suite};

const NOW: i64 = 1_790_000_000_000;
const MINUTE: i64 = 60_000;

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

/// One snapshot of a host that reports every 30 s, of this moment.
async fn work(client: &Client, host: &Host, clock: &Clock, total: f64) {
    let snapshot = json!({"sampled_at": clock.now(), "covers_ms": 1_000, "cpu": {"total": total}});
    let body = json!({"interval_ms": 30_000, "snapshots": [snapshot]});
    let (status, answer) = client.post_as("/healthcheck/v1/snapshots", &host.credential, &body).await;
    assert_eq!(status, 202, "{answer}");
}

async fn make(client: &Client, path: &str, body: Value) -> Value {
    let (status, made) = client.post(&format!("/server-management/v1/{path}"), &body).await;
    assert_eq!(status, 201, "{made}");
    made
}

/// All incidents as what their rule is called, of which server, and what became of them.
async fn told_of(client: &Client) -> Vec<String> {
    let listed = client.get("incidents").await;
    let mut found: Vec<String> = Vec::new();
    for one in listed["items"].as_array().unwrap() {
        let shown = client.get(&format!("incidents/{}", one["id"].as_str().unwrap())).await;
        let kinds: Vec<_> =
            shown["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
        found.push(format!("{} {} {}", one["rule"], one["server"], kinds.join(" ")));
    }
    found.sort_unstable();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_without_rollcall_raises_and_resolves_nothing() {
    let (dir, clock) = (tempdir().unwrap(), Clock::fixed(NOW));
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    for (name, hold_ms) in [("at once", 0), ("lasting", MINUTE)] {
        let rule = json!({"name": name, "kind": "value", "metric": "cpu.total", "op": "above", "critical": 50.0,
            "hold_ms": hold_ms, "clear_hold_ms": 0});
        make(&suite.client, "alert-rules", rule).await;
    }
    let mut hosts = Vec::new();
    for name in ["busy", "calmer", "gone"] {
        hosts.push(suite.client.enrol(name).await);
    }
    // Less than what the rules of the first start mind. The worker knows the rules within 5 s; then each is open by the one, and pending by the other.
    let beat = async || {
        clock.advance(1);
        for host in &hosts {
            work(&suite.client, host, &clock, 90.0).await;
        }
        told_of(&suite.client).await.len() == 3
    };
    eventually("what holds at once is open", beat).await;
    let before = told_of(&suite.client).await;
    suite.stop().await;
    clock.advance(60 * MINUTE);

    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    let caught_up = async || suite.client.get("status").await["late"] == false;
    eventually("it has caught up", caught_up).await;
    // That it was late may have been found, and is over; nothing else has become of anything.
    let but_late = async || {
        let mut told = told_of(&suite.client).await;
        told.retain(|one| !one.contains("is late"));
        told
    };
    assert_eq!(but_late().await, before);
    // One is as busy as before, one is not: only samples change anything.
    work(&suite.client, &hosts[0], &clock, 90.0).await;
    work(&suite.client, &hosts[1], &clock, 1.0).await;
    let expected = [
        r#""at once" "busy" opened"#,
        r#""at once" "calmer" opened resolved"#,
        r#""at once" "gone" opened"#,
        r#""lasting" "busy" opened"#,
    ];
    eventually("what samples say", async || but_late().await == expected).await;
    suite.stop().await;
}

/// By the clock: for an hour with ROLLCALL_PROVE, for eleven minutes without.
#[tokio::test(flavor = "multi_thread")]
async fn what_flaps_every_40_s_is_told_twelve_times_an_hour_at_most() {
    let minutes = if std::env::var_os("ROLLCALL_PROVE").is_some() { 60 } else { 11 };
    let (dir, clock, receiver) =
        (tempdir().unwrap(), Clock::fixed(NOW), Receiver::start(Service::Slack).await);
    let mut suite =
        Suite::start_with(dir.path(), &clock, &["--notify-allow", &receiver.address().to_string()]);
    suite.client.log_in(dir.path()).await;
    let client = &suite.client;
    let secret = json!({"url": format!("{}/hook", receiver.url())});
    let channel = make(client, "channels", json!({"name": "ops", "kind": "slack", "secret": secret})).await;
    let steps = json!([{"after_ms": 0, "channels": [channel["id"]]}]);
    make(client, "alert-routes", json!({"match": {}, "steps": steps})).await;
    let rule = json!({"name": "flaps", "kind": "value", "metric": "cpu.total", "op": "above", "critical": 50.0,
        "hold_ms": 0, "clear_hold_ms": 0});
    make(client, "alert-rules", rule).await;
    let host = client.enrol("web-1").await;
    eventually("the rule is known", async || {
        clock.advance(1);
        work(client, &host, &clock, 99.0).await;
        !incidents(client, "unresolved").await.is_empty()
    })
    .await;
    let registry = Registry::open_sqlite(&dir.path().join("registry.db")).await.unwrap();
    // What is told of what the judge found is told by the time of its next turn.
    let turn = async || {
        for _ in 0..2 {
            clock.advance(6_000);
            eventually("the judge works", async || registry.judged_at().await.unwrap() >= clock.now()).await;
        }
    };
    let mut openings = 1;
    for step in 1..minutes * 3 {
        if step % 30 == 0 {
            // An access token is good for a quarter of an hour.
            suite.client.log_in(dir.path()).await;
        }
        let client = &suite.client;
        turn().await;
        clock.advance(8_000);
        let busy = step % 2 == 0;
        work(client, &host, &clock, if busy { 99.0 } else { 1.0 }).await;
        let is_open = async || !incidents(client, "unresolved").await.is_empty();
        eventually("it is judged", async || is_open().await == busy).await;
        openings += u32::from(busy);
    }
    turn().await;
    let alerts = || receiver.taken().iter().filter(|taken| taken.text().contains("CRITICAL: flaps")).count();
    // Every five minutes, the first at once.
    let most = usize::try_from(minutes).unwrap().div_ceil(5);
    eventually("they are told", async || alerts() >= most - 1).await;
    assert!(alerts() <= most, "{} of {openings}", alerts());
    registry.close().await;
    suite.stop().await;
}
