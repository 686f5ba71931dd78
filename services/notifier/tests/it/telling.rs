//! What is told, how often, and what becomes of it.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use fleet::alert::channel::{Kind, Step};
use hmac::{Hmac, KeyInit, Mac};
use registry::{Actor, NotificationState as State};
use serde_json::json;
use testkit::{Receiver, Reply, Service, eventually};

use crate::rig::{HOUR, MINUTE, Rig, SECOND, random};

async fn rig_with(service: Service) -> (Rig, Receiver) {
    let (mut rig, receiver) = (Rig::new().await, Receiver::start(service).await);
    rig.start();
    (rig, receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_and_its_recovery_are_told_once_each_and_signed() {
    let (rig, receiver) = rig_with(Service::Webhook).await;
    let key = format!("whsec_{}", STANDARD.encode([7; 32]));
    let secret = json!({"url": format!("{}/hook", receiver.url()), "key": key});
    let channel = rig.channel(Kind::Webhook, json!({}), secret).await;
    rig.route(&[&channel]).await;
    let incident = rig.incident("web-1").await;
    rig.pass(3 * SECOND).await;
    rig.until(&[State::Sent]).await;
    rig.resolve(incident, "recovered").await;
    rig.pass(3 * SECOND).await;
    rig.until(&[State::Sent, State::Sent]).await;
    let taken = receiver.taken();
    let told: Vec<_> = taken
        .iter()
        .map(|one| (one.body["data"]["incidents"][0]["change"].clone(), one.path.clone()))
        .collect();
    assert_eq!(told, [(json!("alert"), "/hook".to_owned()), (json!("recovery"), "/hook".to_owned())]);
    let first = &taken[0].body["data"]["incidents"][0];
    assert_eq!(
        (&first["id"], &first["server"], &first["level"]),
        (&json!(incident), &json!("web-1"), &json!("warning"))
    );
    assert_eq!(first["url"], json!(format!("https://rollcall.example.org/#/incidents/{incident}")));
    for one in &taken {
        let (id, at) = (one.header("webhook-id").unwrap(), one.header("webhook-timestamp").unwrap());
        let mac = Hmac::<sha2::Sha256>::new_from_slice(&[7; 32]).unwrap();
        let mac = mac.chain_update(format!("{id}.{at}.")).chain_update(&one.bytes);
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        assert_eq!(one.header("webhook-signature"), Some(format!("v1,{signature}").as_str()));
        assert_eq!(one.header("content-type"), Some("application/json"));
    }
    assert_ne!(taken[0].header("webhook-id"), taken[1].header("webhook-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_route_nothing_is_told_and_with_one_what_is_open_is() {
    let (rig, receiver) = rig_with(Service::Slack).await;
    let channel = rig.channel_to(&receiver, Kind::Slack).await;
    rig.incident("web-1").await;
    rig.pass(10 * SECOND).await;
    assert_eq!(rig.states().await, []);
    rig.route(&[&channel]).await;
    rig.pass(SECOND).await;
    rig.until(&[State::Sent]).await;
    assert!(receiver.taken()[0].text().contains("WARNING: Rule · web-1"), "{:?}", receiver.taken());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_before_it_was_sent_falls() {
    let (mut rig, receiver) = (Rig::new().await, Receiver::start(Service::Slack).await);
    let channel = rig.channel_to(&receiver, Kind::Slack).await;
    rig.route(&[&channel]).await;
    let (one, _other) = (rig.incident("web-1").await, rig.incident("web-2").await);
    rig.pass(3 * SECOND).await;
    assert_eq!(rig.states().await, [State::Queued]);
    rig.resolve(one, "recovered").await;
    let third = rig.incident("web-3").await;
    rig.pass(3 * SECOND).await;
    rig.resolve(third, "recovered").await;
    rig.pass(3 * SECOND).await;
    assert_eq!(rig.states().await, [State::Queued, State::Fallen]);
    rig.start();
    rig.until(&[State::Sent, State::Fallen]).await;
    let text = receiver.taken()[0].text();
    assert!(
        receiver.count() == 1 && text.contains("web-2") && !text.contains("web-1") && !text.contains("web-3"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_taken_is_unknown_and_never_sent_again() {
    for reply in [
        Reply::With(500, Vec::new(), String::new()),
        Reply::Reset,
        Reply::Cut,
        Reply::Close,
        Reply::With(408, Vec::new(), String::new()),
    ] {
        let (rig, receiver) = rig_with(Service::Wecom).await;
        let channel = rig.channel_to(&receiver, Kind::Webhook).await;
        rig.route(&[&channel]).await;
        let wanted = reply.clone();
        receiver.behave(move |_| wanted.clone());
        let incident = rig.incident("web-1").await;
        rig.pass(3 * SECOND).await;
        rig.until(&[State::Unknown]).await;
        rig.pass(2 * HOUR).await;
        assert_eq!((rig.states().await, receiver.count()), (vec![State::Unknown], 1), "{reply:?}");
        // It may have been told, so its end is told.
        receiver.behave(|_| Reply::With(200, Vec::new(), String::new()));
        rig.resolve(incident, "recovered").await;
        rig.pass(3 * SECOND).await;
        rig.until(&[State::Unknown, State::Sent]).await;
        // A person may have it sent again, which is audited; and not twice what was sent.
        let (lost, system) = (rig.notifications().await[0].id, Actor::system());
        let id = fleet::id::NotificationId::new(rig.now(), random());
        rig.registry.resend_notification(lost, id, random, &system, rig.now()).await.unwrap().unwrap();
        rig.pass(SECOND).await;
        rig.until(&[State::Unknown, State::Sent, State::Sent]).await;
        assert_eq!(receiver.count(), 3);
        let again = rig.registry.resend_notification(id, id, random, &system, rig.now()).await.unwrap();
        assert_eq!(again, Err(registry::Refusal::NotLost));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_in_time_is_unknown_and_a_black_hole_is_not_sent() {
    let (mut rig, receiver) = (Rig::new().await, Receiver::start(Service::Slack).await);
    let channel = rig.channel_to(&receiver, Kind::Slack).await;
    // A listener whose queue is full accepts nobody.
    let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hole = full.local_addr().unwrap();
    let clog: Vec<_> = (0..300)
        .map(|_| {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            tokio::spawn(socket.connect(hole))
        })
        .collect();
    let other = rig.channel(Kind::Slack, json!({}), json!({"url": format!("http://{hole}/")})).await;
    rig.route(&[&channel, &other]).await;
    receiver.behave(|_| Reply::Hang(Duration::from_secs(60)));
    rig.start_with("127.0.0.0/8:0", 10);
    rig.incident("web-1").await;
    rig.pass(3 * SECOND).await;
    eventually("one is unknown, and one waits", async || {
        let notifications = rig.notifications().await;
        let state = |channel| {
            notifications.iter().find(|one| one.channel == channel).map(|one| (one.state, one.attempts))
        };
        state(channel.id) == Some((State::Unknown, 1)) && state(other.id) == Some((State::Queued, 1))
    })
    .await;
    drop(clog);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_hour_without_a_way_out_and_one_refusal_every_open_incident_is_told() {
    let (rig, receiver) = rig_with(Service::Slack).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let channel = rig.channel(Kind::Slack, json!({}), json!({"url": format!("http://{closed}/")})).await;
    rig.route(&[&channel]).await;
    let mut incidents = Vec::new();
    // Names that do not fold.
    let name = |number: u8| format!("host-{}", char::from(b'a' + number));
    for number in 0..13 {
        incidents.push(rig.incident(&name(number)).await);
        for _ in 0..5 {
            rig.pass(MINUTE).await;
            eventually("what is due was tried", async || rig.has_tried().await).await;
        }
    }
    assert!(rig.states().await.iter().all(|state| *state == State::Queued));
    rig.resolve(incidents[0], "recovered").await;
    // The way out is there again, and the first message is refused.
    let mut first = true;
    receiver.behave(move |_| {
        if std::mem::take(&mut first) { Reply::With(400, Vec::new(), String::new()) } else { Reply::Usual }
    });
    let mut changed = rig.registry.channel(channel.id).await.unwrap().unwrap();
    let moved = crate::rig::channel(Kind::Slack, &json!({}), &json!({"url": receiver.url()}), rig.now());
    let secret = fleet::alert::channel::Secret::read(Kind::Slack, &json!({"url": receiver.url()})).unwrap();
    changed.target_key = moved.target_key;
    changed.secret = Some(crate::rig::keys().seal(channel.id, Kind::Slack, &secret, [3; 24]).unwrap());
    rig.registry.change_channel(&changed, &Actor::system(), rig.now()).await.unwrap().unwrap();
    rig.pass(SECOND).await;
    eventually("the first is refused", async || rig.states().await.contains(&State::Failed)).await;
    eventually("all open ones are told", async || {
        rig.pass(MINUTE).await;
        let texts: String = receiver.taken().iter().skip(1).map(|one| one.text()).collect();
        (1..13).all(|number| texts.contains(&name(number)))
    })
    .await;
    let texts: String = receiver.taken().iter().map(|one| one.text()).collect();
    assert!(!texts.contains(&name(0)), "{texts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_gone_is_disabled_alone_and_the_next_step_is_told() {
    let (rig, receiver) = rig_with(Service::Slack).await;
    let other = Receiver::start(Service::Slack).await;
    let (gone, next) =
        (rig.channel_to(&receiver, Kind::Slack).await, rig.channel_to(&other, Kind::Slack).await);
    let step = |after_ms, channel: &registry::Channel| Step { after_ms, channels: vec![channel.id] };
    rig.route_by(vec![step(0, &gone), step(HOUR, &next)], 0).await;
    receiver.behave(|_| Reply::With(410, Vec::new(), "secret of an internal page".to_owned()));
    rig.incident("web-1").await;
    rig.pass(3 * SECOND).await;
    rig.until(&[State::Failed]).await;
    rig.pass(2 * SECOND).await;
    rig.until(&[State::Failed, State::Sent]).await;
    let disabled = rig.registry.channel(gone.id).await.unwrap().unwrap().disabled.unwrap();
    assert_eq!(disabled.1, "HTTP 410");
    assert_eq!(rig.registry.channel(next.id).await.unwrap().unwrap().disabled, None);
    rig.pass(2 * HOUR).await;
    assert_eq!((receiver.count(), other.count()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_is_waited_for_as_long_as_it_says() {
    let (rig, receiver) = rig_with(Service::Discord).await;
    let channel = rig.channel_to(&receiver, Kind::Discord).await;
    rig.route(&[&channel]).await;
    let mut first = true;
    receiver.behave(move |_| {
        let body = r#"{"retry_after":30.0,"global":false}"#.to_owned();
        if std::mem::take(&mut first) { Reply::With(429, Vec::new(), body) } else { Reply::Usual }
    });
    rig.incident("web-1").await;
    rig.pass(3 * SECOND).await;
    eventually("it waits", async || {
        let notifications = rig.notifications().await;
        notifications.len() == 1 && notifications[0].attempts == 1 && notifications[0].state == State::Queued
    })
    .await;
    rig.pass(29 * SECOND).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(receiver.count(), 1);
    rig.pass(2 * SECOND).await;
    rig.until(&[State::Sent]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_goes_out_as_few_messages_in_its_order_within_the_budget() {
    let (mut rig, receiver) = (Rig::new().await, Receiver::start(Service::Slack).await);
    let channel = rig.channel_to(&receiver, Kind::Slack).await;
    rig.route(&[&channel]).await;
    for number in 0..120 {
        rig.incident(&format!("x{number}y")).await;
        rig.pass(3 * SECOND).await;
    }
    assert_eq!(rig.states().await.len(), 120);
    rig.start();
    for messages in 1..=3 {
        eventually("a message of fifty at most", async || receiver.count() == messages).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        // Its budget is a message in two seconds, by the clock of the suite.
        assert_eq!(receiver.count(), messages);
        rig.clock.advance(2 * SECOND);
    }
    rig.until(&[State::Sent; 120]).await;
    let told = receiver.taken()[1].text();
    assert!(told.contains("50 servers"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reminders_go_until_somebody_acknowledges() {
    let (rig, receiver) = rig_with(Service::Webhook).await;
    let channel = rig.channel_to(&receiver, Kind::Webhook).await;
    rig.route_by(vec![Step { after_ms: 0, channels: vec![channel.id] }], 10 * MINUTE).await;
    let incident = rig.incident("web-1").await;
    rig.pass(3 * SECOND).await;
    rig.until(&[State::Sent]).await;
    rig.pass(10 * MINUTE + 2 * SECOND).await;
    rig.until(&[State::Sent, State::Sent]).await;
    rig.change(incident, "state = 'acknowledged'").await;
    rig.pass(HOUR).await;
    assert_eq!(rig.states().await.len(), 2);
    rig.change(incident, "state = 'open', level = 'critical'").await;
    rig.pass(3 * SECOND).await;
    rig.until(&[State::Sent, State::Sent, State::Sent]).await;
    let changes: Vec<_> =
        receiver.taken().iter().map(|one| one.body["data"]["incidents"][0]["change"].clone()).collect();
    assert_eq!(changes, [json!("alert"), json!("reminder"), json!("rise")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn flapping_for_an_hour_is_told_twelve_times_at_most() {
    let (rig, receiver) = rig_with(Service::Webhook).await;
    let channel = rig.channel_to(&receiver, Kind::Webhook).await;
    rig.route(&[&channel]).await;
    for _ in 0..90 {
        let incident = rig.incident("web-1").await;
        rig.pass(20 * SECOND).await;
        eventually("nothing waits", async || {
            !rig.states().await.iter().any(|state| matches!(state, State::Queued | State::Sending))
        })
        .await;
        rig.resolve(incident, "recovered").await;
        rig.pass(20 * SECOND).await;
        eventually("nothing waits", async || {
            !rig.states().await.iter().any(|state| matches!(state, State::Queued | State::Sending))
        })
        .await;
    }
    let all = receiver.taken();
    let changes = all.iter().flat_map(|one| one.body["data"]["incidents"].as_array().unwrap().clone());
    let (alerts, others): (Vec<_>, Vec<_>) = changes.partition(|one| one["change"] == "alert");
    assert!(
        (6..=12).contains(&alerts.len()) && others.len() == alerts.len(),
        "{} {}",
        alerts.len(),
        others.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heartbeat_is_called_while_all_is_well_and_no_longer() {
    let (mut rig, receiver) = (Rig::new().await, Receiver::start(Service::Webhook).await);
    rig.heartbeat = Some(format!("{}/ping", receiver.url()).parse().unwrap());
    rig.start_with("127.0.0.0/8:0", 600);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.count(), 0);
    let now = rig.now();
    rig.execute(&format!("UPDATE versions SET version = {now} WHERE name = 'judge'")).await;
    let progress = fleet::liveness::Progress {
        newest_settled: Some(now),
        oldest_in_hand: None,
        open_since: Some(now - HOUR),
        written_at: now,
    };
    rig.registry.put_progress("worker", &progress).await.unwrap();
    eventually("it is called", async || receiver.count() > 2).await;
    assert_eq!(receiver.taken()[0].path, "/ping");
    // The judge stands still.
    rig.clock.advance(MINUTE);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let count = receiver.count();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(receiver.count(), count);
}
