//! A fleet composition for one test: services, servers that report, and the judgement at the end.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fleet::Interval;
use serde_json::Value;
use simulator::{
    Fleet, Journal, Kind, Load, Operator, Service, Simulated, Urls, drive, enrol, services::ADMIN_PASSWORD,
};
use testkit::eventually_within;
use tokio::{sync::OnceCell, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Servers that report; each says that it does so every second, and does so more often.
pub const SERVERS: usize = 100;
/// Snapshots a second of all of them.
const RATE: f64 = 300.0;
/// How long the last of what was acknowledged may take to be stored, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Dropped, its services are killed, and what they left on the servers is removed.
pub struct Stage {
    pub gates: Vec<Service>,
    pub workers: Vec<Service>,
    pub management: Service,
    servers: Vec<Simulated>,
    /// Goes last: it has the logs of the others.
    pub fleet: Fleet,
}

/// Servers that report until they are told to stop.
pub struct Driving {
    stop: CancellationToken,
    task: JoinHandle<(Journal, Vec<Simulated>)>,
    acknowledged: Arc<AtomicU64>,
}

/// Which ways its services take to the servers.
pub struct Ways {
    pub gate: Urls,
    pub worker: Urls,
    pub management: Urls,
}

impl Ways {
    pub fn all(urls: Urls) -> Self {
        Self { gate: urls.clone(), worker: urls.clone(), management: urls }
    }
}

/// Where the binaries of this workspace are, once they are what the sources say.
async fn binaries() -> PathBuf {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let built = BUILT.get_or_init(|| async {
        // As `cargo test` builds them, so that with `make test` there is nothing left to do.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["test", "--workspace", "--locked", "--no-run", "--quiet"]);
        // What cargo tells this test of itself would make it build everything anew.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_MANIFEST") || text.starts_with("CARGO_PKG") {
                build.env_remove(name);
            }
        }
        let status = tokio::task::spawn_blocking(move || build.status().unwrap()).await.unwrap();
        assert!(status.success(), "the services do not build");
        let test = std::env::current_exe().unwrap();
        test.parent().and_then(|folder| folder.parent()).unwrap().to_owned()
    });
    built.await.clone()
}

/// The binary of this workspace of that name.
pub async fn binary(name: &str) -> PathBuf {
    binaries().await.join(name)
}

/// A place on the servers, without any service.
pub async fn fleet() -> Fleet {
    Fleet::new(&binaries().await).await.unwrap()
}

impl Stage {
    /// So many gates and workers, and one management, with enrolled servers.
    pub async fn new(gates: usize, workers: usize) -> Self {
        let fleet = fleet().await;
        let ways = Ways::all(fleet.urls.clone());
        Self::on(fleet, &ways, gates, workers).await
    }

    /// The same in a place that is there, by these ways.
    pub async fn on(fleet: Fleet, ways: &Ways, gates: usize, workers: usize) -> Self {
        let management = fleet.start_with(Kind::Management, &ways.management).await.unwrap();
        let mut stage =
            Self { fleet, gates: Vec::new(), workers: Vec::new(), management, servers: Vec::new() };
        for _ in 0..gates {
            stage.gates.push(stage.fleet.start_with(Kind::Gate, &ways.gate).await.unwrap());
        }
        for _ in 0..workers {
            stage.workers.push(stage.fleet.start_with(Kind::Worker, &ways.worker).await.unwrap());
        }
        stage.servers = enrol(&stage.management.url, ADMIN_PASSWORD, SERVERS).await.unwrap();
        stage
    }

    /// Lets the servers report to all gates.
    pub async fn drive(&mut self) -> Driving {
        self.drive_at(RATE).await
    }

    /// The same, so many snapshots a second.
    pub async fn drive_at(&mut self, rate: f64) -> Driving {
        let load = Load { rate: Some(rate), interval: Interval::try_from(1_000).unwrap(), ..Load::default() };
        let (stop, acknowledged) = (CancellationToken::new(), load.acknowledged.clone());
        let urls: Vec<String> = self.gates.iter().map(|gate| gate.url.clone()).collect();
        let mut servers = std::mem::take(&mut self.servers);
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
            let journal = drive(&urls, &mut servers, &load, &stopped).await.unwrap();
            (journal, servers)
        });
        let driving = Driving { stop, task, acknowledged };
        driving.more(50).await;
        driving
    }

    pub async fn operator(&self) -> Operator {
        Operator::log_in(&self.management).await.unwrap()
    }

    /// Waits until all servers are up by the registry's word.
    pub async fn all_up(&self) {
        let operator = self.operator().await;
        eventually_within(PATIENCE, "all servers are up", async || {
            operator.status().await.is_ok_and(|status| status["up"] == SERVERS)
        })
        .await;
    }

    /// Nothing lost, nothing doubled, nothing invented, nothing dead.
    pub async fn finish(self, journal: &Journal) {
        let Self { fleet, gates, workers, management, .. } = self;
        fleet.settled(journal, PATIENCE).await.unwrap();
        // What still has something in hand settles it now.
        for service in gates.into_iter().chain(workers).chain([management]) {
            service.stop().await.unwrap();
        }
        let found = fleet.reconcile(journal).await.unwrap();
        println!("{} acknowledged, {} refused; {found}", journal.acknowledged(), journal.refused());
        assert!(found.clean(), "{found}");
        assert_eq!(fleet.dead_letters().await.unwrap(), 0);
    }
}

impl Driving {
    /// Waits until so many more snapshots are acknowledged.
    pub async fn more(&self, snapshots: u64) {
        let before = self.acknowledged();
        eventually_within(PATIENCE, "more snapshots are acknowledged", async || {
            self.acknowledged() >= before + snapshots
        })
        .await;
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Breaks off what is in flight; the servers belong to the stage again.
    pub async fn end(self, stage: &mut Stage) -> Journal {
        self.stop.cancel();
        let (journal, servers) = self.task.await.unwrap();
        stage.servers = servers;
        journal
    }
}

/// Whoever reported was answered 202 each time, but for what was in flight at the end.
pub fn nobody_noticed(journal: &Journal) {
    assert_eq!(journal.refused(), 0);
    let in_flight = Load::default().connections;
    assert!(journal.unanswered() <= in_flight, "{} without an answer", journal.unanswered());
}

/// No server is down, and none is missing.
pub fn nobody_is_down(status: &Value) {
    assert_eq!((&status["down"], &status["total"]), (&0.into(), &SERVERS.into()), "{status}");
}
