use std::fs;

use serde_json::Value;
use testkit::eventually;

use crate::{
    gate::{Mode, SERVER},
    rig::Rig,
};

fn aside(rig: &Rig) -> Vec<(i64, String)> {
    let text = fs::read_to_string(rig.dir.path().join("state/set-aside.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["held"]["at"].as_i64().unwrap(), line["refused"]["code"].to_string())).collect()
}

#[tokio::test]
async fn what_is_refused_is_set_aside_once_and_its_neighbours_arrive() {
    let rig = Rig::enrolled().await;
    rig.gate.set(Mode::Answers(503));
    rig.holds(6).await;
    let held = rig.held();
    {
        let mut script = rig.gate.script();
        // By name, by name, and as a whole.
        script.poison =
            [(held[0], Some("too_old")), (held[2], Some("invalid_snapshot")), (held[3], None)].into();
        script.max_snapshots = 4;
        script.mode = Mode::Takes;
    }
    eventually("the good ones arrive", async || {
        let script = rig.gate.script();
        held.iter().all(|at| script.taken.contains_key(at) || script.poison.contains_key(at))
    })
    .await;
    eventually("nothing is left", async || rig.held().is_empty()).await;
    let mut set_aside = aside(&rig);
    set_aside.sort();
    let expected =
        [(held[0], "\"too_old\""), (held[2], "\"invalid_snapshot\""), (held[3], "\"invalid_json\"")];
    assert_eq!(set_aside, expected.map(|(at, code)| (at, code.to_owned())));
    eventually("it is reported", async || {
        rig.gate.newest().unwrap().agent.is_some_and(|agent| agent.set_aside == Some(3))
    })
    .await;
    rig.gate.assert_no_overlap();
}

/// What looks like a credential of the rig's agent.
fn shaped(mac: char) -> String {
    format!("0123abcd.{SERVER}.7.{}", String::from(mac).repeat(43))
}

#[tokio::test]
async fn a_gate_that_lies_locks_nobody_out() {
    let mut rig = Rig::enrolled().await;
    // The first is not even tried.
    rig.gate.script().forged = Some("forged".to_owned());
    let before = rig.gate.taken();
    eventually("it goes on", async || rig.gate.taken() >= before + 3).await;
    assert_eq!(rig.gate.script().unauthorized, 0);
    rig.gate.script().forged = Some(shaped('f'));
    eventually("the forged one is refused", async || rig.gate.script().unauthorized >= 2).await;
    rig.gate.script().forged = None;
    let before = rig.gate.taken();
    eventually("it goes on with its own", async || rig.gate.taken() > before + 1).await;
    let refused = rig.gate.script().unauthorized;
    rig.stop().await;
    rig.start();
    let before = rig.gate.taken();
    eventually("it outlives a restart", async || rig.gate.taken() > before + 1).await;
    assert_eq!(rig.gate.script().unauthorized, refused, "the forged one is forgotten");
    rig.gate.assert_no_overlap();
}

#[tokio::test]
async fn a_new_credential_is_used_from_then_on() {
    let mut rig = Rig::enrolled().await;
    let replaced = shaped('r');
    rig.gate.script().replacement = Some(replaced.clone());
    let before = rig.gate.taken();
    eventually("the new one serves", async || rig.gate.taken() >= before + 3).await;
    assert_eq!(rig.gate.script().credential, replaced);
    assert_eq!(rig.gate.script().unauthorized, 0);
    rig.stop().await;
    rig.start();
    let before = rig.gate.taken();
    eventually("it outlives a restart", async || rig.gate.taken() > before).await;
    assert_eq!(rig.gate.script().asked.len(), 1);
}
