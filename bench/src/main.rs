//! `bench`: measures the suite, each figure beside its reference in the same run.

mod agent;
mod alerts;
mod breaching;
mod broker;
mod drain;
mod driving;
mod elastic;
mod fleet;
mod gate;
mod index;
mod ingest;
mod interface;
mod load;
mod machine;
mod management;
mod neighbours;
mod perf_test;
mod proxy;
mod records;
mod reference;
mod registered;
mod rollups;
mod servers;
mod size;
mod stage;
mod steady;
mod table;
mod uptime;
mod waiting;

use std::net::SocketAddr;

use anyhow::Result;
use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[derive(Parser)]
#[command(version, about = "Measures the suite, each figure beside its reference in the same run")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Snapshots per second, beside a bare endpoint and raw SQLite; memory with a fleet enrolled
    Ingest(ingest::Settings),
    /// Packed and single messages at the broker, beside RabbitMQ's own PerfTest; the gate beside a bare endpoint
    Broker(broker::Settings),
    /// The gate behind Traefik, beside the same gate asked directly
    Proxy(proxy::Settings),
    /// What a snapshot costs each process of the fleet composition; memory, rows written, a backlog
    Fleet(stage::Settings),
    /// Documents per second and bytes of the history in Elasticsearch, beside the mapping that it would choose
    Index(index::Settings),
    /// A storm of incidents, what rules cost ingest, how soon a message is out
    Alerts(alerts::Settings),
    /// The agent beside node_exporter and zabbix-agent
    Agent(agent::Settings),
    /// How long uptime takes, and how that grows
    Uptime(uptime::Settings),
    /// Bytes a snapshot takes once its hour is packed, beside VictoriaMetrics; what packing costs
    Size(size::Settings),
    /// Lists, searches, sheets and reports of up to 100,000 servers, by REST, and how they grow
    Management(management::Settings),
    /// What this machine is: cores, memory, fsync latency
    Machine,
    /// An endpoint that answers 204 to everything: a reference of `ingest`
    #[command(hide = true)]
    Bare {
        #[arg(long)]
        listen: SocketAddr,
    },
}

/// One thread: the generator shares the cores with what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    raise_open_files();
    if let Command::Bare { listen } = arguments.command {
        return reference::bare(listen).await;
    }
    // Dropping the work kills what it started.
    tokio::select! {
        done = run(arguments.command) => done,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    }
}

/// A fleet has a connection for each server, and what this process starts inherits the limit.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Ingest(settings) => ingest::run(&settings).await,
        Command::Broker(settings) => broker::run(&settings).await,
        Command::Proxy(settings) => proxy::run(&settings).await,
        Command::Fleet(settings) => fleet::run(&settings).await,
        Command::Index(settings) => index::run(&settings).await,
        Command::Alerts(settings) => alerts::run(&settings).await,
        Command::Agent(settings) => agent::run(&settings).await,
        Command::Uptime(settings) => uptime::run(&settings).await,
        Command::Size(settings) => size::run(&settings).await,
        Command::Management(settings) => management::run(&settings).await,
        Command::Machine => machine::run(),
        Command::Bare { listen } => reference::bare(listen).await,
    }
}
