//! From an agent's host to the operator's screen, through every process and every server.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use simulator::{Kind, Operator, Service, process::Started};
use testkit::{Receiver, eventually, eventually_within, tempdir};
use tokio::process::Command;

use crate::stage::{binary, fleet};

/// Silent for four intervals of four seconds, and the ticks of five seconds that say so.
const FOUND_DOWN: Duration = Duration::from_secs(120);

/// The agent as it is shipped, reporting every four seconds to all gates: a sample vouches for twice that, longer than a
/// busy machine keeps a process waiting.
async fn agent(gates: &[Service], management: &Service, folder: &Path) -> Started {
    let urls: Vec<&str> = gates.iter().map(|gate| gate.url.as_str()).collect();
    let mut command = Command::new(binary("rollcall-agent").await);
    command.env_clear().args(["--url", &urls.join(","), "--enrol-url", &management.url, "--interval", "4"]);
    command.args(["--name", "web-1", "--state-dir"]).arg(folder.join("state"));
    command.env("ROLLCALL_TOKEN_FILE", folder.join("token")).env("ROLLCALL_PROCESSES", "basic");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Started::spawn(&mut command).unwrap()
}

async fn state(operator: &Operator) -> Value {
    let (status, body) = operator.get("servers?name=web-1").await.unwrap();
    assert_eq!(status, 200, "{body}");
    body["items"][0].clone()
}

#[tokio::test]
async fn an_agent_is_up_measured_down_and_up_again_whichever_replica_is_asked() {
    let fleet = fleet().await;
    // In any order, and all at once: each waits for what it needs.
    let spawn = |kind| fleet.spawn(kind, &fleet.urls).unwrap();
    let mut workers = [spawn(Kind::Worker), spawn(Kind::Worker)];
    let mut gates = [spawn(Kind::Gate), spawn(Kind::Gate)];
    let mut managements = [spawn(Kind::Management), spawn(Kind::Management)];
    for service in workers.iter_mut().chain(&mut gates).chain(&mut managements) {
        service.ready().await.unwrap();
    }
    let operators =
        [Operator::log_in(&managements[0]).await.unwrap(), Operator::log_in(&managements[1]).await.unwrap()];

    let folder = tempdir().unwrap();
    let (status, made) = operators[0].post("enrolment-tokens", &json!({"uses": 1})).await.unwrap();
    assert_eq!(status, 201, "{made}");
    std::fs::write(folder.path().join("token"), made["token"].as_str().unwrap()).unwrap();
    let first = agent(&gates, &managements[1], folder.path()).await;
    for operator in &operators {
        eventually("the agent is up", async || state(operator).await["status"] == "up").await;
        eventually("its newest sample is shown", async || state(operator).await["latest"].is_object()).await;
    }
    let server = state(&operators[0]).await;
    let id = server["id"].as_str().unwrap().to_owned();
    assert!(server["facts"]["hostname"].is_string(), "{server}");

    // Two gates and two workers: whichever took what, the history is one.
    let uptime = format!("servers/{id}/uptime");
    eventually("ten seconds are covered", async || {
        operators[1].get(&uptime).await.unwrap().1["covered_ms"].as_i64() >= Some(10_000)
    })
    .await;
    // What runs on its host, with a command line that was sent once.
    let ran = format!("servers/{id}/processes");
    eventually("what runs is shown", async || {
        let (_, shown) = operators[1].get(&ran).await.unwrap();
        let rows = shown["rows"].as_array().cloned().unwrap_or_default();
        rows.iter().any(|row| row["command"].is_string() && row["user"].is_string())
    })
    .await;
    let (_, summed) = operators[0].get(&format!("{ran}?sort=memory")).await.unwrap();
    assert!(summed["rows"][0]["rss_max"].as_u64() > Some(1_000_000), "{summed}");
    // What is missing is the moment from enrolling to the first sample, which a busy machine makes longer, and nothing else.
    let (_, whole) = operators[0].get(&format!("servers/{id}/outages")).await.unwrap();
    for outage in whole["outages"].as_array().unwrap() {
        assert_eq!(outage["from"], server["enrolled_at"], "{whole}");
    }

    first.kill().await.unwrap();
    for operator in &operators {
        eventually_within(FOUND_DOWN, "it is down", async || state(operator).await["status"] == "down").await;
    }
    let second = agent(&gates, &managements[0], folder.path()).await;
    eventually("it is up again", async || state(&operators[0]).await["status"] == "up").await;
    let (_, broken) = operators[0].get(&uptime).await.unwrap();
    assert!(broken["uptime"].as_f64().unwrap() < 1.0, "{broken}");
    assert!(second.stop().await.unwrap().success());

    assert_eq!(fleet.dead_letters().await.unwrap(), 0);
    for service in gates.into_iter().chain(workers).chain(managements) {
        service.stop().await.unwrap();
    }
}

/// A file of a channel of the host's own, which leads to this receiver.
fn channel_file(folder: &Path, receiver: &Receiver) -> PathBuf {
    let path = folder.join("channel.json");
    let channel = json!({"kind": "webhook", "secret": {"url": format!("{}/hook", receiver.url())}});
    std::fs::write(&path, channel.to_string()).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

/// A worker notes that the agent would tell, management elects it, the gate says so. Then the gate stands still.
#[tokio::test]
async fn an_agent_that_was_elected_tells_when_no_gate_answers_and_when_one_does() {
    let fleet = fleet().await;
    let management = fleet.start(Kind::Management).await.unwrap();
    let (gate, worker) = (fleet.start(Kind::Gate).await.unwrap(), fleet.start(Kind::Worker).await.unwrap());
    let operator = Operator::log_in(&management).await.unwrap();
    let folder = tempdir().unwrap();
    let (status, made) = operator.post("enrolment-tokens", &json!({"uses": 1})).await.unwrap();
    assert_eq!(status, 201, "{made}");
    std::fs::write(folder.path().join("token"), made["token"].as_str().unwrap()).unwrap();
    let receiver = Receiver::start(testkit::Service::Webhook).await;
    let mut command = Command::new(binary("rollcall-agent").await);
    command.env_clear().args(["--url", &gate.url, "--enrol-url", &management.url, "--interval", "2"]);
    command.args(["--name", "web-1", "--processes", "off", "--state-dir"]).arg(folder.path().join("state"));
    command.env("ROLLCALL_TOKEN_FILE", folder.path().join("token"));
    command.env("ROLLCALL_WATCH_FILE", channel_file(folder.path(), &receiver));
    command.env("ROLLCALL_WATCH_ALLOW", receiver.address().to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let agent = Started::spawn(&mut command).unwrap();
    let state = || {
        let text = std::fs::read(folder.path().join("state/state.json")).unwrap_or_default();
        serde_json::from_slice::<Value>(&text).unwrap_or_default()
    };
    eventually("it is elected", async || state()["lease"].is_object()).await;

    gate.halt().unwrap();
    eventually("it tells", async || receiver.count() == 1).await;
    gate.wake().unwrap();
    eventually("it tells that it is over", async || receiver.count() == 2).await;
    eventually("and that is all", async || state()["outage"].is_null()).await;
    let changes: Vec<Value> =
        receiver.taken().iter().map(|taken| taken.body["data"]["incidents"][0]["change"].clone()).collect();
    assert_eq!(changes, ["alert", "recovery"]);
    assert!(agent.stop().await.unwrap().success());
    for service in [gate, worker, management] {
        service.stop().await.unwrap();
    }
}
