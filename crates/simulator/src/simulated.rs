//! Simulated servers: they enrol as agents do and report as agents do, a few thousand times as often if asked.

use std::{
    io::Write,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use chassis::Clock;
use fleet::{Interval, Millis, ServerId};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    http::{Connection, Target},
    journal::{Entry, Journal},
    snapshot,
};

/// Most enrolments that one token allows.
const TOKEN_USES: usize = 10_000;
/// Connections over which a fleet enrols.
const ENROLLING: usize = 8;
/// A gate takes 20 requests/s of one agent; a server here stays below.
const MOST_PER_SERVER: f64 = 18.0;
/// An answer that takes longer counts as none. The gate answers 503 after 10 s by itself.
const PATIENCE: Duration = Duration::from_secs(15);
/// Waits after a failed attempt: the first, and the most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// A server that is enrolled.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// Its id.
    pub id: ServerId,
    /// What it authenticates with.
    pub credential: String,
    /// Its newest `sampled_at`; 0 before the first.
    pub newest: Millis,
}

/// How hard to drive, and for how long.
#[derive(Debug, Clone)]
pub struct Load {
    /// Connections, each with its own share of the servers and one request in flight.
    pub connections: usize,
    /// Requests per second over all connections; `None`: as fast as answers come, within the gate's bound per server.
    pub rate: Option<f64>,
    /// No request begins later than this after the start.
    pub lasting: Duration,
    /// At most this many requests.
    pub requests: u64,
    /// How often the servers say that they report. They report as often as `rate` lets them.
    pub interval: Interval,
    /// Counts what is acknowledged, for whoever watches.
    pub acknowledged: Arc<AtomicU64>,
}

impl Default for Load {
    /// Eight connections, as fast as answers come, until it is stopped.
    fn default() -> Self {
        Self {
            connections: 8,
            rate: None,
            lasting: Duration::from_secs(24 * 3_600),
            requests: u64::MAX,
            interval: Interval::DEFAULT,
            acknowledged: Arc::default(),
        }
    }
}

/// What the connections of one drive share.
struct Shared {
    /// Gates that are alike.
    targets: Vec<Target>,
    until: Instant,
    left: AtomicU64,
    interval: Interval,
    acknowledged: Arc<AtomicU64>,
    clock: Clock,
}

/// One connection's part.
struct Share {
    /// Which of the gates is asked.
    gate: usize,
    servers: Vec<Simulated>,
    entries: Vec<Entry>,
    /// Time between two requests.
    period: Duration,
    next: Instant,
}

/// Logs in as `admin` and enrols `count` servers, named `fleet-<random>-00000` and so on, in this order.
pub async fn enrol(base_url: &str, admin_password: &str, count: usize) -> Result<Vec<Simulated>> {
    let target = Target::resolve(base_url).await?;
    let mut connection = Connection::open(&target).await.context("connecting")?;
    let body = json!({"username": "admin", "password": admin_password});
    let session =
        connection.call(&target, "POST", "/server-management/v1/sessions", None, Some(&body)).await?;
    let access = session["access_token"].as_str().context("no access_token")?.to_owned();
    let fleet = hex::<2>();
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let uses = TOKEN_USES.min(count - all.len());
        let body = json!({"uses": uses, "expires_in": 3600});
        let path = "/server-management/v1/enrolment-tokens";
        let made = connection.call(&target, "POST", path, Some(&access), Some(&body)).await?;
        let token = made["token"].as_str().context("no token")?;
        let first = all.len();
        let mut tasks = JoinSet::new();
        for part in 0..ENROLLING.min(uses) {
            let numbers = (first + part..first + uses).step_by(ENROLLING);
            tasks.spawn(enrol_part(target.clone(), token.to_owned(), fleet.clone(), numbers.collect()));
        }
        while let Some(part) = tasks.join_next().await {
            all.extend(part??);
        }
    }
    all.sort_unstable_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, server)| server).collect())
}

async fn enrol_part(
    target: Target,
    token: String,
    fleet: String,
    numbers: Vec<usize>,
) -> Result<Vec<(usize, Simulated)>> {
    let mut connection = Connection::open(&target).await.context("connecting")?;
    let mut enrolled = Vec::with_capacity(numbers.len());
    for number in numbers {
        let address = Ipv4Addr::from(0x0a00_0000 | u32::try_from(number % (1 << 24))?);
        let name = format!("fleet-{fleet}-{number:05}");
        let body = json!({"token": token, "enrolment_key": hex::<32>(), "name": name, "address": address});
        let path = "/server-management/v1/enrolments";
        let made = connection.call(&target, "POST", path, None, Some(&body)).await?;
        let id = made["server_id"].as_str().context("no server_id")?.parse()?;
        let credential = made["credential"].as_str().context("no credential")?.to_owned();
        enrolled.push((number, Simulated { id, credential, newest: 0 }));
    }
    Ok(enrolled)
}

/// Lets the servers report until the load is done or `stop` is cancelled; answers what was sent and what came back.
///
/// One snapshot a request, `sampled_at` the clock's time, `covers` the time since the server's sample before. A
/// snapshot that was not answered, or by 429 or 5xx, is sent again until it is, as agents do; connections that break are
/// made anew after a short back-off. `stop` breaks off what is in flight; the end of the load lets it finish.
///
/// With several gates the connections are spread over them, and one that breaks turns to the next gate, as a proxy would.
pub async fn drive(
    base_urls: &[&str],
    servers: &mut Vec<Simulated>,
    load: &Load,
    stop: &CancellationToken,
) -> Result<Journal> {
    let start = Instant::now();
    let mut targets = Vec::with_capacity(base_urls.len());
    for url in base_urls {
        targets.push(Target::resolve(url).await?);
    }
    let shared = Arc::new(Shared {
        targets,
        until: start + load.lasting,
        left: AtomicU64::new(load.requests),
        interval: load.interval,
        acknowledged: load.acknowledged.clone(),
        clock: Clock::system(),
    });
    let mut tasks = JoinSet::new();
    for share in shares(std::mem::take(servers), load, start) {
        let (shared, stop) = (shared.clone(), stop.clone());
        tasks.spawn(async move {
            let mut share = share;
            stop.run_until_cancelled(share.report(&shared)).await;
            share
        });
    }
    let mut journal = Journal::default();
    while let Some(share) = tasks.join_next().await {
        let share = share?;
        servers.extend(share.servers);
        journal.entries.extend(share.entries);
    }
    servers.sort_unstable_by_key(|server| server.id);
    Ok(journal)
}

fn shares(servers: Vec<Simulated>, load: &Load, start: Instant) -> Vec<Share> {
    let count = load.connections.min(servers.len());
    let mut shares: Vec<Share> = (0..count)
        .map(|gate| Share {
            gate,
            servers: Vec::new(),
            entries: Vec::new(),
            period: Duration::ZERO,
            next: start,
        })
        .collect();
    for (number, server) in servers.into_iter().enumerate() {
        shares[number % count].servers.push(server);
    }
    for (number, share) in shares.iter_mut().enumerate() {
        let allowed = MOST_PER_SERVER * share.servers.len() as f64;
        let wanted = load.rate.map_or(allowed, |rate| (rate / count as f64).min(allowed));
        share.period = Duration::from_secs_f64(1.0 / wanted);
        share.next += share.period.mul_f64(number as f64 / count as f64);
    }
    shares
}

impl Share {
    async fn report(&mut self, shared: &Shared) {
        let mut connection = None;
        let mut request = Vec::with_capacity(1024);
        for turn in 0.. {
            let now = Instant::now();
            self.next = self.next.max(now);
            if self.next >= shared.until || !shared.take_one() {
                return;
            }
            if self.next > now {
                sleep_until(self.next).await;
            }
            self.next += self.period;
            let at = turn % self.servers.len();
            let server = &mut self.servers[at];
            let sampled_at = shared.clock.now().max(server.newest + 1);
            write_request(&mut request, shared.target(self.gate), server, sampled_at, shared.interval);
            server.newest = sampled_at;
            let id = server.id;
            self.send(shared, &mut connection, &request, id, sampled_at).await;
        }
    }

    /// Sends until it is answered for good, or the time is up.
    async fn send(
        &mut self,
        shared: &Shared,
        connection: &mut Option<Connection>,
        request: &[u8],
        server: ServerId,
        sampled_at: Millis,
    ) {
        let mut back_off = BACK_OFF.0;
        loop {
            if connection.is_none() {
                *connection = open(shared.target(self.gate)).await;
            }
            if let Some(open) = connection {
                let sent = shared.clock.now();
                // Written before it is sent, so that even an attempt that is broken off is known.
                self.entries.push(Entry { server, sampled_at, sent, status: None, took_us: 0 });
                let begun = Instant::now();
                let status = match timeout(PATIENCE, open.exchange(request)).await {
                    Ok(Ok(reply)) => Some(reply.status),
                    Ok(Err(_)) | Err(_) => None,
                };
                if let (Some(entry), Some(_)) = (self.entries.last_mut(), status) {
                    entry.status = status;
                    entry.took_us = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
                }
                match status {
                    Some(429 | 500..) => {}
                    Some(202) => {
                        shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    Some(_) => return,
                    None => *connection = None,
                }
            }
            if connection.is_none() {
                self.gate += 1;
            }
            if Instant::now() + back_off >= shared.until {
                return;
            }
            sleep(back_off).await;
            back_off = (back_off * 2).min(BACK_OFF.1);
        }
    }
}

impl Shared {
    fn target(&self, gate: usize) -> &Target {
        &self.targets[gate % self.targets.len()]
    }

    fn take_one(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

async fn open(target: &Target) -> Option<Connection> {
    timeout(PATIENCE, Connection::open(target)).await.ok()?.ok()
}

fn write_request(
    out: &mut Vec<u8>,
    target: &Target,
    server: &Simulated,
    sampled_at: Millis,
    interval: Interval,
) {
    const AFTER: &[u8] = b"]}";
    const LENGTH: usize = 3;
    let since = if server.newest == 0 { 0 } else { sampled_at - server.newest };
    let covers = since.min(2 * interval.millis());
    let [.., a, b] = *server.id.as_bytes();
    let seed = sampled_at.unsigned_abs() << 16 | u64::from(u16::from_be_bytes([a, b]));
    out.clear();
    let written = write!(
        out,
        "POST /healthcheck/v1/snapshots HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: ",
        target.host, server.credential
    );
    debug_assert!(written.is_ok(), "a Vec takes every write");
    let length_at = out.len();
    out.extend_from_slice(b"000\r\n\r\n");
    let body_at = out.len();
    let written = write!(out, r#"{{"interval_ms":{},"snapshots":["#, interval.millis());
    debug_assert!(written.is_ok(), "a Vec takes every write");
    snapshot::write(out, sampled_at, covers, seed);
    out.extend_from_slice(AFTER);
    let length = out.len() - body_at;
    debug_assert!((100..1000).contains(&length), "the length has three digits");
    for (place, digit) in out[length_at..length_at + LENGTH].iter_mut().zip([100, 10, 1]) {
        *place = b'0' + (length / digit % 10) as u8;
    }
}

fn hex<const N: usize>() -> String {
    chassis::random::<N>().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(count: u8) -> Vec<Simulated> {
        let id = |number| ServerId::new(1_790_000_000_000, [number; 10]);
        (0..count).map(|number| Simulated { id: id(number), credential: "c".to_owned(), newest: 0 }).collect()
    }

    #[test]
    fn the_length_is_that_of_the_body() {
        let target = Target { addr: ([127, 0, 0, 1], 1).into(), host: "h".to_owned() };
        let mut request = Vec::new();
        write_request(&mut request, &target, &fleet(1)[0], 1_790_000_000_000, Interval::DEFAULT);
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
    }

    #[test]
    fn no_server_exceeds_what_a_gate_takes() {
        let load = Load { lasting: Duration::from_secs(1), requests: 1, ..Load::default() };
        let shares = shares(fleet(20), &load, Instant::now());
        assert_eq!(shares.len(), 8);
        for share in shares {
            assert!(share.period.as_secs_f64() * 20.0 > 1.0 / share.servers.len() as f64);
        }
    }

    #[tokio::test]
    async fn nobody_listens_and_the_drive_ends_when_told() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let load = Load { connections: 4, ..Load::default() };
        let stop = CancellationToken::new();
        let mut servers = fleet(10);
        let urls = [url.as_str()];
        let (journal, ()) = tokio::join!(drive(&urls, &mut servers, &load, &stop), async { stop.cancel() });
        assert_eq!((journal.unwrap().acknowledged(), servers.len()), (0, 10));
    }
}
