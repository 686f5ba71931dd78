//! The binary as an orchestrator starts, probes and stops it.

use std::{
    fs::{self, File},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
};

use chassis::Clock;
use fleet::{AgentKey, Keyring, Millis};
use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{TempDir, eventually, tempdir};

use crate::{
    app::{records, server},
    place::Place,
};

const BINARY: &str = env!("CARGO_BIN_EXE_healthcheck-server");
const KEY: &str = "a key of the agents, long enough for one";
const PATH: &str = "healthcheck/v1/snapshots";

/// A running gate, killed with -9 when it is dropped.
struct Gate {
    child: Child,
    address: SocketAddr,
    client: reqwest::Client,
    folder: TempDir,
}

fn command() -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear();
    command
}

fn credential(number: u8) -> String {
    let key: AgentKey = KEY.parse().unwrap();
    Keyring::new(key, None).issue(server(number), 1)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the `healthcheck` subcommand exits with, and why.
fn healthcheck(address: SocketAddr) -> (Option<i32>, String) {
    let output = command().args(["healthcheck", "--listen", &address.to_string()]).output().unwrap();
    (output.status.code(), said(&output))
}

impl Gate {
    async fn start(place: &Place) -> Self {
        let folder = tempdir().unwrap();
        // A secret may be a file.
        fs::write(folder.path().join("key"), format!("{KEY}\n")).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = command()
            .env("AMQP_URL", place.amqp_url())
            .env("REDIS_URL", place.redis_url())
            .env("ROLLCALL_PREFIX", place.prefix())
            .env("AGENT_KEY_FILE", folder.path().join("key"))
            .env("LISTEN", "127.0.0.1:0")
            .env("DRAIN_SECONDS", "2")
            .env("LOG_LEVEL", "debug")
            .stdout(Stdio::from(log))
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gate = Self { child, address, client: testkit::http(), folder };
        eventually("it tells where it listens", async || {
            let started = gate.logged("a gate starts").pop();
            started.map(|line| gate.address = line["listen"].as_str().unwrap().parse().unwrap()).is_some()
        })
        .await;
        eventually("it answers", async || {
            gate.get("health/live").await.is_some_and(|(status, _)| status == 200)
        })
        .await;
        gate
    }

    /// Status and body.
    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = self.client.get(format!("http://{}/{path}", self.address)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    async fn ready(&self) -> bool {
        self.get("health/ready").await.is_some_and(|(status, _)| status == 200)
    }

    /// The status of the answer, if there is one.
    async fn post(&self, number: u8, sampled_at: Millis) -> Option<u16> {
        let snapshots = json!([{"sampled_at": sampled_at, "covers_ms": 0}]);
        let body = json!({"interval_ms": 30_000, "snapshots": snapshots}).to_string();
        let request =
            self.client.post(format!("http://{}/{PATH}", self.address)).bearer_auth(credential(number));
        let answer = request.body(body).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    /// Lines of its log with this message.
    fn logged(&self, message: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let lines = whole.map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["message"] == message).collect()
    }

    fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn it_starts_before_its_servers_and_outlives_a_broker_that_is_lost() {
    let place = Place::new().await;
    place.broker().cut();
    place.redis().cut();
    let gate = Gate::start(&place).await;
    let now = Clock::system().now();
    let (status, problem) = gate.get("health/ready").await.unwrap();
    assert_eq!(status, 503);
    assert!(problem.contains(r#""missing":["queue","cache","clock"]"#), "{problem}");
    assert_eq!(gate.post(1, now).await, Some(503));
    let (code, told) = healthcheck(gate.address);
    assert_eq!((code, told.contains("not ready")), (Some(1), true), "{told}");

    place.redis().mend();
    eventually("the cache is reached", async || {
        gate.get("health/ready").await.is_some_and(|(_, problem)| problem.contains(r#""missing":["queue"]"#))
    })
    .await;
    place.broker().mend();
    eventually("ready", async || gate.ready().await).await;
    assert_eq!(healthcheck(gate.address), (Some(0), String::new()));
    assert_eq!(gate.post(1, now).await, Some(202));

    place.broker().cut();
    place.redis().cut();
    eventually("it tells the agents", async || gate.post(2, now).await == Some(503)).await;
    assert!(gate.ready().await, "a proxy that takes it out gives a worse answer");
    place.broker().mend();
    place.redis().mend();
    eventually("taken again", async || gate.post(3, now).await == Some(202)).await;

    assert_eq!(gate.logged("ready").len(), 1);
    let first_trouble = gate.logged("nothing is taken; agents are told to come back");
    assert!(
        first_trouble.len() <= 1,
        "before the broker was reached there was nothing to tell: {first_trouble:?}"
    );
    let (_, metrics) = gate.get("metrics").await.unwrap();
    for line in [
        "# HELP rollcall_gate_accepted_snapshots_total ",
        "rollcall_gate_accepted_snapshots_total 2\n",
        "rollcall_gate_refused_requests_total{code=\"unavailable\"} ",
        "rollcall_gate_confirm_seconds_count 2\n",
        "rollcall_gate_message_records_sum 2\n",
        "rollcall_gate_waiting_bytes 0\n",
        "rollcall_gate_open_since_timestamp_seconds ",
        "# HELP rollcall_gate_clock_skew_seconds ",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let address = gate.address;
    drop(gate);
    let (code, told) = healthcheck(address);
    assert_eq!((code, told.contains("nothing answers")), (Some(1), true), "{told}");
}

#[tokio::test]
async fn a_request_is_followed_by_its_id_into_the_message_of_the_queue_that_it_went_into() {
    let place = Place::new().await;
    let gate = Gate::start(&place).await;
    eventually("ready", async || gate.ready().await).await;
    let body =
        json!({"interval_ms": 30_000, "snapshots": [{"sampled_at": Clock::system().now(), "covers_ms": 0}]});
    let request = gate.client.post(format!("http://{}/{PATH}", gate.address)).bearer_auth(credential(1));
    let answer = request.header("x-request-id", "followed-7").body(body.to_string()).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-request-id"]),
        (202, &"followed-7".parse().unwrap())
    );
    let lines = gate.logged("in the queue");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["spans"][0]["request_id"], "followed-7", "{}", lines[0]);
    let published = gate.logged("publishes a message");
    assert_eq!(published[0]["queue_message"], lines[0]["queue_message"], "{published:?}");
    let refused =
        gate.client.post(format!("http://{}/{PATH}", gate.address)).header("x-request-id", "followed-8");
    let problem: Value = refused.send().await.unwrap().json().await.unwrap();
    assert_eq!((&problem["code"], &problem["request_id"]), (&json!("unauthorized"), &json!("followed-8")));
}

#[tokio::test]
async fn a_stop_under_load_serves_on_then_ends_and_loses_nothing_acknowledged() {
    let place = Place::new().await;
    let mut gate = Gate::start(&place).await;
    eventually("ready", async || gate.ready().await).await;
    let (next, taken) = (AtomicI64::new(Clock::system().now() - 1_000_000), AtomicUsize::new(0));
    // Each with servers of its own, so that none of them meets its rate.
    let agent = async |number: u8| {
        let mut acknowledged = Vec::new();
        for server_number in (0..32).map(|of| 32 * number + of).cycle() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            match gate.post(server_number, at).await {
                Some(202) => acknowledged.push(at),
                // It no longer listens.
                None => break,
                Some(other) => panic!("answered {other}"),
            }
            taken.fetch_add(1, Ordering::Relaxed);
        }
        acknowledged
    };
    let stop = async {
        eventually("under load", async || taken.load(Ordering::Relaxed) > 200).await;
        gate.terminate();
        eventually("unready", async || {
            gate.get("health/ready").await.is_some_and(|(status, _)| status == 503)
        })
        .await;
        let before = taken.load(Ordering::Relaxed);
        eventually("it serves on", async || taken.load(Ordering::Relaxed) > before + 50).await;
    };
    let (acknowledged, ()) = tokio::join!(join_all((0..8).map(agent)), stop);
    let mut ended = None;
    eventually("it ended", async || {
        ended = gate.child.try_wait().unwrap();
        ended.is_some()
    })
    .await;
    assert_eq!(ended.unwrap().code(), Some(0));
    assert_eq!(gate.logged("stopped").len(), 1);
    let in_the_queue: std::collections::BTreeSet<_> =
        records(&place.take().await).iter().map(|record| record.snapshot.sampled_at()).collect();
    for at in acknowledged.iter().flatten() {
        assert!(in_the_queue.contains(at), "{at} is lost");
    }
}

#[test]
fn all_mistakes_in_the_settings_are_told_at_once_and_no_secret_prints() {
    let output = command()
        .env("AMQP_URL", "http://rollcall:hunter2@broker")
        .env("REDIS_URL", "rollcall:hunter2@cache")
        .env("AGENT_KEY", "hunter2")
        .env("AGENT_KEY_PREVIOUS_FILE", "/nonexistent/key")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = said(&output);
    for setting in ["AMQP_URL", "REDIS_URL", "AGENT_KEY", "AGENT_KEY_PREVIOUS_FILE"] {
        assert!(told.contains(&format!("\n  {setting}: ")), "{setting} is not in {told}");
    }
    assert!(!told.contains("hunter2") && output.stdout.is_empty(), "{told}");
    let nothing = command().output().unwrap();
    for setting in ["AMQP_URL", "REDIS_URL", "AGENT_KEY"] {
        assert!(said(&nothing).contains(&format!("{setting}: is not set")), "{}", said(&nothing));
    }
}
