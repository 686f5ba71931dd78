//! A report, from the request to the mail.

use std::fs;

use chassis::Clock;
use serde_json::json;
use testkit::{eventually, tempdir};

use crate::suite::Suite;

const NOW: i64 = 1_790_000_000_000;

#[tokio::test]
async fn without_an_smtp_server_a_report_becomes_a_file_in_the_outbox() {
    let dir = tempdir().unwrap();
    let mut suite = Suite::start(dir.path(), &Clock::fixed(NOW));
    suite.client.log_in(dir.path()).await;
    let host = suite.client.enrol("web-1").await;
    suite.client.beat(&host, NOW).await;
    let body = json!({"from": NOW - 1_000, "to": NOW, "recipients": ["ops@example.org"], "format": "csv"});
    let (status, asked) = suite.client.post("/server-management/v1/reports", &body).await;
    assert_eq!(status, 202, "{asked}");
    let path = format!("reports/{}", asked["id"].as_str().unwrap());
    let state = async || suite.client.get(&path).await["deliveries"][0]["state"].clone();
    eventually("it is written", async || !["queued", "sending"].contains(&state().await.as_str().unwrap()))
        .await;
    assert_eq!(state().await, "written", "nobody was sent anything");
    let report = suite.client.get(&path).await;
    let files: Vec<_> =
        fs::read_dir(dir.path().join("outbox")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let mail = fs::read_to_string(&files[0]).unwrap();
    let id = report["deliveries"][0]["message_id"].as_str().unwrap();
    assert!(mail.contains(&format!("Message-ID: {id}")) && mail.contains("To: ops@example.org"), "{mail}");
    assert!(mail.contains("web-1") && mail.contains("Content-Type: text/csv; charset=utf-8"), "{mail}");
    suite.stop().await;
}
