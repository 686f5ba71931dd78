//! The servers of a fleet, the real ones: a schema, queues, indices and keys of a test's own, each by way of a proxy
//! that breaks, and the ways past the proxies.

use std::{net::SocketAddr, time::Duration};

use ::fleet::{Message, Millis, Record};
use cache::Cache;
use chassis::Clock;
use healthcheck_worker::Worker;
use history::History;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    message::BasicGetMessage,
    options::{
        BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::FieldTable,
};
use queue::{Publisher, rabbitmq};
use registry::{Marks, Registry};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use testkit::{Server, Servers, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{self, NOW, server};

pub struct Fleet {
    pub registry: Registry,
    pub cache: Cache,
    pub publisher: Publisher<Message>,
    channel: Channel,
    _connection: Connection,
    /// Goes last: the others use it.
    pub servers: Servers,
}

/// A worker in this process.
pub struct Running {
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub payload: Vec<u8>,
    pub reason: String,
    pub origin: String,
}

/// Runs a case, and removes what it left behind, also when it fails.
pub async fn with(case: impl AsyncFnOnce(&Fleet)) {
    case(&Fleet::make().await).await;
}

impl Fleet {
    async fn make() -> Self {
        let servers = Servers::of(&Server::ALL).await;
        let prefix = servers.prefix();
        let registry = Registry::open_postgres(&servers.postgresql().direct.parse().unwrap());
        let cache = Cache::redis(&servers.redis().direct.parse().unwrap(), prefix);
        let amqp = &servers.rabbitmq().direct;
        let connected = Connection::connect(amqp, ConnectionProperties::default()).await;
        let connection = connected.unwrap_or_else(|trouble| Server::RabbitMq.nobody(trouble));
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let publisher =
            rabbitmq::publisher(&rabbitmq::Settings::new(amqp.parse().unwrap(), prefix, "snapshots"));
        publisher.reached().await;
        Self { registry, cache, publisher, channel, _connection: connection, servers }
    }

    pub fn prefix(&self) -> &str {
        self.servers.prefix()
    }

    /// With these servers enrolled.
    pub async fn enrol(&self, numbers: impl IntoIterator<Item = u8>) {
        self.registry.migrate().await.unwrap();
        for number in numbers {
            app::enrol(&self.registry, number).await;
        }
    }

    /// A worker by way of the proxies.
    pub fn worker(&self, name: &str, holding: Duration) -> Running {
        let (servers, prefix) = (&self.servers, self.prefix());
        let queue = rabbitmq::Settings::new(servers.rabbitmq().url.parse().unwrap(), prefix, "snapshots");
        let worker = Worker::new(
            name.to_owned(),
            rabbitmq::consumer(&queue),
            Registry::open_postgres(&servers.postgresql().url.parse().unwrap()),
            History::open_elasticsearch(&servers.elasticsearch().url.parse().unwrap(), prefix, 35).unwrap(),
            Cache::redis(&servers.redis().url.parse().unwrap(), prefix),
            Clock::fixed(NOW),
        );
        let stop = CancellationToken::new();
        let task = tokio::spawn(worker.holding(holding).run(stop.clone()));
        Running { stop, task }
    }

    pub async fn publish(&self, records: Vec<Record>) {
        self.publisher.publish(Message::Snapshots(records)).await.unwrap();
    }

    /// Puts bytes into the queue as any client might.
    pub async fn put(&self, payload: &[u8]) {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let queue = self.queue();
        let sent = self.channel.basic_publish("".into(), queue.as_str().into(), options, payload, properties);
        sent.await.unwrap().await.unwrap();
    }

    pub fn queue(&self) -> String {
        format!("{}.snapshots", self.prefix())
    }

    pub fn dead(&self) -> String {
        format!("{}.snapshots.dead", self.prefix())
    }

    /// Messages that wait and that nobody holds.
    pub async fn ready(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        declared.unwrap().message_count()
    }

    /// Waits for so many dead letters and takes them, by reason.
    pub async fn take_dead(&self, count: u32) -> Vec<Letter> {
        let dead = self.dead();
        eventually("dead letters", async || self.ready(&dead).await == count).await;
        let mut letters = Vec::new();
        let options = BasicGetOptions { no_ack: false };
        while let Some(letter) = self.channel.basic_get(dead.as_str().into(), options).await.unwrap() {
            letter.ack(BasicAckOptions::default()).await.unwrap();
            let (reason, origin) = (header(&letter, "reason"), header(&letter, "origin"));
            letters.push(Letter { payload: letter.delivery.data, reason, origin });
        }
        letters.sort_by(|a, b| a.reason.cmp(&b.reason));
        letters
    }

    /// Every one is settled, none is dead.
    pub async fn nothing_is_left(&self) {
        assert_eq!([self.ready(&self.queue()).await, self.ready(&self.dead()).await], [0, 0]);
    }

    /// Snapshots in history.
    pub async fn stored(&self) -> u64 {
        let indices = format!("{}-snapshots-*", self.prefix());
        let mut count = None;
        eventually("history counts", async || {
            self.elasticsearch("POST", &format!("{indices}/_refresh"), None).await;
            let answer = self.elasticsearch("GET", &format!("{indices}/_count"), None).await;
            // Not of an index that is being made.
            let whole = answer["_shards"]["failed"] == 0;
            count = answer["count"].as_u64().filter(|_| whole);
            count.is_some()
        })
        .await;
        count.unwrap()
    }

    /// Waits until a worker says that it has settled what came at `at`, and holds nothing.
    pub async fn until_settled(&self, at: Millis) {
        eventually("it is settled", async || {
            let rows = self.registry.progress().await.unwrap();
            rows.iter().any(|row| row.newest_settled >= Some(at))
                && rows.iter().all(|row| row.oldest_in_hand.is_none())
                && self.ready(&self.queue()).await == 0
        })
        .await;
    }

    pub async fn until_stored(&self, count: u64) {
        eventually("history has them", async || self.stored().await == count).await;
    }

    pub async fn elasticsearch(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        self.servers.ask_elasticsearch(method, path, body).await
    }

    pub async fn redis(&self, command: &redis::Cmd) -> redis::Value {
        command.query_async(&mut self.servers.redis_connection().await).await.unwrap()
    }

    /// A connection to the database of the test.
    pub async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.servers.postgresql().direct).await.unwrap()
    }

    pub async fn marks(&self, number: u8) -> Option<Marks> {
        let standing = self.registry.standing(&[server(number)]).await.unwrap();
        standing.get(&server(number)).and_then(|standing| standing.sighting)
    }
}

impl Running {
    /// Asks it to stop, and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// An index of this day that holds something else.
pub fn foreign_index() -> Value {
    json!({"mappings": {"properties": {"server": {"type": "long"}, "sampled_at": {"type": "text"}}}})
}

/// A port of loopback that nobody listens on.
pub fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn header(letter: &BasicGetMessage, name: &str) -> String {
    let headers = letter.properties.headers().clone().unwrap_or_default();
    let value = headers.inner().get(name).and_then(|value| value.as_long_string().cloned());
    value.map(|value| value.to_string()).unwrap_or_default()
}
