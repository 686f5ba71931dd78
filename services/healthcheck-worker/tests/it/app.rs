//! `spawn`: a worker on stores of its own.

use std::time::Duration;

use cache::{Cache, Latest};
use chassis::Clock;
use fleet::{
    Interval, Message, Millis, Record, ServerId, Snapshot, Tick,
    id::EnrolmentTokenId,
    wire::v1::{self, Host},
};
use healthcheck_worker::Worker;
use history::History;
use queue::{PublishError, Publisher};
use registry::{Actor, Enrol, EnrolmentToken, Marks, Registry};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use testkit::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where the fixed clock stands.
pub const NOW: Millis = 1_790_000_000_000;
/// The generation of what is issued at [`NOW`].
pub const FIRST: u32 = 1_790_000_000;
pub const BEAT: Millis = 30_000;

pub struct App {
    pub publisher: Publisher<Message>,
    pub registry: Registry,
    pub history: History,
    pub cache: Cache,
    pub stop: CancellationToken,
    pub running: JoinHandle<()>,
    folder: TempDir,
}

pub async fn spawn() -> App {
    spawn_gathering(Duration::ZERO).await
}

/// A worker that gathers for so long.
pub async fn spawn_gathering(gathering: Duration) -> App {
    let folder = testkit::tempdir().unwrap();
    let registry = Registry::open_sqlite(&folder.path().join("registry.db")).await.unwrap();
    registry.migrate().await.unwrap();
    let history = History::open_sqlite(&folder.path().join("history.db"), 35).await.unwrap();
    let (cache, stop) = (Cache::in_process(), CancellationToken::new());
    let (publisher, consumer) = queue::in_process(1_000, |_| 1);
    let worker = Worker::new(
        "worker".to_owned(),
        consumer,
        registry.clone(),
        history.clone(),
        cache.clone(),
        Clock::fixed(NOW),
    )
    .gathering(gathering);
    let running = tokio::spawn(worker.run(stop.clone()));
    App { publisher, registry, history, cache, stop, running, folder }
}

/// The id of the server of this number, whether or not it is enrolled.
pub fn server(number: u8) -> ServerId {
    ServerId::new(NOW, [number; 10])
}

pub fn host(name: &str) -> Host {
    Host { hostname: Some(name.to_owned()), ..Host::default() }
}

/// What server `number` sampled at `sampled_at`, received at `received_at`.
pub fn record(number: u8, received_at: Millis, sampled_at: Millis, host: Option<Host>) -> Record {
    let raw = v1::Snapshot { sampled_at, covers_ms: BEAT, host, ..v1::Snapshot::default() };
    Record {
        server: server(number),
        generation: FIRST,
        received_at,
        interval: Interval::DEFAULT,
        snapshot: Snapshot::check(raw, Interval::DEFAULT).unwrap(),
    }
}

/// What server `number` sampled and sent at `at`.
pub fn beat(number: u8, at: Millis) -> Record {
    record(number, at, at, None)
}

/// Enrols the server of this number.
pub async fn enrol(registry: &Registry, number: u8) {
    let token_hash = [number; 32];
    let id = EnrolmentTokenId::new(NOW, [number; 10]);
    let (uses, expires_at) = (1, NOW + 1_000);
    let token = EnrolmentToken {
        id,
        uses,
        used: 0,
        expires_at,
        revoked_at: None,
        created_at: NOW,
        labels: Default::default(),
        server: None,
    };
    registry.make_enrolment_token(&token, token_hash, &Actor::system()).await.unwrap();
    let (name, server) = (format!("server-{number}"), server(number));
    let enrol =
        Enrol { token_hash, key_hash: [0; 32], name: &name, address: None, server, from: None, now: NOW };
    registry.enrol(&enrol).await.unwrap().unwrap();
}

impl App {
    pub async fn enrol(&self, number: u8) {
        enrol(&self.registry, number).await;
    }

    pub async fn publish(&self, records: Vec<Record>) -> Result<(), PublishError<Message>> {
        self.publisher.publish(Message::Snapshots(records)).await
    }

    pub async fn tick(&self, at: Millis, open_since: Millis) -> Result<(), PublishError<Message>> {
        self.publisher.publish(Message::Tick(Tick { gate: "gate".to_owned(), at, open_since })).await
    }

    /// How many snapshots history has of server `number`.
    pub async fn stored(&self, number: u8) -> u64 {
        let day = 86_400_000;
        let points = self.history.points(server(number), NOW - day, NOW + day, 1_000).await.unwrap();
        points.iter().map(|point| point.count).sum()
    }

    pub async fn marks(&self, number: u8) -> Option<Marks> {
        let standing = self.registry.standing(&[server(number)]).await.unwrap();
        standing.get(&server(number)).and_then(|standing| standing.sighting)
    }

    pub async fn latest(&self, number: u8) -> Option<Latest> {
        self.cache.latest(&[server(number)]).await.unwrap().remove(&server(number))
    }

    /// Runs this in the registry's file, past the registry.
    pub async fn sql(&self, statement: &'static str) {
        let path = self.folder.path().join("registry.db");
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
}
