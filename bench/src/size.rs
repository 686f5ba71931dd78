//! How many bytes a snapshot takes once its hour is closed, beside VictoriaMetrics with the same values, and what packing
//! costs.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chassis::Clock;
use fleet::{
    Interval, Millis, Record, ServerId, Snapshot,
    hours::{Closing, HOUR},
    retention::DEFAULT_DAYS,
    wire::v1,
};
use history::History;
use reqwest::Client;
use rustix::time::{ClockId, clock_gettime};
use simulator::process::free_address;
use tokio::process::{Child, Command};

use crate::{
    records::strangers,
    table::{Table, thousands},
};

/// Figures of each snapshot.
const VALUES: usize = 16;
/// VictoriaMetrics, where it is installed.
const PEER: &str = "victoria-metrics";
/// Bytes of one request to it.
const FULL: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct Settings {
    /// How many servers
    #[arg(long, default_value_t = 1_000)]
    servers: usize,
    /// How many hours of each, a snapshot every 30 s
    #[arg(long, default_value_t = 12)]
    hours: i64,
    /// Folder for the data
    #[arg(long, default_value = "/tmp")]
    folder: PathBuf,
}

/// What one server shows, walking on from what it showed before.
struct Walk {
    id: ServerId,
    random: u64,
    /// When it samples, after each whole step.
    phase: Millis,
    before: Millis,
    cpu: f64,
    load: [f64; 3],
    /// Pages of 4 KiB in use.
    memory: f64,
    disks: [f64; 2],
    rates: [f64; 3],
}

impl Walk {
    fn new(id: ServerId, number: u64) -> Self {
        let mut walk = Self {
            id,
            random: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            phase: 0,
            before: 0,
            cpu: 0.0,
            load: [0.0; 3],
            memory: 0.0,
            disks: [0.0; 2],
            rates: [0.0; 3],
        };
        walk.phase = (walk.share() * 30_000.0) as Millis;
        walk.cpu = 5.0 + 50.0 * walk.share();
        walk.load = [walk.cpu / 25.0; 3];
        walk.memory = 5e5 + 2.5e6 * walk.share();
        walk.disks = [5e6 + 1.5e7 * walk.share(), 1e7 + 3e7 * walk.share()];
        walk.rates = [1e4, 3e3, 1e3].map(|rate| rate * (1.0 + 99.0 * walk.share()));
        walk
    }

    /// 0 to 1.
    fn share(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About as often above as below 0, mostly within 1.
    fn step(&mut self) -> f64 {
        (0..4).map(|_| self.share() - 0.5).sum::<f64>() * 1.7
    }

    /// What it samples in the step that begins at `at`.
    fn sample(&mut self, at: Millis) -> Result<Record> {
        let interval = Interval::DEFAULT;
        let sampled_at = at + self.phase + (3.0 * self.share()) as Millis;
        let covers_ms = if self.before == 0 { 0 } else { sampled_at - self.before };
        self.before = sampled_at;
        self.cpu = (self.cpu + 2.0 * self.step()).clamp(0.5, 100.0);
        for (place, weight) in [0.4, 0.1, 0.033].into_iter().enumerate() {
            let aim = if place == 0 { self.cpu / 25.0 + 0.1 * self.step() } else { self.load[0] };
            self.load[place] = (self.load[place] + weight * (aim - self.load[place])).max(0.0);
        }
        self.memory = (self.memory + 1_000.0 * self.step()).clamp(2e5, 4e6);
        for place in 0..2 {
            self.disks[place] += (15.0 * self.step() + 5.0).max(0.0);
        }
        for place in 0..3 {
            self.rates[place] = (self.rates[place] * (0.15 * self.step()).exp()).clamp(50.0, 1e8);
        }
        // As agents send them: shares and loads of two decimals, memory and disks in pages.
        let real = |value: f64| ((value * 100.0).round() / 100.0) as f32;
        let pages = |pages: f64| Some(pages as u64 * 4_096);
        let (total, used) = (4_194_304_u64 * 4_096, self.memory as u64 * 4_096);
        let disk = |mount: &str, total, used| v1::Disk {
            mount: Some(mount.into()),
            total,
            used,
            ..v1::Disk::default()
        };
        let rate = |rate: f64| Some(rate as u64);
        let raw = v1::Snapshot {
            sampled_at,
            covers_ms,
            cpu: Some(v1::Cpu {
                total: Some(real(self.cpu)),
                user: Some(real(self.cpu * 0.7)),
                system: Some(real(self.cpu * 0.3)),
                ..v1::Cpu::default()
            }),
            load: Some(self.load.map(real)),
            memory: Some(v1::Memory {
                total: Some(total),
                used: Some(used),
                available: Some(total - used),
                ..v1::Memory::default()
            }),
            disks: vec![
                disk("/", pages(3e7), pages(self.disks[0])),
                disk("/var", pages(6e7), pages(self.disks[1])),
            ],
            networks: vec![
                v1::Network {
                    name: Some("eth0".into()),
                    received: rate(self.rates[0]),
                    sent: rate(self.rates[1]),
                },
                v1::Network { name: Some("lo".into()), received: rate(self.rates[2]), sent: None },
            ],
            ..v1::Snapshot::default()
        };
        let snapshot = Snapshot::check(raw, interval).ok().context("not a snapshot")?;
        Ok(Record { server: self.id, generation: u32::MAX, received_at: sampled_at, interval, snapshot })
    }
}

/// What was measured of ours.
struct Ours {
    rows: f64,
    packed: f64,
    rollups: f64,
    cpu_packing: f64,
    cpu_appending: f64,
    beside: f64,
}

pub async fn run(settings: &Settings) -> Result<()> {
    let folder = tempfile::tempdir_in(&settings.folder)?;
    let count = settings.servers * usize::try_from(settings.hours * 120)?;
    let start = (Clock::system().now() / HOUR - settings.hours - 2) * HOUR;
    let servers = strangers(settings.servers);
    let peer = peer(&folder.path().join("peer"), settings, &servers, start).await?;
    let ours = ours(&folder.path().join("history.db"), settings, &servers, start).await?;
    let mut table = Table::new(&["bytes a snapshot", "bytes", "/ peer", "a value"]);
    let mut row = |name: &str, bytes: f64| {
        let ratio = peer.map_or_else(String::new, |peer| format!("{:.2}", bytes / peer));
        table.row([name.to_owned(), format!("{bytes:.1}"), ratio, format!("{:.2}", bytes / VALUES as f64)]);
    };
    row("history.db, hours open", ours.rows);
    row("history.db, hours packed, without rollups", ours.packed);
    row("rollups", ours.rollups);
    if let Some(peer) = peer {
        row("VictoriaMetrics, merged", peer);
    }
    table.print(&format!(
        "Size: {} snapshots of {VALUES} values, {} servers × {} h",
        thousands(count as f64),
        settings.servers,
        settings.hours
    ));
    println!(
        "\nPacking takes {:.1} µs of CPU a snapshot, appending {:.1}; beside it appends run at {:.2} of their pace without.",
        ours.cpu_packing, ours.cpu_appending, ours.beside
    );
    if peer.is_none() {
        println!("{PEER} is not installed, so there is nothing to compare with.");
    }
    Ok(())
}

async fn ours(path: &Path, settings: &Settings, servers: &[ServerId], start: Millis) -> Result<Ours> {
    let mut walks: Vec<Walk> = (0..).zip(servers).map(|(number, id)| Walk::new(*id, number)).collect();
    let history = History::open_sqlite(path, DEFAULT_DAYS).await?;
    let empty = history.size().await?;
    let count = (servers.len() as f64) * settings.hours as f64 * 120.0;
    let cpu = cpu();
    let mut alone = 0.0;
    for hour in 0..settings.hours {
        alone = fill(&history, &mut walks, start + hour * HOUR, None).await?;
    }
    let cpu_appending = (self::cpu() - cpu) * 1e6 / count;
    let size =
        async || Ok::<f64, anyhow::Error>((history.size().await? - history.spare_bytes().await?) as f64);
    let rows = (size().await? - empty as f64) / count;
    let closing = Closing::new(start + (settings.hours + 1) * HOUR, []);
    while history.roll_up(&closing).await?.left > 0 {}
    let rolled = (size().await? - empty as f64) / count;
    let cpu = self::cpu();
    let packing = pack(&history).await?;
    let cpu_packing = (self::cpu() - cpu) * 1e6 / packing as f64;
    let packed = (size().await? - empty as f64) / count;
    ensure!(packing as f64 == count, "{packing} of {count} snapshots are packed");
    let beside = beside(&history, &mut walks, start + settings.hours * HOUR, alone).await?;
    history.close().await;
    let rollups = rolled - rows;
    Ok(Ours { rows, packed: packed - rollups, rollups, cpu_packing, cpu_appending, beside })
}

/// How quick appending is while the hour before is packed as a worker packs it, of its pace without.
async fn beside(history: &History, walks: &mut [Walk], start: Millis, alone: f64) -> Result<f64> {
    fill(history, walks, start, None).await?;
    let closing = Closing::new(start + 2 * HOUR, []);
    while history.roll_up(&closing).await?.left > 0 {}
    Ok(fill(history, walks, start + HOUR, Some(history)).await? / alone)
}

/// One hour of all servers, in the order of time. Returns snapshots a second, less the time to make them up.
async fn fill(history: &History, walks: &mut [Walk], start: Millis, packed: Option<&History>) -> Result<f64> {
    let packing = packed.map(|history| {
        let history = history.clone();
        tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                match history.pack().await {
                    Ok(packed) if packed.more => tokio::time::sleep(3 * begun.elapsed()).await,
                    Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(_) => break,
                }
            }
        })
    });
    let mut took = Duration::ZERO;
    for step in 0..120 {
        let records: Vec<Record> =
            walks.iter_mut().map(|walk| walk.sample(start + step * 30_000)).collect::<Result<_>>()?;
        let begun = Instant::now();
        ensure!(history.append(&records).await?.is_empty(), "a record was rejected");
        took += begun.elapsed();
    }
    if let Some(packing) = packing {
        packing.abort();
    }
    Ok(walks.len() as f64 * 120.0 / took.as_secs_f64())
}

async fn pack(history: &History) -> Result<u64> {
    let mut snapshots = 0;
    loop {
        let packed = history.pack().await?;
        snapshots += packed.snapshots;
        if !packed.more {
            return Ok(snapshots);
        }
    }
}

/// Seconds of all threads of this process.
pub fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Bytes a snapshot of VictoriaMetrics' data, once it has merged all of it; `None` where it is not installed.
async fn peer(
    folder: &Path,
    settings: &Settings,
    servers: &[ServerId],
    start: Millis,
) -> Result<Option<f64>> {
    let address = free_address()?;
    let spawned = Command::new(PEER)
        .arg(format!("-storageDataPath={}", folder.display()))
        .arg(format!("-httpListenAddr={address}"))
        .arg("-retentionPeriod=35d")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(child) = spawned else { return Ok(None) };
    let (http, url) = (testkit::http(), format!("http://{address}"));
    let begun = Instant::now();
    while http.get(format!("{url}/health")).send().await.is_err() {
        ensure!(begun.elapsed() < PATIENCE, "{PEER} does not answer");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut walks: Vec<Walk> = (0..).zip(servers).map(|(number, id)| Walk::new(*id, number)).collect();
    let mut lines = String::new();
    for step in 0..settings.hours * 120 {
        for (number, walk) in walks.iter_mut().enumerate() {
            line(&mut lines, number, &walk.sample(start + step * 30_000)?)?;
            if lines.len() >= FULL {
                send(&http, &url, &mut lines).await?;
            }
        }
    }
    send(&http, &url, &mut lines).await?;
    let bytes = merged(&http, &url, child, folder).await?;
    Ok(Some(bytes / (servers.len() as f64 * settings.hours as f64 * 120.0)))
}

/// One snapshot as a line of Influx's protocol.
fn line(lines: &mut String, number: usize, record: &Record) -> Result<()> {
    let raw = record.snapshot.as_wire();
    let (cpu, memory) = (raw.cpu.clone().unwrap_or_default(), raw.memory.clone().unwrap_or_default());
    let [one, five, fifteen] = raw.load.unwrap_or_default();
    let real = Option::<f32>::unwrap_or_default;
    let bytes = Option::<u64>::unwrap_or_default;
    write!(
        lines,
        "host,server=h{number} cpu_total={},cpu_user={},cpu_system={},load1={one},load5={five},load15={fifteen},\
         mem_total={},mem_used={},mem_available={}",
        real(cpu.total),
        real(cpu.user),
        real(cpu.system),
        bytes(memory.total),
        bytes(memory.used),
        bytes(memory.available)
    )?;
    for (place, disk) in raw.disks.iter().enumerate() {
        write!(lines, ",d{place}_total={},d{place}_used={}", bytes(disk.total), bytes(disk.used))?;
    }
    let [first, second] = raw.networks.as_slice() else { anyhow::bail!("two networks") };
    write!(
        lines,
        ",n0_received={},n0_sent={},n1_received={}",
        bytes(first.received),
        bytes(first.sent),
        bytes(second.received)
    )?;
    writeln!(lines, " {}000000", raw.sampled_at)?;
    Ok(())
}

async fn send(http: &Client, url: &str, lines: &mut String) -> Result<()> {
    if !lines.is_empty() {
        http.post(format!("{url}/write")).body(std::mem::take(lines)).send().await?.error_for_status()?;
    }
    Ok(())
}

/// Has it merge all it has, waits until that changes nothing more, and stops it.
async fn merged(http: &Client, url: &str, mut child: Child, folder: &Path) -> Result<f64> {
    tokio::time::sleep(Duration::from_secs(5)).await;
    http.get(format!("{url}/internal/force_merge")).send().await?.error_for_status()?;
    let (mut last, mut same) = (0, 0);
    while same < 5 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = bytes(&folder.join("data"))?;
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    child.kill().await?;
    Ok(last as f64)
}

/// Of all files below.
fn bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A merge removes files meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        sum += if metadata.is_dir() { bytes(&entry.path()).unwrap_or(0) } else { metadata.len() };
    }
    Ok(sum)
}
