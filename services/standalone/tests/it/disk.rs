//! A disk that is full, and files that vanish.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use testkit::{eventually, tempdir};

use crate::{
    binary::{Running, free_address, rollcall},
    suite::{Client, Host},
};

/// A file system of its own, which goes with the value.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// Needs root.
    fn tmpfs(at: &'a Path, megabytes: u32) -> Self {
        let size = format!("size={megabytes}m,mode=700");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status();
        assert!(mount.unwrap().success(), "cannot mount a tmpfs");
        Self(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// 50 snapshots of some 3 KB each, which hardly compress. Their times end at `at`.
fn large(at: i64) -> Value {
    let text = |n: i64, of: &str| format!("{of}-{n}-{}", at.wrapping_mul(n * 7_919 + 104_729).unsigned_abs());
    let snapshots: Vec<Value> = (0..50)
        .map(|n| {
            let disks: Vec<Value> = (0..40)
                .map(|disk| json!({"mount": text(n * 64 + disk, "/mnt"), "device": text(disk * 97 + n, "dev")}))
                .collect();
            json!({"sampled_at": at - n, "covers_ms": 1, "disks": disks})
        })
        .collect();
    json!({"interval_ms": 1_000, "snapshots": snapshots})
}

async fn send(client: &Client, host: &Host, body: &Value) -> u16 {
    client.post_as("/healthcheck/v1/snapshots", &host.credential, body).await.0
}

/// Enrols so many, as one credential alone is slowed down before the disk is full.
async fn hosts(client: &Client, count: usize) -> Vec<Host> {
    let mut hosts = Vec::new();
    for n in 0..count {
        hosts.push(client.enrol(&format!("host-{n}")).await);
    }
    hosts
}

/// What has to go on: logging in, shutting a host out, deleting it.
async fn people_go_on(client: &mut Client, dir: &Path, culprit: &Host) {
    client.log_in(dir).await;
    let (status, answer) =
        client.post(&format!("/server-management/v1/servers/{}/revoke", culprit.id), &json!({})).await;
    assert_eq!(status, 204, "{answer}");
    assert_eq!(client.delete(&format!("servers/{}", culprit.id)).await, 204);
}

fn now() -> i64 {
    chassis::Clock::system().now()
}

#[tokio::test]
async fn with_the_disk_full_but_for_its_reserve_people_go_on_and_snapshots_wait() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: filling a small disk needs root, to mount it");
        return;
    }
    let dir = tempdir().unwrap();
    let _disk = Mounted::tmpfs(dir.path(), 64);
    let ballast = dir.path().join("ballast");
    fs::write(&ballast, vec![7; 16 << 20]).unwrap();
    let reserve = (16_u64 << 20).to_string();
    let running = Running::start(dir.path(), &["--no-agent", "--disk-reserve-bytes", &reserve]);
    let mut client = Client::new(running.address);
    client.log_in(dir.path()).await;
    let hosts = hosts(&client, 20).await;
    let disk = client.get("status").await["disk"].clone();
    assert_eq!((&disk["full"], &disk["reserve_bytes"]), (&json!(false), &json!(16 << 20)), "{disk}");

    let mut refused = 0;
    for round in 0..3_000 {
        let host = &hosts[round % hosts.len()];
        match send(&client, host, &large(now() - i64::try_from(round).unwrap() * 200)).await {
            202 | 429 => {}
            503 => {
                refused += 1;
                if client.get("status").await["disk"]["full"] == true {
                    break;
                }
            }
            status => panic!("{status}"),
        }
    }
    assert!(refused > 0, "the disk was never full");
    let disk = client.get("status").await["disk"].clone();
    assert_eq!(disk["full"], true, "{disk}");
    assert!(disk["free_bytes"].as_u64() > Some(2 << 20), "the reserve was used up: {disk}");
    people_go_on(&mut client, dir.path(), &hosts[0]).await;

    fs::remove_file(&ballast).unwrap();
    eventually("snapshots are taken again", async || send(&client, &hosts[1], &large(now())).await == 202)
        .await;
    assert_eq!(client.get("status").await["disk"]["full"], false);
}

#[tokio::test]
async fn a_reserve_that_no_disk_has_shuts_the_gate_and_nothing_else() {
    let dir = tempdir().unwrap();
    let most = u64::MAX.to_string();
    let mut running = Running::start(dir.path(), &["--no-agent", "--disk-reserve-bytes", &most]);
    let mut client = Client::new(running.address);
    client.log_in(dir.path()).await;
    let (culprit, host) = (client.enrol("culprit").await, client.enrol("host").await);
    assert_eq!(send(&client, &host, &large(now())).await, 503);
    assert_eq!(client.get("status").await["disk"]["full"], true);
    people_go_on(&mut client, dir.path(), &culprit).await;
    running.kill();
    let running = Running::start(dir.path(), &["--no-agent", "--disk-reserve-bytes", "0"]);
    let mut client = Client::new(running.address);
    client.log_in(dir.path()).await;
    assert_eq!(send(&client, &host, &large(now())).await, 202);
    assert_eq!(client.get("status").await["disk"]["full"], false);
}

#[tokio::test]
async fn a_data_file_that_vanishes_or_is_replaced_stops_it_with_an_error_that_names_the_file() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 3] = [
        ("history.db", |dir| fs::remove_file(dir.join("history.db")).unwrap()),
        ("registry.db-wal", |dir| fs::remove_file(dir.join("registry.db-wal")).unwrap()),
        ("registry.db", |dir| {
            fs::copy(dir.join("registry.db"), dir.join("copy")).unwrap();
            fs::rename(dir.join("copy"), dir.join("registry.db")).unwrap();
        }),
    ];
    for (file, harm) in harms {
        let dir = tempdir().unwrap();
        let address = free_address();
        let mut command = rollcall(dir.path(), address);
        command.arg("--no-agent").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let client = Client::new(address);
        eventually("it is ready", async || client.ready().await).await;
        assert!(child.try_wait().unwrap().is_none());
        harm(dir.path());
        let mut stderr = child.stderr.take().unwrap();
        eventually("it ends", async || child.try_wait().unwrap().is_some()).await;
        assert!(!child.wait().unwrap().success(), "{file}");
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        assert!(said.contains(&dir.path().join(file).display().to_string()), "{said}");
    }
}

#[tokio::test]
async fn a_missing_key_beside_a_registry_is_an_error_and_not_a_new_key() {
    let dir = tempdir().unwrap();
    let mut running = Running::start(dir.path(), &["--no-agent"]);
    let client = Client::new(running.address);
    eventually("it is ready", async || client.ready().await).await;
    running.kill();
    let key = dir.path().join("agent-key");
    let before = dir.path().join("agent-key-previous");
    fs::rename(&key, &before).unwrap();
    let output = rollcall(dir.path(), free_address()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("agent-key is missing"), "{said}");
    assert!(!key.exists());

    // Who says that the key is being replaced gets a new one.
    let address = free_address();
    let mut command = rollcall(dir.path(), address);
    command.arg("--no-agent").stdout(Stdio::null()).env("AGENT_KEY_PREVIOUS_FILE", &before);
    let mut child = command.spawn().unwrap();
    let client = Client::new(address);
    eventually("it is ready", async || client.ready().await).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(key.exists());
}
