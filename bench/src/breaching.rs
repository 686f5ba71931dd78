//! How many rows the registry writes more where one server in a hundred breaks a rule for an hour. The clock is fixed: an hour
//! takes as long as its snapshots take to store.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use cache::Cache;
use chassis::{Clock, random};
use fleet::{
    Interval, Message, Millis, Record, ServerId, Snapshot,
    alert::{
        Draft, Level,
        channel::{Kind, Step},
        route::{Match, Route},
    },
    id::{AlertRouteId, AlertRuleId, IncidentId},
    wire::v1,
};
use healthcheck_worker::Worker;
use history::History;
use queue::Publisher;
use registry::{Actor, AlertRule, Registry};
use sqlx::{Connection, PgConnection, Row};
use testkit::{Server, Servers};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    alerts,
    records::record,
    table::{Table, thousands},
    waiting::channel,
};

const BEAT: Millis = 30_000;
/// One of so many servers breaks the rule.
const BREACHING: usize = 100;
/// Snapshots of one message.
const PACK: usize = 200;
/// PostgreSQL tells of rows about a second after they were written.
const TOLD: Duration = Duration::from_millis(2_500);

/// An hour of these servers, unless told to take fewer intervals.
pub async fn run(servers: usize, beats: i64, folder: &Path) -> Result<()> {
    let without = hour(servers, beats, false, &folder.join("without")).await?;
    let with = hour(servers, beats, true, &folder.join("with")).await?;
    let snapshots = servers as f64 * beats as f64;
    let mut table = Table::new(&["rows that PostgreSQL wrote", "rows", "a snapshot"]);
    for (name, rows) in [
        ("nothing breaks a rule", without as f64),
        ("one in a hundred does", with as f64),
        ("more", (with - without) as f64),
    ] {
        table.row([name.to_owned(), thousands(rows), format!("{:.5}", rows / snapshots)]);
    }
    table.print(&format!(
        "Rows of alerts, incidents and messages for {} snapshots of {servers} servers; the target is 0.001 more",
        thousands(snapshots)
    ));
    Ok(())
}

/// How many rows were written.
async fn hour(count: usize, beats: i64, breaks: bool, folder: &Path) -> Result<i64> {
    std::fs::create_dir_all(folder)?;
    let place = Servers::of(&[Server::PostgreSql]).await;
    let database_url = &place.postgresql().direct;
    let registry = Registry::open_postgres(&database_url.parse()?);
    registry.migrate().await?;
    let (clock, by) = (Clock::fixed(1_790_000_000_000), Actor::system());
    let mut servers = Vec::with_capacity(count);
    while servers.len() < count {
        servers.extend(alerts::make(&registry, servers.len(), clock.now(), &by).await?);
    }
    servers.truncate(count);
    tell_of_busy(&registry, clock.now(), &by).await?;
    let history = History::open_sqlite(&folder.join("history.db"), 35).await?;
    let (publisher, consumer) = queue::in_process(1_000, |_: &Message| 1);
    let (cache, stop) = (Cache::in_process(), CancellationToken::new());
    let name = "bench".to_owned();
    let worker = Worker::new(name, consumer, registry.clone(), history, cache, clock.clone());
    let working = tokio::spawn(worker.run(stop.clone()));
    sleep(TOLD).await;
    let before = rows(database_url).await?;
    for beat in 1..=beats {
        publish(&publisher, &servers, clock.now() + BEAT, breaks).await?;
        clock.advance(BEAT);
        let now = clock.now();
        let mut new = || IncidentId::new(now, random());
        while registry.judge_states(None, &mut new, now).await?.is_some() {}
        registry.tell(0, random, now).await?;
        eprint!("\r{beat} of {beats} intervals");
    }
    eprintln!();
    sleep(TOLD).await;
    let written = rows(database_url).await? - before;
    stop.cancel();
    working.await?;
    if breaks {
        let (queued, _) = registry.notification_counts().await?;
        ensure!(queued > 0, "nothing was told");
    }
    registry.close().await;
    Ok(written)
}

/// The rule, and where its incidents are told.
async fn tell_of_busy(registry: &Registry, now: Millis, by: &Actor) -> Result<()> {
    let refused = |refusal| anyhow!("{refusal:?}");
    let draft = Draft {
        kind: "value".to_owned(),
        metric: "cpu.total".to_owned(),
        op: "above".to_owned(),
        critical: Some(95.0),
        hold_ms: 5 * 60_000,
        clear_hold_ms: 60_000,
        ..Draft::default()
    };
    let rule = AlertRule::new(AlertRuleId::new(now, random()), "busy", true, draft, now);
    registry.make_alert_rule(&rule, by).await?.map_err(refused)?;
    let channel = channel(Kind::Webhook, "https://hooks.example.org/1", now)?;
    registry.make_channel(&channel, by).await?.map_err(refused)?;
    let (id, steps) =
        (AlertRouteId::new(now, random()), vec![Step { after_ms: 0, channels: vec![channel.id] }]);
    let matches = Match::default();
    let route = Route { id, matches, min_level: Level::Warning, steps, reminder_ms: 0, goes_on: false };
    registry.make_alert_route(&route, "all", None, by, now).await?.map_err(refused)?;
    Ok(())
}

async fn publish(
    publisher: &Publisher<Message>,
    servers: &[ServerId],
    at: Millis,
    breaks: bool,
) -> Result<()> {
    for (pack, part) in servers.chunks(PACK).enumerate() {
        let mut records = Vec::with_capacity(PACK);
        for (number, server) in part.iter().enumerate() {
            let busy = breaks && (pack * PACK + number).is_multiple_of(BREACHING);
            records.push(with_cpu(record(*server, at, None)?, if busy { 99.0 } else { 10.0 })?);
        }
        let published = publisher.publish(Message::Snapshots(records)).await;
        published.map_err(|error| anyhow!("publishing: {error}"))?;
    }
    Ok(())
}

fn with_cpu(record: Record, total: f32) -> Result<Record> {
    let mut raw = record.snapshot.as_wire().clone();
    raw.cpu = Some(v1::Cpu { total: Some(total), ..raw.cpu.unwrap_or_default() });
    let snapshot = Snapshot::check(raw, Interval::DEFAULT).ok().context("not a snapshot")?;
    Ok(Record { snapshot, ..record })
}

/// Rows that were written to the tables of alerts. All others are written alike: a server that breaches costs none there.
async fn rows(database_url: &str) -> Result<i64> {
    let mut server = PgConnection::connect(database_url).await?;
    let counted = sqlx::query(
        "SELECT CAST(COALESCE(SUM(n_tup_ins + n_tup_upd + n_tup_del), 0) AS BIGINT) FROM pg_stat_user_tables
         WHERE schemaname = current_schema() AND (relname LIKE 'alert_%' OR relname LIKE 'incident%'
             OR relname LIKE 'notification%' OR relname IN ('told', 'targets'))",
    );
    Ok(counted.fetch_one(&mut server).await?.try_get(0)?)
}
