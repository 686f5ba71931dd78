//! Alerts: a storm of incidents beside what workers write meanwhile, what rules cost ingest and the registry, how soon a message
//! is out, what a notifier takes while many wait.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chassis::{Clock, random};
use fleet::{
    Interval, Millis, ServerId,
    alert::{Draft, Level},
    id::{AlertRuleId, IncidentId},
};
use registry::{Actor, AlertRule, ImportOutcome, ImportRow, ProfileChange, Raised, Registry, Sighting};
use serde_json::{Value, json};
use simulator::{Load, Simulated, Suite, enrol, process::free_address};
use testkit::{Receiver, Server, Servers, Service};
use tokio::time::sleep;

use crate::{
    breaching,
    driving::drive_one,
    table::{Table, median, thousands},
    waiting,
};

/// Rules beside which snapshots come in.
const RULES: usize = 50;
/// Servers of one transaction, and states of one statement.
const PART: usize = 1_000;
/// Sightings that a worker writes at once, and how often.
const SIGHTINGS: usize = 200;
const EVERY: Duration = Duration::from_millis(50);
/// A worker knows another rule within 5 s.
const KNOWN: Duration = Duration::from_secs(7);
/// How long a message may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub struct Settings {
    /// The suite
    #[arg(long, default_value = "target/release/rollcall")]
    rollcall: PathBuf,
    /// The notifier
    #[arg(long, default_value = "target/release/notifier")]
    notifier: PathBuf,
    /// Incidents that are opened at once
    #[arg(long, default_value_t = 50_000)]
    incidents: usize,
    /// Servers that report beside rules
    #[arg(long, default_value_t = 2_000)]
    servers: usize,
    /// Connections of the generator, each with one request in flight
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// Length of one run in seconds
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Runs with rules and without, interleaved
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Messages that are followed from the snapshot to the receiver
    #[arg(long, default_value_t = 40)]
    messages: usize,
    /// Intervals of 30 s for which one server in a hundred breaks a rule
    #[arg(long, default_value_t = 120)]
    beats: i64,
    /// Messages that wait while the notifier's memory is looked at
    #[arg(long, default_value_t = 50_000)]
    waiting: usize,
    /// The storm alone
    #[arg(long)]
    storm_only: bool,
    /// Folder for the data, on the disk that is to be measured
    #[arg(long, default_value = "/tmp")]
    folder: PathBuf,
}

/// How long a storm took, and the 99th of a hundred of what workers wrote meanwhile.
struct Storm {
    opened: Duration,
    resolved: Duration,
    p99: Duration,
}

pub async fn run(settings: &Settings) -> Result<()> {
    let folder = tempfile::tempdir_in(&settings.folder)?;
    let mut table =
        Table::new(&["incidents at once", "opened, s", "resolved, s", "p99 of sightings meanwhile, ms"]);
    let file = Registry::open_sqlite(&folder.path().join("registry.db")).await?;
    let servers = Servers::of(&[Server::PostgreSql]).await;
    let shared = Registry::open_postgres(&servers.postgresql().direct.parse()?);
    for (name, registry) in [("SQLite", file), ("PostgreSQL", shared)] {
        registry.migrate().await?;
        let storm = storm(&registry, settings.incidents).await?;
        registry.close().await;
        let seconds = |took: Duration| format!("{:.1}", took.as_secs_f64());
        let p99 = format!("{:.0}", storm.p99.as_secs_f64() * 1e3);
        let count = thousands(settings.incidents as f64);
        table.row([format!("{count}, {name}"), seconds(storm.opened), seconds(storm.resolved), p99]);
    }
    table.print("A storm of incidents, while a worker writes 200 sightings every 50 ms");
    if !settings.storm_only {
        beside_rules(settings, &folder.path().join("rules")).await?;
        to_a_receiver(settings, &folder.path().join("told")).await?;
        breaching::run(settings.servers, settings.beats, folder.path()).await?;
        waiting::run(&settings.notifier, settings.waiting).await?;
    }
    Ok(())
}

async fn storm(registry: &Registry, incidents: usize) -> Result<Storm> {
    let (by, now) = (Actor::system(), Clock::system().now());
    let draft = Draft { kind: "silent".to_owned(), level: "critical".to_owned(), ..Draft::default() };
    let rule = AlertRule::new(AlertRuleId::new(now, random()), "silent", true, draft, now);
    registry.make_alert_rule(&rule, &by).await?.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    let mut servers = Vec::with_capacity(incidents);
    while servers.len() < incidents {
        servers.extend(make(registry, servers.len(), now, &by).await?);
    }
    for part in servers.chunks(PART) {
        let raised: Vec<Raised> = part.iter().map(|server| raised(*server, &rule, now)).collect();
        registry.raise(&raised).await?;
    }
    let (opened, mut took) = beside(registry, &servers, judge(registry, servers.len(), true)).await?;
    let (resolved, more) = beside(registry, &servers, async {
        loop {
            let over = registry.lasting(&[rule.id], None, u32::try_from(PART)?).await?;
            if over.is_empty() {
                break;
            }
            registry.clear(&over).await?;
        }
        judge(registry, servers.len(), false).await
    })
    .await?;
    took.extend(more);
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).or(took.last()).copied().unwrap_or_default();
    Ok(Storm { opened, resolved, p99 })
}

/// Makes servers, a thousand at once.
pub async fn make(registry: &Registry, from: usize, now: Millis, by: &Actor) -> Result<Vec<ServerId>> {
    let rows = (from..from + PART).map(|number| {
        let change = ProfileChange { name: Some(format!("host-{number:06}")), ..ProfileChange::default() };
        let number = u32::try_from(number).unwrap_or_default();
        ImportRow { number, id: None, new_id: ServerId::new(now, random()), change }
    });
    let outcomes = registry.import(&rows.collect::<Vec<_>>(), true, by, now).await?;
    let made = outcomes.into_iter().map(|outcome| match outcome {
        ImportOutcome::Create { id, .. } => Some(id),
        _ => None,
    });
    made.collect::<Option<_>>().context("a server could not be made")
}

fn raised(server: ServerId, rule: &AlertRule, now: Millis) -> Raised {
    let (level, instance) = (Level::Critical, String::new());
    Raised { server: Some(server), rule: rule.id, instance, level, began_at: now, value: 0.0 }
}

/// Judges until nothing is left to do.
async fn judge(registry: &Registry, incidents: usize, opens: bool) -> Result<()> {
    let mut done = 0;
    let mut new = || IncidentId::new(Clock::system().now(), random());
    while let Some(judged) = registry.judge_states(None, &mut new, Clock::system().now()).await? {
        done += if opens { judged.opened } else { judged.resolved };
    }
    ensure!(done == incidents, "{done} of {incidents} were judged");
    Ok(())
}

/// Does some work while a worker writes; how long it took, and how long each of its writes.
async fn beside(
    registry: &Registry,
    servers: &[ServerId],
    work: impl Future<Output = Result<()>>,
) -> Result<(Duration, Vec<Duration>)> {
    let mut took = Vec::new();
    let writes = async {
        for part in servers.chunks(SIGHTINGS).cycle() {
            let now = Clock::system().now();
            let sighting = |server: &ServerId| Sighting {
                server: *server,
                received_at: now,
                silent_at: now + 120_000,
                interval: Interval::DEFAULT,
                sampled_at: now,
                facts: None,
            };
            let sightings: Vec<Sighting> = part.iter().map(sighting).collect();
            let begun = Instant::now();
            registry.sight(&sightings, now).await?;
            took.push(begun.elapsed());
            sleep(EVERY).await;
        }
        Ok::<(), anyhow::Error>(())
    };
    let begun = Instant::now();
    tokio::select! {
        done = work => done?,
        failed = writes => failed?,
    }
    Ok((begun.elapsed(), took))
}

/// Talks to a suite as its admin.
struct Admin {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Admin {
    async fn log_in(suite: &Suite) -> Result<Self> {
        let (http, base) = (testkit::http(), format!("{}/server-management/v1", suite.url));
        let body = json!({"username": "admin", "password": suite.admin_password()?});
        let session: Value = http.post(format!("{base}/sessions")).json(&body).send().await?.json().await?;
        let token = session["access_token"].as_str().context("no access_token")?.to_owned();
        Ok(Self { http, base, token })
    }

    async fn make(&self, path: &str, body: Value) -> Result<String> {
        let request = self.http.post(format!("{}/{path}", self.base)).bearer_auth(&self.token).json(&body);
        let answer = request.send().await?;
        ensure!(answer.status() == 201, "{path}: {}", answer.text().await?);
        let made: Value = answer.json().await?;
        Ok(made["id"].as_str().context("no id")?.to_owned())
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let answer =
            self.http.delete(format!("{}/{path}", self.base)).bearer_auth(&self.token).send().await?;
        ensure!(answer.status() == 204, "{path}: {}", answer.status());
        Ok(())
    }
}

/// Ingest with rules about every snapshot, none of which is broken, and without any.
async fn beside_rules(settings: &Settings, data: &Path) -> Result<()> {
    let suite = Suite::start(&settings.rollcall, data, free_address()?).await?;
    let admin = Admin::log_in(&suite).await?;
    let mut servers: Vec<Simulated> = enrol(&suite.url, &suite.admin_password()?, settings.servers).await?;
    let (lasting, connections) = (Duration::from_secs(settings.seconds), settings.connections);
    let load = Load { connections, lasting, ..Load::default() };
    let metrics = ["cpu.total", "load.1", "memory.used_percent", "disk.free", "network.received"];
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for run in 1..=settings.runs {
        eprintln!("run {run} of {}", settings.runs);
        without.push(drive_one(&suite.url, suite.pid(), &mut servers, &load).await?.0.rate);
        let mut rules = Vec::new();
        for number in 0..RULES {
            let metric = metrics[number % metrics.len()];
            let op = if metric == "disk.free" { "below" } else { "above" };
            let critical = if op == "below" { -1.0 } else { 1e17 };
            let rule = json!({"name": format!("rule {number}"), "kind": "value", "metric": metric, "op": op,
                "critical": critical});
            rules.push(admin.make("alert-rules", rule).await?);
        }
        sleep(KNOWN).await;
        with.push(drive_one(&suite.url, suite.pid(), &mut servers, &load).await?.0.rate);
        for rule in rules {
            admin.delete(&format!("alert-rules/{rule}")).await?;
        }
        sleep(KNOWN).await;
    }
    suite.stop().await?;
    let (with, without) = (median(with), median(without));
    let mut table = Table::new(&["snapshots/s", "with the rules of the first start", "with 50 more", "÷"]);
    let ratio = format!("{:.2}", with / without);
    table.row(["median of the runs".to_owned(), thousands(without), thousands(with), ratio]);
    table.print("Ingest beside rules");
    Ok(())
}

/// From the snapshot that breaks a rule to the receiver of the message.
async fn to_a_receiver(settings: &Settings, data: &Path) -> Result<()> {
    let receiver = Receiver::start(Service::Webhook).await;
    let allow = ["--notify-allow".to_owned(), receiver.address().to_string()];
    let suite = Suite::start_with(&settings.rollcall, data, free_address()?, &allow).await?;
    let admin = Admin::log_in(&suite).await?;
    let secret = json!({"url": format!("{}/hook", receiver.url())});
    let channel = admin.make("channels", json!({"name": "ops", "kind": "webhook", "secret": secret})).await?;
    let steps = json!([{"after_ms": 0, "channels": [channel]}]);
    admin.make("alert-routes", json!({"match": {}, "steps": steps})).await?;
    let rule = json!({"name": "any", "kind": "value", "metric": "cpu.total", "op": "above", "critical": 0.0,
        "hold_ms": 0});
    admin.make("alert-rules", rule).await?;
    sleep(KNOWN).await;
    let mut servers = enrol(&suite.url, &suite.admin_password()?, settings.messages).await?;
    let mut took = Vec::new();
    for (number, server) in servers.drain(..).enumerate() {
        let load = Load { connections: 1, requests: 1, lasting: PATIENCE, ..Load::default() };
        let begun = Instant::now();
        drive_one(&suite.url, suite.pid(), &mut vec![server], &load).await?;
        while receiver.count() <= number {
            ensure!(begun.elapsed() < PATIENCE, "message {number} did not come");
            sleep(Duration::from_millis(5)).await;
        }
        took.push(begun.elapsed());
    }
    suite.stop().await?;
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100).or(took.last()).copied().unwrap_or_default();
    let mut table = Table::new(&["from POST to receiver, s", "median", "p99"]);
    let seconds = |took: Duration| format!("{:.2}", took.as_secs_f64());
    table.row([format!("{} messages, hold 0", settings.messages), seconds(at(50)), seconds(at(99))]);
    table.print("How soon a message is out (an alert about a measurement waits 2 s for others)");
    Ok(())
}
