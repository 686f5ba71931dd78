//! What packing brings at the broker, and the whole gate over HTTP.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use fleet::Message;
use queue::rabbitmq;
use simulator::process::cpu;
use testkit::{Server, Servers};
use tokio::task::JoinSet;

use crate::{
    gate, perf_test,
    records::{length, message, most_in_a_message},
    servers::{Party, SERVERS},
    table::{Table, median, micros, own, thousands},
};

/// Messages without a confirm: as many as the publisher lets on the wire for small ones, as many as a gate has under way
/// for large ones.
const WINDOWS: [usize; 3] = [1_000, 100, 8];

#[derive(clap::Args)]
pub struct Settings {
    /// Folder with the jars of RabbitMQ's PerfTest
    #[arg(long, default_value = "target/perf-test")]
    perf_test: PathBuf,
    /// Length of one run at the broker in seconds
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Runs of each, interleaved
    #[arg(long, default_value_t = 3)]
    runs: usize,
    #[command(flatten)]
    gate: gate::Settings,
}

/// One way of publishing.
struct Contender {
    name: String,
    /// Snapshots of a message.
    pack: usize,
    window: usize,
    perf_test: bool,
    runs: Vec<Outcome>,
}

struct Outcome {
    rate: f64,
    /// Microseconds per snapshot.
    broker_cpu: f64,
    publisher_cpu: Option<f64>,
}

pub async fn run(settings: &Settings) -> Result<()> {
    let broker = Party::server(SERVERS[0]).await?;
    let mut contenders = contenders(settings)?;
    for run in 1..=settings.runs {
        eprintln!("run {run} of {}", settings.runs);
        for contender in &mut contenders {
            let outcome = contender.publish(&broker, settings).await?;
            eprintln!("  {}: {}/s", contender.name, thousands(outcome.rate));
            contender.runs.push(outcome);
        }
    }
    print(&contenders, settings)?;
    gate::run(&broker, settings.runs, &settings.gate).await
}

fn contenders(settings: &Settings) -> Result<Vec<Contender>> {
    let most = most_in_a_message()?;
    let mut contenders = Vec::new();
    for perf_test in [false, true] {
        if perf_test && !settings.perf_test.is_dir() {
            eprintln!("no PerfTest in {}: left out", settings.perf_test.display());
            continue;
        }
        for (pack, window) in [1, 50, most].into_iter().zip(WINDOWS) {
            let whose = if perf_test { "PerfTest" } else { "ours" };
            let name = format!("{whose}, {pack} a message");
            contenders.push(Contender { name, pack, window, perf_test, runs: Vec::new() });
        }
    }
    Ok(contenders)
}

impl Contender {
    /// To a queue of its own, which goes afterwards.
    async fn publish(&self, broker: &Party, settings: &Settings) -> Result<Outcome> {
        let message = message(self.pack)?;
        let lasting = Duration::from_secs(settings.seconds);
        let servers = Servers::of(&[Server::RabbitMq]).await;
        let (amqp, prefix) = (&servers.rabbitmq().direct, servers.prefix());
        let begun = broker.cpu()?;
        let (messages, rate, publisher) = if self.perf_test {
            let jars = &settings.perf_test;
            let size = length(&message)?;
            let rate =
                perf_test::publish(jars, amqp, &format!("{prefix}.snapshots"), size, self.window, lasting)
                    .await?;
            (rate * lasting.as_secs_f64(), rate, None)
        } else {
            let url = amqp.parse()?;
            let publishing = rabbitmq::Settings::new(url, prefix, "snapshots");
            let before = cpu(&[own()])?;
            let (messages, rate) = publish(&publishing, &message, self.window, lasting).await?;
            (messages, rate, Some(cpu(&[own()])? - before))
        };
        let broker_cpu = broker.cpu()? - begun;
        let (pack, snapshots) = (self.pack as f64, messages * self.pack as f64);
        Ok(Outcome {
            rate: rate * pack,
            broker_cpu: micros(broker_cpu) / snapshots,
            publisher_cpu: publisher.map(|time| micros(time) / snapshots),
        })
    }
}

/// Confirmed messages, and those per second.
async fn publish(
    settings: &rabbitmq::Settings,
    message: &Message,
    window: usize,
    lasting: Duration,
) -> Result<(f64, f64)> {
    let publisher = rabbitmq::publisher::<Message>(settings);
    publisher.reached().await;
    let confirmed = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..window {
        let (publisher, message, confirmed) = (publisher.clone(), message.clone(), confirmed.clone());
        tasks.spawn(async move {
            while begun.elapsed() < lasting {
                let published = publisher.publish(message.clone()).await;
                published.map_err(|error| anyhow!("publishing: {error}"))?;
                confirmed.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let messages = confirmed.load(Ordering::Relaxed) as f64;
    Ok((messages, messages / begun.elapsed().as_secs_f64()))
}

fn print(contenders: &[Contender], settings: &Settings) -> Result<()> {
    let median_of = |contender: &Contender, figure: fn(&Outcome) -> f64| {
        median(contender.runs.iter().map(figure).collect())
    };
    let single = contenders.first().context("nothing was measured")?;
    let single = median_of(single, |run| run.rate);
    let mut table = Table::new(&[
        "median of the runs",
        "bytes",
        "unconfirmed",
        "snapshots/s",
        "runs",
        "to ours, 1",
        "broker µs/snapshot",
        "publisher's",
    ]);
    for contender in contenders {
        let rate = median_of(contender, |run| run.rate);
        let runs: Vec<String> = contender.runs.iter().map(|run| thousands(run.rate)).collect();
        let publisher = median_of(contender, |run| run.publisher_cpu.unwrap_or(f64::NAN));
        table.row([
            contender.name.clone(),
            thousands(length(&message(contender.pack)?)? as f64),
            thousands(contender.window as f64),
            thousands(rate),
            runs.join(" "),
            format!("{:.1}×", rate / single),
            format!("{:.1}", median_of(contender, |run| run.broker_cpu)),
            if publisher.is_nan() { "-".to_owned() } else { format!("{publisher:.1}") },
        ]);
    }
    table.print(&format!(
        "Broker: snapshots confirmed on a quorum queue, {} runs of {} s, the target is 8×",
        settings.runs, settings.seconds
    ));
    Ok(())
}
