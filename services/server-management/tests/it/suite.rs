//! The interface on a port of its own, over stores of its own, and the part of a worker.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use actix_web::{App, HttpServer, web};
use cache::{Cache, Seen};
use chassis::{Clock, Secret};
use fleet::{
    AgentKey, Interval, Keyring, MailJob, Millis, Record, Scope, ServerId, Snapshot,
    alert::seal::ChannelKeys, liveness::Progress, liveness::silent_at, wire::v1,
};
use futures_util::future::join_all;
use history::History;
use queue::{Publisher, in_process};
use registry::{Actor, ProfileChange, Registry, Sighting};
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use server_management::{Downloads, Management, Settings, TokenKey, first_admin};
use testkit::eventually;
use tokio::sync::OnceCell;

use crate::place::Place;

pub const NOW: Millis = 1_790_000_000_000;
/// The generation of what is issued at [`NOW`].
pub const FIRST: u32 = 1_790_000_000;
pub const SECOND: Millis = 1_000;
pub const MINUTE: Millis = 60 * SECOND;
pub const HOUR: Millis = 60 * MINUTE;
pub const HISTORY_DAYS: u16 = 35;
/// As many as a pool of the registry has.
const CONNECTIONS: usize = 8;
pub const PASSWORD: &str = "correct horse battery";

pub struct Suite {
    pub registry: Registry,
    pub history: History,
    pub cache: Cache,
    pub clock: Clock,
    pub management: Management,
    pub place: Place,
    pub token: String,
    http: reqwest::Client,
    address: SocketAddr,
    /// Code and status of each documented problem; empty until they are known.
    codes: Codes,
}

type Codes = &'static [(String, u64)];

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub headers: HeaderMap,
}

/// The keys of every suite.
pub fn keyring() -> Keyring {
    Keyring::new(AgentKey::new(&[7; 32]).unwrap(), None)
}

/// A queue of mail that nobody consumes.
pub fn nobody() -> Publisher<MailJob> {
    in_process(1, |_| 1).0
}

/// Behind one proxy, so that a request can say from where it comes.
fn settings() -> Settings {
    let token_key = TokenKey::new(&Secret::new("t".repeat(32))).unwrap();
    Settings {
        keyring: keyring(),
        token_key,
        kept: HISTORY_DAYS.into(),
        api_token_max_days: 365,
        audit_days: 400,
        proxies: 1,
        allowed_domains: "example.org".parse().unwrap(),
        public_url: None,
        downloads: None,
        channel_keys: Some(ChannelKeys::new("7".repeat(64).parse().unwrap(), None)),
        notify_allow: "127.0.0.1:9".parse().unwrap(),
        order_key: Some("0".repeat(64).parse().unwrap()),
    }
}

fn serve(management: &Management) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let management = management.clone();
    let app = move || {
        let default = web::to(chassis::problem::not_found_route);
        App::new().configure(|config| management.configure(config)).default_service(default)
    };
    let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap();
    drop(actix_web::rt::spawn(server.run()));
    address
}

impl Suite {
    /// Opens the connections that the background of a process asks for all at once. Where several processes share a thread of
    /// a busy machine, their log-ins would take so long together that each is given up, again and again.
    pub async fn warm(&self) {
        eventually("the registry is reached", async || {
            let pings = (0..CONNECTIONS).map(|_| self.registry.ping());
            join_all(pings).await.iter().all(Result::is_ok)
        })
        .await;
    }

    /// Of the embedded composition, for what no store has a part in.
    pub async fn embedded() -> Self {
        Self::spawn(Place::embedded().await).await
    }

    /// With the user `admin`, logged in.
    pub async fn spawn(place: Place) -> Self {
        Self::spawn_with(place, settings()).await
    }

    /// The same; hosts may also fetch the agents of a folder.
    pub async fn offering(place: Place, agents: &Path) -> Self {
        let downloads = Some(Downloads::list(agents).unwrap());
        Self::spawn_with(place, Settings { downloads, ..settings() }).await
    }

    async fn spawn_with(place: Place, settings: Settings) -> Self {
        let clock = Clock::fixed(NOW);
        let password = Some(Secret::new(PASSWORD));
        first_admin(&place.registry, password, Path::new("unused"), &clock).await.unwrap();
        let mut suite = Self::over(place, clock, settings);
        suite.read_codes().await;
        suite.log_in().await;
        suite
    }

    fn over(place: Place, clock: Clock, settings: Settings) -> Self {
        let Place { registry, history, cache, .. } = place.clone();
        let management = Management::new(
            settings,
            registry.clone(),
            history.clone(),
            cache.clone(),
            place.dead_letters(),
            clock.clone(),
        );
        let address = serve(&management);
        let (http, token, codes) = (testkit::http(), String::new(), Codes::default());
        Self { registry, history, cache, clock, management, place, token, http, address, codes }
    }

    /// The same stores and clock behind a new process with an empty cache.
    pub async fn restart_without_cache(self) -> Self {
        let Self { clock, place, token, codes, .. } = self;
        Self { token, codes, ..Self::over(place.without_cache().await, clock, settings()) }
    }

    /// One more process on the same servers and of the same time, for whoever is logged in here.
    pub fn replica(&self) -> Self {
        self.replica_at(self.clock.clone())
    }

    /// The same, by a clock of its own.
    pub fn replica_at(&self, clock: Clock) -> Self {
        let (token, codes) = (self.token.clone(), self.codes);
        Self { token, codes, ..Self::over(self.place.replica(), clock, settings()) }
    }

    /// The same, where no orders can be signed.
    pub fn replica_without_order_key(&self) -> Self {
        let (token, codes) = (self.token.clone(), self.codes);
        let settings = Settings { order_key: None, ..settings() };
        Self { token, codes, ..Self::over(self.place.replica(), self.clock.clone(), settings) }
    }

    /// The same, where an API token serves for so many days at most.
    pub fn replica_of_tokens_for(&self, days: u16) -> Self {
        let (token, codes) = (self.token.clone(), self.codes);
        let settings = Settings { api_token_max_days: days, ..settings() };
        Self { token, codes, ..Self::over(self.place.replica(), self.clock.clone(), settings) }
    }

    /// Those of the document, which is the same of every suite of this process and takes long to make.
    async fn read_codes(&mut self) {
        static CODES: OnceCell<Vec<(String, u64)>> = OnceCell::const_new();
        let read = || async {
            let document = self.call(Method::GET, "/openapi.json").send().await.unwrap();
            let document: Value = document.json().await.unwrap();
            let table = document["components"]["schemas"]["Problem"]["description"].as_str().unwrap();
            let rows = table.lines().skip(2).map(|row| {
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                (cells[1].trim_matches('`').to_owned(), cells[2].parse().unwrap())
            });
            rows.collect()
        };
        self.codes = CODES.get_or_init(read).await;
    }

    pub async fn log_in(&mut self) -> Value {
        let answer = self.post("/sessions", json!({"username": "admin", "password": PASSWORD})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.token = answer.body["access_token"].as_str().unwrap().to_owned();
        answer.body
    }

    /// Gives the password of whoever is logged in again.
    pub async fn elevate(&self) {
        let answer = self.post("/sessions/elevate", json!({"password": PASSWORD})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// An API token of whoever is logged in, as it was answered.
    pub async fn api_token(&self, scopes: &[&str]) -> Value {
        self.elevate().await;
        let made = self.post("/tokens", json!({"name": "script", "scopes": scopes})).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.body
    }

    /// Moves the clock, and logs in anew since the old token may have expired.
    pub async fn at(&mut self, now: Millis) {
        self.clock.set(now);
        self.log_in().await;
    }

    /// A request of which nothing is settled yet but the URL.
    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Where it is, for programs.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/server-management/v1{path}", self.address)
    }

    /// A request outside the interface.
    pub fn page(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.call(Method::GET, path).bearer_auth(&self.token)).await
    }

    /// What must succeed.
    pub async fn read(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.call(Method::POST, path).bearer_auth(&self.token).json(&body)).await
    }

    /// Of the version that `etag` names.
    pub async fn patch(&self, path: &str, etag: &str, body: Value) -> Answer {
        let request = self.call(Method::PATCH, path).bearer_auth(&self.token).header("if-match", etag);
        self.send(request.json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.call(Method::DELETE, path).bearer_auth(&self.token)).await
    }

    /// Sends, and holds every problem against the documented table.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let is_json = headers.get("content-type").is_some_and(|kind| kind.to_str().unwrap().contains("json"));
        let body = match () {
            () if text.is_empty() => Value::Null,
            () if is_json => serde_json::from_str(&text).unwrap(),
            () => Value::String(text.clone()),
        };
        if status >= 400 {
            assert_eq!(headers["content-type"], "application/problem+json", "{text}");
            let told = (body["code"].as_str().unwrap().to_owned(), body["status"].as_u64().unwrap());
            assert_eq!(u64::from(status), told.1, "{text}");
            assert!(self.codes.is_empty() || self.codes.contains(&told), "not documented: {told:?}");
        }
        Answer { status, body, headers }
    }

    /// A token for as many servers as a test may need.
    pub async fn enrolment_token(&self) -> String {
        let made = self.post("/enrolment-tokens", json!({"uses": 10_000, "expires_in": 86_400})).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.body["token"].as_str().unwrap().to_owned()
    }

    pub async fn enrol(&self, name: &str) -> ServerId {
        let token = self.enrolment_token().await;
        let key = format!("key-of-the-server-{name}");
        let body =
            json!({"token": token, "enrolment_key": key, "name": name, "address": format!("{name}.example")});
        let answer = self.post("/enrolments", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["server_id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn label(&self, server: ServerId, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let change = ProfileChange { labels: Some(labels), ..ProfileChange::default() };
        let (system, now) = (Actor::system(), self.clock.now());
        self.registry.change_server(server, None, &change, &system, now).await.unwrap().unwrap();
    }

    /// What a worker does with samples of one server that came when they were made: `(sampled_at, covers)`.
    pub async fn hear(&self, server: ServerId, samples: &[(Millis, Millis)]) {
        let records: Vec<Record> = samples.iter().map(|(at, covers)| record(server, *at, *covers)).collect();
        assert_eq!(self.history.append(&records).await.unwrap(), []);
        let newest = records.iter().max_by_key(|record| record.received_at).unwrap();
        self.sight(newest, newest.silent_at()).await;
        self.see(newest).await;
    }

    /// Writes the row in `sightings`, with a `silent_at` that may be behind.
    pub async fn sight(&self, record: &Record, silent_at: Millis) {
        let (received_at, interval, sampled_at) =
            (record.received_at, record.interval, record.snapshot.sampled_at());
        let facts = record.snapshot.as_wire().host.clone().map(|host| (sampled_at, host));
        let sighting =
            Sighting { server: record.server, received_at, silent_at, interval, sampled_at, facts };
        self.registry.sight(&[sighting], self.clock.now()).await.unwrap();
    }

    pub async fn see(&self, record: &Record) {
        let latest: Arc<str> = serde_json::to_string(&record.snapshot).unwrap().into();
        let (received_at, sampled_at) = (record.received_at, record.snapshot.sampled_at());
        let silent_at = silent_at(received_at, record.interval);
        let seen = Seen { server: record.server, received_at, silent_at, latest, sampled_at };
        self.cache.see(vec![seen], self.clock.now()).await.unwrap();
    }

    /// The pipeline has got to `watermark`, now; gates have been open since `open_since`.
    pub async fn settle(&self, watermark: Millis, open_since: Millis) {
        let progress = Progress {
            newest_settled: Some(watermark),
            oldest_in_hand: None,
            open_since: Some(open_since),
            written_at: self.clock.now(),
        };
        self.registry.put_progress("worker", &progress).await.unwrap();
    }

    /// Gives the role `admin` these scopes and no others.
    pub async fn give(&self, scopes: &[&str]) {
        self.sql("DELETE FROM role_scopes WHERE role_id = 'admin'").await;
        for scope in Scope::ALL.into_iter().filter(|scope| scopes.contains(&scope.as_str())) {
            self.sql(&format!("INSERT INTO role_scopes (role_id, scope) VALUES ('admin', '{scope}')")).await;
        }
    }

    /// A statement straight into the registry, for states that no endpoint makes yet.
    pub async fn sql(&self, statement: &str) {
        self.place.sql(statement).await;
    }
}

/// A sample that arrives when it was made.
pub fn record(server: ServerId, at: Millis, covers: Millis) -> Record {
    let host = v1::Host { hostname: Some("host.internal".to_owned()), ..v1::Host::default() };
    let cpu = v1::Cpu { total: Some(12.5), ..v1::Cpu::default() };
    let raw = v1::Snapshot {
        sampled_at: at,
        covers_ms: covers,
        host: Some(host),
        cpu: Some(cpu),
        ..v1::Snapshot::default()
    };
    let snapshot = Snapshot::check(raw, Interval::DEFAULT).unwrap();
    Record { server, generation: FIRST, received_at: at, interval: Interval::DEFAULT, snapshot }
}

/// A sample each 30 s with its end in `(from, to]`, each vouching for 30 s.
pub fn steady(from: Millis, to: Millis) -> Vec<(Millis, Millis)> {
    let step = 30 * SECOND;
    (1..=(to - from) / step).map(|n| (from + n * step, step)).collect()
}
