//! Where the time of a request goes.

use std::{fs, path::Path};

use serde_json::json;
use testkit::{eventually, tempdir};

use crate::{binary::Running, suite::Client};

/// Has a host report and the status asked for, and answers the log once all of this is in it.
async fn log(level: &str, awaited: &[String]) -> String {
    let dir = tempdir().unwrap();
    let (data, log) = (dir.path().join("data"), dir.path().join("log"));
    let running = Running::start_logging(&log, level, &data, &["--no-agent"]);
    let mut client = Client::new(running.address);
    client.log_in(&data).await;
    let host = client.enrol("web").await;
    let body = json!({"interval_ms": 1_000, "snapshots": [{"sampled_at": chassis::Clock::system().now(), "covers_ms": 1_000}]});
    let gate = format!("http://{}/healthcheck/v1/snapshots", running.address);
    let request =
        testkit::http().post(gate).bearer_auth(&host.credential).header("x-request-id", "followed-7");
    assert_eq!(request.json(&body).send().await.unwrap().status(), 202);
    client.get("status").await;
    let read = |log: &Path| fs::read_to_string(log).unwrap();
    for line in awaited {
        eventually(line, async || read(&log).contains(line)).await;
    }
    read(&log)
}

#[tokio::test]
async fn the_log_tells_what_each_step_of_a_request_and_of_a_batch_took_and_only_if_asked() {
    let took = |within: &str, step: &str| format!("DEBUG {within}took step=\"{step}\" took_ms=");
    let request = "request{request_id=\"followed-7\"}:";
    let of_the_gate =
        ["gate.body", "gate.check", "gate.publish"].map(|step| took(&format!("{request}answer: "), step));
    let of_the_worker =
        ["admit", "history.append", "registry.statement", "ack"].map(|step| took("batch: ", step));
    let whole = [took(&format!("{request} "), "answer"), took("", "batch")];
    // Of whichever request: nobody gave it an id.
    let of_management = ":answer: took step=\"registry.statement\" took_ms=".to_owned();
    let awaited = [&of_the_gate[..], &of_the_worker, &whole, &[of_management]].concat();
    log("debug", &awaited).await;
    let told = log("info", &["is ready".to_owned()]).await;
    assert!(!told.contains("took"), "{told}");
}
