//! Six notifiers as processes on one registry, any of which is killed or stands still at any moment.

use std::{
    collections::HashMap,
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chassis::Clock;
use fleet::alert::channel::Kind;
use registry::{Actor, Channel, Registry};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use testkit::{Receiver, Reply, Server, Servers, Taken, eventually_within};

use crate::rig::{channel, service};

const NOTIFIERS: usize = 6;

/// All times are so many times shorter: what is being sent for 3 s is given up.
const SCALE: u64 = 20;

/// Each with a target of its own, by kind.
const TARGETS: usize = 40;

const WAVES: usize = 30;

const KINDS: [Kind; 5] = [Kind::Wecom, Kind::Telegram, Kind::Slack, Kind::Discord, Kind::Webhook];

/// How many messages of each kind. `make prove` asks for more.
fn messages() -> usize {
    std::env::var("ROLLCALL_NOTIFICATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(120)
}

/// What a receiver took, written down before it answers.
type Journal = Arc<Mutex<Vec<Taken>>>;

/// The same numbers in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

struct Notifiers {
    children: Vec<Child>,
    environment: Vec<(String, String)>,
}

impl Notifiers {
    fn start(environment: Vec<(String, String)>) -> Self {
        let mut notifiers = Self { children: Vec::new(), environment };
        for _ in 0..NOTIFIERS {
            notifiers.children.push(notifiers.spawn());
        }
        notifiers
    }

    fn spawn(&self) -> Child {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_notifier"));
        command.env_clear().args(["--listen", &address.to_string()]).envs(self.environment.iter().cloned());
        command.stdout(Stdio::null()).spawn().unwrap()
    }

    fn signal(&self, number: usize, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.children[number].id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends one at this moment, and starts another.
    fn kill(&mut self, number: usize) {
        self.children[number].kill().unwrap();
        self.children[number].wait().unwrap();
        self.children[number] = self.spawn();
    }
}

impl Drop for Notifiers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What services do when they break.
fn breaks(chance: &mut Chance) -> Reply {
    let with = |status| Reply::With(status, Vec::new(), String::new());
    match chance.below(100) {
        0..=3 => Reply::Hang(Duration::from_secs(1)),
        4..=7 => Reply::Reset,
        8..=10 => with(500),
        11..=14 => Reply::With(429, vec![("retry-after", "5".to_owned())], String::new()),
        15..=17 => Reply::Cut,
        18..=19 => Reply::Close,
        20 => with(400),
        _ => Reply::Usual,
    }
}

fn now() -> i64 {
    Clock::system().now()
}

/// What a kind needs, with a target of its own.
fn target(kind: Kind, number: usize, receiver: &Receiver) -> (Value, Value) {
    let url = format!("{}/{number}", receiver.url());
    match kind {
        Kind::Wecom => (json!({}), json!({"key": format!("key-{number}")})),
        Kind::Telegram => (json!({"chat_id": number}), json!({"token": "1:token"})),
        _ => (json!({}), json!({"url": url})),
    }
}

/// The names in a message, each in a line of its own.
fn names(taken: &Taken) -> Vec<String> {
    match taken.body.pointer("/data/incidents") {
        Some(Value::Array(incidents)) => {
            incidents.iter().map(|incident| incident["server"].as_str().unwrap().to_owned()).collect()
        }
        _ => taken.text().lines().map(|line| line.replace('\\', "")).collect(),
    }
}

/// A name that folds with no other.
fn name(kind: Kind, number: usize) -> String {
    format!("{kind}{number}x{number}y")
}

/// Queues the messages of one wave, one incident each, in the order of their numbers.
async fn queue(
    connection: &mut PgConnection,
    kind: Kind,
    channels: &[Channel],
    numbers: std::ops::Range<usize>,
) {
    for number in numbers {
        let (at, name, channel) = (now(), name(kind, number), &channels[number % channels.len()]);
        // Ids sort by the time they were made, as they do outside of tests: so do the lines of one message.
        let key = format!("'{number:08x}-0000-7000-8000-{:012x}'", kind as u8);
        let sql = format!(
            "INSERT INTO incidents (id, rule, rule_name, kind, metric, server, server_name, instance, level, state,
                 transition, events, opened_at, began_at, updated_at)
             VALUES ({key}, '{name}', 'Rule', 'silent', '', '{name}', '{name}', '', 'warning', 'open', 1, 1, {at}, {at}, {at});
             INSERT INTO notifications (id, channel, channel_name, target_key, kind, state, attempts, due_at, created_at,
                 updated_at)
             VALUES ({key}, '{id}', '', '{target}', 'incidents', 'queued', 0, {number}, {at}, {at});
             INSERT INTO notification_items (channel, incident, transition, reminder, round, notification, kind, level)
             VALUES ('{id}', {key}, 1, 0, 0, {key}, 'alert', 'warning')",
            id = channel.id,
            target = channel.target_key,
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.unwrap();
    }
}

/// Receivers that break, channels that lead to them, and what a notifier needs to know of them.
#[derive(Default)]
struct Stage {
    /// They stop when they are dropped.
    _receivers: Vec<Receiver>,
    journals: Vec<Journal>,
    channels: Vec<Vec<Channel>>,
    environment: Vec<(String, String)>,
}

impl Stage {
    async fn set(registry: &Registry, database_url: &str) -> Self {
        let (mut stage, mut allowed) = (Self::default(), Vec::new());
        for (seed, kind) in (1..).zip(KINDS) {
            let receiver = Receiver::start(service(kind)).await;
            stage.journals.push(write_down(&receiver, Chance(seed)));
            stage.environment.push((format!("NOTIFY_BASE_{}", kind.as_str().to_uppercase()), receiver.url()));
            allowed.push(receiver.address().to_string());
            let mut channels = Vec::new();
            for number in 0..TARGETS {
                let (config, secret) = target(kind, number, &receiver);
                let made = channel(kind, &config, &secret, now());
                let made = Channel { template: Some("{server}".to_owned()), ..made };
                registry.make_channel(&made, &Actor::system()).await.unwrap().unwrap();
                channels.push(made);
            }
            stage.channels.push(channels);
            stage._receivers.push(receiver);
        }
        let settings = [
            ("DATABASE_URL", database_url.to_owned()),
            ("CHANNEL_KEY", "7".repeat(64)),
            ("NOTIFY_ALLOW", allowed.join(",")),
            ("NOTIFY_SCALE", SCALE.to_string()),
            ("DRAIN_SECONDS", "0".to_owned()),
            ("LOG_LEVEL", "error".to_owned()),
        ];
        stage.environment.extend(settings.map(|(name, value)| (name.to_owned(), value)));
        stage
    }
}

/// From now on the receiver breaks by chance. What it takes is written down; what it refuses it did not take.
fn write_down(receiver: &Receiver, mut chance: Chance) -> Journal {
    let journal = Journal::default();
    let writes = Arc::clone(&journal);
    receiver.behave(move |taken| {
        let reply = breaks(&mut chance);
        if !matches!(reply, Reply::With(400 | 429, ..)) {
            writes.lock().unwrap().push(taken.clone());
        }
        reply
    });
    journal
}

/// Kills a notifier, or lets it stand still, some for longer than what they send is theirs; or neither.
async fn disturb(notifiers: &mut Notifiers, chance: &mut Chance) {
    let one = usize::try_from(chance.below(NOTIFIERS as u64)).unwrap();
    match chance.below(3) {
        0 => notifiers.kill(one),
        1 => {
            notifiers.signal(one, Signal::STOP);
            tokio::time::sleep(Duration::from_millis(50 + chance.below(4_000))).await;
            notifiers.signal(one, Signal::CONT);
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn six_notifiers_that_are_killed_and_stand_still_send_nothing_twice() {
    let servers = Servers::of(&[Server::PostgreSql]).await;
    let database_url = &servers.postgresql().direct;
    let registry = Registry::open_postgres(&database_url.parse().unwrap());
    registry.migrate().await.unwrap();
    let mut connection = PgConnection::connect(database_url).await.unwrap();
    let stage = Stage::set(&registry, database_url).await;
    let mut notifiers = Notifiers::start(stage.environment.clone());
    let (mut chance, wave) = (Chance(99), messages().div_ceil(WAVES));
    for number in 0..WAVES {
        let begun = Instant::now();
        for (kind, channels) in KINDS.into_iter().zip(&stage.channels) {
            queue(&mut connection, kind, channels, number * wave..(number + 1) * wave).await;
        }
        disturb(&mut notifiers, &mut chance).await;
        tokio::time::sleep(Duration::from_millis(200).saturating_sub(begun.elapsed())).await;
    }
    eventually_within(Duration::from_secs(300), "nothing waits any more", async || {
        registry.notification_counts().await.unwrap() == (0, 0)
    })
    .await;
    drop(notifiers);
    let sql = "SELECT i.server_name, n.state, n.reason FROM notifications n
               JOIN notification_items t ON t.notification = n.id JOIN incidents i ON i.id = t.incident";
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    let states: HashMap<String, (String, Option<String>)> =
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    assert_eq!(states.len(), KINDS.len() * wave * WAVES);
    for (kind, journal) in KINDS.into_iter().zip(&stage.journals) {
        judge(kind, &journal.lock().unwrap(), &states, wave * WAVES);
    }
    let sent = states.values().filter(|(state, _)| state == "sent").count();
    println!("{sent} of {} were sent", states.len());
    assert!(sent * 10 > states.len(), "{sent}");
}

/// Copies, what is missing, and the order of what was sent in time.
fn judge(kind: Kind, journal: &[Taken], states: &HashMap<String, (String, Option<String>)>, messages: usize) {
    let mut copies: HashMap<String, usize> = HashMap::new();
    let mut last: HashMap<String, usize> = HashMap::new();
    for taken in journal {
        for name in names(taken) {
            let target = format!("{} {}", taken.path, taken.body["chat_id"]);
            let number: usize = name.trim_end_matches('y').rsplit('x').next().unwrap().parse().unwrap();
            let (state, reason) = &states[&name];
            // What was given up, and sent by somebody who stood still, is late.
            if state == "sent" && reason.is_none() {
                let before = last.insert(target, number);
                assert!(before.is_none_or(|before| before < number), "{name} after {before:?}");
            }
            *copies.entry(name).or_default() += 1;
        }
    }
    for number in 0..messages {
        let name = name(kind, number);
        let (state, _) = &states[&name];
        match (copies.get(&name).copied().unwrap_or(0), state.as_str()) {
            (1, _) | (0, "unknown" | "failed" | "fallen") => {}
            (copies, state) => panic!("{name} is {state}, and was taken {copies} times"),
        }
    }
}
