//! Records as a gate hands them on, for what is measured behind it.

use anyhow::{Context, Result};
use chassis::Clock;
use fleet::{Interval, Message, Millis, Record, ServerId, Snapshot, wire::v1::Host};
use queue::rabbitmq::LARGEST;
use simulator::snapshot;

/// What a server of the usual interval sent at `at`; the gate received it then too.
pub fn record(server: ServerId, at: Millis, host: Option<Host>) -> Result<Record> {
    let interval = Interval::DEFAULT;
    let [.., a, b] = *server.as_bytes();
    let mut bytes = Vec::with_capacity(400);
    snapshot::write(
        &mut bytes,
        at,
        interval.millis(),
        at.unsigned_abs() << 16 | u64::from(u16::from_be_bytes([a, b])),
    );
    let mut raw: fleet::wire::v1::Snapshot = serde_json::from_slice(&bytes)?;
    raw.host = host;
    let snapshot = Snapshot::check(raw, interval).ok().context("not a snapshot")?;
    // No credential of the server is newer: the worker admits it, whenever it was enrolled.
    let generation = u32::MAX;
    Ok(Record { server, generation, received_at: at, interval, snapshot })
}

/// So many servers that nobody enrolled.
pub fn strangers(count: usize) -> Vec<ServerId> {
    (0..count).map(|_| ServerId::new(Clock::system().now(), chassis::random())).collect()
}

/// A message of `count` snapshots, each of another server.
pub fn message(count: usize) -> Result<Message> {
    let now = Clock::system().now();
    let records = strangers(count).into_iter().map(|server| record(server, now, None));
    Ok(Message::Snapshots(records.collect::<Result<_>>()?))
}

/// How many snapshots of the usual size fit the largest message.
pub fn most_in_a_message() -> Result<usize> {
    const SAMPLE: usize = 100;
    // No snapshot is longer than the sample's mean by more than a twentieth.
    Ok(LARGEST * SAMPLE * 19 / 20 / length(&message(SAMPLE)?)?)
}

/// Bytes on the wire.
pub fn length(message: &Message) -> Result<usize> {
    Ok(serde_json::to_vec(message)?.len())
}
