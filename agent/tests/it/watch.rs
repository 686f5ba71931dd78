//! An agent that is elected tells on its own channel when no gate answers, and once more when one does.

use std::{fs, path::Path, time::Duration};

use rollcall_agent::{Args, Settings};
use serde_json::{Value, json};
use testkit::{Receiver, Reply, Service, eventually};

use crate::{
    gate::{Gate, Mode},
    rig::Rig,
};

/// A file of a channel, for its owner alone.
fn channel_file(dir: &Path, body: &Value) -> String {
    let path = dir.join("channel.json");
    fs::write(&path, body.to_string()).unwrap();
    set_mode(&path, 0o600);
    path.display().to_string()
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn with_channel(rig: &Rig, body: &Value, allowed: &str) -> Settings {
    let args = Args {
        url: Some(rig.gate.url()),
        watch_file: Some(channel_file(rig.dir.path(), body)),
        watch_allow: Some(allowed.to_owned()),
        ..Args::default()
    };
    Settings { watch: Settings::read(&args, None).unwrap().watch, ..rig.settings() }
}

fn telling(rig: &Rig, receiver: &Receiver) -> Settings {
    let secret = json!({"url": format!("{}/hook", receiver.url())});
    let body = json!({"kind": "webhook", "secret": secret});
    with_channel(rig, &body, &receiver.address().to_string())
}

/// A running agent that says it would tell, and holds a lease of so many ms, or none.
async fn elected(lease_ms: Option<i64>) -> (Rig, Receiver, Settings) {
    let (mut rig, receiver) = (Rig::new().await, Receiver::start(Service::Webhook).await);
    let settings = telling(&rig, &receiver);
    rig.gate.script().lease_ms = lease_ms;
    rig.start_with(settings.clone());
    let gate = rig.gate.clone();
    eventually("it says that it would tell", async || {
        gate.newest().and_then(|snapshot| snapshot.agent).is_some_and(|agent| agent.reporter)
    })
    .await;
    (rig, receiver, settings)
}

/// What was told: of each message what it says of the incident, and its name.
fn told(receiver: &Receiver) -> Vec<(String, String)> {
    let one = |taken: testkit::Taken| {
        let change = taken.body.pointer("/data/incidents/0/change").unwrap().as_str().unwrap().to_owned();
        (change, taken.header("webhook-id").unwrap().to_owned())
    };
    receiver.taken().into_iter().map(one).collect()
}

/// Samples are taken and held while no gate takes them, so many more.
async fn holds_more(rig: &Rig, more: usize) {
    let before = rig.held().len();
    rig.holds(before + more).await;
}

async fn takes_more(gate: &Gate, more: usize) {
    let before = gate.taken();
    eventually("samples are taken", async || gate.taken() >= before + more).await;
}

fn stage(rig: &Rig) -> Value {
    let text = fs::read(rig.dir.path().join("state/state.json")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()["outage"]["stage"].clone()
}

#[tokio::test]
async fn an_outage_is_told_once_and_its_end_once() {
    let (rig, receiver, _) = elected(Some(60_000)).await;
    rig.gate.set(Mode::HangsUp);
    holds_more(&rig, 2).await;
    assert_eq!(receiver.count(), 0, "two attempts that fail are no outage yet");
    eventually("it is told", async || receiver.count() == 1).await;
    holds_more(&rig, 3).await;
    rig.gate.set(Mode::Takes);
    eventually("its end is told", async || receiver.count() == 2 && stage(&rig) == Value::Null).await;
    // The next outage is its own, and so soon after this one it is not told.
    rig.gate.set(Mode::HangsUp);
    holds_more(&rig, 4).await;

    let told = told(&receiver);
    assert_eq!([&*told[0].0, &*told[1].0], ["alert", "recovery"]);
    let (begun, ended) = (told[0].1.rsplit_once('_').unwrap(), told[1].1.rsplit_once('_').unwrap());
    assert_eq!((begun.0, begun.1, ended.1), (ended.0, "1", "2"), "both are of one incident");
    let incident = receiver.taken()[0].body["data"]["incidents"][0].clone();
    assert_eq!((&incident["level"], &incident["server"]), (&json!("critical"), &json!("host")));
    assert_eq!(incident["rule"], "This server cannot reach Rollcall");
    assert_eq!(told.len(), receiver.count(), "and no more");
    assert_eq!(stage(&rig), Value::Null);
}

#[tokio::test]
async fn an_agent_tells_nothing_without_a_lease_that_ran_when_the_failure_began() {
    // Of nobody; of one that ends before the next sample; and one that no gate would give.
    let tells_nothing = async |lease_ms: Option<i64>| {
        let (rig, receiver, _) = elected(lease_ms).await;
        rig.gate.set(Mode::HangsUp);
        holds_more(&rig, 5).await;
        assert_eq!(receiver.count(), 0, "{lease_ms:?}");
    };
    tokio::join!(tells_nothing(None), tells_nothing(Some(100)), tells_nothing(Some(86_400_000)));
}

#[tokio::test]
async fn a_gate_that_refuses_this_agent_is_no_outage_and_one_that_takes_nothing_is() {
    let (rig, receiver, _) = elected(Some(60_000)).await;
    for status in [401, 429] {
        rig.gate.set(Mode::Answers(status));
        holds_more(&rig, 4).await;
    }
    assert_eq!(receiver.count(), 0);
    rig.gate.set(Mode::Answers(503));
    eventually("it is told", async || receiver.count() == 1).await;
}

#[tokio::test]
async fn what_may_have_been_taken_is_never_sent_again() {
    let is_sent_once = async |reply: Reply| {
        let (rig, receiver, _) = elected(Some(60_000)).await;
        let what = format!("{reply:?}");
        receiver.behave(move |_| reply.clone());
        rig.gate.set(Mode::HangsUp);
        eventually("it counts as told", async || stage(&rig) == "told").await;
        holds_more(&rig, 7).await;
        assert_eq!(receiver.count(), 1, "{what}");
        receiver.behave(|_| Reply::Usual);
        rig.gate.set(Mode::Takes);
        eventually("its end is told", async || receiver.count() == 2).await;
    };
    let broken = Reply::With(500, Vec::new(), String::new());
    tokio::join!(is_sent_once(Reply::Reset), is_sent_once(Reply::Cut), is_sent_once(broken));
}

#[tokio::test]
async fn what_was_not_sent_is_tried_again_under_the_same_name() {
    let (rig, receiver, _) = elected(Some(60_000)).await;
    let mut refused = false;
    receiver.behave(move |_| match std::mem::replace(&mut refused, true) {
        false => Reply::With(429, vec![("retry-after", "1".to_owned())], String::new()),
        true => Reply::Usual,
    });
    rig.gate.set(Mode::HangsUp);
    eventually("it is told", async || stage(&rig) == "told").await;
    let told = told(&receiver);
    assert_eq!(told.len(), 2);
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn a_crash_while_it_is_told_tells_nothing_twice() {
    let (mut rig, receiver, settings) = elected(Some(60_000)).await;
    receiver.behave(|_| Reply::Hang(Duration::from_secs(600)));
    rig.gate.set(Mode::HangsUp);
    eventually("it is on its way", async || receiver.count() == 1 && stage(&rig) == "alerting").await;
    rig.stop().await;
    assert_eq!(stage(&rig), "alerting");
    receiver.behave(|_| Reply::Usual);
    rig.start_with(settings.clone());
    holds_more(&rig, 5).await;
    assert_eq!(receiver.count(), 1);

    // The same while its end is told.
    receiver.behave(|_| Reply::Hang(Duration::from_secs(600)));
    rig.gate.set(Mode::Takes);
    eventually("its end is on its way", async || receiver.count() == 2 && stage(&rig) == "recovering").await;
    rig.stop().await;
    rig.start_with(settings);
    takes_more(&rig.gate, 4).await;
    assert_eq!(receiver.count(), 2);
    assert_eq!(stage(&rig), Value::Null);
}

#[tokio::test]
async fn a_crash_before_anything_was_sent_tells_of_the_end_alone() {
    let (mut rig, receiver, settings) = elected(Some(60_000)).await;
    rig.gate.set(Mode::HangsUp);
    rig.stop().await;
    // As it is on disk between the writing and the sending.
    let path = rig.dir.path().join("state/state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let id = "01a0c450-6c00-7303-8303-030303030303";
    state["outage"] = json!({"id": id, "since": 1_790_000_000_000_i64, "stage": "alerting", "attempts": 1});
    fs::write(&path, state.to_string()).unwrap();
    rig.start_with(settings);
    holds_more(&rig, 5).await;
    assert_eq!(receiver.count(), 0, "nobody knows that it was not sent");
    rig.gate.set(Mode::Takes);
    eventually("its end is told", async || receiver.count() == 1).await;
    assert_eq!(told(&receiver)[0].0, "recovery");
}

#[tokio::test]
async fn a_lease_outlives_a_restart_of_the_agent() {
    let (mut rig, receiver, settings) = elected(Some(60_000)).await;
    rig.stop().await;
    rig.gate.set(Mode::HangsUp);
    rig.start_with(settings);
    eventually("it is told", async || receiver.count() == 1).await;
}

#[tokio::test]
async fn a_lease_counts_from_when_the_request_was_sent() {
    let (rig, ..) = elected(None).await;
    {
        let mut script = rig.gate.script();
        (script.delay, script.lease_ms) = (Duration::from_millis(600), Some(60_000));
    }
    let state = || -> Value {
        serde_json::from_slice(&fs::read(rig.dir.path().join("state/state.json")).unwrap()).unwrap()
    };
    eventually("it holds a lease", async || state()["lease"].is_object()).await;
    // Both are by the time since the boot: the end of the lease, and when the answer was taken in.
    let state = state();
    let (until, answered) = (&state["lease"]["until"], &state["succeeded"]["up"]);
    let left = until.as_i64().unwrap() - answered.as_i64().unwrap();
    assert!((50_000..=60_000 - 600).contains(&left), "{left}");
}

#[test]
fn a_channel_that_cannot_work_is_refused_with_words_and_no_secret() {
    let dir = testkit::tempdir().unwrap();
    let read = |path: &str, allowed: &str, interval: &str| {
        let args = Args {
            url: Some("http://127.0.0.1:9".to_owned()),
            name: Some("host".to_owned()),
            interval: Some(interval.to_owned()),
            watch_file: Some(path.to_owned()),
            watch_allow: Some(allowed.to_owned()),
            ..Args::default()
        };
        Settings::read(&args, None).map(drop).map_err(|wrong| wrong.to_string())
    };
    let hook = |url: &str| json!({"kind": "slack", "config": {}, "secret": {"url": url}});
    let good = hook("https://hooks.slack.com/hunter2");
    assert_eq!(read(&channel_file(dir.path(), &good), "", "60"), Ok(()));
    for (body, allowed, words) in [
        (json!({"kind": "pager", "secret": {}}), "", "kind must be wecom"),
        (
            json!({"kind": "mail", "config": {"recipients": ["hunter2@example.org"]}}),
            "",
            "mail needs the suite",
        ),
        (json!({"kind": "slack", "secret": {"hook": "hunter2"}}), "", "secret"),
        (json!({"kind": "telegram", "secret": {"token": "hunter2"}}), "", "config.chat_id"),
        (
            json!({"kind": "slack", "secret": {"url": "https://a/hunter2"}, "to": 1}),
            "",
            "it must be {\"kind\"",
        ),
        (
            json!({"kind": "slack", "secret": {"url": "https://a/hunter2"}, "language": "fr"}),
            "",
            "language must be",
        ),
        (hook("http://hooks.example.org/hunter2"), "", "ROLLCALL_WATCH_ALLOW=hooks.example.org:80"),
        (hook("https://127.0.0.1/hunter2"), "", "ROLLCALL_WATCH_ALLOW=127.0.0.1:443"),
        (good.clone(), "nonsense", "ROLLCALL_WATCH_ALLOW must be hosts"),
    ] {
        let told = read(&channel_file(dir.path(), &body), allowed, "30").unwrap_err();
        assert!(told.contains(words) && !told.contains("hunter2"), "{body}: {told}");
    }
    let path = channel_file(dir.path(), &good);
    assert!(read(&path, "", "61").unwrap_err().contains("ROLLCALL_INTERVAL of at most 60"));
    for mode in [0o640, 0o604, 0o660] {
        set_mode(Path::new(&path), mode);
        let told = read(&path, "", "30").unwrap_err();
        assert!(told.contains("chmod 600"), "{told}");
    }
    set_mode(Path::new(&path), 0o400);
    assert_eq!(read(&path, "", "30"), Ok(()));
    assert!(read("/no/such/file", "", "30").unwrap_err().contains("cannot be read"));
}
