//! Many at once.

use fleet::alert::channel::Kind;
use registry::NotificationState as State;
use testkit::{Receiver, Service};

use crate::rig::{Rig, SECOND, random};

/// By a fixed clock: their last beats were within the interval before the cut, so they fall silent one by one within 30 s.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_hosts_that_are_cut_at_once_are_one_message_a_channel() {
    let mut rig = Rig::new().await;
    let mut channels = Vec::new();
    let mut receivers = Vec::new();
    for (kind, service) in
        [(Kind::Slack, Service::Slack), (Kind::Discord, Service::Discord), (Kind::Webhook, Service::Webhook)]
    {
        let receiver = Receiver::start(service).await;
        channels.push(rig.channel_to(&receiver, kind).await);
        receivers.push(receiver);
    }
    rig.route(&channels.iter().collect::<Vec<_>>()).await;
    rig.start();
    let begun = rig.now();
    // Four intervals after its last beat each is found, the first after 120 s.
    rig.clock.advance(120 * SECOND);
    let mut found = 0;
    for second in 0..=60 {
        let due = (500 * (second + 1) / 30).min(500);
        for number in found..due {
            rig.silent(&format!("web-{number:03}")).await;
        }
        found = due.max(found);
        if rig.registry.has_to_tell(rig.now()).await.unwrap() {
            rig.registry.tell((500 - found) as usize, random, rig.now()).await.unwrap();
        }
        if rig.states().await.len() == 3 {
            break;
        }
        rig.clock.advance(SECOND);
    }
    assert!(rig.now() - begun <= 180 * SECOND, "{}", rig.now() - begun);
    rig.until(&[State::Sent; 3]).await;
    assert_eq!(receivers.iter().map(Receiver::count).collect::<Vec<_>>(), [1, 1, 1]);
    for receiver in &receivers[..2] {
        let text = receiver.taken()[0].text();
        assert!(text.contains("500 servers: web-") && text.contains("[000-499"), "{text}");
    }
    let data = &receivers[2].taken()[0].body["data"];
    assert_eq!(
        (data["incidents"].as_array().unwrap().len(), &data["truncated"]),
        (100, &serde_json::json!(400))
    );
}
