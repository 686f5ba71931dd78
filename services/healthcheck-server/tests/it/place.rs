//! Names of a test's own on the real broker and the real Redis, which the gate reaches through proxies that can break.

use std::{
    hash::{BuildHasher, RandomState},
    net::{SocketAddr, ToSocketAddrs},
};

use cache::{Cache, RedisUrl};
use fleet::Message;
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
    uri::AMQPUri,
};
use queue::{Consumer, Publisher, rabbitmq};
use redis::aio::MultiplexedConnection;
use testkit::Proxy;

pub struct Place {
    pub prefix: String,
    /// Between the gate and the broker.
    pub broker: Proxy,
    /// Between the gate and Redis.
    pub redis: Proxy,
    /// The servers by way of the proxies.
    pub amqp_url: String,
    pub redis_url: String,
    /// Past the proxies.
    direct: rabbitmq::Settings,
    channel: Channel,
    connection: Connection,
    commands: MultiplexedConnection,
}

fn url(name: &str) -> String {
    let missing = format!("{name} is not set: `make services` starts the servers, and `make test` uses them");
    std::env::var(name).expect(&missing)
}

impl Place {
    pub async fn new() -> Self {
        let prefix = format!("test-{:016x}", RandomState::new().hash_one(0));
        let (amqp, redis) = (url("AMQP_URL"), url("REDIS_URL"));
        let connection = Connection::connect(&amqp, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let commands =
            redis::Client::open(&*redis).unwrap().get_multiplexed_async_connection().await.unwrap();
        let mut uri: AMQPUri = amqp.parse().unwrap();
        let at = (uri.authority.host.clone(), uri.authority.port);
        let broker_proxy = Proxy::start(at.to_socket_addrs().unwrap().next().unwrap()).await;
        (uri.authority.host, uri.authority.port) =
            (broker_proxy.addr().ip().to_string(), broker_proxy.addr().port());
        let at = redis_address(&redis);
        let redis_proxy = Proxy::start(at).await;
        Self {
            direct: rabbitmq::Settings::new(amqp.parse().unwrap(), &prefix, "snapshots"),
            prefix,
            amqp_url: uri.to_string(),
            redis_url: redis.replace(&at.to_string(), &redis_proxy.addr().to_string()),
            broker: broker_proxy,
            redis: redis_proxy,
            channel,
            connection,
            commands,
        }
    }

    /// The queue at most so many messages long, before anybody uses it.
    pub fn at_most(mut self, messages: u32) -> Self {
        self.direct.max_length = Some(messages);
        self
    }

    /// The gate's, connected.
    pub async fn publisher(&self) -> Publisher<Message> {
        let publisher = rabbitmq::publisher(&rabbitmq::Settings {
            url: self.amqp_url.parse().unwrap(),
            ..self.direct.clone()
        });
        publisher.reached().await;
        publisher
    }

    /// The gate's.
    pub fn cache(&self) -> Cache {
        Cache::redis(&self.redis_url.parse::<RedisUrl>().unwrap(), &self.prefix)
    }

    /// Puts anything under a key of the cache.
    pub async fn put(&self, key: &str, value: &[u8]) {
        let key = format!("{}:{key}", self.prefix);
        let mut commands = self.commands.clone();
        let () = redis::cmd("SET").arg(key).arg(value).query_async(&mut commands).await.unwrap();
    }

    /// Messages that wait.
    pub async fn waiting(&self) -> usize {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = format!("{}.snapshots", self.prefix);
        let declared =
            self.channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await;
        declared.unwrap().message_count() as usize
    }

    /// Takes all messages that wait, while nobody publishes.
    pub async fn take(&self) -> Vec<Message> {
        let waiting = self.waiting().await;
        let mut consumer: Consumer<Message> = rabbitmq::consumer(&self.direct);
        let mut messages = Vec::new();
        while messages.len() < waiting {
            for delivery in consumer.receive(waiting).await.unwrap() {
                messages.push(delivery.message().clone());
                delivery.ack().await;
            }
        }
        messages
    }

    pub async fn remove(self) {
        for name in ["snapshots", "snapshots.dead"] {
            let queue = format!("{}.{name}", self.prefix);
            self.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        }
        self.connection.close(200, "done".into()).await.unwrap();
        let mut commands = self.commands;
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("{}:*", self.prefix)).query_async(&mut commands).await.unwrap();
        for key in keys {
            let () = redis::cmd("DEL").arg(key).query_async(&mut commands).await.unwrap();
        }
    }
}

fn redis_address(url: &str) -> SocketAddr {
    let at = url.split_once("://").unwrap().1;
    let at = at.rsplit_once('@').map_or(at, |(_, at)| at);
    at.split_once('/').map_or(at, |(at, _)| at).to_socket_addrs().unwrap().next().unwrap()
}
