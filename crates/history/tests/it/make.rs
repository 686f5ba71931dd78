//! Records to store.

use fleet::{Interval, Millis, Record, ServerId, Snapshot, hours::Closing, retention::DAY, wire::v1};
use history::{History, HistoryError, RollUp};
use testkit::eventually;

/// A midnight.
pub const MIDNIGHT: Millis = 20_000 * DAY;

pub fn server(n: u64) -> ServerId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    ServerId::new(MIDNIGHT, random)
}

pub fn record(server: ServerId, sampled_at: Millis, covers_ms: Millis) -> Record {
    with(server, v1::Snapshot { sampled_at, covers_ms, ..v1::Snapshot::default() })
}

pub fn with_cpu(server: ServerId, sampled_at: Millis, cpu: f32) -> Record {
    let cpu = Some(v1::Cpu { total: Some(cpu), ..v1::Cpu::default() });
    with(server, v1::Snapshot { sampled_at, covers_ms: 1, cpu, ..v1::Snapshot::default() })
}

/// One that tells everything.
pub fn full(server: ServerId, sampled_at: Millis) -> Record {
    let disk = v1::Disk { mount: Some("/".into()), used: Some(3_000_000_001), ..v1::Disk::default() };
    let disk = v1::Disk { read: Some(70), written: Some(90), total: Some(u64::from(u32::MAX)), ..disk };
    let network = v1::Network { name: Some("eth0".into()), received: Some(1_500), sent: Some(2_500) };
    let snapshot = v1::Snapshot {
        sampled_at,
        covers_ms: 1,
        host: Some(v1::Host { hostname: Some("a \"host\"\n".into()), ..v1::Host::default() }),
        cpu: Some(v1::Cpu {
            total: Some(12.3),
            iowait: Some(0.1),
            cores: vec![1.5, 99.9],
            ..v1::Cpu::default()
        }),
        load: Some([0.07, 2.0, 3.0]),
        memory: Some(v1::Memory {
            used: Some(8_589_934_593),
            swap_used: Some(4_096),
            ..v1::Memory::default()
        }),
        disks: vec![disk.clone(), disk],
        networks: vec![network.clone(), network],
        temperatures: vec![v1::Temperature { name: None, celsius: Some(-41.7) }],
        agent: None,
        processes: None,
    };
    with(server, snapshot)
}

pub fn with(server: ServerId, snapshot: v1::Snapshot) -> Record {
    let interval = Interval::try_from(3_600_000).unwrap();
    let snapshot = Snapshot::check(snapshot, interval).unwrap();
    Record { server, generation: 1, received_at: snapshot.sampled_at(), interval, snapshot }
}

/// One that tells what ran: a row for each of these names, and the command line of each.
pub fn ran(server: ServerId, sampled_at: Millis, names: &[&str]) -> Record {
    let command = |name: &str| {
        let text = format!("/usr/bin/{name} \"--of\" ä");
        v1::Command { hash: fleet::processes::hash(&text), text }
    };
    let rows = (1..).zip(names).map(|(pid, name)| v1::Process {
        pid,
        cpu: 100.5,
        name: Some((*name).to_owned()),
        command: Some(command(name).hash),
        ..v1::Process::default()
    });
    let processes = v1::Processes {
        count: 7,
        rows: rows.collect(),
        commands: names.iter().map(|name| command(name)).collect(),
        ..v1::Processes::default()
    };
    let load = Some([1.5, 1.0, 0.5]);
    let processes = Some(Box::new(processes));
    with(server, v1::Snapshot { sampled_at, covers_ms: 1, load, processes, ..v1::Snapshot::default() })
}

/// Rolls up what is closed at this watermark, in at most so many steps. Returns how many hours of servers are left.
pub async fn roll_up(store: &History, watermark: Millis, steps: usize) -> u64 {
    let closing = Closing::new(watermark, []);
    for _ in 0..steps {
        let done = step(store, &closing).await;
        if done.made == 0 || done.left == 0 {
            return done.left;
        }
    }
    step(store, &closing).await.left
}

/// A step, as a worker takes it: again where the store is not there now. An index that somebody has just made is not, for a
/// moment.
async fn step(store: &History, closing: &Closing) -> RollUp {
    let mut done = None;
    eventually("hours are rolled up", async || match store.roll_up(closing).await {
        Ok(step) => {
            done = Some(step);
            true
        }
        Err(HistoryError::Unavailable(_)) => false,
        Err(other) => panic!("{other}"),
    })
    .await;
    done.unwrap()
}

/// A few numbers that look like chance, the same in each run.
pub fn chance(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}
