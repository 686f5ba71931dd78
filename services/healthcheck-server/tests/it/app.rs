//! `spawn`: a real gate on a port of its own.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use actix_web::{App as ActixApp, HttpServer};
use cache::Cache;
use chassis::Clock;
use flate2::{Compression, write::GzEncoder};
use fleet::{AgentKey, Keyring, Message, Millis, Record, ServerId};
use healthcheck_server::{Gate, GateSettings};
use queue::{Consumer, Publisher, Refused};
use reqwest::{
    Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_ENCODING},
};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where the fixed clock stands at first.
pub const NOW: Millis = 1_790_000_000_000;

/// What the consumer does with what the gate publishes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Consume {
    /// Stores everything, except snapshots sampled at this moment, which it refuses.
    AllBut(Millis),
    /// Is gone.
    Closed,
    /// Nothing, in a queue without room.
    Full,
}

pub struct App {
    url: String,
    client: reqwest::Client,
    pub cache: Cache,
    pub clock: Clock,
    pub gate: Gate,
    taken: Arc<Mutex<Vec<Message>>>,
    stop: CancellationToken,
    _stopped_at_the_end: DropGuard,
}

/// The ring of key 2; key 1 is the one before it.
pub fn ring() -> Keyring {
    Keyring::new(key(2), Some(key(1)))
}

pub fn key(byte: u8) -> AgentKey {
    AgentKey::new(&[byte; 32]).unwrap()
}

pub fn server(number: u8) -> ServerId {
    ServerId::new(NOW, [number; 10])
}

pub fn credential(number: u8) -> String {
    ring().issue(server(number), 3)
}

/// In this process alone.
pub async fn spawn(consume: Consume) -> App {
    let capacity = if consume == Consume::Full { 0 } else { 1_000 };
    let (publisher, consumer) = queue::in_process(capacity, |_| 1);
    let app = spawn_on(publisher, Cache::in_process());
    let taken = Arc::clone(&app.taken);
    match consume {
        Consume::AllBut(odd) => drop(tokio::spawn(store(consumer, odd, taken))),
        Consume::Closed => drop(consumer),
        Consume::Full => drop(tokio::spawn(async move {
            let _kept = consumer;
            std::future::pending::<()>().await;
        })),
    }
    app
}

/// On this queue and this cache.
pub fn spawn_on(publisher: Publisher<Message>, cache: Cache) -> App {
    let clock = Clock::fixed(NOW);
    let settings = GateSettings {
        keyring: ring(),
        history_days: 35,
        name: "gate".to_owned(),
        room: None,
        held_polls: 3,
    };
    let gate = Gate::new(settings, publisher, cache.clone(), clock.clone());
    let mounted = gate.clone();
    let app = move || ActixApp::new().configure(|config| mounted.configure(config));
    let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/healthcheck/v1/snapshots", server.addrs()[0]);
    tokio::spawn(server.run());
    let (taken, stop) = (Arc::default(), CancellationToken::new());
    let guard = stop.clone().drop_guard();
    App { url, client: testkit::http(), cache, clock, gate, taken, stop, _stopped_at_the_end: guard }
}

async fn store(mut consumer: Consumer<Message>, odd: Millis, taken: Arc<Mutex<Vec<Message>>>) {
    while let Some(batch) = consumer.receive(100).await {
        for delivery in batch {
            let message = delivery.message().clone();
            let mut refused = Vec::new();
            if let Message::Snapshots(records) = &message {
                for record in records.iter().filter(|record| record.snapshot.sampled_at() == odd) {
                    let message = Message::Snapshots(vec![record.clone()]);
                    refused.push(Refused { message, reason: "odd".to_owned() });
                }
            }
            taken.lock().unwrap().push(message);
            if refused.is_empty() { delivery.ack().await } else { delivery.refuse(refused).await }
        }
    }
}

impl App {
    /// Starts ticks and the denylist's refresh, until the test ends.
    pub fn run(&self) {
        tokio::spawn(self.gate.clone().run(self.stop.clone()));
    }

    pub async fn post(&self, credential: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.request().header(AUTHORIZATION, format!("Bearer {credential}")).body(body)).await
    }

    pub async fn post_gzip(&self, credential: &str, body: Vec<u8>) -> Answer {
        let request = self.request().header(AUTHORIZATION, format!("Bearer {credential}"));
        self.send(request.header(CONTENT_ENCODING, "gzip").body(body)).await
    }

    /// A bare request, for what is unusual.
    pub fn request(&self) -> reqwest::RequestBuilder {
        self.client.post(&self.url)
    }

    /// A request to another of the gate's paths.
    pub fn call(&self, method: reqwest::Method, path: &str, credential: &str) -> reqwest::RequestBuilder {
        let url = self.url.replace("snapshots", path);
        self.client.request(method, url).header(AUTHORIZATION, format!("Bearer {credential}"))
    }

    /// Results that were published so far.
    pub fn outcomes(&self) -> Vec<fleet::Outcome> {
        let taken = self.taken.lock().unwrap();
        let results = taken.iter().filter_map(|message| match message {
            Message::Results(results) => Some(results.clone()),
            Message::Tick(_) | Message::Snapshots(_) => None,
        });
        results.flatten().collect()
    }

    /// Stops what [`run`](Self::run) started.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub async fn get(&self) -> Answer {
        self.send(self.client.get(&self.url)).await
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        Answer::of(request.send().await.unwrap()).await
    }

    /// Snapshots that were published so far.
    pub fn records(&self) -> Vec<Record> {
        records(&self.taken.lock().unwrap())
    }

    /// Ticks that were published so far.
    pub fn ticks(&self) -> Vec<fleet::Tick> {
        let taken = self.taken.lock().unwrap();
        let ticks = taken.iter().filter_map(|message| match message {
            Message::Tick(tick) => Some(tick.clone()),
            Message::Snapshots(_) | Message::Results(_) => None,
        });
        ticks.collect()
    }
}

/// The snapshots in these.
pub fn records(messages: &[Message]) -> Vec<Record> {
    let records = messages.iter().filter_map(|message| match message {
        Message::Snapshots(records) => Some(records.clone()),
        Message::Tick(_) | Message::Results(_) => None,
    });
    records.flatten().collect()
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        Self { status, headers, body: serde_json::from_slice(&body).unwrap() }
    }

    /// Fails unless it is a problem of this status and code that tells the gate's clock.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status.as_u16(), self.body["code"].as_str()),
            (status, Some(code)),
            "{:?}",
            self.body
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["now"], NOW);
    }

    /// `(index, code)` of what was refused.
    pub fn refused(&self) -> Vec<(u64, &str)> {
        let refused = self.body["refused"].as_array().map(Vec::as_slice).unwrap_or_default();
        refused.iter().map(|one| (one["index"].as_u64().unwrap(), one["code"].as_str().unwrap())).collect()
    }
}

/// A report of one snapshot with these members besides the two that it needs.
pub fn report(members: Value) -> Value {
    let mut snapshot = json!({"sampled_at": NOW, "covers_ms": 30_000});
    snapshot.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    json!({"interval_ms": 30_000, "snapshots": [snapshot]})
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
