//! A suite under load, and what it is measured by: ground of `fleet` and its parts.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use simulator::{Fleet, Journal, Kind, Service, Simulated, process::memory};
use tokio::time::{Instant, sleep};

use crate::servers::Party;

/// How often the worker is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest wait for what is acknowledged to be stored.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Of the worker: snapshots that it settled, whatever became of them.
const SETTLED: &str = "rollcall_worker_snapshots_total";

#[derive(clap::Args)]
pub struct Settings {
    /// Folder with the service binaries
    #[arg(long, default_value = "target/release")]
    pub binaries: PathBuf,
    /// Servers enrolled
    #[arg(long, default_value_t = 10_000)]
    pub servers: usize,
    /// Gates, between which the connections are shared out
    #[arg(long, default_value_t = 1)]
    pub gates: usize,
    /// Connections of the generator, each with one request in flight
    #[arg(long, default_value_t = 1_024)]
    pub connections: usize,
    /// Loads in snapshots per second; a last one is as fast as it goes
    #[arg(long, value_delimiter = ',', default_values_t = [500.0, 2_000.0, 8_000.0])]
    pub loads: Vec<f64>,
    /// Length of one run of a load in seconds
    #[arg(long, default_value_t = 6)]
    pub seconds: u64,
    /// Runs of each load, interleaved
    #[arg(long, default_value_t = 3)]
    pub runs: usize,
    /// Snapshots per second that go on coming while the worker is stopped, and while it catches up
    #[arg(long, default_value_t = 2_000.0)]
    pub arrival: f64,
    /// Seconds for which the worker is stopped
    #[arg(long, default_value_t = 20)]
    pub stopped: u64,
    /// Servers whose beats are followed for --beats intervals, to count rows of PostgreSQL
    #[arg(long, default_value_t = 2_000)]
    pub steady_servers: usize,
    /// Intervals of 30 s for which they are
    #[arg(long, default_value_t = 40)]
    pub beats: i64,
}

/// A suite under load.
pub struct Stage<'a> {
    pub fleet: &'a Fleet,
    pub gates: Vec<Service>,
    pub worker: Service,
    pub management: Service,
    pub servers: Vec<Simulated>,
    /// All that was ever sent.
    pub journal: Journal,
}

impl<'a> Stage<'a> {
    /// Starts the services; nobody is enrolled yet.
    pub async fn set(fleet: &'a Fleet, settings: &Settings) -> Result<Self> {
        let management = fleet.start(Kind::Management).await?;
        let worker = fleet.start(Kind::Worker).await?;
        let mut gates = Vec::new();
        for _ in 0..settings.gates {
            gates.push(fleet.start(Kind::Gate).await?);
        }
        Ok(Self { fleet, gates, worker, management, servers: Vec::new(), journal: Journal::default() })
    }

    pub fn gate_urls(&self) -> Vec<String> {
        self.gates.iter().map(|gate| gate.url.clone()).collect()
    }

    /// Our own processes.
    pub fn parties(&self) -> Vec<Party> {
        vec![
            Party::services("gate", &self.gates.iter().collect::<Vec<_>>()),
            Party::services("worker", &[&self.worker]),
            Party::services("management", &[&self.management]),
        ]
    }

    /// Snapshots that the worker has settled since it was started.
    pub async fn settled_now(&self) -> Result<f64> {
        self.worker.metric(SETTLED).await
    }

    /// Waits until the worker has settled so many since it was started.
    pub async fn settled(&self, count: f64) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let settled = self.settled_now().await?;
            if settled >= count {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{settled} of {count} are stored\n{}", self.worker.log());
            sleep(LOOK_EVERY).await;
        }
    }

    /// PSS and RSS in bytes: of the first gate, the worker, server-management.
    pub fn memory(&self) -> Result<[(u64, u64); 3]> {
        let gate = self.gates.first().context("no gate")?;
        let mut all = [(0, 0); 3];
        for (place, service) in all.iter_mut().zip([gate, &self.worker, &self.management]) {
            let memory = memory(&[service.pid()])?;
            *place = (memory.pss, memory.rss);
        }
        Ok(all)
    }

    pub async fn stop(self) -> Result<()> {
        for service in self.gates.into_iter().chain([self.worker, self.management]) {
            service.stop().await?;
        }
        Ok(())
    }
}
