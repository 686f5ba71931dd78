//! Which servers make the workers write most, as the workers tell it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use fleet::{Millis, ServerId};

use crate::Writer;

/// What a worker told is forgotten after this long: it is gone, or tells anew every few seconds.
pub const FRESH: Millis = 60_000;

/// Most servers that are told of.
pub const MOST: usize = 10;

/// By worker, when it told what.
#[derive(Default)]
pub struct Told(HashMap<String, (Millis, Vec<Writer>)>);

impl Told {
    pub fn put(&mut self, worker: &str, writers: &[Writer], now: Millis) {
        self.0.retain(|_, (at, _)| fresh(*at, now));
        self.0.insert(worker.to_owned(), (now, writers.to_vec()));
    }

    pub fn list(&self, now: Millis) -> Vec<Writer> {
        let told = self.0.values().filter(|(at, _)| fresh(*at, now));
        most(told.flat_map(|(_, writers)| writers.iter().copied()))
    }
}

/// Whether what was told at `at` counts. The clocks of two processes differ, in either direction.
pub fn fresh(at: Millis, now: Millis) -> bool {
    now.saturating_sub(at).saturating_abs() < FRESH
}

/// Of all workers together, the servers with most bytes.
pub fn most(writers: impl IntoIterator<Item = Writer>) -> Vec<Writer> {
    let mut by_server: BTreeMap<ServerId, Writer> = BTreeMap::new();
    for writer in writers {
        let sum = by_server.entry(writer.server).or_insert(Writer { bytes: 0, snapshots: 0, ..writer });
        sum.bytes = sum.bytes.saturating_add(writer.bytes);
        sum.snapshots = sum.snapshots.saturating_add(writer.snapshots);
    }
    let mut writers: Vec<Writer> = by_server.into_values().collect();
    writers.sort_by_key(|writer| Reverse(writer.bytes));
    writers.truncate(MOST);
    writers
}

/// As it is stored: `writers 1 <at>`, then a line `<server> <bytes> <snapshots>` each.
pub fn write(at: Millis, writers: &[Writer]) -> String {
    let mut text = format!("writers 1 {at}\n");
    for Writer { server, bytes, snapshots } in writers {
        text += &format!("{server} {bytes} {snapshots}\n");
    }
    text
}

/// When it was told, and what. `None`: it is something else.
pub fn read(text: &[u8]) -> Option<(Millis, Vec<Writer>)> {
    let mut lines = str::from_utf8(text).ok()?.strip_prefix("writers 1 ")?.lines();
    let at = lines.next()?.parse().ok()?;
    let writers = lines.map(|line| {
        let mut words = line.split(' ');
        let mut next = || words.next();
        let (server, bytes, snapshots) =
            (next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?);
        Some(Writer { server, bytes, snapshots })
    });
    Some((at, writers.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_reads_as_it_was_written_and_nothing_else_does() {
        let writer = |byte, bytes| Writer { server: ServerId::from_bytes([byte; 16]), bytes, snapshots: 3 };
        let writers = vec![writer(1, u64::MAX), writer(2, 0)];
        assert_eq!(read(write(7, &writers).as_bytes()), Some((7, writers)));
        assert_eq!(read(write(7, &[]).as_bytes()), Some((7, Vec::new())));
        for garbage in
            ["", "writers 1 ", "writers 1 x\n", "writers 2 7\n", "writers 1 7\nx 1 2\n", "writers 1 7\n\n"]
        {
            assert_eq!(read(garbage.as_bytes()), None, "{garbage:?}");
        }
    }
}
