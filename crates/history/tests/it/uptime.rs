//! Uptime and outages from the store against an oracle that looks at each unit of time by itself.

use std::{cell::Cell, cmp::Reverse};

use fleet::{
    Millis, Record, ServerId,
    retention::DAY,
    uptime::{Expected, Piece, Uptime},
};
use history::{Extent, History};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use tokio::{runtime::Handle, task::block_in_place};

use crate::make::{MIDNIGHT, record, server};

crate::on_every_store! {
    uptime_equals_the_oracle
    outages_of_many_snapshots_are_read_in_parts
    longest_gaps_are_the_longest_of_the_outages
    what_is_vouched_for_twice_hides_no_more_than_that
}

/// All in units of time.
#[derive(Debug)]
struct Case {
    unit: Millis,
    /// Gap before it, what it covers, and the batches in which it arrives.
    snapshots: Vec<(i64, i64, Vec<usize>)>,
    /// Rotates each batch.
    turn: usize,
    range: (i64, i64),
    enrolled: i64,
    oldest_retained: i64,
    down_at: Option<i64>,
    pauses: Vec<(i64, i64)>,
}

fn cases() -> impl Strategy<Value = Case> {
    let snapshot = (0i64..12, 0i64..15, prop::collection::vec(0usize..4, 1..3));
    (
        // Milliseconds, odd ones, and lengths that spread a history over slots, hours and days.
        prop::sample::select(vec![1, 997, 60_000, 400_000]),
        prop::collection::vec(snapshot, 0..30),
        0usize..50,
        (-20i64..400, -20i64..450),
        -20i64..300,
        -20i64..100,
        prop::option::of(0i64..450),
        prop::collection::vec((-20i64..400, 0i64..60), 0..4),
    )
        .prop_map(|(unit, snapshots, turn, range, enrolled, oldest_retained, down_at, pauses)| Case {
            unit,
            snapshots,
            turn,
            range,
            enrolled,
            oldest_retained,
            down_at,
            pauses: pauses.into_iter().map(|(at, length)| (at, at + length)).collect(),
        })
}

impl Case {
    /// Start and end of what each snapshot vouches for; they never overlap, no two end together.
    fn intervals(&self) -> Vec<(i64, i64)> {
        let mut at = 0;
        let mut intervals = Vec::new();
        for (gap, covers, _) in &self.snapshots {
            at += (gap + covers).max(1);
            intervals.push((at - covers, at));
        }
        intervals
    }

    /// Some arrive twice, some late, none in order.
    fn batches(&self, n: u64, start: Millis) -> Vec<Vec<Record>> {
        let mut batches = vec![Vec::new(); 4];
        for ((_, _, arrivals), (from, to)) in self.snapshots.iter().zip(self.intervals()) {
            for batch in arrivals {
                let covers = (to - from) * self.unit;
                batches[*batch].push(record(server(n), start + to * self.unit, covers));
            }
        }
        for batch in &mut batches {
            let middle = self.turn.min(batch.len());
            batch.rotate_left(middle);
        }
        batches
    }

    /// Covered and expected units, and the gaps in what was expected.
    fn oracle(&self) -> (i64, i64, Vec<(i64, i64)>) {
        let intervals = self.intervals();
        let oldest = intervals.iter().map(|(from, _)| *from).min();
        let newest = intervals.iter().map(|(_, to)| *to).max();
        let since = oldest.map_or(self.enrolled, |oldest| oldest.min(self.enrolled));
        let Some(end) = self.down_at.or(newest) else { return (0, 0, Vec::new()) };
        let (mut covered, mut expected) = (0, 0);
        let mut gaps: Vec<(i64, i64)> = Vec::new();
        // The unit u is the time from u to u + 1.
        for unit in -20..1_000 {
            let asked = unit >= self.range.0 && unit < self.range.1 && unit >= since && unit < end;
            let paused = self.pauses.iter().any(|(from, to)| *from <= unit && unit < *to);
            if asked && unit >= self.oldest_retained && !paused {
                expected += 1;
                if intervals.iter().any(|(from, to)| *from <= unit && unit < *to) {
                    covered += 1;
                } else if let Some(gap) = gaps.last_mut().filter(|gap| gap.1 == unit) {
                    gap.1 = unit + 1;
                } else {
                    gaps.push((unit, unit + 1));
                }
            }
        }
        (covered, expected, gaps)
    }
}

async fn uptime_equals_the_oracle(store: History) {
    // Each case costs a server of its own some dozen round trips.
    let cases_of_store = if matches!(store, History::Sqlite(_)) { 150 } else { 40 };
    let config = Config { cases: cases_of_store, failure_persistence: None, ..Config::default() };
    let case_number = Cell::new(0);
    let check = |case: Case| {
        case_number.set(case_number.get() + 1);
        block_in_place(|| Handle::current().block_on(agrees(&store, case_number.get(), &case)))
    };
    TestRunner::new(config).run(&cases(), check).unwrap();
}

async fn agrees(store: &History, n: u64, case: &Case) -> Result<(), TestCaseError> {
    let start = MIDNIGHT - 37 * case.unit;
    for batch in case.batches(n, start) {
        prop_assert_eq!(store.append(&batch).await.unwrap(), []);
    }
    let at = |units: i64| start + units * case.unit;
    let intervals = case.intervals();
    let extent = store.extents(&[server(n)]).await.unwrap()[0];
    let oldest = intervals.iter().map(|(from, _)| at(*from)).min();
    let newest = intervals.iter().map(|(_, to)| at(*to)).max();
    let known = oldest.zip(newest).map(|(oldest_start, newest)| Extent { oldest_start, newest });
    prop_assert_eq!(extent, known);

    let pauses: Vec<_> = case.pauses.iter().map(|(from, to)| (at(*from), at(*to))).collect();
    let expected = Expected {
        from: at(case.range.0),
        to: at(case.range.1),
        enrolled_at: at(case.enrolled),
        oldest_retained: at(case.oldest_retained),
        oldest_start: extent.map(|extent| extent.oldest_start),
        newest: extent.map(|extent| extent.newest),
        down_at: case.down_at.map(at),
        pauses: &pauses,
    };
    let pieces = expected.pieces();
    let length = pieces.iter().map(|piece| piece.length()).sum();
    let covered = store.covered(&[(server(n), pieces.clone())]).await.unwrap()[0];
    let uptime = Uptime::new(covered, length);
    let outages = store.outages(server(n), pieces.clone(), usize::MAX).await.unwrap();

    let (covered, expected, gaps) = case.oracle();
    let total: Millis = outages.gaps.iter().map(Piece::length).sum();
    prop_assert_eq!(total, uptime.expected_ms - uptime.covered_ms);
    prop_assert_eq!(outages.more_before, None);
    let gaps: Vec<Piece> = gaps.into_iter().map(|(from, to)| Piece { from: at(from), to: at(to) }).collect();
    prop_assert_eq!(merged(&outages.gaps), gaps);
    let found = store.longest_gaps(&[(server(n), pieces.clone())]).await.unwrap()[0];
    prop_assert_eq!(found, longest(&outages.gaps));
    let latest = store.outages(server(n), pieces, 2).await.unwrap();
    let left_out = outages.gaps.len().saturating_sub(2);
    prop_assert_eq!(&latest.gaps, &outages.gaps[left_out..]);
    prop_assert_eq!(latest.more_before, left_out.checked_sub(1).map(|last| outages.gaps[last].to));
    prop_assert_eq!((uptime.covered_ms, uptime.expected_ms), (covered * case.unit, expected * case.unit));
    let share = (expected > 0).then(|| covered as f64 / expected as f64);
    prop_assert_eq!(uptime.uptime.is_some(), share.is_some());
    prop_assert!((uptime.uptime.unwrap_or(0.0) - share.unwrap_or(0.0)).abs() < 1e-12);
    Ok(())
}

/// The earliest of those that are as long.
fn longest(gaps: &[Piece]) -> Option<Piece> {
    gaps.iter().copied().max_by_key(|gap| (gap.length(), Reverse(gap.from)))
}

/// Joins gaps that touch. Expected pieces touch where a pause between them is empty; the oracle knows no such border.
fn merged(gaps: &[Piece]) -> Vec<Piece> {
    let mut merged: Vec<Piece> = Vec::new();
    for gap in gaps {
        match merged.last_mut() {
            Some(last) if last.to == gap.from => last.to = gap.to,
            _ => merged.push(*gap),
        }
    }
    merged
}

async fn outages_of_many_snapshots_are_read_in_parts(store: History) {
    // More than one page of the store, over midnight; each sample leaves a second uncovered.
    let times: Vec<Millis> = (0..12_000).map(|n| MIDNIGHT - 5_000_000 + n * 10_000).collect();
    for part in times.chunks(4_000) {
        let batch: Vec<Record> = part.iter().map(|at| record(server(1), *at, 9_000)).collect();
        assert_eq!(store.append(&batch).await.unwrap(), []);
    }
    let piece = Piece { from: times[0] - 9_000, to: times[11_999] };
    let outages = store.outages(server(1), vec![piece], usize::MAX).await.unwrap();
    let expected: Vec<Piece> = times[..11_999].iter().map(|at| Piece { from: *at, to: at + 1_000 }).collect();
    assert_eq!(outages.gaps, expected);
    let few = store.outages(server(1), vec![piece], 5).await.unwrap();
    assert_eq!((&few.gaps[..], few.more_before), (&expected[11_994..], Some(expected[11_993].to)));
    let nobody = store.outages(server(2), vec![piece], 5).await.unwrap();
    assert_eq!(nobody.gaps, [piece]);
    assert_eq!(store.outages(server(1), Vec::new(), 5).await.unwrap().gaps, []);
}

/// Servers of three days at 30 s and at 10 minutes, by number: some without a gap, some with a few small ones, some
/// with long ones, each with an edge of its own, some of their snapshots late, some vouching for nothing.
fn fleet_of(servers: u64, from: Millis) -> (Vec<Record>, Vec<(ServerId, Vec<Piece>)>) {
    let (mut records, mut asked) = (Vec::new(), Vec::new());
    for n in 0..servers {
        let step = if n % 8 == 0 { 30_000 } else { 600_000 };
        let (number, last) = (i64::try_from(n).unwrap(), 3 * DAY / step);
        // One snapshot is missing at regular distances, and several in a row are missing at one place.
        let missing = |k: i64| {
            (n % 3 > 0 && k % (97 + number) == 5) || (n % 3 > 1 && (200 + number..=202 + number).contains(&k))
        };
        for k in (1..=last).rev().filter(|k| !missing(*k)) {
            records.push(record(server(n), from + k * step + number, step));
        }
        if n % 5 == 0 {
            records.extend((1..9).map(|k| record(server(n), from + (97 * k + 5) * step - 77, 0)));
        }
        let middle = from + DAY + number * 1_111_111;
        let pieces = vec![
            Piece { from: from + number * 777_777, to: middle },
            Piece { from: middle + 5_000_000, to: from + 3 * DAY - number * 10_000 },
        ];
        asked.push((server(n), pieces));
    }
    (records, asked)
}

async fn longest_gaps_are_the_longest_of_the_outages(store: History) {
    let (records, mut asked) = fleet_of(40, MIDNIGHT - DAY / 2);
    for batch in records.chunks(4_000) {
        assert_eq!(store.append(batch).await.unwrap(), []);
    }
    // A server that never reported, one without pieces, one that is asked about twice, and all of time.
    let whole = vec![Piece { from: 0, to: fleet::snapshot::MAX_TIME }];
    asked.push((server(1_000), asked[3].1.clone()));
    asked.push((server(3), Vec::new()));
    asked.push((server(3), vec![Piece { from: MIDNIGHT, to: MIDNIGHT + 7 }]));
    asked.extend([(server(5), whole.clone()), (server(5), whole)]);
    let found = store.longest_gaps(&asked).await.unwrap();
    assert_eq!(found.len(), asked.len());
    for ((id, pieces), found) in asked.into_iter().zip(found) {
        let outages = store.outages(id, pieces, usize::MAX).await.unwrap();
        assert_eq!(found, longest(&outages.gaps), "{id}");
    }
    assert_eq!(store.longest_gaps(&[]).await.unwrap(), []);
}

async fn what_is_vouched_for_twice_hides_no_more_than_that(store: History) {
    // Each snapshot covers five seconds that the one before covers too. In every hour that is more than the gaps are.
    let times: Vec<Millis> = (1..=600).filter(|n| ![77, 300, 301].contains(n)).map(|n| n * 30_000).collect();
    let batch: Vec<Record> = times.iter().map(|at| record(server(1), MIDNIGHT + at, 35_000)).collect();
    assert_eq!(store.append(&batch).await.unwrap(), []);
    let pieces = vec![Piece { from: MIDNIGHT, to: MIDNIGHT + 600 * 30_000 }];
    let gaps = store.outages(server(1), pieces.clone(), usize::MAX).await.unwrap().gaps;
    assert_eq!(gaps.iter().map(Piece::length).collect::<Vec<_>>(), [25_000, 55_000]);
    assert_eq!(store.longest_gaps(&[(server(1), pieces)]).await.unwrap(), [longest(&gaps)]);
}
