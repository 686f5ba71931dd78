//! What is read from rollups: uptime of many servers and of one, and charts, over windows that end with a closed hour.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use chassis::Clock;
use fleet::{
    Interval, Millis, Record, ServerId, Snapshot,
    hours::{Closing, HOUR},
    retention::{DAY, Kept},
    uptime::Piece,
};
use history::History;
use simulator::snapshot;

use crate::{
    size::cpu,
    table::{Table, median, thousands},
};

/// Days of uptime, and of the longest chart.
const UPTIME_DAYS: i64 = 30;
const CHART_DAYS: i64 = 400;
/// Snapshots of the fleet are this far apart: what is read from rollups takes the same time however many they are made of.
const APART: Millis = HOUR / 2;
/// Records of one append.
const BATCH: usize = 4_000;
const POINTS: u32 = 300;

/// Measures with so many servers, each figure so many times.
pub async fn run(folder: &Path, servers: usize, times: usize) -> Result<()> {
    let now = Clock::system().now() / HOUR * HOUR;
    let ids: Vec<ServerId> = (0..servers).map(|number| id(now, number)).collect();
    let path = folder.join("rollups.db");
    let history = History::open_sqlite(&path, Kept { raw: 1, rollups: 400 }).await?;
    let used = async || Ok::<_, anyhow::Error>((history.size().await? - history.spare_bytes().await?) as f64);
    let begun = Instant::now();
    fill(&history, &ids, now - UPTIME_DAYS * DAY, now, APART).await?;
    eprintln!("filled in {:.0} s", begun.elapsed().as_secs_f64());
    let raw = used().await?;
    let (hours, took) = roll_up(&history, now).await?;
    let (hours, rolled) = (hours as f64, used().await? - raw);
    // Snapshots go but for the last day, so that what is packed is rollups, and little else.
    history.expire(now).await?;
    let (begun, cpu) = (Instant::now(), cpu());
    pack(&history).await?;
    println!(
        "{} hours of servers rolled up, {} a second and {:.0} bytes each; packed in {:.0} s, {:.1} µs of CPU an hour",
        thousands(hours),
        thousands(hours / took.as_secs_f64()),
        rolled / hours,
        begun.elapsed().as_secs_f64(),
        (self::cpu() - cpu) * 1e6 / hours,
    );
    let mut table = Table::new(&["from rollups", "median ms", "99 % ms", "worst ms"]);
    let piece = Piece { from: now - UPTIME_DAYS * DAY, to: now };
    let cut = Piece { from: piece.from + 10_001, to: piece.to - 40_001 };
    for (name, asked, piece) in [
        (format!("uptime of {} × {UPTIME_DAYS} d", thousands(servers as f64)), &ids[..], piece),
        (format!("the same, cutting hours, of {}", thousands(servers as f64)), &ids[..], cut),
        (format!("uptime of 1 × {UPTIME_DAYS} d"), &ids[..1], piece),
        ("the same, cutting hours".to_owned(), &ids[..1], cut),
    ] {
        let asked: Vec<_> = asked.iter().map(|id| (*id, vec![piece])).collect();
        let took = measure(times, async || {
            let covered = history.covered(&asked).await?;
            ensure!(covered.iter().all(|covered| *covered == piece.length()), "not what was written");
            Ok(())
        });
        row(&mut table, &name, took.await?);
    }
    history.close().await;
    charts(&folder.join("chart.db"), now, times, &mut table).await?;
    table.print(&format!("Rollups, embedded, each {times} times"));
    Ok(())
}

/// Charts of one host that reports every 30 s, of whose history all is kept raw too.
async fn charts(path: &Path, now: Millis, times: usize, table: &mut Table) -> Result<()> {
    let host = [id(now, 0)];
    let days = u16::try_from(CHART_DAYS)? + 1;
    let history = History::open_sqlite(path, Kept { raw: days, rollups: days }).await?;
    fill(&history, &host, now - CHART_DAYS * DAY, now, Interval::DEFAULT.millis()).await?;
    roll_up(&history, now).await?;
    pack(&history).await?;
    for (name, length, points) in [
        ("1 h", HOUR, POINTS),
        ("24 h", DAY, POINTS),
        ("24 h by the hour", DAY, 24),
        ("30 d", 30 * DAY, POINTS),
        ("30 d by the hour", 30 * DAY, 720),
        ("400 d", CHART_DAYS * DAY, POINTS),
        ("400 d by whole days", CHART_DAYS * DAY, 400),
    ] {
        let took = measure(times, async || {
            let found = history.points(host[0], now - length, now, points).await?;
            ensure!(!found.is_empty(), "no points");
            Ok(())
        });
        row(table, &format!("chart of 1 host, {name}, {points} points"), took.await?);
    }
    history.close().await;
    Ok(())
}

fn id(now: Millis, number: usize) -> ServerId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&(number as u64).to_be_bytes());
    ServerId::new(now, random)
}

/// In the order of time, as a fleet sends.
async fn fill(history: &History, ids: &[ServerId], from: Millis, to: Millis, apart: Millis) -> Result<()> {
    let interval = Interval::try_from(apart.max(1_000))?;
    let mut batch: Vec<Record> = Vec::with_capacity(BATCH);
    let mut at = from + apart;
    while at <= to {
        for (number, server) in ids.iter().enumerate() {
            let mut json = Vec::with_capacity(400);
            snapshot::write(&mut json, at, apart, (at / apart) as u64 * ids.len() as u64 + number as u64);
            let snapshot = Snapshot::check(serde_json::from_slice(&json)?, interval)?;
            batch.push(Record { server: *server, generation: 0, received_at: at, interval, snapshot });
            if batch.len() >= BATCH {
                ensure!(history.append(&batch).await?.is_empty(), "a record was rejected");
                batch.clear();
            }
        }
        at += apart;
    }
    ensure!(history.append(&batch).await?.is_empty(), "a record was rejected");
    Ok(())
}

/// Rolls up everything; returns how many hours of servers that were, and how long it took.
async fn roll_up(history: &History, now: Millis) -> Result<(u64, Duration)> {
    let (closing, begun, mut hours) = (Closing::new(now + DAY, []), Instant::now(), 0);
    loop {
        let done = history.roll_up(&closing).await?;
        hours += done.made;
        if done.made == 0 || done.left == 0 {
            return Ok((hours, begun.elapsed()));
        }
    }
}

async fn pack(history: &History) -> Result<()> {
    while history.pack().await?.more {}
    Ok(())
}

async fn measure(times: usize, call: impl AsyncFn() -> Result<()>) -> Result<Vec<f64>> {
    let mut took = Vec::with_capacity(times);
    for _ in 0..times.max(1) {
        let begun = Instant::now();
        call().await?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}

fn row(table: &mut Table, name: &str, mut took: Vec<f64>) {
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() as f64 * share).ceil() as usize).clamp(1, took.len()) - 1];
    let (late, worst) = (at(0.99), at(1.0));
    table.row([name.to_owned(), format!("{:.1}", median(took)), format!("{late:.1}"), format!("{worst:.1}")]);
}
