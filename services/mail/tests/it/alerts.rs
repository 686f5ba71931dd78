//! Messages about incidents, over a server.

use std::sync::atomic::{AtomicU8, Ordering};

use fleet::{
    Millis,
    alert::{
        Level,
        channel::{Config, Kind, Step, target_key},
        route::{Match, Route},
    },
    id::{AlertRouteId, ChannelId},
    words::Language,
};
use mail::{Authorities, Sender};
use registry::{Actor, Channel, NotificationFilter, NotificationState, Page};
use serde_json::json;
use testkit::eventually;

use crate::{
    post::{MINUTE, NOW, Post},
    server::Server,
};

/// Bytes that no other id of this test has.
fn random() -> [u8; 10] {
    static COUNT: AtomicU8 = AtomicU8::new(100);
    [COUNT.fetch_add(1, Ordering::Relaxed); 10]
}

/// A channel to these local parts, on which everything is told.
async fn told(post: &Post, names: &[&str]) {
    let recipients: Vec<_> = names.iter().map(|name| format!("{name}@example.org")).collect();
    let config = Config::read(Kind::Mail, &json!({"recipients": recipients})).unwrap();
    let id = ChannelId::new(NOW, random());
    let channel = Channel {
        id,
        name: "night".to_owned(),
        target_key: target_key(id, &config, None),
        language: Language::English,
        time_zone: "Europe/Berlin".to_owned(),
        template: None,
        config,
        secret: None,
        secret_origin: None,
        secret_set_at: None,
        disabled: None,
        version: 1,
        created_at: NOW,
        updated_at: NOW,
    };
    let by = Actor::system();
    post.registry.make_channel(&channel, &by).await.unwrap().unwrap();
    let route = Route {
        id: AlertRouteId::new(NOW, random()),
        matches: Match::default(),
        min_level: Level::Warning,
        steps: vec![Step { after_ms: 0, channels: vec![id] }],
        reminder_ms: 0,
        goes_on: false,
    };
    post.registry.make_alert_route(&route, "", None, &by, NOW).await.unwrap().unwrap();
}

/// What management does each second: makes messages of what there is to tell, and brings mails that are due to the queue.
async fn turn(post: &Post, now: Millis) {
    post.registry.tell(0, random, now).await.unwrap();
    for job in post.registry.take_due_deliveries(now, now + MINUTE, 100).await.unwrap() {
        // As from a broker that lost the ack.
        post.bring(job.clone());
        post.bring(job);
    }
}

/// Waits until the messages are in these states, by how their mails ended.
async fn until(post: &Post, states: &[NotificationState]) {
    eventually(&format!("{states:?}"), async || {
        turn(post, post.clock.now()).await;
        let page = Page { page: 1, page_size: 50 };
        let (mut all, _) = post.registry.notifications(&NotificationFilter::default(), page).await.unwrap();
        all.reverse();
        all.iter().map(|one| one.state).collect::<Vec<_>>() == states
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_and_its_recovery_reach_everybody_once_over_a_server() {
    let server = Server::start().await;
    let sender = Sender::Smtp(server.url().parse().unwrap(), Authorities::default());
    let post = Post::new(sender, &[]).await;
    told(&post, &["day", "night"]).await;
    post.execute(
        "INSERT INTO incidents (id, rule, rule_name, kind, metric, server, server_name, instance, level, state, transition,
        events, opened_at, began_at, updated_at, tell_at) VALUES ('0190a5c2-7b5e-7c3d-8e4f-0123456789ab', 'rule',
        'A host falls silent', 'silent', '', 'server', 'web-1', '', 'critical', 'open', 1, 1, 1790000000000, 1790000000000,
        1790000000000, 1790000000000)",
    )
    .await;
    until(&post, &[NotificationState::Sent]).await;
    post.execute(
        "UPDATE incidents SET state = 'resolved', resolution = 'recovered', transition = 2, resolved_at = 1790000060000,
        tell_at = 1790000060000",
    )
    .await;
    post.clock.advance(MINUTE);
    until(&post, &[NotificationState::Sent; 2]).await;
    post.stop().await;
    for name in ["day", "night"] {
        let taken = server.taken(name);
        assert_eq!(taken.len(), 2, "{taken:?}");
        for (mail, words) in taken.iter().zip(["CRITICAL", "RECOVERED"]) {
            let subject = format!("Subject: {words}: A host falls silent on web-1");
            assert!(mail.lines().any(|line| line == subject), "{mail}");
            assert!(mail.lines().any(|line| line == format!("To: {name}@example.org")), "{mail}");
            assert!(mail.contains("since 2026-09-21 16:13 CEST"), "{mail}");
            assert!(mail.contains("Auto-Submitted: auto-generated"), "{mail}");
        }
        let id =
            |mail: &String| mail.lines().find(|line| line.starts_with("Message-ID: ")).unwrap().to_owned();
        assert_ne!(id(&taken[0]), id(&taken[1]));
    }
}
