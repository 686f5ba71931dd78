//! An agent with an interval of one second, beside its gate.

use std::{fs, net::SocketAddr, path::Path};

use rollcall_agent::{AgentError, Args, Clock, Settings, run};
use serde_json::Value;
use testkit::{TempDir, eventually, tempdir};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::gate::Gate;

pub struct Rig {
    pub gate: Gate,
    pub dir: TempDir,
    pub clock: Clock,
    urls: String,
    running: Option<(CancellationToken, JoinHandle<Result<(), AgentError>>)>,
}

impl Rig {
    /// Nothing runs yet.
    pub async fn new() -> Self {
        let gate = Gate::start().await;
        let urls = gate.url();
        Self { gate, dir: tempdir().unwrap(), clock: Clock::system(), urls, running: None }
    }

    /// An agent that is enrolled, and whose first samples were taken.
    pub async fn enrolled() -> Self {
        let mut rig = Self::new().await;
        rig.start();
        let gate = rig.gate.clone();
        eventually("two samples arrive", async || gate.taken() >= 2).await;
        rig
    }

    /// The next start uses these addresses; the first also enrols.
    pub fn point_at(&mut self, addrs: &[SocketAddr]) {
        self.urls = addrs.iter().map(|addr| format!("http://{addr}")).collect::<Vec<_>>().join(",");
    }

    pub fn settings(&self) -> Settings {
        let args = Args {
            url: Some(self.urls.clone()),
            state_dir: Some(self.dir.path().join("state").display().to_string()),
            interval: Some("1".to_owned()),
            name: Some("host".to_owned()),
            ..Args::default()
        };
        let settings = Settings::read(&args, Some("token".to_owned())).unwrap();
        Settings { clock: self.clock.clone(), ..settings }
    }

    pub fn start(&mut self) {
        self.start_with(self.settings());
    }

    pub fn start_with(&mut self, settings: Settings) {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(settings, shutdown.clone()));
        self.running = Some((shutdown, task));
    }

    pub async fn stop(&mut self) {
        let (shutdown, task) = self.running.take().unwrap();
        shutdown.cancel();
        task.await.unwrap().unwrap();
    }

    pub fn held(&self) -> Vec<i64> {
        held(&self.dir.path().join("state"))
    }

    pub async fn holds(&self, count: usize) {
        eventually("samples are held", async || self.held().len() >= count).await;
    }

    /// All that is held arrives; answers what was held.
    pub async fn drains(&self) -> Vec<i64> {
        let held = self.held();
        eventually("what was held arrives", async || self.has(&held)).await;
        self.gate.assert_no_overlap();
        held
    }

    fn has(&self, ats: &[i64]) -> bool {
        let script = self.gate.script();
        ats.iter().all(|at| script.taken.contains_key(at))
    }
}

/// Every `sampled_at` that is on disk.
pub fn held(state: &Path) -> Vec<i64> {
    let mut ats = Vec::new();
    for file in fs::read_dir(state.join("spool")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        ats.extend(lines.map(|line| line["at"].as_i64().unwrap()));
    }
    ats.sort_unstable();
    ats
}
