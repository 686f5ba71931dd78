use fleet::Interval;
use rollcall_agent::Settings;
use testkit::eventually;

use crate::{
    gate::{Gate, Mode},
    rig::Rig,
};

#[tokio::test]
async fn whatever_the_gate_answers_that_passes_keeps_everything_and_no_loop_runs_hot() {
    let rig = Rig::enrolled().await;
    for (round, mode) in [401, 404, 429, 500, 503].map(Mode::Answers).into_iter().enumerate() {
        rig.gate.set(mode);
        rig.holds(round + 1).await;
    }
    rig.gate.set(Mode::HangsUp);
    rig.holds(7).await;
    let requests = rig.gate.script().requests.len();
    rig.gate.set(Mode::Takes);
    let held = rig.drains().await;
    // One attempt a sample, and what back-fill tried in between with its waits doubling.
    assert!(requests <= 2 * (held.len() + rig.gate.taken()), "{requests} requests for {}", held.len());
    let script = rig.gate.script();
    assert!(script.requests[requests..].iter().any(|size| *size > 1), "back-fill goes in packs");
    assert!(held.iter().all(|at| script.came[at] == 1));
}

#[tokio::test]
async fn a_gate_that_is_away_or_stalls_finds_everything_when_it_is_back() {
    let mut rig = Rig::enrolled().await;
    rig.stop().await;
    // A port at which nobody listens for now.
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    rig.point_at(&[addr]);
    rig.start();
    rig.holds(3).await;
    rig.gate = Gate::start_at(addr).await;
    rig.gate.set(Mode::Stalls);
    rig.holds(5).await;
    let stalled = rig.gate.script().requests.len();
    assert!(stalled <= 8, "{stalled} requests while it stalled");
    rig.gate.set(Mode::Takes);
    rig.drains().await;
    eventually("nothing is left", async || rig.held().is_empty()).await;
}

#[tokio::test]
async fn a_swallowed_reply_doubles_nothing() {
    let rig = Rig::enrolled().await;
    rig.gate.set(Mode::Swallows);
    rig.holds(3).await;
    // What came and is held all the same: its answer was swallowed.
    let held = rig.held();
    let swallowed: Vec<i64> = rig.gate.script().came.keys().copied().filter(|at| held.contains(at)).collect();
    assert!(swallowed.len() >= 2);
    rig.gate.set(Mode::Takes);
    rig.drains().await;
    eventually("nothing is left", async || rig.held().is_empty()).await;
    let script = rig.gate.script();
    assert!(swallowed.iter().all(|at| script.came[at] >= 2), "each came again");
    let covered: i64 = script.taken.values().map(|snapshot| snapshot.covers_ms).sum();
    let span = script.taken.last_key_value().unwrap().0 - script.taken.first_key_value().unwrap().0;
    assert!(covered <= span && covered > span - 2_000, "{covered} of {span}");
}

#[tokio::test]
async fn the_next_gate_serves_while_the_first_is_away() {
    let mut rig = Rig::enrolled().await;
    rig.stop().await;
    let second = Gate::start().await;
    rig.point_at(&[rig.gate.addr, second.addr]);
    rig.gate.set(Mode::Answers(503));
    rig.start();
    eventually("the second takes over", async || second.taken() >= 2).await;
    rig.gate.set(Mode::Takes);
    let before = rig.gate.taken();
    eventually("the first is tried again", async || rig.gate.taken() > before + 1).await;
    let left = second.taken();
    let before = rig.gate.taken();
    eventually("the first serves", async || rig.gate.taken() > before + 1).await;
    assert_eq!(second.taken(), left);
    rig.stop().await;
    assert!(rig.held().is_empty());
}

#[tokio::test]
async fn a_restart_within_two_intervals_leaves_no_gap() {
    let mut rig = Rig::new().await;
    let settings = Settings { interval: Interval::DEFAULT, ..rig.settings() };
    rig.start_with(settings.clone());
    for runs in 1..=4 {
        // Each run takes its first sample at once, and its next after a quarter of the interval.
        eventually("its sample arrives", async || rig.gate.taken() >= runs).await;
        rig.stop().await;
        rig.start_with(settings.clone());
    }
    rig.gate.assert_no_overlap();
    let script = rig.gate.script();
    let covered: i64 = script.taken.values().map(|snapshot| snapshot.covers_ms).sum();
    let span = script.taken.last_key_value().unwrap().0 - script.taken.first_key_value().unwrap().0;
    assert_eq!(covered, span);
}
