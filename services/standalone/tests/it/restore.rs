//! A backup is restored, and what came after it is not lost.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use chassis::Clock;
use serde_json::{Value, json};
use testkit::{eventually, tempdir};

use crate::{
    binary::{Running, binary, free_address},
    suite::{Client, Host, Suite},
};

const PAGE: &str = include_str!("../../../../docs/operations.md");

const NOW: i64 = 1_790_000_000_000;
const SECOND: i64 = 1_000;

/// What the gate says to a snapshot that covers a second.
async fn try_beat(client: &Client, host: &Host, at: i64) -> (u16, Value) {
    let snapshot = json!({"sampled_at": at, "covers_ms": SECOND});
    let body = json!({"interval_ms": SECOND, "snapshots": [snapshot]});
    client.post_as("/healthcheck/v1/snapshots", &host.credential, &body).await
}

/// What a backup of a stopped suite holds.
fn copy(from: &Path, to: &Path) {
    for name in ["registry.db", "agent-key", "token-key", "channel-key", "admin-password"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[tokio::test]
async fn a_host_that_enrolled_after_the_backup_is_adopted_with_what_it_kept_and_can_be_revoked() {
    let (dir, backup, restored) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let clock = Clock::fixed(NOW);
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    suite.client.enrol("old").await;
    suite.stop().await;
    copy(dir.path(), backup.path());

    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    let host = suite.client.enrol("new").await;
    for beat in 1..=3 {
        clock.advance(SECOND);
        suite.client.beat(&host, NOW + beat * SECOND).await;
    }
    suite.stop().await;

    copy(backup.path(), restored.path());
    // History is not older than the disaster: what was acknowledged is in it.
    fs::copy(dir.path().join("history.db"), restored.path().join("history.db")).unwrap();
    let mut suite = Suite::start(restored.path(), &clock);
    suite.client.log_in(restored.path()).await;
    let at = NOW + 4 * SECOND;
    clock.set(at);
    let (status, answer) = try_beat(&suite.client, &host, at).await;
    assert_eq!((status, &answer["code"], &answer["now"]), (503, &json!("unknown_server"), &json!(at)));
    let listed = suite.client.get("servers/unknown").await;
    assert_eq!((&listed["total"], &listed["items"][0]["id"]), (&json!(1), &json!(host.id)), "{listed}");
    assert_eq!(listed["items"][0]["last_seen_at"], at);
    let path = format!("/server-management/v1/servers/unknown/{}/adopt", host.id);
    assert_eq!(suite.client.post(&path, &json!({"name": "OLD"})).await.0, 409);
    let (status, server) = suite.client.post(&path, &json!({"name": "new"})).await;
    assert_eq!((status, &server["id"], &server["name"]), (201, &json!(host.id), &json!("new")), "{server}");
    assert_eq!(suite.client.post(&path, &json!({"name": "newer"})).await.0, 404);
    eventually("the gate lets it in, and the agent did nothing", async || {
        clock.advance(50);
        try_beat(&suite.client, &host, at).await.0 == 202
    })
    .await;
    let range = format!("from={NOW}&to={}&points=1", at + 1);
    let points = suite.client.get(&format!("servers/{}/snapshots?{range}", host.id)).await;
    assert_eq!(points["points"][0]["count"], 4, "{points}");
    let (status, _) =
        suite.client.post(&format!("/server-management/v1/servers/{}/revoke", host.id), &json!(null)).await;
    assert_eq!(status, 204);
    eventually("its credential is refused", async || {
        clock.advance(50);
        try_beat(&suite.client, &host, at).await.0 == 401
    })
    .await;
    suite.stop().await;
}

/// The examples of the page below this heading, up to the next one.
fn documented(heading: &str) -> Vec<&'static str> {
    let (_, section) = PAGE.split_once(&format!("\n{heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Runs lines as a person does who stands beside the folder `data`, and answers what they print.
fn run(lines: &str, beside: &Path) -> String {
    let programs = beside.join("programs");
    if !programs.exists() {
        fs::create_dir(&programs).unwrap();
        symlink(binary(), programs.join("rollcall")).unwrap();
    }
    let mut path = programs.into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.env_clear().env("PATH", path).current_dir(beside).args(["-euc", lines]);
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{lines}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn now() -> i64 {
    Clock::system().now()
}

/// Who gets in, and who does not: a request that takes a session, an API token or an enrolment token.
async fn statuses(client: &Client, api_token: &str, enrolment_token: &str) -> [u16; 3] {
    let make = "/server-management/v1/enrolment-tokens";
    let uses = json!({"uses": 1});
    let enrolment =
        json!({"token": enrolment_token, "enrolment_key": "key-of-whoever-found-it", "name": "stranger"});
    [
        client.post(make, &uses).await.0,
        client.post_as(make, api_token, &uses).await.0,
        client.post("/server-management/v1/enrolments", &enrolment).await.0,
    ]
}

#[tokio::test]
async fn the_restore_of_the_documentation_lets_nobody_back_in_and_loses_no_host() {
    let dir = tempdir().unwrap();
    let (data, before) = (dir.path().join("data"), dir.path().join("data-before"));
    let [backup, restore]: [&str; 2] = documented("## Back up and restore").try_into().unwrap();
    let address = free_address();
    let mut running = Running::start_at(address, &data, &["--no-agent"]);
    let mut client = Client::new(address);
    client.log_in(&data).await;
    let stolen = client.enrol("stolen").await;
    let make = async |path: &str, body: Value| {
        let (status, made) = client.post(&format!("/server-management/v1/{path}"), &body).await;
        assert_eq!(status, 201, "{made}");
        made["token"].as_str().unwrap().to_owned()
    };
    let password = fs::read_to_string(data.join("admin-password")).unwrap();
    client.post("/server-management/v1/sessions/elevate", &json!({"password": password.trim_end()})).await;
    let api_token = make("tokens", json!({"name": "t", "scopes": ["agent:enroll"]})).await;
    let enrolment_token = make("enrolment-tokens", json!({"uses": 9})).await;
    run(backup, dir.path());

    let new = client.enrol("new").await;
    assert_eq!(try_beat(&client, &new, now()).await.0, 202);
    let revoke = format!("/server-management/v1/servers/{}/revoke", stolen.id);
    assert_eq!(client.post(&revoke, &json!(null)).await.0, 204);
    running.kill();
    let told = run(restore, dir.path());
    assert!(told.contains("sessions ended: 1\n") && told.contains("API tokens deleted: 1\n"), "{told}");
    assert!(told.contains("GET servers/unknown") && told.contains("rollcall reset-password"), "{told}");

    let _running = Running::start_at(address, &data, &["--no-agent"]);
    eventually("the suite is ready", async || client.ready().await).await;
    assert_eq!(statuses(&client, &api_token, &enrolment_token).await, [401; 3]);
    client.log_in(&before).await;
    let at = now();
    let (status, answer) = try_beat(&client, &new, at).await;
    assert_eq!((status, &answer["code"]), (503, &json!("unknown_server")), "the agent keeps it");
    let adopt = format!("/server-management/v1/servers/unknown/{}/adopt", new.id);
    assert_eq!(client.post(&adopt, &json!({"name": "new"})).await.0, 201);
    eventually("what it kept arrives", async || try_beat(&client, &new, at).await.0 == 202).await;
    assert_eq!(client.post(&revoke, &json!(null)).await.0, 204);
    eventually("what was revoked since is refused once more", async || {
        try_beat(&client, &stolen, now()).await.0 == 401
    })
    .await;
}

#[test]
fn nothing_is_restored_where_there_is_nothing_or_while_it_runs() {
    let dir = tempdir().unwrap();
    let after_restore = |data: &PathBuf| {
        let mut command = Command::new(binary());
        command.env_clear().arg("--data").arg(data).arg("after-restore").output().unwrap()
    };
    let nowhere = after_restore(&dir.path().join("misspelt"));
    let said = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(!nowhere.status.success() && said.contains("there is no registry.db in"), "{said}");
    let data = dir.path().join("data");
    let _held = standalone::data::DataDir::take(&data).unwrap();
    fs::write(data.join("registry.db"), "").unwrap();
    let meanwhile = after_restore(&data);
    let said = String::from_utf8_lossy(&meanwhile.stderr).into_owned();
    assert!(!meanwhile.status.success() && said.contains("already runs on"), "{said}");
}
