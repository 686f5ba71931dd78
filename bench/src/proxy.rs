//! What Traefik costs: the gate behind it, and the same gate asked directly.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use fleet::{AgentKey, Keyring};
use simulator::{Fleet, Kind, Load, Service, Simulated, process::free_address, services::AGENT_KEY};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::{
    driving::{Outcome, drive_one},
    records::strangers,
    table::{Table, median, thousands},
};

/// Requests per second at which nobody waits for a core: what is added to each answer shows.
const CALM: f64 = 200.0;

#[derive(clap::Args)]
pub struct Settings {
    /// Folder with the service binaries
    #[arg(long, default_value = "target/release")]
    binaries: PathBuf,
    /// Traefik's binary: dev/traefik prints where it is
    #[arg(long)]
    traefik: PathBuf,
    /// Length of one run in seconds
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Connections of the generator, each with one request in flight
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// Servers that report
    #[arg(long, default_value_t = 10_000)]
    servers: usize,
    /// Runs of each, interleaved
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

#[derive(Default)]
struct Measured {
    full: Vec<Outcome>,
    calm: Vec<Outcome>,
}

pub async fn run(settings: &Settings) -> Result<()> {
    let fleet = Fleet::new(&settings.binaries).await?;
    let (direct, proxied) = measure(&fleet, settings).await?;
    print(&direct, &proxied, settings);
    Ok(())
}

async fn measure(fleet: &Fleet, settings: &Settings) -> Result<(Measured, Measured)> {
    let gate = fleet.start(Kind::Gate).await?;
    let proxy = Proxy::start(&settings.traefik, &gate).await?;
    let keyring = Keyring::new(AgentKey::new(AGENT_KEY.as_bytes())?, None);
    let servers = strangers(settings.servers).into_iter();
    let mut servers: Vec<Simulated> =
        servers.map(|id| Simulated { id, credential: keyring.issue(id, 1), newest: 0 }).collect();
    let lasting = Duration::from_secs(settings.seconds);
    let full = Load { connections: settings.connections, lasting, ..Load::default() };
    let calm = Load { connections: 8, rate: Some(CALM), lasting, ..Load::default() };
    let (mut direct, mut proxied) = (Measured::default(), Measured::default());
    for run in 1..=settings.runs {
        eprintln!("run {run} of {}", settings.runs);
        let gate_pid = gate.pid();
        direct.full.push(drive_one(&gate.url, gate_pid, &mut servers, &full).await?.0);
        proxied.full.push(drive_one(&proxy.url, proxy.pid()?, &mut servers, &full).await?.0);
        direct.calm.push(drive_one(&gate.url, gate_pid, &mut servers, &calm).await?.0);
        proxied.calm.push(drive_one(&proxy.url, proxy.pid()?, &mut servers, &calm).await?.0);
    }
    gate.stop().await?;
    Ok((direct, proxied))
}

/// Traefik before one gate, with what the stack sets: access log, the client's address as it is.
struct Proxy {
    url: String,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Proxy {
    async fn start(binary: &Path, gate: &Service) -> Result<Self> {
        let (folder, listen) = (tempfile::tempdir()?, free_address()?);
        let routes = folder.path().join("routes.yaml");
        let gate = &gate.url;
        std::fs::write(
            &routes,
            format!(
                "http:
  routers:
    gate: {{rule: 'PathPrefix(`/healthcheck/v1/`)', service: gate}}
  services:
    gate: {{loadBalancer: {{servers: [{{url: '{gate}'}}]}}}}
"
            ),
        )?;
        let process = Command::new(binary)
            .arg(format!("--entrypoints.web.address={listen}"))
            .arg(format!("--providers.file.filename={}", routes.display()))
            .args(["--accesslog=true", "--accesslog.format=json", "--log.level=WARN"])
            .args(["--global.checknewversion=false", "--global.sendanonymoususage=false"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{}: dev/traefik builds it", binary.display()))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(listen).await.is_err() {
            anyhow::ensure!(Instant::now() < deadline, "Traefik does not listen on {listen}");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { url: format!("http://{listen}"), process, _folder: folder })
    }

    fn pid(&self) -> Result<u32> {
        self.process.id().context("Traefik ended")
    }
}

fn print(direct: &Measured, proxied: &Measured, settings: &Settings) {
    let median_of = |runs: &[Outcome], figure: fn(&Outcome) -> f64| median(runs.iter().map(figure).collect());
    let base = median_of(&direct.full, |run| run.rate);
    let mut table = Table::new(&[
        "median of the runs",
        "requests/s",
        "runs",
        "of direct",
        "CPU µs/request of it",
        "p99 ms at full load",
        "p99 ms at 200/s",
    ]);
    for (name, measured) in [("the gate, asked directly", direct), ("the gate behind Traefik", proxied)] {
        let rate = median_of(&measured.full, |run| run.rate);
        let each: Vec<String> = measured.full.iter().map(|run| thousands(run.rate)).collect();
        table.row([
            name.to_owned(),
            thousands(rate),
            each.join(" "),
            format!("{:.2}×", rate / base),
            format!("{:.1}", median_of(&measured.full, |run| run.cpu)),
            format!("{:.1}", median_of(&measured.full, |run| run.p99_ms.unwrap_or(f64::NAN))),
            format!("{:.1}", median_of(&measured.calm, |run| run.p99_ms.unwrap_or(f64::NAN))),
        ]);
    }
    let Settings { connections, runs, seconds, .. } = settings;
    table.print(&format!(
        "Traefik: one snapshot a request over {connections} connections, {runs} runs of {seconds} s, without TLS; the target is 0.35×"
    ));
}
