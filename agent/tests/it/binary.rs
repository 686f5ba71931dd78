use std::{collections::BTreeSet, path::PathBuf, process::Stdio, time::Instant};

use testkit::eventually;
use tokio::process::{Child, Command};

use crate::{gate::Mode, rig::Rig};

fn agent(rig: &Rig) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall-agent"));
    command
        .env_clear()
        .env("ROLLCALL_URL", rig.gate.url())
        .env("ROLLCALL_TOKEN", "token")
        .env("ROLLCALL_STATE_DIR", state(rig))
        .env("ROLLCALL_INTERVAL", "1")
        .stdout(Stdio::null())
        .kill_on_drop(true);
    command
}

fn state(rig: &Rig) -> PathBuf {
    rig.dir.path().join("state")
}

async fn terminate(mut child: Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn killed_at_any_moment_it_loses_and_doubles_nothing() {
    let rig = Rig::new().await;
    let mut journaled = BTreeSet::new();
    let modes = [
        Mode::Takes,
        Mode::Swallows,
        Mode::Answers(503),
        Mode::Stalls,
        Mode::Takes,
        Mode::HangsUp,
        Mode::Swallows,
    ];
    for (round, mode) in modes.into_iter().cycle().take(14).enumerate() {
        rig.gate.set(mode);
        let seen = rig.gate.script().requests.len();
        let mut child = agent(&rig).spawn().unwrap();
        // Killed at the first request of a run, or later: wherever that finds it.
        let wanted = seen + 1 + round % 2;
        eventually("it sends", async || {
            journaled.extend(rig.held());
            rig.gate.script().requests.len() >= wanted
        })
        .await;
        child.kill().await.unwrap();
        journaled.extend(rig.held());
    }
    rig.gate.set(Mode::Takes);
    let child = agent(&rig).spawn().unwrap();
    eventually("everything that was journaled arrives", async || {
        let script = rig.gate.script();
        journaled.iter().all(|at| script.taken.contains_key(at))
    })
    .await;
    eventually("nothing is left", async || rig.held().is_empty()).await;
    terminate(child).await;
    rig.gate.assert_no_overlap();
    assert_eq!(rig.gate.script().asked.len(), 1, "it enrolled once");
    // Each of the ten runs that were not answered with 202 left at least one behind.
    assert!(journaled.len() >= 10, "{} journaled", journaled.len());
    let first = *rig.gate.script().taken.first_key_value().unwrap().0;
    let covered: i64 = rig.gate.script().taken.values().map(|snapshot| snapshot.covers_ms).sum();
    assert!(covered <= rig.gate.newest().unwrap().sampled_at - first);
}

#[tokio::test]
async fn healthcheck_and_sigterm_answer_for_the_running_agent() {
    let rig = Rig::new().await;
    let check = async || agent(&rig).arg("healthcheck").output().await.unwrap();
    let before = check().await;
    assert_eq!(before.status.code(), Some(1));
    assert!(String::from_utf8(before.stderr).unwrap().contains("not enrolled"));
    let child = agent(&rig).spawn().unwrap();
    eventually("it is well", async || check().await.status.success()).await;
    rig.gate.set(Mode::Stalls);
    eventually("three intervals pass in vain", async || !check().await.status.success()).await;
    let asked = Instant::now();
    terminate(child).await;
    // It gives what is under way two seconds; the rest is for a busy machine.
    assert!(asked.elapsed().as_secs() < 10);
}

#[tokio::test]
async fn mistakes_are_told_together_before_any_socket_opens() {
    let rig = Rig::new().await;
    let mut command = agent(&rig);
    command.env("ROLLCALL_INTERVAL", "0").env("ROLLCALL_URL", "nonsense").env("ROLLCALL_TOKEN_FILE", "/t");
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    for setting in ["ROLLCALL_INTERVAL", "ROLLCALL_URL", "ROLLCALL_TOKEN_FILE and ROLLCALL_TOKEN"] {
        assert!(told.contains(setting), "{told}");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_rollcall-agent")).arg("--help").output().await.unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("ROLLCALL_STATE_DIR") && help.contains("healthcheck"));
    assert!(!help.contains("--token "), "a token is never a flag");
}
