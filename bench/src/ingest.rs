//! Snapshots per second of the whole suite, its generator on the same cores.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use simulator::{
    Journal, Load, Simulated, Suite, drive, enrol, oracle,
    process::{Memory, cpu, free_address, memory},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    driving::{Outcome, drive_one},
    reference::{Raw, start_bare},
    table::{Table, median, megabytes, micros, own, thousands},
};

/// Pace of the servers when each has a connection: the usual interval.
const EACH_REPORTS_EVERY: Duration = Duration::from_secs(30);
/// Batches of the raw reference.
const BATCHES: [usize; 2] = [1_000, 4_000];

#[derive(clap::Args)]
pub struct Settings {
    /// The suite
    #[arg(long, default_value = "target/release/rollcall")]
    rollcall: PathBuf,
    /// Servers enrolled
    #[arg(long, default_value_t = 10_000)]
    servers: usize,
    /// Connections of the generator, each with one request in flight
    #[arg(long, default_value_t = 1_024)]
    connections: usize,
    /// Length of one run in seconds
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Runs of each, interleaved
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Folder for the data, on the disk that is to be measured
    #[arg(long, default_value = "/tmp")]
    folder: PathBuf,
}

impl Settings {
    fn load(&self) -> Load {
        let lasting = Duration::from_secs(self.seconds);
        Load { connections: self.connections, lasting, ..Load::default() }
    }
}

/// What is measured, with its runs.
struct Contender {
    name: String,
    runs: Vec<Outcome>,
}

pub async fn run(settings: &Settings) -> Result<()> {
    let folder = tempfile::tempdir_in(&settings.folder)?;
    let suite = Suite::start(&settings.rollcall, &folder.path().join("suite"), free_address()?).await?;
    let before = memory(&[suite.pid()])?;
    eprintln!("enrolling {} servers", settings.servers);
    let begun = Instant::now();
    let mut servers = enrol(&suite.url, &suite.admin_password()?, settings.servers).await?;
    let enrolling = settings.servers as f64 / begun.elapsed().as_secs_f64();
    let enrolled = memory(&[suite.pid()])?;

    let load = settings.load();
    let mut contenders = contenders();
    let mut journal = Journal::default();
    let mut raw = Vec::new();
    for batch in BATCHES {
        raw.push((batch, Raw::open(&folder.path().join(format!("raw-{batch}.db"))).await?));
    }
    for run in 1..=settings.runs {
        eprintln!("run {run} of {}", settings.runs);
        let (outcome, sent) = drive_one(&suite.url, suite.pid(), &mut servers, &load).await?;
        ensure!(sent.refused() == 0, "{} requests were refused", sent.refused());
        journal.extend(sent);
        contenders[0].runs.push(outcome);

        let listen = free_address()?;
        let bare = start_bare(listen).await?;
        let url = format!("http://{listen}");
        contenders[1].runs.push(drive_one(&url, bare.pid(), &mut servers, &load).await?.0);
        bare.kill().await?;

        for ((batch, raw), contender) in raw.iter_mut().zip(&mut contenders[2..]) {
            contender.runs.push(fill_one(raw, *batch, &servers, settings).await?);
        }
    }
    let driven = memory(&[suite.pid()])?;
    eprintln!("a connection for each server");
    let connected = connect_all(&suite.url, suite.pid(), &mut servers, &mut journal).await?;
    eprintln!("comparing {} attempts with what is stored", journal.entries.len());
    let found = oracle(&journal, &suite.history_db()).await?;
    let bytes = bytes_in(&folder.path().join("suite"))?;
    suite.stop().await?;

    print_rates(&contenders, settings);
    println!("\nrollcall: {} acknowledged, {found}.", thousands(journal.acknowledged() as f64));
    println!(
        "On disk {:.0} bytes a snapshot; enrolling went at {} servers/s.",
        bytes as f64 / found.stored as f64,
        thousands(enrolling)
    );
    let mut table = Table::new(&["memory of rollcall, MB", "PSS", "RSS"]);
    let count = thousands(settings.servers as f64);
    for (name, memory) in [
        ("started".to_owned(), before),
        (format!("{count} servers enrolled"), enrolled),
        (format!("after the runs, over {} connections", thousands(settings.connections as f64)), driven),
        (format!("{count} servers, a connection each, reporting"), connected),
    ] {
        table.row([name, megabytes(memory.pss), megabytes(memory.rss)]);
    }
    table.print("Memory");
    ensure!(found.clean(), "the store disagrees with the journal: {found}");
    Ok(())
}

fn contenders() -> Vec<Contender> {
    let names = ["rollcall, stored and fsynced".to_owned(), "bare actix, 204".to_owned()];
    let raw = BATCHES.map(|batch| format!("raw SQLite, batches of {}", thousands(batch as f64)));
    names.into_iter().chain(raw).map(|name| Contender { name, runs: Vec::new() }).collect()
}

/// Memory while every server has a connection of its own, and reports at the usual interval, as agents do.
async fn connect_all(
    url: &str,
    pid: u32,
    servers: &mut Vec<Simulated>,
    journal: &mut Journal,
) -> Result<Memory> {
    let count = servers.len();
    let load = Load {
        connections: count,
        rate: Some(count as f64 / EACH_REPORTS_EVERY.as_secs_f64()),
        lasting: EACH_REPORTS_EVERY * 2,
        ..Load::default()
    };
    let look = async {
        sleep(load.lasting.mul_f64(0.9)).await;
        memory(&[pid])
    };
    let stop = CancellationToken::new();
    let urls = [url];
    let (sent, memory) = tokio::join!(drive(&urls, servers, &load, &stop), look);
    let sent = sent?;
    // An attempt that met a connection the suite had closed between two beats goes again at once, as agents do.
    ensure!(sent.acknowledged() >= count, "some reports were not taken: see the log");
    journal.extend(sent);
    memory
}

async fn fill_one(
    raw: &mut Raw,
    batch: usize,
    servers: &[Simulated],
    settings: &Settings,
) -> Result<Outcome> {
    let ids: Vec<[u8; 16]> = servers.iter().map(|server| *server.id.as_bytes()).collect();
    let (before, begun) = (cpu(&[own()])?, Instant::now());
    let rows = raw.fill(batch, &ids, Duration::from_secs(settings.seconds)).await? as f64;
    let took = begun.elapsed();
    let rate = rows / took.as_secs_f64();
    eprintln!("  raw, batches of {batch}: {}/s", thousands(rate));
    Ok(Outcome { rate, cpu: micros(cpu(&[own()])? - before) / rows, generator_cpu: 0.0, p99_ms: None })
}

fn print_rates(contenders: &[Contender], settings: &Settings) {
    let median_of = |contender: &Contender, figure: fn(&Outcome) -> f64| {
        median(contender.runs.iter().map(figure).collect())
    };
    let ours = median_of(&contenders[0], |run| run.rate);
    let mut table = Table::new(&[
        "median of the runs",
        "snapshots/s",
        "runs",
        "rollcall is",
        "CPU µs/snapshot",
        "generator's",
        "p99 ms",
    ]);
    for contender in contenders {
        let rate = median_of(contender, |run| run.rate);
        let runs: Vec<String> = contender.runs.iter().map(|run| thousands(run.rate)).collect();
        let p99 = median_of(contender, |run| run.p99_ms.unwrap_or(f64::NAN));
        table.row([
            contender.name.clone(),
            thousands(rate),
            runs.join(" "),
            format!("{:.2}×", ours / rate),
            format!("{:.1}", median_of(contender, |run| run.cpu)),
            format!("{:.1}", median_of(contender, |run| run.generator_cpu)),
            if p99.is_nan() { "-".to_owned() } else { format!("{p99:.1}") },
        ]);
    }
    let Settings { runs, seconds, connections, servers, .. } = settings;
    table.print(&format!(
        "Ingest: {servers} servers over {connections} connections, one snapshot a request, {runs} runs of {seconds} s"
    ));
}

fn bytes_in(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for file in std::fs::read_dir(folder).context("the data folder")? {
        let metadata = file?.metadata()?;
        bytes += if metadata.is_file() { metadata.len() } else { 0 };
    }
    Ok(bytes)
}
