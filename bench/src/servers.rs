//! The servers below the fleet composition, as processes; and the CPU time of all that takes part.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use simulator::{Service, process::family};
use tokio::process::Command;

/// Their names, here and for `dev/services`.
pub const SERVERS: [(&str, &str); 4] = [
    ("RabbitMQ", "rabbitmq"),
    ("PostgreSQL", "postgresql"),
    ("Redis", "redis"),
    ("Elasticsearch", "elasticsearch"),
];

/// Some processes under one name; what they start counts too.
pub struct Party {
    pub name: &'static str,
    pids: Vec<u32>,
}

impl Party {
    /// Those of our own services.
    pub fn services(name: &'static str, services: &[&Service]) -> Self {
        Self { name, pids: services.iter().map(|service| service.pid()).collect() }
    }

    /// One of [`SERVERS`], which `dev/services` must have started.
    pub async fn server((name, service): (&'static str, &str)) -> Result<Self> {
        let asked = Command::new("dev/services").args(["pid", service]).output().await;
        let asked = asked.context("dev/services: run this in the root of the repository")?;
        let told = String::from_utf8_lossy(&asked.stdout);
        let pid = told.trim().parse();
        Ok(Self {
            name,
            pids: vec![pid.with_context(|| format!("{service} was not started by dev/services"))?],
        })
    }

    /// CPU time up to now, that of processes which have ended included.
    pub fn cpu(&self) -> Result<Duration> {
        let mut ticks = 0;
        for root in &self.pids {
            ticks += family_ticks(*root)?;
        }
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }
}

/// A process that ends is waited for by its parent, whose `cutime` and `cstime` then hold its time and that of its own
/// children: so the sum of all four over those who live misses nothing.
fn family_ticks(root: u32) -> Result<u64> {
    const TRIES: usize = 5;
    // One that ends while we look makes the listing fail.
    let family = (0..TRIES).find_map(|_| family(root).ok()).context("a family that changes all the time")?;
    ensure!(fs::exists(format!("/proc/{root}/stat"))?, "process {root} has ended");
    let mut ticks = 0;
    for pid in family {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let (_, fields) = stat.rsplit_once(')').context("no command in stat")?;
        let times = fields.split_ascii_whitespace().skip(11).take(4);
        ticks += times.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    }
    Ok(ticks)
}
