//! The agent between a gate that has orders and the hand.

use std::{fs, time::Duration};

use fleet::order::Kind;
use rollcall_agent::{HandPlace, HandSettings};
use testkit::eventually;

use crate::{gate::Mode, hand::Host, rig::Rig};

/// An agent whose host lets orders be carried out, and whose gate knows that.
async fn opted_in(signals: &str) -> Option<(Rig, Host)> {
    let host = Host::new(signals)?;
    let mut rig = Rig::new().await;
    start(&mut rig, &host);
    let gate = rig.gate.clone();
    eventually("it waits for orders", async || !gate.script().polled.is_empty()).await;
    Some((rig, host))
}

fn start(rig: &mut Rig, host: &Host) {
    let mut settings = rig.settings();
    settings.hand =
        HandSettings { conf: host.path("hand.conf"), place: HandPlace::Socket(host.path("hand.sock")) };
    rig.start_with(settings);
}

async fn results(rig: &Rig, count: usize) -> Vec<(String, Option<String>)> {
    eventually("results arrive", async || rig.gate.script().results.len() >= count).await;
    let script = rig.gate.script();
    script.results.iter().map(|result| (result.state.clone(), result.code.clone())).collect()
}

#[tokio::test]
async fn an_order_is_carried_out_while_beats_go_on_and_its_result_arrives_once() {
    let Some((rig, mut host)) = opted_in("term, kill").await else { return };
    host.start();
    let told = rig.gate.newest().unwrap().agent.unwrap();
    assert_eq!(told.hand, ["process.terminate", "process.kill"]);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(told.boot.as_deref(), Some(boot.trim()));

    let pid = host.program("");
    let order = host.order(Kind::Kill, pid);
    rig.gate.script().orders.push(order);
    assert_eq!(results(&rig, 1).await, [("done".to_owned(), None)]);
    assert!(host.has_ended(pid));

    // One that takes its ten seconds: beats do not wait for it.
    let stubborn = host.program("trap '' TERM;");
    let before = rig.gate.taken();
    let order = host.order(Kind::Terminate, stubborn);
    rig.gate.script().orders.push(order);
    eventually("beats go on", async || rig.gate.taken() >= before + 4).await;
    assert_eq!(rig.gate.script().results.len(), 1, "the order was over before");
    assert_eq!(results(&rig, 2).await[1], ("failed".to_owned(), Some("still_running".to_owned())));
    assert_eq!(host.journal().matches("begun").count(), 2, "it was asked twice");
    let beats = rig.gate.taken();
    eventually("nothing is sent twice", async || rig.gate.taken() >= beats + 2).await;
    assert_eq!(rig.gate.script().results.len(), 2);
}

#[tokio::test]
async fn results_are_kept_on_disk_until_a_gate_has_them() {
    let Some((mut rig, mut host)) = opted_in("kill").await else { return };
    host.start();
    rig.gate.script().results_mode = 503;
    let pid = host.program("");
    let order = host.order(Kind::Kill, pid);
    rig.gate.script().orders.push(order.clone());
    eventually("it is carried out", async || host.has_ended(pid)).await;
    let kept = rig.dir.path().join("state/results.json");
    eventually("the result is on disk", async || {
        fs::read_to_string(&kept).is_ok_and(|text| text.contains("done"))
    })
    .await;
    rig.stop().await;
    host.kill_hand();
    start(&mut rig, &host);
    let polls = rig.gate.script().polled.len();
    eventually("it says that it has it", async || {
        rig.gate.script().polled.iter().skip(polls).any(|have| !have.is_empty())
    })
    .await;
    rig.gate.script().results_mode = 202;
    assert_eq!(results(&rig, 1).await, [("done".to_owned(), None)]);
    eventually("nothing is kept", async || fs::read_to_string(&kept).is_ok_and(|text| text == "[]")).await;
    assert_eq!(host.journal().matches("begun").count(), 1);
}

#[tokio::test]
async fn without_a_hand_orders_are_refused_and_without_leave_nobody_waits_for_them() {
    let Some((mut rig, mut host)) = opted_in("kill").await else { return };
    let pid = host.program("");
    let order = host.order(Kind::Kill, pid);
    rig.gate.script().orders.push(order);
    assert_eq!(results(&rig, 1).await, [("refused".to_owned(), Some("no_hand".to_owned()))]);
    rig.stop().await;

    fs::remove_file(host.path("hand.conf")).unwrap();
    host.start();
    let beats = rig.gate.taken();
    let polls = rig.gate.script().polled.len();
    start(&mut rig, &host);
    // With its beats an order reaches it all the same.
    let order = host.order(Kind::Kill, pid);
    rig.gate.script().orders.push(order);
    assert_eq!(results(&rig, 2).await[1], ("refused".to_owned(), Some("no_hand".to_owned())));
    eventually("it beats", async || rig.gate.taken() >= beats + 2).await;
    assert_eq!(rig.gate.script().polled.len(), polls, "it waits for orders");
    assert_eq!(rig.gate.newest().unwrap().agent.and_then(|agent| agent.boot), None);
    assert!(!host.has_ended(pid));
}

#[tokio::test]
async fn an_agent_within_another_process_carries_orders_out_itself() {
    let Some(mut host) = Host::new("term, kill") else { return };
    let mut rig = Rig::new().await;
    let mut settings = rig.settings();
    let place = HandPlace::Here(rig.dir.path().join("state/hand"));
    settings.hand = HandSettings { conf: host.path("hand.conf"), place };
    rig.start_with(settings);
    let gate = rig.gate.clone();
    eventually("it waits for orders", async || !gate.script().polled.is_empty()).await;
    let (pid, stubborn) = (host.program(""), host.program("trap '' TERM;"));
    let orders = [host.order(Kind::Terminate, pid), host.order(Kind::Terminate, stubborn)];
    rig.gate.script().orders.extend(orders);
    assert_eq!(results(&rig, 1).await[0], ("done".to_owned(), None));
    assert!(host.has_ended(pid));
    // The other one is waited for: nobody who stops the process waits as well.
    let journal = rig.dir.path().join("state/hand/journal.jsonl");
    eventually("both have begun", async || {
        fs::read_to_string(&journal).unwrap().matches("{\"begun\"").count() == 2
    })
    .await;
    tokio::time::timeout(Duration::from_secs(8), rig.stop()).await.unwrap();
    assert_eq!(rig.gate.script().results.len(), 1);
    assert!(!host.has_ended(stubborn));
}

#[tokio::test]
async fn a_gate_that_knows_no_orders_or_fails_delays_no_beat() {
    let Some((rig, _host)) = opted_in("kill").await else { return };
    for status in [404, 503, 401, 204] {
        rig.gate.script().polls = Some(status);
        let (beats, polls) = (rig.gate.taken(), rig.gate.script().polled.len());
        eventually("beats go on", async || rig.gate.taken() >= beats + 3).await;
        // Three seconds and more: without a pause it would be thousands.
        assert!(rig.gate.script().polled.len() < polls + 20, "{status}");
    }
    rig.gate.set(Mode::Stalls);
    tokio::time::timeout(Duration::from_secs(60), rig.holds(2)).await.unwrap();
}
