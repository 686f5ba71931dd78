//! Records to store.

use fleet::{Interval, Millis, Record, ServerId, Snapshot, retention::DAY, wire::v1};

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

fn with(server: ServerId, snapshot: v1::Snapshot) -> Record {
    let interval = Interval::try_from(3_600_000).unwrap();
    let snapshot = Snapshot::check(snapshot, interval).unwrap();
    Record { server, generation: 1, received_at: snapshot.sampled_at(), interval, snapshot }
}
