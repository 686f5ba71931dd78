//! Room on a disk, of which a reserve is kept for what matters more than the rest.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use metrics::{Gauge, Unit, describe_gauge, gauge};

use crate::Trouble;

const FREE: &str = "rollcall_disk_free_bytes";
const RESERVE: &str = "rollcall_disk_reserve_bytes";

/// What is free on a disk, and how much of that is reserved. Clones share it. Somebody has to measure.
#[derive(Clone)]
pub struct Room(Arc<Inner>);

struct Inner {
    reserve: u64,
    free: AtomicU64,
    full: AtomicBool,
    trouble: Trouble,
    gauge: Gauge,
}

impl Room {
    /// A disk of which `reserve` bytes are kept, and `free` bytes are free at present.
    pub fn new(reserve: u64, free: u64) -> Self {
        describe_gauge!(FREE, Unit::Bytes, "Free on the disk of the data folder");
        describe_gauge!(RESERVE, Unit::Bytes, "With less free than this no snapshots are taken");
        gauge!(RESERVE).set(reserve as f64);
        let trouble = Trouble::saying(
            "the disk is full but for its reserve: no snapshots are taken, people's changes go on",
            "the disk has room again: snapshots are taken",
        );
        let (full, gauge) = (AtomicBool::new(false), gauge!(FREE));
        let room = Self(Arc::new(Inner { reserve, free: AtomicU64::new(free), full, trouble, gauge }));
        room.measured(free, 0);
        room
    }

    /// So many bytes are free, and the store has so many to `spare` inside its file, which it fills before the file
    /// grows. Those count for at most half of the reserve, so that the other half is always free on the disk itself.
    pub fn measured(&self, free: u64, spare: u64) {
        let Inner { reserve, full, trouble, gauge, .. } = &*self.0;
        self.0.free.store(free, Ordering::Relaxed);
        gauge.set(free as f64);
        let room = free.saturating_add(spare.min(reserve / 2));
        // It takes an eighth more to end it, or it would begin and end with every checkpoint.
        let enough = if self.full() { reserve.saturating_add(reserve / 8) } else { *reserve };
        full.store(room < enough, Ordering::Relaxed);
        if room < enough {
            trouble.begin(format_args!("{free} bytes are free, the reserve is {reserve}"));
        } else {
            trouble.end();
        }
    }

    /// Whether no snapshots are to be taken.
    pub fn full(&self) -> bool {
        self.0.full.load(Ordering::Relaxed)
    }

    /// What was free when it was last measured.
    pub fn free(&self) -> u64 {
        self.0.free.load(Ordering::Relaxed)
    }

    /// What is kept free.
    pub fn reserve(&self) -> u64 {
        self.0.reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::logged;

    #[test]
    fn it_is_full_below_the_reserve_until_there_is_an_eighth_more_and_says_so_once_each() {
        let lines = logged(|| {
            let room = Room::new(800, 800);
            assert!(!room.full());
            for (free, full) in [(799, true), (800, true), (899, true), (900, false), (800, false)] {
                room.measured(free, 0);
                assert_eq!((room.full(), room.free(), room.reserve()), (full, free, 800));
            }
        });
        let expected = [
            "WARN the disk is full but for its reserve: no snapshots are taken, people's changes go on \
             error=799 bytes are free, the reserve is 800",
            "INFO the disk has room again: snapshots are taken",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn room_inside_the_store_counts_for_half_of_the_reserve() {
        let room = Room::new(800, 399);
        room.measured(399, 1_000_000);
        assert!(room.full());
        room.measured(500, 1_000_000);
        assert!(!room.full());
        room.measured(400, 400);
        assert!(!room.full());
        room.measured(400, 399);
        assert!(room.full());
    }

    #[test]
    fn without_a_reserve_it_is_never_full() {
        assert!(!Room::new(0, 0).full());
    }
}
