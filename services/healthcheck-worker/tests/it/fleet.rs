//! The servers of a fleet, the real ones: a database, queues, indices and keys of a test's own, each by way of a proxy
//! that breaks, and the ways past the proxies.

use std::{
    hash::{BuildHasher, RandomState},
    net::{SocketAddr, ToSocketAddrs},
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use ::fleet::{Message, Millis, Record};
use cache::Cache;
use chassis::Clock;
use futures_util::FutureExt;
use healthcheck_worker::Worker;
use history::History;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    message::BasicGetMessage,
    options::{
        BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::FieldTable,
};
use queue::{Publisher, rabbitmq};
use registry::{Marks, Registry};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use testkit::{Proxy, eventually};
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::app::{self, NOW, server};

pub struct Fleet {
    pub prefix: String,
    pub broker: Door,
    pub postgres: Door,
    pub elasticsearch: Door,
    pub redis: Door,
    pub registry: Registry,
    pub cache: Cache,
    pub publisher: Publisher<Message>,
    database: String,
    channel: Channel,
    _connection: Connection,
}

/// A server and the proxy before it.
pub struct Door {
    pub proxy: Proxy,
    /// By way of the proxy.
    pub url: String,
    /// Past it.
    pub direct: String,
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
    let fleet = Fleet::make().await;
    let outcome = AssertUnwindSafe(case(&fleet)).catch_unwind().await;
    fleet.remove().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

impl Door {
    async fn open(variable: &str, path: Option<&str>) -> Self {
        let direct = std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} is not set: `make services` starts the servers, and `make test` uses them")
        });
        let (scheme, rest) = direct.split_once("://").unwrap();
        let (place, own_path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (account, host) = place.rsplit_once('@').map_or(("", place), |(account, host)| (account, host));
        let proxy = Proxy::start(host.to_socket_addrs().unwrap().next().unwrap()).await;
        let account = if account.is_empty() { String::new() } else { format!("{account}@") };
        let path = path.unwrap_or(own_path);
        let url = |host: &str| format!("{scheme}://{account}{host}{path}");
        Self { url: url(&proxy.addr().to_string()), direct: url(host), proxy }
    }
}

impl Door {
    /// Ends every connection, and lets new ones pass.
    pub async fn drop_connections(&self) {
        let mut witness = TcpStream::connect(self.proxy.addr()).await.unwrap();
        self.proxy.cut();
        while witness.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
        self.proxy.mend();
    }
}

impl Fleet {
    async fn make() -> Self {
        let unique = format!("{:016x}", RandomState::new().hash_one(0));
        let (prefix, database) = (format!("test-{unique}"), format!("worker_test_{unique}"));
        // Not from the template that others may be copying from at the same time.
        sql(&format!("CREATE DATABASE {database} TEMPLATE template0")).await;
        let broker = Door::open("AMQP_URL", None).await;
        let postgres = Door::open("DATABASE_URL", Some(&format!("/{database}"))).await;
        let elasticsearch = Door::open("ELASTICSEARCH_URL", None).await;
        let redis = Door::open("REDIS_URL", None).await;
        let registry = Registry::open_postgres(&postgres.direct.parse().unwrap());
        let cache = Cache::redis(&redis.direct.parse().unwrap(), &prefix);
        let connection = Connection::connect(&broker.direct, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let queue = rabbitmq::Settings::new(broker.direct.parse().unwrap(), &prefix, "snapshots");
        let publisher = rabbitmq::publisher(&queue);
        publisher.reached().await;
        Self {
            prefix,
            broker,
            postgres,
            elasticsearch,
            redis,
            registry,
            cache,
            publisher,
            database,
            channel,
            _connection: connection,
        }
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
        let queue = rabbitmq::Settings::new(self.broker.url.parse().unwrap(), &self.prefix, "snapshots");
        let worker = Worker::new(
            name.to_owned(),
            rabbitmq::consumer(&queue),
            Registry::open_postgres(&self.postgres.url.parse().unwrap()),
            History::open_elasticsearch(&self.elasticsearch.url.parse().unwrap(), &self.prefix, 35).unwrap(),
            Cache::redis(&self.redis.url.parse().unwrap(), &self.prefix),
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
        format!("{}.snapshots", self.prefix)
    }

    pub fn dead(&self) -> String {
        format!("{}.snapshots.dead", self.prefix)
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
        let indices = format!("{}-snapshots-*", self.prefix);
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
        let url = format!("{}/{path}", self.elasticsearch.direct.trim_end_matches('/'));
        let mut request = testkit::http().request(method.parse().unwrap(), url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap().json().await.unwrap()
    }

    pub async fn redis(&self, command: &redis::Cmd) -> redis::Value {
        let client = redis::Client::open(self.redis.direct.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        command.query_async(&mut connection).await.unwrap()
    }

    pub async fn delete_keys(&self) {
        let client = redis::Client::open(self.redis.direct.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut all = redis::cmd("KEYS");
        let keys: Vec<String> =
            all.arg(format!("{}:*", self.prefix)).query_async(&mut connection).await.unwrap();
        if !keys.is_empty() {
            redis::cmd("DEL").arg(keys).query_async::<()>(&mut connection).await.unwrap();
        }
    }

    /// A connection to the database of the test.
    pub async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.postgres.direct).await.unwrap()
    }

    pub async fn marks(&self, number: u8) -> Option<Marks> {
        let standing = self.registry.standing(&[server(number)]).await.unwrap();
        standing.get(&server(number)).and_then(|standing| standing.sighting)
    }

    async fn remove(&self) {
        self.registry.close().await;
        sql(&format!("DROP DATABASE {} WITH (FORCE)", self.database)).await;
        self.delete_keys().await;
        let indices = self.elasticsearch("GET", &format!("{}-*/_alias", self.prefix), None).await;
        for index in indices.as_object().unwrap().keys() {
            self.elasticsearch("DELETE", index, None).await;
        }
        self.elasticsearch("DELETE", &format!("_index_template/{}-snapshots", self.prefix), None).await;
        for queue in [self.queue(), self.dead()] {
            self.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        }
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

async fn sql(statement: &str) {
    let url =
        std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: `make services` starts the servers");
    let mut server = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut server).await.unwrap();
}

fn header(letter: &BasicGetMessage, name: &str) -> String {
    let headers = letter.properties.headers().clone().unwrap_or_default();
    let value = headers.inner().get(name).and_then(|value| value.as_long_string().cloned());
    value.map(|value| value.to_string()).unwrap_or_default()
}
