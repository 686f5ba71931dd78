//! What runs on this machine, from its own agent to the answer.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{eventually_within, tempdir};

use crate::{binary::Running, suite::Client};

const PATIENCE: Duration = Duration::from_secs(60);

/// A process that keeps a processor busy, and is ended when it is dropped.
struct Busy(Child);

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

async fn row(client: &Client, path: &str, name: &str, value: &Value) -> Option<Value> {
    let answer = client.get(path).await;
    let rows = answer["rows"].as_array().cloned().unwrap_or_default();
    rows.into_iter().find(|row| row[name] == *value)
}

#[tokio::test]
async fn what_keeps_this_machine_busy_is_found_and_no_secret_with_it() {
    let mut command = Command::new("sh");
    command.args(["-c", "while :; do :; done", "filler", "--password=hunter2"]).stdout(Stdio::null());
    let busy = Busy(command.spawn().unwrap());
    let dir = tempdir().unwrap();
    let suite = Running::start(dir.path(), &["--processes", "basic"]);
    let mut client = Client::new(suite.address);
    client.log_in(dir.path()).await;
    let mut id = String::new();
    eventually_within(PATIENCE, "its own agent enrols", async || {
        let servers = client.get("servers").await;
        id = servers["items"][0]["id"].as_str().unwrap_or_default().to_owned();
        !id.is_empty()
    })
    .await;
    let (now, pid) = (format!("servers/{id}/processes"), json!(busy.0.id()));
    let command = json!("sh -c while :; do :; done filler --password=***");
    eventually_within(PATIENCE, "it is seen to use a processor", async || {
        let row = row(&client, &now, "pid", &pid).await.unwrap_or_default();
        row["cpu"].as_f64() > Some(5.0) && row["command"] == command && row["name"] == "sh"
    })
    .await;
    let range = format!("servers/{id}/processes?sort=cpu");
    eventually_within(PATIENCE, "its time is summed", async || {
        let row = row(&client, &range, "command", &command).await.unwrap_or_default();
        row["cpu_ms"].as_f64() > Some(500.0) && row["rss_max"].as_f64() > Some(100_000.0)
    })
    .await;
    let shown = client.get(&format!("servers/{id}")).await;
    assert!(shown["latest"].is_object() && shown["latest"]["processes"].is_null(), "{shown}");
    // Nor is it in a file of the suite.
    for file in ["history.db", "history.db-wal"] {
        let bytes = std::fs::read(dir.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{file}");
    }
}
