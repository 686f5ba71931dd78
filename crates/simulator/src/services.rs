//! The fleet composition as processes on real servers: a place of its own in each of them, and services that can be
//! killed, stopped and woken.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use testkit::{Door, Server, Servers};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    indexed::indexed_snapshots,
    journal::Journal,
    oracle::{Reconciliation, reconcile},
    process::{Started, free_address},
};

/// How long a service may take to become ready, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Password of the user `admin` in every fleet that is made here.
pub const ADMIN_PASSWORD: &str = "a password of the simulator";

/// `AGENT_KEY` of every fleet that is made here.
pub const AGENT_KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Lines of its log that a service shows when a test fails.
const LAST_LINES: usize = 12;

/// By which ways a service reaches the servers.
#[derive(Debug, Clone)]
pub struct Urls {
    /// RabbitMQ.
    pub amqp: String,
    /// PostgreSQL.
    pub database: String,
    /// Redis.
    pub redis: String,
    /// Elasticsearch.
    pub elasticsearch: String,
}

/// A suite of its own on the real servers. Dropped, what it left there is removed: its services end before.
pub struct Fleet {
    /// Its place on the servers.
    pub servers: Servers,
    /// The direct ways to them.
    pub urls: Urls,
    /// Whoever asks servers and services.
    pub http: reqwest::Client,
    binaries: PathBuf,
    logs: TempDir,
}

/// A service of the fleet composition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `healthcheck-server`.
    Gate,
    /// `healthcheck-worker`.
    Worker,
    /// `server-management`.
    Management,
    /// `mail`, to an SMTP server that is not there.
    Mail,
    /// `notifier`.
    Notifier,
}

/// A running service. Dropped, it is killed.
pub struct Service {
    process: Started,
    start: Start,
    log: Log,
    /// Where it listens, as `http://127.0.0.1:port`.
    pub url: String,
}

/// The file that a service logs to. Its end is shown where a test fails.
struct Log(PathBuf);

/// How a service is started.
#[derive(Clone)]
struct Start {
    kind: Kind,
    binary: PathBuf,
    listen: SocketAddr,
    log: PathBuf,
    environment: Vec<(&'static str, String)>,
    http: reqwest::Client,
}

impl Urls {
    /// Straight to the servers.
    pub fn direct(servers: &Servers) -> Self {
        Self::by(servers, |door| &door.direct)
    }

    /// By way of the proxies.
    pub fn proxied(servers: &Servers) -> Self {
        Self::by(servers, |door| &door.url)
    }

    fn by(servers: &Servers, way: fn(&Door) -> &String) -> Self {
        let [amqp, database, redis, elasticsearch] =
            Server::ALL.map(|server| way(servers.door(server)).clone());
        Self { amqp, database, redis, elasticsearch }
    }
}

impl Fleet {
    /// Makes a place on the servers for services whose binaries lie in the folder `binaries`.
    pub async fn new(binaries: &Path) -> Result<Self> {
        let servers = Servers::of(&Server::ALL).await;
        let urls = Urls::direct(&servers);
        Ok(Self {
            servers,
            urls,
            http: testkit::http(),
            binaries: binaries.to_owned(),
            logs: TempDir::new()?,
        })
    }

    /// First part of all its names.
    pub fn prefix(&self) -> &str {
        self.servers.prefix()
    }

    /// Starts a service and waits until it is ready.
    pub async fn start(&self, kind: Kind) -> Result<Service> {
        self.start_with(kind, &self.urls).await
    }

    /// The same, with other ways to the servers.
    pub async fn start_with(&self, kind: Kind, urls: &Urls) -> Result<Service> {
        let mut service = self.spawn(kind, urls)?;
        service.ready().await?;
        Ok(service)
    }

    /// Starts a service and waits for nothing.
    pub fn spawn(&self, kind: Kind, urls: &Urls) -> Result<Service> {
        let listen = free_address()?;
        let environment = vec![
            ("AMQP_URL", urls.amqp.clone()),
            ("DATABASE_URL", urls.database.clone()),
            ("REDIS_URL", urls.redis.clone()),
            ("ELASTICSEARCH_URL", urls.elasticsearch.clone()),
            ("ROLLCALL_PREFIX", self.prefix().to_owned()),
            ("AGENT_KEY", AGENT_KEY.to_owned()),
            ("TOKEN_KEY", "t".repeat(32)),
            ("CHANNEL_KEY", "c".repeat(64)),
            ("ORDER_KEY", "0".repeat(64)),
            ("ADMIN_PASSWORD", ADMIN_PASSWORD.to_owned()),
            ("LISTEN", listen.to_string()),
            ("DRAIN_SECONDS", "0".to_owned()),
            ("MAIL_ALLOWED_DOMAINS", "example.org".to_owned()),
            ("SMTP_URL", "smtp://127.0.0.1:1?tls=none".to_owned()),
            ("MAIL_FROM", "rollcall@example.org".to_owned()),
            ("LOG_FORMAT", "text".to_owned()),
        ];
        let log = self.logs.path().join(format!("{}-{}.log", kind.binary(), listen.port()));
        let binary = self.binaries.join(kind.binary());
        Start { kind, binary, listen, log, environment, http: self.http.clone() }.spawn()
    }

    /// What is stored against what was acknowledged.
    pub async fn reconcile(&self, journal: &Journal) -> Result<Reconciliation> {
        let found = indexed_snapshots(&self.http, &self.urls.elasticsearch, self.prefix()).await?;
        Ok(reconcile(journal, &found))
    }

    /// Waits until all that was acknowledged is stored, for `patience` at most; answers what is then there.
    pub async fn settled(&self, journal: &Journal, patience: Duration) -> Result<Reconciliation> {
        let until = Instant::now() + patience;
        loop {
            let found = self.reconcile(journal).await?;
            if found.lost.is_empty() || Instant::now() > until {
                return Ok(found);
            }
            sleep(10 * LOOK_EVERY).await;
        }
    }

    /// Has PostgreSQL do now what it does by itself within minutes after tables have grown.
    pub async fn vacuum(&self) -> Result<()> {
        let mut server = PgConnection::connect(&self.urls.database).await?;
        sqlx::raw_sql("VACUUM ANALYZE servers, labels, sightings, facts").execute(&mut server).await?;
        Ok(())
    }

    /// How many dead letters there are.
    pub async fn dead_letters(&self) -> Result<u32> {
        let url = self.urls.amqp.parse()?;
        let settings = queue::rabbitmq::Settings::new(url, self.prefix(), "snapshots");
        Ok(queue::rabbitmq::dead_letters(&settings).await?)
    }
}

impl Kind {
    fn binary(self) -> &'static str {
        match self {
            Self::Gate => "healthcheck-server",
            Self::Worker => "healthcheck-worker",
            Self::Management => "server-management",
            Self::Mail => "mail",
            Self::Notifier => "notifier",
        }
    }
}

impl Start {
    fn spawn(self) -> Result<Service> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.binary);
        // Settings of whoever runs this must not reach what is tested.
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(log.try_clone()?).stderr(log);
        let process = Started::spawn(&mut command)
            .with_context(|| format!("starting {}: is it built?", self.binary.display()))?;
        let (url, log) = (format!("http://{}", self.listen), Log(self.log.clone()));
        Ok(Service { process, start: self, log, url })
    }
}

impl Service {
    /// Waits until it is ready.
    pub async fn ready(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let url = format!("{}/health/ready", self.url);
        loop {
            if let Some(status) = self.process.ended()? {
                bail!("{} ended: {status}\n{}", self.start.kind.binary(), self.log());
            }
            if self.start.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{} is not ready after {PATIENCE:?}\n{}", self.start.kind.binary(), self.log());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whoever asks it.
    pub fn http(&self) -> reqwest::Client {
        self.start.http.clone()
    }

    /// What it logged so far, since its first start.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// The value of a metric, summed over its labels; 0 where there is none yet.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let answer = self.start.http.get(format!("{}/metrics", self.url)).send().await?.text().await?;
        let lines = answer
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGSTOP: it does nothing any more, and holds what it has.
    pub fn halt(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on as if nothing had been.
    pub fn wake(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// kill -9, and a new process of the same settings at the same address, ready.
    pub async fn kill_and_start(self) -> Result<Self> {
        let Self { process, start, .. } = self;
        process.kill().await?;
        let mut service = start.spawn()?;
        service.ready().await?;
        Ok(service)
    }

    /// kill -9, and waits until it is gone.
    pub async fn kill(self) -> Result<()> {
        self.process.kill().await
    }

    /// SIGTERM, waits until it has ended, and starts it again at the same address.
    pub async fn restart(self) -> Result<Self> {
        let start = self.start.clone();
        self.stop().await?;
        let mut service = start.spawn()?;
        service.ready().await?;
        Ok(service)
    }

    /// SIGTERM, and waits until it has ended.
    pub async fn stop(self) -> Result<()> {
        let status = self.process.stop().await?;
        ensure!(status.success(), "{} ended with {status}", self.start.kind.binary());
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.text();
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            eprintln!("--- the end of {}\n{}", self.0.display(), last.join("\n"));
        }
    }
}
