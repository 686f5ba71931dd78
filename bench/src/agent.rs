//! The agent beside those of others: what it costs the host that it watches.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use simulator::{
    Suite,
    http::{Connection, Target},
    process::{Started, cpu, family, free_address, memory},
    stored::stored_snapshots,
};
use tokio::{
    process::Command,
    time::{Instant, interval, sleep},
};

use crate::{
    neighbours::{Kind, Neighbour},
    table::{Table, megabytes},
};

#[derive(clap::Args)]
pub struct Settings {
    /// The suite that the agent reports to
    #[arg(long, default_value = "target/release/rollcall")]
    rollcall: PathBuf,
    /// The agent, as it is shipped
    #[arg(long, default_value_os_t = shipped())]
    agent: PathBuf,
    /// Length of the window in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds from one sample or poll to the next
    #[arg(long, default_value_t = 2)]
    interval: u64,
}

/// Where `make agent` puts it.
fn shipped() -> PathBuf {
    format!("target/{}-unknown-linux-gnu/agent/rollcall-agent", std::env::consts::ARCH).into()
}

/// What one agent costs.
struct Cost {
    name: String,
    pss: u64,
    rss: u64,
    /// Milliseconds of CPU per sample or poll.
    cpu_ms: f64,
    samples: usize,
    binary: u64,
}

pub async fn run(settings: &Settings) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let suite = Suite::start(&settings.rollcall, &folder.path().join("suite"), free_address()?).await?;
    let mut neighbours = Vec::new();
    for kind in [Kind::NodeExporter, Kind::ZabbixAgent] {
        match Neighbour::start(kind, folder.path()).await? {
            Some(neighbour) => neighbours.push(neighbour),
            None => eprintln!("{} is not installed: left out", kind.name()),
        }
    }
    let agent = start_agent(&suite, settings, folder.path()).await?;
    let history = suite.history_db();
    while stored_snapshots(&history).await?.len() < 3 {
        sleep(Duration::from_millis(200)).await;
    }

    eprintln!("watching all of them for {} s", settings.seconds);
    let pids = |neighbour: &Neighbour| family(neighbour.process.pid());
    let before: Vec<Duration> =
        neighbours.iter().map(|neighbour| cpu(&pids(neighbour)?)).collect::<Result<_>>()?;
    let (agent_before, sampled) = (cpu(&[agent.pid()])?, stored_snapshots(&history).await?.len());
    let mut ticks = interval(Duration::from_secs(settings.interval));
    let (mut polls, until) = (0, Instant::now() + Duration::from_secs(settings.seconds));
    while ticks.tick().await < until {
        for neighbour in &neighbours {
            neighbour.poll().await?;
        }
        polls += 1;
    }

    let agent_used = cpu(&[agent.pid()])? - agent_before;
    let sampled = stored_snapshots(&history).await?.len() - sampled;
    let mut costs =
        vec![cost("rollcall-agent, a sample", &[agent.pid()], &settings.agent, agent_used, sampled)?];
    for (neighbour, before) in neighbours.iter().zip(before) {
        let pids = pids(neighbour)?;
        costs.push(cost(&neighbour.kind.name(), &pids, &neighbour.binary, cpu(&pids)? - before, polls)?);
    }
    print(&costs, settings);

    agent.stop().await?;
    for neighbour in neighbours {
        neighbour.process.stop().await?;
    }
    suite.stop().await
}

/// Enrols it with a token of its own.
async fn start_agent(suite: &Suite, settings: &Settings, folder: &Path) -> Result<Started> {
    let target = Target::resolve(&suite.url).await?;
    let mut connection = Connection::open(&target).await?;
    let body = json!({"username": "admin", "password": suite.admin_password()?});
    let session =
        connection.call(&target, "POST", "/server-management/v1/sessions", None, Some(&body)).await?;
    let access = session["access_token"].as_str();
    let body = json!({"uses": 1, "expires_in": 3600});
    let path = "/server-management/v1/enrolment-tokens";
    let made = connection.call(&target, "POST", path, access, Some(&body)).await?;
    let token_file = folder.join("token");
    fs::write(&token_file, made["token"].as_str().context("no token")?)?;
    let log = fs::File::create(folder.join("agent.log"))?;
    let mut command = Command::new(&settings.agent);
    command
        .env_clear()
        .env("ROLLCALL_URL", &suite.url)
        .env("ROLLCALL_TOKEN_FILE", &token_file)
        .env("ROLLCALL_STATE_DIR", folder.join("agent"))
        .env("ROLLCALL_INTERVAL", settings.interval.to_string())
        .stdout(log.try_clone()?)
        .stderr(log);
    Started::spawn(&mut command).with_context(|| format!("starting {}", settings.agent.display()))
}

fn cost(name: &str, pids: &[u32], binary: &Path, used: Duration, samples: usize) -> Result<Cost> {
    ensure!(samples > 0, "{name}: nothing was sampled");
    let memory = memory(pids)?;
    Ok(Cost {
        name: name.to_owned(),
        pss: memory.pss,
        rss: memory.rss,
        cpu_ms: used.as_secs_f64() * 1e3 / samples as f64,
        samples,
        binary: fs::metadata(binary)?.len(),
    })
}

fn print(costs: &[Cost], settings: &Settings) {
    let ours = &costs[0];
    let mut table = Table::new(&[
        "agent",
        "PSS MB",
        "ours is",
        "RSS MB",
        "CPU ms each",
        "ours is",
        "samples",
        "binary MB",
        "ours is",
    ]);
    for cost in costs {
        table.row([
            cost.name.clone(),
            megabytes(cost.pss),
            format!("{:.2}×", ours.pss as f64 / cost.pss as f64),
            megabytes(cost.rss),
            format!("{:.2}", cost.cpu_ms),
            format!("{:.2}×", ours.cpu_ms / cost.cpu_ms),
            cost.samples.to_string(),
            megabytes(cost.binary),
            format!("{:.2}×", ours.binary as f64 / cost.binary as f64),
        ]);
    }
    let Settings { seconds, interval, .. } = settings;
    table.print(&format!("Agents: one window of {seconds} s, a sample or a poll every {interval} s"));
}
