//! A registry with channels, routes and incidents, and a notifier in this process.

use std::sync::atomic::{AtomicU64, Ordering};

use chassis::Clock;
use fleet::{
    Millis,
    alert::{
        Level,
        channel::{Config, Kind, Secret, Step, target_key},
        request::Bases,
        route::{Match, Route},
        seal::ChannelKeys,
    },
    id::{AlertRouteId, ChannelId, IncidentId},
    words::Language,
};
use notifier::{HeartbeatUrl, Notifier, Sender, Settings};
use registry::{Actor, Channel, Notification, NotificationFilter, NotificationState, Page, Registry, Told};
use serde_json::{Value, json};
use testkit::{Receiver, Service, TempDir, eventually, tempdir};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const NOW: Millis = 1_790_000_000_000;
pub const SECOND: Millis = 1_000;
pub const MINUTE: Millis = 60 * SECOND;
pub const HOUR: Millis = 60 * MINUTE;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Bytes that no other id of this test has.
pub fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes
}

pub fn keys() -> ChannelKeys {
    ChannelKeys::new("7".repeat(64).parse().unwrap(), None)
}

pub struct Rig {
    pub registry: Registry,
    pub clock: Clock,
    pub heartbeat: Option<HeartbeatUrl>,
    /// Where services are that have a place of their own.
    pub bases: Bases,
    folder: Option<TempDir>,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Rig {
    pub async fn new() -> Self {
        let folder = tempdir().unwrap();
        let registry = Registry::open_sqlite(&folder.path().join("registry.db")).await.unwrap();
        registry.migrate().await.unwrap();
        let (clock, bases) = (Clock::fixed(NOW), Bases::default());
        Self { registry, clock, heartbeat: None, bases, folder: Some(folder), running: None }
    }

    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// A notifier that reaches loopback.
    pub fn start(&mut self) {
        self.start_with("127.0.0.0/8:0", 1);
    }

    /// Ports of `allow` that are 0 are those of all receivers.
    pub fn start_with(&mut self, allow: &str, scale: u32) {
        let allowed = match allow {
            "127.0.0.0/8:0" => {
                (1_024..=u16::MAX).map(|port| format!("127.0.0.0/8:{port}")).collect::<Vec<_>>().join(",")
            }
            other => other.to_owned(),
        };
        let sender = Sender::new(allowed.parse().unwrap(), self.bases.clone(), None, scale).unwrap();
        let settings = Settings {
            keys: keys(),
            url: Some("https://rollcall.example.org".to_owned()),
            heartbeat: self.heartbeat.clone(),
            scale,
        };
        let notifier = Notifier::new(self.registry.clone(), sender, settings, self.clock.clone());
        let stop = CancellationToken::new();
        self.running = Some((stop.clone(), tokio::spawn(notifier.run(stop))));
    }

    /// Does what no method does.
    pub async fn execute(&self, sql: &str) {
        let file = format!("sqlite://{}", self.folder.as_ref().unwrap().path().join("registry.db").display());
        let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&file).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }

    /// A channel of this kind.
    pub async fn channel(&self, kind: Kind, config: Value, secret: Value) -> Channel {
        let channel = channel(kind, &config, &secret, self.now());
        self.registry.make_channel(&channel, &Actor::system()).await.unwrap().unwrap();
        channel
    }

    /// A channel that leads to a receiver, by a path of its own.
    pub async fn channel_to(&self, receiver: &Receiver, kind: Kind) -> Channel {
        let path = COUNT.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}/{path}", receiver.url());
        self.channel(kind, json!({}), json!({"url": url})).await
    }

    /// All incidents, on these channels at once.
    pub async fn route(&self, channels: &[&Channel]) {
        self.route_by(
            vec![Step { after_ms: 0, channels: channels.iter().map(|channel| channel.id).collect() }],
            0,
        )
        .await;
    }

    pub async fn route_by(&self, steps: Vec<Step>, reminder_ms: Millis) {
        let id = AlertRouteId::new(self.now(), random());
        let route = Route {
            id,
            matches: Match::default(),
            min_level: Level::Warning,
            steps,
            reminder_ms,
            goes_on: false,
        };
        let system = Actor::system();
        self.registry.make_alert_route(&route, "all", None, &system, self.now()).await.unwrap().unwrap();
    }

    /// An incident that was opened now, of a rule of its own.
    pub async fn incident(&self, server: &str) -> IncidentId {
        self.incident_of("value", "disk.used_percent", server).await
    }

    pub async fn silent(&self, server: &str) -> IncidentId {
        self.incident_of("silent", "", server).await
    }

    async fn incident_of(&self, kind: &str, metric: &str, server: &str) -> IncidentId {
        let (id, now) = (IncidentId::new(self.now(), random()), self.now());
        let name = server.replace('\'', "''");
        self.execute(&format!(
            "INSERT INTO incidents (id, rule, rule_name, kind, metric, server, server_name, instance, level, state,
             transition, events, opened_at, began_at, value, updated_at, tell_at)
             VALUES ('{id}', 'rule', 'Rule', '{kind}', '{metric}', '{name}', '{name}', '', 'warning', 'open', 1, 1, {now},
             {now}, 96, {now}, {now})"
        ))
        .await;
        id
    }

    /// What the judge does with what is over.
    pub async fn resolve(&self, incident: IncidentId, resolution: &str) {
        let now = self.now();
        self.execute(&format!(
            "UPDATE incidents SET state = 'resolved', transition = transition + 1, resolved_at = {now},
             resolution = '{resolution}', tell_at = {now} WHERE id = '{incident}'"
        ))
        .await;
    }

    pub async fn change(&self, incident: IncidentId, set: &str) {
        let now = self.now();
        let sql = format!(
            "UPDATE incidents SET {set}, transition = transition + 1, tell_at = {now} WHERE id = '{incident}'"
        );
        self.execute(&sql).await;
    }

    pub async fn tell(&self) -> Told {
        self.registry.tell(0, random, self.now()).await.unwrap()
    }

    /// Time passes, second by second as management does it; long times in larger steps.
    pub async fn pass(&self, millis: Millis) {
        let (until, step) = (self.now() + millis, (millis / 200).max(SECOND));
        while self.now() < until {
            self.clock.set((self.now() + step).min(until));
            if self.registry.has_to_tell(self.now()).await.unwrap() {
                self.tell().await;
            }
        }
    }

    /// Whether nothing is due, and nothing under way.
    pub async fn has_tried(&self) -> bool {
        let due = self.registry.places_to_tell(1, self.now()).await.unwrap();
        due.is_empty() && self.registry.notification_counts().await.unwrap().1 == 0
    }

    pub async fn notifications(&self) -> Vec<Notification> {
        let page = Page { page: 1, page_size: 500 };
        let mut found = self.registry.notifications(&NotificationFilter::default(), page).await.unwrap().0;
        found.reverse();
        found
    }

    pub async fn states(&self) -> Vec<NotificationState> {
        self.notifications().await.iter().map(|notification| notification.state).collect()
    }

    /// Waits until all messages are in these states, in their order.
    pub async fn until(&self, states: &[NotificationState]) {
        eventually(&format!("{states:?}"), async || self.states().await == states).await;
    }
}

pub fn channel(kind: Kind, config: &Value, secret: &Value, now: Millis) -> Channel {
    let id = ChannelId::new(now, random());
    let config = Config::read(kind, config).unwrap();
    let secret = kind.has_secret().then(|| Secret::read(kind, secret).unwrap());
    let mut nonce = [0; 24];
    nonce[..10].copy_from_slice(&random());
    Channel {
        id,
        name: format!("channel {id}"),
        target_key: target_key(id, &config, secret.as_ref()),
        language: Language::English,
        time_zone: "UTC".to_owned(),
        template: None,
        secret: secret.as_ref().map(|secret| keys().seal(id, kind, secret, nonce).unwrap()),
        secret_origin: secret.as_ref().and_then(Secret::origin),
        secret_set_at: secret.as_ref().map(|_| now),
        config,
        disabled: None,
        version: 1,
        created_at: now,
        updated_at: now,
    }
}

/// What a kind is called by the receivers.
pub fn service(kind: Kind) -> Service {
    match kind {
        Kind::Wecom => Service::Wecom,
        Kind::Telegram => Service::Telegram,
        Kind::Slack => Service::Slack,
        Kind::Discord => Service::Discord,
        Kind::Webhook | Kind::Mail => Service::Webhook,
    }
}
