//! What those who may make channels, and those who name hosts, could try.

use std::{fs, process::Command};

use fleet::alert::{
    channel::{Kind, Secret},
    request::Bases,
};
use registry::{Actor, NotificationState as State, Registry};
use serde_json::json;
use testkit::{Receiver, Server, Servers, eventually, tempdir};

use crate::rig::{Rig, SECOND, channel, service};

/// Addresses that are not of the Internet.
const FOUR: [&str; 24] = [
    "0.0.0.0",
    "0.0.0.1",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "127.0.0.1",
    "127.0.0.2",
    "127.1.2.3",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.1.254",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
];
const SIX: [&str; 16] = [
    "::",
    "::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "64:ff9b:1::7f00:1",
    "::ffff:0:127.0.0.1",
    "::127.0.0.1",
    "4000::1",
];

/// Every way to write an address that a URL takes.
fn spellings(address: &str) -> Vec<String> {
    let [a, b, c, d] = address.split('.').map(|part| part.parse::<u32>().unwrap()).collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    let whole = a << 24 | b << 16 | c << 8 | d;
    let (high, low) = (whole >> 16, whole & 0xffff);
    vec![
        address.to_owned(),
        format!("{address}."),
        whole.to_string(),
        format!("{whole:#x}"),
        format!("{whole:#o}").replace("0o", "0"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a}.{}", b << 16 | c << 8 | d),
        format!("{a}.{b}.{}", c << 8 | d),
        format!("%{:02x}{}", address.as_bytes()[0], &address[1..]),
        format!("[::ffff:{address}]"),
        format!("[::ffff:{high:x}:{low:x}]"),
        format!("[64:ff9b::{high:x}:{low:x}]"),
        format!("[2002:{high:x}:{low:x}::1]"),
        address.replace('.', "。"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_that_is_not_of_the_internet_is_asked_however_it_is_written() {
    let (mut rig, receiver) = (Rig::new().await, Receiver::start(service(Kind::Webhook)).await);
    let port = receiver.address().port();
    let names = ["localhost", "LOCALHOST"].map(str::to_owned);
    let mut hosts: Vec<String> = FOUR.iter().flat_map(|address| spellings(address)).collect();
    hosts.extend(SIX.iter().map(|address| format!("[{address}]")));
    hosts.extend(names);
    assert!(hosts.len() >= 300, "{}", hosts.len());
    let mut channels = Vec::new();
    let mut refused = 0;
    for host in &hosts {
        for scheme in ["https", "http"] {
            let secret = json!({"url": format!("{scheme}://{host}:{port}/")});
            match Secret::read(Kind::Webhook, &secret) {
                Ok(_) => channels.push(rig.channel(Kind::Webhook, json!({}), secret).await),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(channels.len() > 2 * refused, "{refused} of {} are no URLs", channels.len());
    for some in channels.chunks(20) {
        rig.route(&some.iter().collect::<Vec<_>>()).await;
    }
    rig.execute("UPDATE alert_routes SET goes_on = 1").await;
    rig.start_with("", 1);
    rig.incident("web-1").await;
    rig.pass(3 * SECOND).await;
    eventually("nothing waits", async || {
        // Where several lead to one place, each has its turn.
        rig.clock.advance(SECOND);
        rig.registry.notification_counts().await.unwrap() == (0, 0)
    })
    .await;
    let all = rig.notifications().await;
    assert_eq!(all.len(), channels.len().min(500));
    assert_eq!(receiver.count(), 0);
    for one in all {
        assert_eq!(one.state, State::Failed);
        let reason = one.reason.as_deref().unwrap();
        assert!(reason.contains("NOTIFY_ALLOW="), "{reason}");
    }
}

/// What a host, or whoever names one, may be called.
const NAMES: [&str; 18] = [
    "<@all>",
    "<!channel> pay attention",
    "@everyone",
    "@here",
    "<@U123>",
    "<https://evil.example|click>",
    "[click](https://evil.example)",
    "**bold** _it_ ~~no~~ `code` ```block```",
    "<font color=\"warning\">x</font>",
    "# heading",
    "> quote",
    "a\nCRITICAL: forged",
    "a\r\n\r\nb",
    "\u{202e}gnp.exe",
    "x\u{2028}y",
    "{server}",
    "\\",
    "&lt;b&gt;",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_name_is_text_in_every_kind_of_message() {
    let mut rig = Rig::new().await;
    let mut receivers = Vec::new();
    let mut channels = Vec::new();
    for kind in [Kind::Slack, Kind::Discord, Kind::Webhook] {
        let receiver = Receiver::start(service(kind)).await;
        channels.push(rig.channel_to(&receiver, kind).await);
        receivers.push((kind, receiver));
    }
    let mut bases = Vec::new();
    for (kind, config, secret) in [
        (Kind::Wecom, json!({}), json!({"key": "k"})),
        (Kind::Telegram, json!({"chat_id": -5}), json!({"token": "1:a"})),
    ] {
        let receiver = Receiver::start(service(kind)).await;
        bases.push((kind, receiver.url().parse().unwrap()));
        channels.push(rig.channel(kind, config, secret).await);
        receivers.push((kind, receiver));
    }
    rig.bases = Bases::new(bases);
    let plain = Receiver::start(service(Kind::Webhook)).await;
    channels.push(rig.channel(Kind::Webhook, json!({"form": "plain"}), json!({"url": plain.url()})).await);
    receivers.push((Kind::Mail, plain));
    rig.route(&channels.iter().collect::<Vec<_>>()).await;
    rig.start();
    for (count, name) in (1..).zip(NAMES) {
        rig.incident(name).await;
        rig.pass(4 * SECOND).await;
        for (kind, receiver) in &receivers {
            eventually("it is told", async || receiver.count() == count).await;
            let taken = receiver.taken().pop().unwrap();
            let text = taken.text();
            if *kind == Kind::Webhook {
                let incident = &taken.body["data"]["incidents"][0];
                assert_eq!(incident["server"], json!(name));
                continue;
            }
            // The line, and the link.
            assert_eq!(text.lines().count(), 2, "{kind} {name:?}: {text}");
            assert!(!text.contains(['\u{202e}', '\u{2028}']), "{kind}: {text:?}");
            match kind {
                // `<` would mention people; the rest is its markup.
                Kind::Wecom => assert!(!text.contains(['<', '>', '[', ']', '`', '*']), "{text}"),
                // Without a mode all of it is text.
                Kind::Telegram => assert_eq!(taken.body.get("parse_mode"), None),
                Kind::Slack => assert!(!text.contains(['<', '>']), "{text}"),
                Kind::Discord => {
                    assert_eq!(taken.body["allowed_mentions"], json!({"parse": []}));
                    let bare =
                        |mark: &str| text.match_indices(mark).any(|(at, _)| !text[..at].ends_with('\\'));
                    assert!(!["<", "[", "*", "`", "@", "_"].iter().any(|mark| bare(mark)), "{text}");
                }
                _ => {}
            }
        }
    }
}

const MARKER: &str = "m4rkerOfASecret";

/// The log of a notifier that tries to reach each of these, at its most talkative level.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_log() {
    let servers = Servers::of(&[Server::PostgreSql]).await;
    let registry = Registry::open_postgres(&servers.postgresql().direct.parse().unwrap());
    registry.migrate().await.unwrap();
    let receiver = Receiver::start(service(Kind::Webhook)).await;
    receiver.behave(|taken| {
        // A receiver that says back what it was sent.
        testkit::Reply::With(400, Vec::new(), format!("{} {}", taken.path, taken.body))
    });
    let folder = tempdir().unwrap();
    let log = folder.path().join("log");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut tests = Vec::new();
    for (kind, config, secret) in [
        (Kind::Wecom, json!({}), json!({"key": MARKER})),
        (Kind::Telegram, json!({"chat_id": 1}), json!({"token": format!("1:{MARKER}")})),
        (Kind::Slack, json!({}), json!({"url": format!("{}/{MARKER}", receiver.url())})),
        (Kind::Discord, json!({}), json!({"url": format!("http://{closed}/{MARKER}")})),
        (Kind::Webhook, json!({}), json!({"url": format!("http://{closed}/{MARKER}?{MARKER}")})),
        (Kind::Webhook, json!({}), json!({"url": format!("https://{}/{MARKER}", receiver.address())})),
    ] {
        let made = channel(kind, &config, &secret, crate::rig::NOW);
        registry.make_channel(&made, &Actor::system()).await.unwrap().unwrap();
        let id = fleet::id::NotificationId::new(crate::rig::NOW, crate::rig::random());
        registry
            .test_channel(made.id, id, crate::rig::random, &Actor::system(), crate::rig::NOW)
            .await
            .unwrap()
            .unwrap();
        tests.push(id);
    }
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut notifier = Command::new(env!("CARGO_BIN_EXE_notifier"));
    notifier.env_clear().args(["--listen", &address.to_string()]).env("LOG_LEVEL", "trace");
    notifier.env("DATABASE_URL", &servers.postgresql().direct).env("CHANNEL_KEY", "7".repeat(64));
    notifier.env("NOTIFY_ALLOW", format!("{},{closed}", receiver.address()));
    for kind in ["WECOM", "TELEGRAM"] {
        notifier.env(format!("NOTIFY_BASE_{kind}"), receiver.url());
    }
    let mut running = notifier.stdout(fs::File::create(&log).unwrap()).spawn().unwrap();
    eventually("each was tried", async || {
        let mut tried = 0;
        for id in &tests {
            let one = registry.notification(*id).await.unwrap().unwrap();
            tried += usize::from(one.reason.is_some());
        }
        tried == tests.len()
    })
    .await;
    running.kill().unwrap();
    running.wait().unwrap();
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("a message"), "{text}");
    let found: Vec<&str> = text.lines().filter(|line| line.contains(MARKER)).collect();
    assert!(found.is_empty(), "{found:#?}");
    for id in tests {
        let one = registry.notification(id).await.unwrap().unwrap();
        assert!(!format!("{one:?}").contains(MARKER), "{one:?}");
    }
}
