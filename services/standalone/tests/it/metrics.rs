//! Who may read the metrics of a suite that has one port for everything.

use std::collections::BTreeMap;

use serde_json::json;
use testkit::{documented_metrics, eventually, families, promtool, tempdir};

use crate::{binary::Running, suite::Client};

#[tokio::test]
async fn metrics_are_for_the_host_itself_and_for_tokens_that_may_see_servers() {
    let dir = tempdir().unwrap();
    let running = Running::start(dir.path(), &["--no-agent"]);
    let mut client = Client::new(running.address);
    client.log_in(dir.path()).await;
    let token = async |scope: &str| {
        let body = json!({"name": scope, "scopes": [scope]});
        let password = std::fs::read_to_string(dir.path().join("admin-password")).unwrap();
        let proof = json!({"password": password.trim_end()});
        let (status, elevated) = client.post("/server-management/v1/sessions/elevate", &proof).await;
        assert_eq!(status, 200, "{elevated}");
        let (status, made) = client.post("/server-management/v1/tokens", &body).await;
        assert_eq!(status, 201, "{made}");
        made["token"].as_str().unwrap().to_owned()
    };
    let (fit, unfit) = (token("server:read").await, token("report:read").await);
    let ask = async |bearer: Option<&str>, header: Option<&str>| {
        let mut request = testkit::http().get(format!("http://{}/metrics", running.address));
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        if let Some(header) = header {
            request = request.header(header, "203.0.113.7");
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = ask(None, None).await;
    assert!(status == 200 && text.contains("# TYPE rollcall_http_connections gauge"), "{status} {text}");
    for header in ["x-forwarded-for", "x-forwarded-proto", "x-real-ip", "forwarded"] {
        let (status, told) = ask(None, Some(header)).await;
        assert!(status == 401 && told.contains("\"unauthorized\""), "{header}: {status} {told}");
        assert_eq!(ask(Some("rct_stranger"), Some(header)).await.0, 401, "{header}");
        assert_eq!(ask(Some(&unfit), Some(header)).await.0, 403, "{header}");
        let (status, told) = ask(Some(&fit), Some(header)).await;
        assert!(status == 200 && told.contains("rollcall_http_connections"), "{header}: {status} {told}");
    }
}

const PAGE: &str = include_str!("../../../../docs/operations.md");

#[tokio::test]
async fn promtool_finds_no_fault_and_every_metric_is_in_the_documentation() {
    let dir = tempdir().unwrap();
    let running = Running::start(dir.path(), &[]);
    let mut client = Client::new(running.address);
    client.log_in(dir.path()).await;
    let wrong = json!({"username": "admin", "password": "not the one"});
    assert_eq!(client.post("/server-management/v1/sessions", &wrong).await.0, 401);
    let scrape = async || {
        let answer = testkit::http().get(format!("http://{}/metrics", running.address)).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let documented: BTreeMap<String, String> = documented_metrics(PAGE, "## Every metric")
        .into_iter()
        .filter(|metric| !metric.told_by.contains("fleet"))
        .map(|metric| (metric.name, metric.kind))
        .collect();
    eventually("every documented metric is told", async || {
        let told = families(&scrape().await);
        documented.keys().all(|name| told.contains_key(name))
    })
    .await;
    let text = scrape().await;
    promtool(&text);
    assert_eq!(families(&text), documented);
    eventually("this host is counted", async || {
        let text = scrape().await;
        ["rollcall_servers{status=\"up\"} 1\n", "rollcall_management_failed_log_ins_total 1\n"]
            .iter()
            .all(|line| text.contains(line))
    })
    .await;
}

#[test]
fn the_documented_units_are_those_of_the_names() {
    for metric in documented_metrics(PAGE, "## Every metric") {
        let base = metric.name.trim_end_matches("_total");
        let unit = ["seconds", "bytes"].into_iter().find(|unit| base.ends_with(unit)).unwrap_or_default();
        assert_eq!(metric.unit, unit, "{}", metric.name);
    }
}
