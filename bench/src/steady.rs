//! How many rows PostgreSQL writes per snapshot when servers report for longer than the registry is written to for.
//!
//! The time is that of the records, which is all that the worker judges by: beats of 30 s are published as a gate does,
//! each stored before the next is sent, so that as in real time no batch has two of one server.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use chassis::Clock;
use fleet::{Message, Millis, wire::v1::Host};
use queue::rabbitmq;
use simulator::{Entry, Simulated};
use sqlx::{Connection, PgConnection, Row};
use tokio::time::sleep;

use crate::{
    records::record,
    stage::{Settings, Stage},
    table::{Table, thousands},
};

const BEAT: Millis = 30_000;
/// Beats after which each server is written in turn: more than 5 minutes.
const WARM: i64 = 12;
/// Snapshots of a message.
const PACK: usize = 100;
/// An idle backend keeps its counts for 10 s.
const COUNTED: Duration = Duration::from_millis(10_500);

pub async fn run(stage: &mut Stage<'_>, settings: &Settings) -> Result<()> {
    let count = settings.steady_servers.min(stage.servers.len());
    eprintln!("{count} servers over {} beats", WARM + settings.beats);
    let publishing =
        rabbitmq::Settings::new(stage.fleet.urls.amqp.parse()?, stage.fleet.prefix(), "snapshots");
    let publisher = rabbitmq::publisher::<Message>(&publishing);
    publisher.reached().await;
    let first = Clock::system().now() - (WARM + settings.beats) * BEAT;
    let mut before = HashMap::new();
    for beat in 0..WARM + settings.beats {
        if beat == WARM {
            sleep(COUNTED).await;
            before = rows(stage).await?;
        }
        send(stage, &publisher, first + beat * BEAT, count).await?;
    }
    sleep(COUNTED).await;
    let after = rows(stage).await?;
    print(&before, &after, count, settings);
    Ok(())
}

/// One beat of the first `count` servers, each at a moment of its own within the interval.
async fn send(
    stage: &mut Stage<'_>,
    publisher: &queue::Publisher<Message>,
    from: Millis,
    count: usize,
) -> Result<()> {
    let before = stage.settled_now().await?;
    for (pack, servers) in stage.servers[..count].chunks_mut(PACK).enumerate() {
        let mut records = Vec::with_capacity(PACK);
        for (number, Simulated { id, newest, .. }) in servers.iter_mut().enumerate() {
            let at = from + BEAT * (pack * PACK + number) as i64 / count as i64;
            records.push(record(*id, at, Some(host()))?);
            *newest = at;
        }
        let entries = records.iter().map(|record| Entry {
            server: record.server,
            sampled_at: record.snapshot.sampled_at(),
            sent: record.received_at,
            status: Some(202),
            took_us: 0,
        });
        stage.journal.entries.extend(entries);
        let published = publisher.publish(Message::Snapshots(records)).await;
        published.map_err(|error| anyhow!("publishing: {error}"))?;
    }
    stage.settled(before + count as f64).await
}

/// With every snapshot, more often than an agent sends it.
fn host() -> Host {
    Host {
        hostname: Some("a.host.of.the.bench".to_owned()),
        os: Some("Debian GNU/Linux 12 (bookworm)".to_owned()),
        kernel: Some("6.1.0-18-amd64".to_owned()),
        arch: Some("x86_64".to_owned()),
        ..Host::default()
    }
}

/// Rows that were inserted and updated, by table of the suite's own schema.
async fn rows(stage: &Stage<'_>) -> Result<HashMap<String, i64>> {
    let mut server = PgConnection::connect(&stage.fleet.urls.database).await?;
    let found = sqlx::query(
        "SELECT relname::text, n_tup_ins + n_tup_upd FROM pg_stat_user_tables WHERE schemaname = current_schema()",
    );
    let found = found.fetch_all(&mut server).await?;
    ensure!(!found.is_empty(), "no tables");
    let row = |row: sqlx::postgres::PgRow| Ok((row.try_get(0)?, row.try_get(1)?));
    found.into_iter().map(row).collect::<Result<_, sqlx::Error>>().context("the counts")
}

fn print(before: &HashMap<String, i64>, after: &HashMap<String, i64>, count: usize, settings: &Settings) {
    let snapshots = (count as i64 * settings.beats) as f64;
    let grown = |table: &str| (after.get(table).unwrap_or(&0) - before.get(table).unwrap_or(&0)) as f64;
    let all: f64 = after.keys().map(|table| grown(table)).sum();
    let [sightings, facts] = ["sightings", "facts"].map(grown);
    let mut table = Table::new(&["rows written", "rows", "a snapshot"]);
    let others = all - sightings - facts;
    for (name, rows) in
        [("sightings", sightings), ("facts", facts), ("all other tables", others), ("all", all)]
    {
        table.row([name.to_owned(), thousands(rows), format!("{:.4}", rows / snapshots)]);
    }
    table.print(&format!(
        "Fleet: rows that PostgreSQL wrote for {} snapshots, {} servers over {} intervals of 30 s; the target is 0.12",
        thousands(snapshots),
        thousands(count as f64),
        settings.beats
    ));
}
