//! A scripted gate: it speaks just enough HTTP, and does as it is told.

use std::{
    collections::BTreeMap,
    io::Read,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wire::v1::{OrderResult, Report, Results, SignedOrder, Snapshot};

pub const SERVER: &str = "01a0c450-6c00-7303-8303-030303030303";

/// How the gate treats snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Takes,
    /// Answers this status and takes nothing.
    Answers(u16),
    /// Takes nothing and never answers.
    Stalls,
    /// Takes all and never answers.
    Swallows,
    /// Closes each connection.
    HangsUp,
}

/// What the gate saw, and what it is to do.
#[derive(Debug)]
pub struct Script {
    pub mode: Mode,
    /// Gate's clock less the real one.
    pub ahead: i64,
    /// Larger requests are 413.
    pub max_snapshots: usize,
    /// Snapshots with one of these are refused with its code, or, if there is none, make the whole request 400.
    pub poison: BTreeMap<i64, Option<&'static str>>,
    pub credential: String,
    /// Goes out with the next bulletin, and is the one in force from then on.
    pub replacement: Option<String>,
    /// Goes out with every bulletin, and nobody takes it.
    pub forged: Option<String>,
    /// For how long every bulletin says that this agent is the one that tells.
    pub lease_ms: Option<i64>,
    /// How long every answer takes.
    pub delay: Duration,
    /// How often a request came with what is not in force.
    pub unauthorized: u32,
    /// What a scripted refusal of an enrolment says.
    pub detail: String,
    /// Statuses of the next enrolments; 0 closes the connection after it was done.
    pub enrolments: Vec<u16>,
    pub asked: Vec<Value>,
    /// The first of each identity.
    pub taken: BTreeMap<i64, Snapshot>,
    /// How often each came.
    pub came: BTreeMap<i64, u32>,
    /// Sizes of the requests, in snapshots.
    pub requests: Vec<usize>,
    /// Orders that it has, as a notice would tell it of them; gone once their result is taken.
    pub orders: Vec<SignedOrder>,
    /// What a held poll does while there is no order: `None` holds it until there is one, and a status answers.
    pub polls: Option<u16>,
    /// What each poll said that it has.
    pub polled: Vec<String>,
    /// How results are answered, and those that were taken.
    pub results_mode: u16,
    pub results: Vec<OrderResult>,
}

#[derive(Debug, Clone)]
pub struct Gate {
    pub addr: SocketAddr,
    script: Arc<Mutex<Script>>,
}

struct Request {
    path: String,
    credential: String,
    body: Vec<u8>,
}

impl Gate {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let script = Script {
            mode: Mode::Takes,
            ahead: 0,
            max_snapshots: 240,
            poison: BTreeMap::new(),
            credential: "credential".to_owned(),
            replacement: None,
            forged: None,
            lease_ms: None,
            delay: Duration::ZERO,
            unauthorized: 0,
            detail: String::new(),
            enrolments: Vec::new(),
            asked: Vec::new(),
            taken: BTreeMap::new(),
            came: BTreeMap::new(),
            requests: Vec::new(),
            orders: Vec::new(),
            polls: None,
            polled: Vec::new(),
            results_mode: 202,
            results: Vec::new(),
        };
        let gate = Self { addr: listener.local_addr().unwrap(), script: Arc::new(Mutex::new(script)) };
        let accepting = gate.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let gate = accepting.clone();
                tokio::spawn(async move { gate.serve(stream).await });
            }
        });
        gate
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    pub fn set(&self, mode: Mode) {
        self.script().mode = mode;
    }

    pub fn taken(&self) -> usize {
        self.script().taken.len()
    }

    pub fn newest(&self) -> Option<Snapshot> {
        self.script().taken.last_key_value().map(|(_, snapshot)| snapshot.clone())
    }

    /// Fails when two intervals overlap.
    pub fn assert_no_overlap(&self) {
        let mut end = i64::MIN;
        for (at, snapshot) in &self.script().taken {
            if snapshot.covers_ms > 0 {
                assert!(
                    at - snapshot.covers_ms >= end,
                    "{at} covers {} and overlaps {end}",
                    snapshot.covers_ms
                );
                end = *at;
            }
        }
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(request) = read(&mut stream, &mut buffer).await {
            if request.path.starts_with("/healthcheck/v1/bulletin") {
                self.hold(&request.path).await;
            }
            let Some((status, mut body)) = self.answer(&request) else {
                if self.script().mode == Mode::Stalls {
                    std::future::pending::<()>().await;
                }
                return;
            };
            let delay = self.script().delay;
            tokio::time::sleep(delay).await;
            body["now"] = (rig_now() + self.script().ahead).into();
            let body = body.to_string();
            let head =
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nretry-after: 1\r\n\r\n", body.len());
            if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// As long as it may, and the agent has all that there is.
    async fn hold(&self, path: &str) {
        let (_, have) = path.split_once("&have=").unwrap();
        self.script().polled.push(have.to_owned());
        let has = |order: &SignedOrder| have.contains(&fleet::order::id_of(order).unwrap().to_string());
        let done = || {
            let script = self.script();
            script.polls.is_some() || script.orders.iter().any(|order| !has(order))
        };
        let until = tokio::time::Instant::now() + Duration::from_secs(25);
        while !done() && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn answer(&self, request: &Request) -> Option<(u16, Value)> {
        let mut script = self.script();
        if request.path == "/server-management/v1/enrolments" {
            return script.enrol(&request.body);
        }
        if request.path.starts_with("/healthcheck/v1/bulletin") {
            let now = rig_now() + script.ahead;
            return Some(match script.polls {
                Some(status) => (status, json!({"code": "scripted"})),
                None => (200, json!({"now": now, "orders": script.orders})),
            });
        }
        if request.path == "/healthcheck/v1/results" {
            return Some(script.conclude(&request.body));
        }
        assert_eq!(request.path, "/healthcheck/v1/snapshots");
        let report: Report = serde_json::from_slice(&request.body).unwrap();
        script.requests.push(report.snapshots.len());
        match script.mode {
            Mode::Takes => Some(script.judge(request, report)),
            Mode::Answers(status) => Some((status, json!({"code": "scripted"}))),
            Mode::Stalls | Mode::HangsUp => None,
            Mode::Swallows => {
                script.judge(request, report);
                None
            }
        }
    }
}

impl Script {
    fn enrol(&mut self, body: &[u8]) -> Option<(u16, Value)> {
        self.asked.push(serde_json::from_slice(body).unwrap());
        match if self.enrolments.is_empty() { 201 } else { self.enrolments.remove(0) } {
            0 => None,
            201 => Some((201, json!({"server_id": SERVER, "credential": self.credential}))),
            status => Some((status, json!({"code": "scripted", "detail": self.detail}))),
        }
    }

    fn conclude(&mut self, body: &[u8]) -> (u16, Value) {
        if self.results_mode != 202 {
            return (self.results_mode, json!({"code": "scripted"}));
        }
        let results: Results = serde_json::from_slice(body).unwrap();
        let accepted = results.results.len();
        for result in results.results {
            self.orders.retain(|order| fleet::order::id_of(order).unwrap().to_string() != result.order);
            self.results.push(result);
        }
        (
            202,
            json!({"accepted": accepted, "bulletin": {"now": rig_now() + self.ahead, "orders": self.orders}}),
        )
    }

    fn judge(&mut self, request: &Request, report: Report) -> (u16, Value) {
        if request.credential != format!("Bearer {}", self.credential) {
            self.unauthorized += 1;
            return (401, json!({"code": "unauthorized"}));
        }
        if report.snapshots.len() > self.max_snapshots {
            return (413, json!({"code": "too_large"}));
        }
        let now = rig_now() + self.ahead;
        let mut refused = Vec::new();
        for (index, snapshot) in report.snapshots.iter().enumerate() {
            assert!((0..=2 * report.interval_ms).contains(&snapshot.covers_ms));
            let code = match self.poison.get(&snapshot.sampled_at) {
                Some(None) => return (400, json!({"code": "invalid_json"})),
                Some(Some(code)) => code,
                None if snapshot.sampled_at > now + 30_000 => "clock_ahead",
                None if snapshot.sampled_at < now - 35 * 86_400_000 => "too_old",
                None => continue,
            };
            refused.push(json!({"index": index, "code": code, "reason": "scripted"}));
        }
        if !refused.is_empty() {
            return (422, json!({"code": "invalid_body", "refused": refused}));
        }
        let accepted = report.snapshots.len();
        for snapshot in report.snapshots {
            *self.came.entry(snapshot.sampled_at).or_default() += 1;
            self.taken.entry(snapshot.sampled_at).or_insert(snapshot);
        }
        let mut bulletin = json!({"now": now, "credential": self.forged, "orders": self.orders});
        if let Some(lease_ms) = self.lease_ms {
            bulletin["watch"] = json!({"lease_ms": lease_ms});
        }
        if let Some(credential) = self.replacement.take() {
            bulletin["credential"] = credential.clone().into();
            self.credential = credential;
        }
        (202, json!({"accepted": accepted, "bulletin": bulletin}))
    }
}

/// The real time, in Unix ms.
pub fn rig_now() -> i64 {
    rollcall_agent::Clock::system().now()
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let mut chunk = [0; 8_192];
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let header = |name: &str| {
                let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
                lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
            };
            let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let mut body: Vec<u8> = buffer.drain(..end + 4 + length).skip(end + 4).collect();
                assert!(body.len() <= 256 * 1024);
                if header("content-encoding").as_deref() == Some("gzip") {
                    let mut inflated = Vec::new();
                    GzDecoder::new(&body[..]).read_to_end(&mut inflated).unwrap();
                    body = inflated;
                }
                let path = head.split(' ').nth(1).unwrap().to_owned();
                return Some(Request { path, credential: header("authorization").unwrap_or_default(), body });
            }
        }
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => buffer.extend_from_slice(&chunk[..read]),
            _ => return None,
        }
    }
}
