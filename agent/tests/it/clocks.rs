use testkit::eventually;

use crate::{
    gate::{Mode, rig_now},
    rig::Rig,
};

const HOUR: i64 = 3_600_000;

/// An agent that never reached a gate in this boot, with its clock off by `by`.
async fn off_by(by: i64) -> Rig {
    let mut rig = Rig::new().await;
    rig.clock.step(by);
    // So that there is no anchor from an earlier answer.
    rig.gate.set(Mode::HangsUp);
    rig.start();
    rig.holds(4).await;
    rig
}

/// Everything that arrived lies where it was measured, but for at most `strays`.
async fn settles(rig: &Rig, begun: i64, strays: usize) {
    rig.gate.set(Mode::Takes);
    eventually("nothing is left", async || rig.gate.taken() > 6 && rig.held().is_empty()).await;
    let now = rig_now();
    let script = rig.gate.script();
    let wrong = script.taken.keys().filter(|at| **at < begun - 2_000 || **at > now + 2_000).count();
    assert!(wrong <= strays, "{wrong} of {} have the wrong time", script.taken.len());
    let covered: i64 = script.taken.values().map(|snapshot| snapshot.covers_ms).sum();
    let last = script.taken.keys().filter(|at| **at <= now + 2_000).max().unwrap();
    assert!(covered > last - begun - 5_000, "{covered} of {}", last - begun);
    assert!(covered < last - begun + 2_000, "{covered} of {}", last - begun);
}

#[tokio::test]
async fn a_clock_ahead_is_mended_by_the_gates() {
    let begun = rig_now();
    let rig = off_by(2 * HOUR).await;
    settles(&rig, begun, 0).await;
    rig.gate.assert_no_overlap();
    let agent = rig.gate.newest().unwrap().agent.unwrap();
    assert!((agent.skew_ms.unwrap() + 2 * HOUR).abs() < 2_000);
}

#[tokio::test]
async fn a_clock_behind_costs_one_stray_sample() {
    let begun = rig_now();
    let rig = off_by(-2 * HOUR).await;
    settles(&rig, begun, 1).await;
    rig.gate.assert_no_overlap();
    let agent = rig.gate.newest().unwrap().agent.unwrap();
    assert!((agent.skew_ms.unwrap() - 2 * HOUR).abs() < 2_000);
}

#[tokio::test]
async fn a_host_without_a_battery_loses_nothing() {
    let begun = rig_now();
    let rig = off_by(-50 * 365 * 24 * HOUR).await;
    settles(&rig, begun, 0).await;
    rig.gate.assert_no_overlap();
    assert!(!rig.dir.path().join("state/set-aside.jsonl").exists());
}

#[tokio::test]
async fn a_clock_that_steps_while_nobody_answers_fools_nobody() {
    let begun = rig_now();
    let mut rig = Rig::enrolled().await;
    rig.gate.set(Mode::Answers(503));
    rig.holds(1).await;
    rig.clock.step(2 * HOUR);
    rig.holds(2).await;
    rig.clock.step(-4 * HOUR);
    rig.holds(3).await;
    rig.stop().await;
    rig.start();
    rig.holds(5).await;
    settles(&rig, begun, 0).await;
    rig.gate.assert_no_overlap();
    rig.clock.step(2 * HOUR);
    eventually("it trusts its own clock again", async || rig.gate.newest().unwrap().agent.is_none()).await;
}
