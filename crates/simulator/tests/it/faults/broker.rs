//! The broker killed, out of memory, and full. It is one of its own: what is done to it is felt by nobody else.

use std::{
    fs::{self, Permissions},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    process::Command,
    time::Duration,
};

use simulator::Kind;
use testkit::{TempDir, eventually, eventually_within, tempdir};
use tokio::{sync::Mutex, task::spawn_blocking};

use crate::stage::{Stage, Ways, fleet, nobody_is_down};

/// Below the ports that the system gives away for a moment.
const PORTS: std::ops::Range<u16> = 27_000..32_000;
/// Clients come back at once; a broker that starts takes its time on a busy machine.
const BACK: Duration = Duration::from_secs(180);
/// What each consumer may hold, by `queue::rabbitmq::Settings::new`.
const PREFETCH: &str = "100";

/// One at a time: a broker that starts has much to do.
static TURN: Mutex<()> = Mutex::const_new(());

/// Dropped, it ends, and its data go.
struct Broker {
    folder: TempDir,
    /// The first of three.
    port: u16,
}

/// The first of three ports that nobody listens on.
fn free_ports() -> u16 {
    let random = u16::from_le_bytes(chassis::random());
    let first = PORTS.start + random % (PORTS.end - PORTS.start);
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    if (first..first + 3).all(free) { first } else { free_ports() }
}

impl Broker {
    async fn start() -> Self {
        let folder = tempdir().unwrap();
        // The server is another user than this process.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let broker = Self { folder, port: free_ports() };
        broker.services(&["start", "rabbitmq"]).await;
        broker
    }

    fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dev/services");
        let mut command = Command::new(script);
        command.args(arguments).env_remove("AMQP_URL");
        command
            .env("SERVICES_DIR", self.folder.path().join("services"))
            .env("AMQP_PORT", self.port.to_string());
        command
    }

    async fn services(&self, arguments: &[&str]) -> String {
        let mut command = self.command(arguments);
        let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    async fn control(&self, arguments: &[&str]) -> String {
        self.services(&[&["rabbitmqctl"], arguments].concat()).await
    }

    async fn kill_and_start(&self) {
        let pid = self.services(&["pid", "rabbitmq"]).await;
        let killed = Command::new("kill").args(["-9", pid.trim()]).status().unwrap();
        assert!(killed.success());
        self.services(&["start", "rabbitmq"]).await;
    }

    /// The prefetch of each consumer that the broker knows.
    async fn prefetches(&self) -> Vec<String> {
        let listed = self.control(&["-q", "--no-table-headers", "list_consumers", "prefetch_count"]).await;
        listed.lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.command(&["stop", "rabbitmq"]).output());
    }
}

async fn stage(broker: &Broker, workers: usize) -> Stage {
    let mut fleet = fleet().await;
    fleet.urls.amqp = broker.url();
    let ways = Ways::all(fleet.urls.clone());
    Stage::on(fleet, &ways, 2, workers).await
}

#[tokio::test]
async fn a_broker_killed_under_load_loses_nothing_and_everyone_comes_back() {
    let _turn = TURN.lock().await;
    let broker = Broker::start().await;
    let mut stage = stage(&broker, 2).await;
    let driving = stage.drive().await;
    stage.all_up().await;
    for _ in 0..2 {
        broker.kill_and_start().await;
        driving.more(600).await;
    }
    eventually_within(BACK, "both workers consume, by their prefetch", async || {
        broker.prefetches().await == [PREFETCH, PREFETCH]
    })
    .await;
    stage.all_up().await;
    let journal = driving.end(&mut stage).await;
    assert!(journal.refused() > 0, "nobody noticed, so nothing was tried");
    stage.finish(&journal).await;
}

#[tokio::test]
async fn a_broker_short_of_memory_is_a_503_until_it_is_not() {
    let _turn = TURN.lock().await;
    let broker = Broker::start().await;
    let mut stage = stage(&broker, 1).await;
    let driving = stage.drive().await;
    stage.all_up().await;
    broker.control(&["set_vm_memory_high_watermark", "absolute", "1"]).await;
    let refused = async |stage: &Stage| {
        let name = "rollcall_gate_refused_requests_total";
        stage.gates[0].metric(name).await.unwrap() + stage.gates[1].metric(name).await.unwrap()
    };
    eventually("gates answer 503", async || refused(&stage).await >= 50.0).await;
    let taken = driving.acknowledged();
    let more = refused(&stage).await + 50.0;
    eventually("gates go on answering 503", async || refused(&stage).await >= more).await;
    // What was on its way when the alarm came may still be confirmed.
    assert!(driving.acknowledged() - taken <= 16, "acknowledged while the broker took nothing");
    let status = stage.operator().await.status().await.unwrap();
    nobody_is_down(&status);
    broker.control(&["set_vm_memory_high_watermark", "0.4"]).await;
    driving.more(600).await;
    nobody_is_down(&stage.operator().await.status().await.unwrap());
    let journal = driving.end(&mut stage).await;
    stage.finish(&journal).await;
}

#[tokio::test]
async fn a_full_queue_is_a_503_until_there_is_room() {
    let _turn = TURN.lock().await;
    let broker = Broker::start().await;
    let mut stage = stage(&broker, 1).await;
    let driving = stage.drive().await;
    stage.all_up().await;
    let worker = stage.workers.pop().unwrap();
    worker.stop().await.unwrap();
    let queue = format!("^{}.snapshots$", stage.fleet.prefix());
    broker.control(&["set_policy", "full", &queue, r#"{"max-length":20}"#, "--apply-to", "queues"]).await;
    eventually("gates answer 503", async || {
        stage.gates[0].metric("rollcall_gate_refused_requests_total").await.unwrap() >= 50.0
    })
    .await;
    stage.workers.push(stage.fleet.start(Kind::Worker).await.unwrap());
    driving.more(600).await;
    // Full once more, and now it is the bound that goes: the broker tells nobody of that.
    let worker = stage.workers.pop().unwrap();
    worker.stop().await.unwrap();
    let refused = stage.gates[0].metric("rollcall_gate_refused_requests_total").await.unwrap();
    eventually("gates answer 503 again", async || {
        stage.gates[0].metric("rollcall_gate_refused_requests_total").await.unwrap() >= refused + 50.0
    })
    .await;
    broker.control(&["clear_policy", "full"]).await;
    driving.more(600).await;
    stage.workers.push(stage.fleet.start(Kind::Worker).await.unwrap());
    stage.all_up().await;
    let journal = driving.end(&mut stage).await;
    stage.finish(&journal).await;
}
