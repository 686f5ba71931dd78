//! The gate as a process, from a request to the broker's confirm.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use fleet::{AgentKey, Keyring};
use simulator::{Fleet, Journal, Kind, Load, Service, Simulated, process::free_address, services::AGENT_KEY};

use crate::{
    driving::{Outcome, drive_one},
    records::strangers,
    reference::start_bare,
    servers::Party,
    table::{Table, median, micros, thousands},
};

#[derive(clap::Args)]
pub struct Settings {
    /// Folder with the service binaries
    #[arg(long, default_value = "target/release")]
    binaries: PathBuf,
    /// Length of one run over HTTP in seconds
    #[arg(long, default_value_t = 6)]
    http_seconds: u64,
    /// Connections of the generator over HTTP, each with one request in flight
    #[arg(long, default_value_t = 1_024)]
    connections: usize,
    /// Servers that report over HTTP
    #[arg(long, default_value_t = 10_000)]
    servers: usize,
}

#[derive(Default)]
struct Measured {
    gate: Vec<Outcome>,
    bare: Vec<Outcome>,
    /// Microseconds of the broker per snapshot.
    broker: Vec<f64>,
    /// Snapshots of a message.
    packed: f64,
}

/// Nobody consumes: what is confirmed waits in the queue, and is deleted at the end.
pub async fn run(broker: &Party, runs: usize, settings: &Settings) -> Result<()> {
    let fleet = Fleet::new(&settings.binaries).await?;
    let measured = measure(&fleet, broker, runs, settings).await?;
    print(&measured, runs, settings);
    Ok(())
}

async fn measure(fleet: &Fleet, broker: &Party, runs: usize, settings: &Settings) -> Result<Measured> {
    let gate = fleet.start(Kind::Gate).await?;
    let keyring = Keyring::new(AgentKey::new(AGENT_KEY.as_bytes())?, None);
    // A gate asks nobody who is enrolled: the credential is enough.
    let servers = strangers(settings.servers).into_iter();
    let mut servers: Vec<Simulated> =
        servers.map(|id| Simulated { id, credential: keyring.issue(id, 1), newest: 0 }).collect();
    let lasting = Duration::from_secs(settings.http_seconds);
    let load = Load { connections: settings.connections, lasting, ..Load::default() };
    let mut measured = Measured::default();
    for run in 1..=runs {
        eprintln!("run {run} of {runs}");
        let before = broker.cpu()?;
        let (outcome, sent) = drive_one(&gate.url, gate.pid(), &mut servers, &load).await?;
        check(&sent, &gate)?;
        measured.broker.push(micros(broker.cpu()? - before) / sent.acknowledged() as f64);
        measured.gate.push(outcome);

        let listen = free_address()?;
        let bare = start_bare(listen).await?;
        let url = format!("http://{listen}");
        let (outcome, _) = drive_one(&url, bare.pid(), &mut servers, &load).await?;
        measured.bare.push(outcome);
        bare.kill().await?;
    }
    let packs = gate.metric("rollcall_gate_message_records_count").await?;
    measured.packed = gate.metric("rollcall_gate_message_records_sum").await? / packs;
    gate.stop().await?;
    Ok(measured)
}

fn check(sent: &Journal, gate: &Service) -> Result<()> {
    let refused = sent.entries.iter().find(|entry| entry.status.is_some_and(|status| status != 202));
    let status = refused.and_then(|entry| entry.status);
    ensure!(status.is_none(), "a request was answered {status:?}\n{}", gate.log());
    (sent.acknowledged() > 0).then_some(()).context("nothing was acknowledged")
}

fn print(measured: &Measured, runs: usize, settings: &Settings) {
    let Measured { gate, bare, broker, packed } = measured;
    let median_of = |runs: &[Outcome], figure: fn(&Outcome) -> f64| median(runs.iter().map(figure).collect());
    let ours = median_of(gate, |run| run.rate);
    let mut table = Table::new(&[
        "median of the runs",
        "requests/s",
        "runs",
        "the gate is",
        "CPU µs/request",
        "broker's",
        "generator's",
        "p99 ms",
    ]);
    let names = ["the gate, confirmed by the broker", "bare actix, 204"];
    let brokers = [format!("{:.1}", median(broker.clone())), "-".to_owned()];
    for ((name, outcomes), broker) in names.into_iter().zip([gate, bare]).zip(brokers) {
        let rate = median_of(outcomes, |run| run.rate);
        let each: Vec<String> = outcomes.iter().map(|run| thousands(run.rate)).collect();
        table.row([
            name.to_owned(),
            thousands(rate),
            each.join(" "),
            format!("{:.2}×", ours / rate),
            format!("{:.1}", median_of(outcomes, |run| run.cpu)),
            broker,
            format!("{:.1}", median_of(outcomes, |run| run.generator_cpu)),
            format!("{:.1}", median_of(outcomes, |run| run.p99_ms.unwrap_or(f64::NAN))),
        ]);
    }
    let Settings { http_seconds, connections, .. } = settings;
    table.print(&format!(
        "Gate: one snapshot a request over {connections} connections, {runs} runs of {http_seconds} s, the target is 0.6×"
    ));
    println!("\nThe gate put {packed:.1} snapshots into a message on average.");
}
