//! What runs on this machine, as the agent tells it to its gate.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use rollcall_agent::Level;
use testkit::eventually_within;
use wire::v1::{Process, Processes};

use crate::rig::Rig;

const PATIENCE: Duration = Duration::from_secs(60);

/// A process that keeps a processor busy, and is ended when it is dropped.
struct Busy(Child);

impl Busy {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]).args(arguments).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

fn sections(rig: &Rig) -> Vec<Processes> {
    let script = rig.gate.script();
    script.taken.values().filter_map(|snapshot| snapshot.processes.as_deref().cloned()).collect()
}

fn row(section: &Processes, pid: u32) -> Option<&Process> {
    section.rows.iter().find(|row| row.pid == pid)
}

fn start(rig: &mut Rig, level: Level) {
    let settings = rollcall_agent::Settings { processes: Some(level), ..rig.settings() };
    rig.start_with(settings);
}

#[tokio::test]
async fn what_keeps_this_machine_busy_is_told_and_no_secret_with_it() {
    let busy = Busy::start(&["x", "--password=hunter2", "--token", "hunter2"]);
    let pid = busy.0.id();
    let mut rig = Rig::new().await;
    start(&mut rig, Level::Basic);
    eventually_within(PATIENCE, "it uses a processor", async || {
        sections(&rig).iter().any(|one| row(one, pid).is_some_and(|row| row.cpu > 5.0))
    })
    .await;
    let all = sections(&rig);
    assert!(all[0].keyframe && all[0].count > 1, "{:?}", all[0]);
    assert!(all.iter().all(|one| one.level.as_deref() == Some("basic")));
    let told =
        all.iter().find_map(|one| row(one, pid)?.name.is_some().then(|| row(one, pid).unwrap())).unwrap();
    assert_eq!((told.name.as_deref(), told.ppid), (Some("sh"), Some(std::process::id())));
    assert!(told.user.is_some() && told.start_ms > 0 && told.rss > 0, "{told:?}");
    let hash = told.command.as_ref().unwrap();
    let text = all.iter().flat_map(|one| &one.commands).find(|one| one.hash == *hash).unwrap();
    assert_eq!(text.text, "sh -c while :; do :; done x --password=*** --token ***");
    assert!(!format!("{all:?}").contains("hunter2"));
    // Told once: the next sections name it by its number alone.
    assert_eq!(all.iter().flat_map(|one| &one.commands).filter(|one| one.hash == *hash).count(), 1);
}

#[tokio::test]
async fn rows_and_the_rest_are_what_the_host_used() {
    let _busy = [Busy::start(&[]), Busy::start(&[])];
    let mut rig = Rig::new().await;
    start(&mut rig, Level::Basic);
    let cores = std::thread::available_parallelism().unwrap().get() as f32;
    eventually_within(PATIENCE, "the sum is what the processors did", async || {
        let script = rig.gate.script();
        script.taken.values().skip(1).any(|snapshot| {
            let (Some(section), Some(cpu)) = (&snapshot.processes, &snapshot.cpu) else { return false };
            let rows: f32 = section.rows.iter().map(|row| row.cpu + row.children).sum();
            let sum = rows + section.other.as_ref().map_or(0.0, |other| other.cpu);
            let host = (cpu.user.unwrap_or(0.0) + cpu.system.unwrap_or(0.0)) * cores;
            // The two are not read at one moment, and ticks are a hundredth of a second.
            (sum - host).abs() <= 0.1 * host.max(50.0)
        })
    })
    .await;
}

#[tokio::test]
async fn switched_off_it_tells_nothing() {
    let mut rig = Rig::new().await;
    start(&mut rig, Level::Off);
    let gate = rig.gate.clone();
    eventually_within(PATIENCE, "samples arrive", async || gate.taken() >= 3).await;
    assert_eq!(sections(&rig), []);
}
