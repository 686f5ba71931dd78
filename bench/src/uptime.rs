//! How long uptime takes, how that grows with servers and days, and what it takes where stretches overlap.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chassis::Clock;
use fleet::{
    Interval, Millis, Record, Snapshot,
    retention::{DAY, DEFAULT_DAYS},
    uptime::Piece,
};
use history::History;
use serde_json::json;
use simulator::{
    Simulated, Suite, enrol,
    http::{Connection, Target},
    process::free_address,
    snapshot,
};

use crate::{
    rollups,
    table::{Table, median, thousands},
};

const SERVERS: [usize; 4] = [1, 10, 100, 1_000];
const DAYS: [usize; 3] = [1, 7, 30];
const SAMPLES_A_DAY: usize = 2_880;
/// Records of one append.
const BATCH: usize = 4_000;
/// Overlapping snapshots are written for cells of at most this many records.
const MOST_OVERLAPPING: usize = 300_000;
/// A cell is measured for about this long at most.
const LONGEST: Duration = Duration::from_secs(10);
/// Servers on one page of the API.
const PAGE: usize = 500;

#[derive(clap::Args)]
pub struct Settings {
    /// The suite
    #[arg(long, default_value = "target/release/rollcall")]
    rollcall: PathBuf,
    /// A cell of the table that needs more records than this is left out
    #[arg(long, default_value_t = 9_000_000)]
    records: usize,
    /// Times that each cell is measured, if that takes less than 10 s
    #[arg(long, default_value_t = 20)]
    times: usize,
    /// Servers whose hours are rolled up, for what is read from rollups; 0 leaves that out
    #[arg(long, default_value_t = 10_000)]
    fleet: usize,
    /// Measure what is read from rollups alone
    #[arg(long)]
    rollups_only: bool,
    /// Folder for the data
    #[arg(long, default_value = "/tmp")]
    folder: PathBuf,
}

/// What one cell took, in milliseconds.
struct Took {
    median: f64,
    worst: f64,
}

pub async fn run(settings: &Settings) -> Result<()> {
    if settings.fleet > 0 {
        let folder = tempfile::tempdir_in(&settings.folder)?;
        rollups::run(folder.path(), settings.fleet, settings.times).await?;
    }
    if settings.rollups_only { Ok(()) } else { from_snapshots(settings).await }
}

async fn from_snapshots(settings: &Settings) -> Result<()> {
    let folder = tempfile::tempdir_in(&settings.folder)?;
    let data = folder.path().join("suite");
    let suite = Suite::start(&settings.rollcall, &data, free_address()?).await?;
    let most = SERVERS.into_iter().max().unwrap_or(0);
    let servers = enrol(&suite.url, &suite.admin_password()?, most).await?;
    let path = suite.history_db();
    suite.stop().await?;

    let cells: Vec<(usize, usize)> = SERVERS
        .into_iter()
        .flat_map(|servers| DAYS.map(|days| (servers, days)))
        .filter(|(servers, days)| servers * days * SAMPLES_A_DAY <= settings.records)
        .collect();
    let now = Clock::system().now();
    let history = History::open_sqlite(&path, DEFAULT_DAYS).await?;
    fill(&history, &servers, &cells, now, Interval::DEFAULT.millis()).await?;
    let mut library = Vec::new();
    for (servers_asked, days) in &cells {
        library.push(time_covered(&history, &servers[..*servers_asked], *days, now, settings.times).await?);
    }
    history.close().await;
    let overlapping =
        overlapping(&folder.path().join("overlapping.db"), &servers, &cells, now, settings).await?;

    let suite = Suite::start(&settings.rollcall, &data, free_address()?).await?;
    let mut table = Table::new(&[
        "uptime of",
        "records",
        "covered: ms",
        "worst",
        "µs/1,000 records",
        "overlapping: ms",
        "× apart",
        "REST: ms",
        "worst",
    ]);
    for ((servers_asked, days), covered) in cells.iter().zip(library) {
        let rest = time_rest(&suite, &servers[..*servers_asked], *days, now, settings.times).await?;
        let records = (servers_asked * days * SAMPLES_A_DAY) as f64;
        let overlapped = overlapping.get(&(*servers_asked, *days));
        table.row([
            format!("{} × {days} d", thousands(*servers_asked as f64)),
            thousands(records),
            format!("{:.1}", covered.median),
            format!("{:.1}", covered.worst),
            format!("{:.0}", covered.median * 1e6 / records),
            overlapped.map_or_else(String::new, |took| format!("{:.1}", took.median)),
            overlapped.map_or_else(String::new, |took| format!("{:.1}", took.median / covered.median)),
            format!("{:.1}", rest.median),
            format!("{:.1}", rest.worst),
        ]);
    }
    let bytes = std::fs::metadata(&path)?.len();
    suite.stop().await?;
    table.print(&format!(
        "Uptime: median and worst of {} times at most; a history of {} MB; pages of {PAGE}",
        settings.times,
        thousands(bytes as f64 / 1e6)
    ));
    Ok(())
}

/// The cells that are not too large, of servers whose snapshots each cover the one before too.
async fn overlapping(
    path: &Path,
    servers: &[Simulated],
    cells: &[(usize, usize)],
    now: Millis,
    settings: &Settings,
) -> Result<HashMap<(usize, usize), Took>> {
    let few: Vec<(usize, usize)> = cells
        .iter()
        .copied()
        .filter(|(servers, days)| servers * days * SAMPLES_A_DAY <= MOST_OVERLAPPING)
        .collect();
    let history = History::open_sqlite(path, DEFAULT_DAYS).await?;
    fill(&history, servers, &few, now, 2 * Interval::DEFAULT.millis()).await?;
    while history.decide_overlaps().await? {}
    let mut took = HashMap::new();
    for (asked, days) in few {
        let cell = time_covered(&history, &servers[..asked], days, now, settings.times).await?;
        took.insert((asked, days), cell);
    }
    history.close().await;
    Ok(took)
}

/// The first servers get the most days: each as many as the largest cell that it is part of.
async fn fill(
    history: &History,
    servers: &[Simulated],
    cells: &[(usize, usize)],
    now: Millis,
    covers: Millis,
) -> Result<()> {
    let days_of = |number: usize| cells.iter().filter(|cell| cell.0 > number).map(|cell| cell.1).max();
    let interval = Interval::DEFAULT;
    let longest = DAYS.into_iter().max().unwrap_or(0) * SAMPLES_A_DAY;
    let mut batch = Vec::with_capacity(BATCH);
    let (mut written, begun) = (0, Instant::now());
    // In the order of time, as a fleet sends.
    for step in (0..longest).rev() {
        let at = now - Millis::try_from(step)? * interval.millis();
        for (number, server) in servers.iter().enumerate() {
            if step >= days_of(number).unwrap_or(0) * SAMPLES_A_DAY {
                break;
            }
            // Phases differ, and never reach into the future.
            let sampled_at = at - Millis::try_from(number)? % interval.millis();
            batch.push(record(server, sampled_at, covers, (step * servers.len() + number) as u64)?);
        }
        if batch.len() >= BATCH || step == 0 {
            ensure!(history.append(&batch).await?.is_empty(), "a record was rejected");
            written += batch.len();
            if written / 500_000 > (written - batch.len()) / 500_000 {
                let rate = written as f64 / begun.elapsed().as_secs_f64();
                eprintln!("{} records written, {}/s", thousands(written as f64), thousands(rate));
            }
            batch.clear();
        }
    }
    Ok(())
}

fn record(server: &Simulated, sampled_at: Millis, covers: Millis, seed: u64) -> Result<Record> {
    let interval = Interval::DEFAULT;
    let mut json = Vec::with_capacity(400);
    snapshot::write(&mut json, sampled_at, covers, seed);
    let snapshot = Snapshot::check(serde_json::from_slice(&json)?, interval)?;
    Ok(Record { server: server.id, generation: 0, received_at: sampled_at, interval, snapshot })
}

async fn time_covered(
    history: &History,
    servers: &[Simulated],
    days: usize,
    now: Millis,
    times: usize,
) -> Result<Took> {
    // Both edges cut a record.
    let from = now - Millis::try_from(days)? * DAY + 10_001;
    let piece = Piece { from, to: now - 40_001 };
    let asked: Vec<_> = servers.iter().map(|server| (server.id, vec![piece])).collect();
    let mut took = Vec::new();
    while unfinished(&took, times) {
        let begun = Instant::now();
        let covered = history.covered(&asked).await?;
        took.push(begun.elapsed());
        ensure!(covered.iter().all(|covered| *covered == piece.length()), "covered is not what was written");
    }
    Ok(Took::of(&took))
}

async fn time_rest(
    suite: &Suite,
    servers: &[Simulated],
    days: usize,
    now: Millis,
    times: usize,
) -> Result<Took> {
    let target = Target::resolve(&suite.url).await?;
    let mut connection = Connection::open(&target).await?;
    let body = json!({"username": "admin", "password": suite.admin_password()?});
    let session =
        connection.call(&target, "POST", "/server-management/v1/sessions", None, Some(&body)).await?;
    let access = session["access_token"].as_str().context("no access_token")?;
    let range = format!("from={}&to={}", now - Millis::try_from(days)? * DAY + 10_001, now - 40_001);
    let mut took = Vec::new();
    while unfinished(&took, times) {
        let begun = Instant::now();
        if let [server] = servers {
            let path = format!("/server-management/v1/servers/{}/uptime?{range}", server.id);
            let answer = connection.call(&target, "GET", &path, Some(access), None).await?;
            took.push(begun.elapsed());
            ensure!(answer["uptime"] == 1.0, "uptime is not what was written: {answer}");
            continue;
        }
        let size = PAGE.min(servers.len());
        let mut items = 0;
        for page in 1..=servers.len().div_ceil(size) {
            let path = format!("/server-management/v1/uptime?{range}&sort=name&page={page}&page_size={size}");
            let answer = connection.call(&target, "GET", &path, Some(access), None).await?;
            let page = answer["items"].as_array().context("no items")?;
            ensure!(page.iter().all(|item| item["uptime"] == 1.0), "uptime is not what was written");
            items += page.len();
        }
        took.push(begun.elapsed());
        ensure!(items == servers.len(), "{items} items");
    }
    Ok(Took::of(&took))
}

/// Whether to measure once more: `times` often at most, three times at least, and else for no more than [`LONGEST`].
fn unfinished(took: &[Duration], times: usize) -> bool {
    took.len() < times && (took.len() < 3 || took.iter().sum::<Duration>() < LONGEST)
}

impl Took {
    fn of(took: &[Duration]) -> Self {
        let millis: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
        Self { worst: millis.iter().copied().fold(0.0, f64::max), median: median(millis) }
    }
}
