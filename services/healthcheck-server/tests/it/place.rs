//! Names of a test's own on the real broker and the real Redis, which the gate reaches through proxies that can break.

use cache::{Cache, RedisUrl};
use fleet::Message;
use lapin::{Channel, Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};
use queue::{Consumer, Publisher, rabbitmq};
use redis::aio::MultiplexedConnection;
use testkit::{Proxy, Server, Servers};

pub struct Place {
    servers: Servers,
    /// Past the proxies.
    direct: rabbitmq::Settings,
    channel: Channel,
    commands: MultiplexedConnection,
    _connection: Connection,
}

impl Place {
    pub async fn new() -> Self {
        let servers = Servers::of(&[Server::RabbitMq, Server::Redis]).await;
        let amqp = &servers.rabbitmq().direct;
        let connected = Connection::connect(amqp, ConnectionProperties::default()).await;
        let connection = connected.unwrap_or_else(|trouble| Server::RabbitMq.nobody(trouble));
        let channel = connection.create_channel().await.unwrap();
        let commands = servers.redis_connection().await;
        let direct = rabbitmq::Settings::new(amqp.parse().unwrap(), servers.prefix(), "snapshots");
        Self { servers, direct, channel, commands, _connection: connection }
    }

    pub fn prefix(&self) -> &str {
        self.servers.prefix()
    }

    /// Between the gate and the broker.
    pub fn broker(&self) -> &Proxy {
        &self.servers.rabbitmq().proxy
    }

    /// Between the gate and Redis.
    pub fn redis(&self) -> &Proxy {
        &self.servers.redis().proxy
    }

    /// The broker by way of its proxy.
    pub fn amqp_url(&self) -> &str {
        &self.servers.rabbitmq().url
    }

    /// Redis by way of its proxy.
    pub fn redis_url(&self) -> &str {
        &self.servers.redis().url
    }

    /// The queue at most so many messages long, before anybody uses it.
    pub fn at_most(mut self, messages: u32) -> Self {
        self.direct.max_length = Some(messages);
        self
    }

    /// The gate's, connected.
    pub async fn publisher(&self) -> Publisher<Message> {
        let publisher = rabbitmq::publisher(&rabbitmq::Settings {
            url: self.amqp_url().parse().unwrap(),
            ..self.direct.clone()
        });
        publisher.reached().await;
        publisher
    }

    /// The gate's.
    pub fn cache(&self) -> Cache {
        Cache::redis(&self.redis_url().parse::<RedisUrl>().unwrap(), self.prefix())
    }

    /// Puts anything under a key of the cache.
    pub async fn put(&self, key: &str, value: &[u8]) {
        let key = format!("{}:{key}", self.prefix());
        let mut commands = self.commands.clone();
        let () = redis::cmd("SET").arg(key).arg(value).query_async(&mut commands).await.unwrap();
    }

    /// Messages that wait.
    pub async fn waiting(&self) -> usize {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = format!("{}.snapshots", self.prefix());
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
}
