//! Which servers make this worker write most: a credential that writes a thousand times what a host needs has to be found
//! before the disk is full.

use std::{
    cmp::Reverse,
    collections::{HashMap, hash_map::Entry},
};

use cache::Writer;
use fleet::{Millis, Record, ServerId};

/// The last ten minutes, in parts that are forgotten one after the other.
const PART: Millis = 120_000;
const PARTS: usize = 5;

/// Most servers that are counted, each in some 60 bytes. In a larger fleet, those that come later are not.
const MOST: usize = 50_000;

/// Most that are told. Beyond those that are shown, since several workers' have to be added up.
const TOLD: usize = 50;

/// What each server brought in the last ten minutes.
#[derive(Default)]
pub struct Writers {
    by_server: HashMap<ServerId, [Brought; PARTS]>,
    /// When the present part began, and its place.
    began: Millis,
    place: usize,
}

/// In one part. Both stop at their greatest number.
#[derive(Debug, Clone, Copy, Default)]
struct Brought {
    bytes: u32,
    snapshots: u32,
}

impl Writers {
    /// A batch of these was stored.
    pub fn wrote(&mut self, records: &[Record], now: Millis) {
        self.turn(now);
        for record in records {
            let room = self.by_server.len() < MOST;
            let brought = match self.by_server.entry(record.server) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) if room => new.insert(Default::default()),
                Entry::Vacant(_) => continue,
            };
            let bytes = size_of::<Record>() + record.snapshot.weight();
            let part = &mut brought[self.place];
            part.bytes = part.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
            part.snapshots = part.snapshots.saturating_add(1);
        }
    }

    /// Those that brought most bytes, the most first.
    pub fn most(&mut self, now: Millis) -> Vec<Writer> {
        self.turn(now);
        let sum = |(server, parts): (&ServerId, &[Brought; PARTS])| Writer {
            server: *server,
            bytes: parts.iter().map(|part| u64::from(part.bytes)).sum(),
            snapshots: parts.iter().map(|part| u64::from(part.snapshots)).sum(),
        };
        let mut writers: Vec<Writer> = self.by_server.iter().map(sum).collect();
        if writers.len() > TOLD {
            writers.select_nth_unstable_by_key(TOLD, |writer| Reverse(writer.bytes));
            writers.truncate(TOLD);
        }
        writers.sort_unstable_by_key(|writer| (Reverse(writer.bytes), writer.server));
        writers
    }

    /// Begins as many parts as have passed. A clock that steps back begins none, and counts from there.
    fn turn(&mut self, now: Millis) {
        self.began = self.began.min(now);
        let passed = usize::try_from((now - self.began) / PART).unwrap_or(0);
        if passed == 0 {
            return;
        }
        self.began = now;
        for _ in 0..passed.min(PARTS) {
            self.place = (self.place + 1) % PARTS;
            let place = self.place;
            self.by_server.values_mut().for_each(|parts| parts[place] = Brought::default());
        }
        self.by_server.retain(|_, parts| parts.iter().any(|part| part.snapshots > 0));
        self.by_server.shrink_to(2 * self.by_server.len());
    }
}

#[cfg(test)]
mod tests {
    use fleet::{Interval, Snapshot, wire::v1};

    use super::*;

    const NOW: Millis = 1_790_000_000_000;

    fn id(number: u32) -> ServerId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        ServerId::from_bytes(bytes)
    }

    fn records(server: u32, count: usize) -> Vec<Record> {
        let raw = v1::Snapshot { sampled_at: NOW, ..v1::Snapshot::default() };
        let record = Record {
            server: id(server),
            generation: 1,
            received_at: NOW,
            interval: Interval::DEFAULT,
            snapshot: Snapshot::check(raw, Interval::DEFAULT).unwrap(),
        };
        vec![record; count]
    }

    #[test]
    fn who_writes_most_is_told_first_and_forgotten_after_ten_minutes() {
        let mut writers = Writers::default();
        writers.wrote(&records(1, 3), NOW);
        writers.wrote(&records(2, 400), NOW);
        writers.wrote(&records(1, 3), NOW + PART);
        let told = |writers: &mut Writers, at| {
            writers.most(at).iter().map(|one| (one.server, one.snapshots)).collect::<Vec<_>>()
        };
        assert_eq!(told(&mut writers, NOW + PART), [(id(2), 400), (id(1), 6)]);
        assert!(writers.most(NOW + PART)[0].bytes > 60 * writers.most(NOW + PART)[1].bytes);
        assert_eq!(told(&mut writers, NOW + 5 * PART), [(id(1), 3)], "the first part is forgotten");
        // Our clock steps back, and forward by hours.
        assert_eq!(told(&mut writers, NOW - 99 * PART), [(id(1), 3)]);
        assert_eq!(told(&mut writers, NOW + 500 * PART), []);
        assert!(writers.by_server.is_empty());
    }

    #[test]
    fn a_fleet_of_any_size_takes_bounded_memory() {
        let mut writers = Writers::default();
        for server in 0..60_000 {
            writers.wrote(&records(server, 1), NOW);
        }
        assert_eq!(writers.by_server.len(), MOST);
        assert!(size_of::<(ServerId, [Brought; PARTS])>() <= 64);
        assert_eq!(writers.most(NOW).len(), TOLD);
    }
}
