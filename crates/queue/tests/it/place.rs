//! Where a test's queue is: in this process, or on the broker of `AMQP_URL` under a name of its own.

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    message::BasicGetMessage,
    options::{
        BasicAckOptions, BasicGetOptions, BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::FieldTable,
};
use queue::{Consumer, Publisher, rabbitmq::Settings};
use testkit::{Proxy, Server, Servers};

pub fn in_process(capacity: usize) -> (Publisher<u32>, Consumer<u32>, ()) {
    let (publisher, consumer) = queue::in_process(capacity, |_| 1);
    (publisher, consumer, ())
}

pub async fn rabbitmq(max_length: u32) -> (Publisher<u32>, Consumer<u32>, Place) {
    let mut place = Place::new().await;
    place.settings.max_length = Some(max_length);
    (place.publisher().await, place.consumer().await, place)
}

/// A queue of its own on the broker, and a plain client that looks at it.
pub struct Place {
    pub settings: Settings,
    pub channel: Channel,
    servers: Servers,
    _connection: Connection,
}

impl Place {
    pub async fn new() -> Self {
        let servers = Servers::of(&[Server::RabbitMq]).await;
        let url = &servers.rabbitmq().direct;
        let connected = Connection::connect(url, ConnectionProperties::default()).await;
        let connection = connected.unwrap_or_else(|trouble| Server::RabbitMq.nobody(trouble));
        let channel = connection.create_channel().await.unwrap();
        let mut settings = Settings::new(url.parse().unwrap(), servers.prefix(), "numbers");
        // What the cases have in hand at once.
        settings.prefetch = 200;
        Self { settings, channel, servers, _connection: connection }
    }

    /// The same place, through a proxy that can break.
    pub async fn through_a_proxy() -> Self {
        let mut place = Self::new().await;
        place.settings.url = place.servers.rabbitmq().url.parse().unwrap();
        place
    }

    /// What it is through.
    pub fn proxy(&self) -> &Proxy {
        &self.servers.rabbitmq().proxy
    }

    /// Connected.
    pub async fn publisher(&self) -> Publisher<u32> {
        let publisher = queue::rabbitmq::publisher(&self.settings);
        publisher.reached().await;
        publisher
    }

    /// Connected.
    pub async fn consumer(&self) -> Consumer<u32> {
        let consumer = queue::rabbitmq::consumer(&self.settings);
        consumer.reached().await;
        consumer
    }

    pub fn queue(&self) -> String {
        format!("{}.numbers", self.settings.prefix)
    }

    pub fn dead(&self) -> String {
        format!("{}.numbers.dead", self.settings.prefix)
    }

    /// Messages that wait and that nobody holds.
    pub async fn ready(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        declared.unwrap().message_count()
    }

    /// Takes what waits, and answers how often the one that was handed out most often was, this time not counted.
    pub async fn most_deliveries(&self) -> i64 {
        let (queue, options) = (self.queue(), BasicGetOptions { no_ack: true });
        let mut most = 0;
        while let Some(letter) = self.channel.basic_get(queue.as_str().into(), options).await.unwrap() {
            let headers = letter.properties.headers().clone().unwrap_or_default();
            let count = headers.inner().get("x-delivery-count").and_then(|count| count.as_long_long_int());
            most = most.max(count.unwrap_or_default());
        }
        most
    }

    /// Puts bytes into the queue as any client might.
    pub async fn put(&self, payload: &[u8]) {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let queue = self.queue();
        let sent = self.channel.basic_publish("".into(), queue.as_str().into(), options, payload, properties);
        sent.await.unwrap().await.unwrap();
    }

    /// Takes the dead letters: their bytes, reason and origin, by reason.
    pub async fn take_dead(&self) -> Vec<(Vec<u8>, String, String)> {
        let mut letters = Vec::new();
        let dead = self.dead();
        let options = BasicGetOptions { no_ack: false };
        while let Some(letter) = self.channel.basic_get(dead.as_str().into(), options).await.unwrap() {
            letter.ack(BasicAckOptions::default()).await.unwrap();
            let (reason, origin) = (header(&letter, "reason"), header(&letter, "origin"));
            letters.push((letter.delivery.data, reason, origin));
        }
        letters.sort_by(|a, b| a.1.cmp(&b.1));
        letters
    }

    pub async fn delete(&self, queue: &str) {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }
}

fn header(letter: &BasicGetMessage, name: &str) -> String {
    let headers = letter.properties.headers().clone().unwrap_or_default();
    let value = headers.inner().get(name).and_then(|value| value.as_long_string().cloned());
    value.map(|value| value.to_string()).unwrap_or_default()
}
