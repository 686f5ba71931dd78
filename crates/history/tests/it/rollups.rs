//! Rollups: what is closed is answered as its snapshots answered it, whatever comes late, and longer than they are kept.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use fleet::{
    Millis, Record, ServerId,
    hours::{Closing, HOUR},
    retention::{DAY, Kept},
    series::{Figures, Point, Reduction},
    uptime::Piece,
    wire::v1,
};
use history::{History, RollUp};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use tokio::{runtime::Handle, task::block_in_place};

use crate::make::{MIDNIGHT, record, roll_up, server, with};

crate::on_every_store! {
    a_chart_is_what_its_snapshots_give_in_every_form
    a_late_snapshot_is_seen_at_once_and_after_its_hour_is_made_again
    what_is_rolled_up_outlives_its_snapshots
    an_hour_of_very_many_stretches_keeps_its_sum_alone
    two_that_roll_up_at_once_do_no_harm
    a_server_of_a_long_interval_is_waited_for
    what_is_forgotten_is_gone_from_rollups_that_it_cuts
}

const MINUTE: Millis = 60_000;
/// Later than anything closes.
const LATE: Millis = MIDNIGHT + 20 * DAY;

fn measured(id: ServerId, at: Millis, covers: Millis, cpu: Option<f32>, used: Option<u64>) -> Record {
    let cpu = cpu.map(|total| v1::Cpu { total: Some(total), ..v1::Cpu::default() });
    let memory = used.map(|used| v1::Memory { used: Some(used), ..v1::Memory::default() });
    with(id, v1::Snapshot { sampled_at: at, covers_ms: covers, cpu, memory, ..v1::Snapshot::default() })
}

/// What a look at each snapshot gives.
fn reduced(records: &[Record], from: Millis, to: Millis, points: u32) -> Vec<Point> {
    let mut reduction = Reduction::new(from, to, points);
    let by_time: BTreeMap<Millis, &Record> =
        records.iter().rev().map(|record| (record.snapshot.sampled_at(), record)).collect();
    for (at, record) in by_time {
        reduction.add(at, &Figures::of(&record.snapshot));
    }
    reduction.points()
}

/// That points are the same, but for the order in which a cluster adds up.
fn alike(found: &[Point], wanted: &[Point]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        prop_assert_eq!((found.at, found.count), (wanted.at, wanted.count));
        for (found, wanted) in [(found.cpu, wanted.cpu), (found.memory, wanted.memory)] {
            prop_assert_eq!(found.map(|of| of.max), wanted.map(|of| of.max));
            let avg = (found.map_or(0.0, |of| of.avg), wanted.map_or(0.0, |of| of.avg));
            prop_assert!((avg.0 - avg.1).abs() <= avg.1.abs() * 1e-12, "{:?}", avg);
        }
    }
    Ok(())
}

async fn append(store: &History, records: &[Record]) {
    for batch in records.chunks(1_000) {
        assert_eq!(store.append(batch).await.unwrap(), []);
    }
}

/// Of snapshots for hours that may be rolled up by now.
async fn append_late(store: &History, records: &[Record]) {
    append(store, records).await;
    store.note_late(records, LATE).await.unwrap();
}

async fn covered(store: &History, id: ServerId, from: Millis, to: Millis) -> Millis {
    store.covered(&[(id, vec![Piece { from, to }])]).await.unwrap()[0]
}

async fn roll_up_all(store: &History, watermark: Millis) {
    assert_eq!(roll_up(store, watermark, 10_000).await, 0);
}

/// In minutes.
#[derive(Debug)]
struct Charted {
    snapshots: BTreeMap<i64, (i64, Option<u16>, Option<u32>)>,
    late: BTreeSet<usize>,
    closed: i64,
    ranges: Vec<(i64, i64, u32)>,
}

fn charted() -> impl Strategy<Value = Charted> {
    let snapshot = (0i64..90, prop::option::of(0u16..1_000), prop::option::of(any::<u32>()));
    let range = (-100i64..1_500, 1i64..1_500, prop::sample::select(vec![1u32, 2, 3, 5, 24, 60, 999]));
    // Some begin and end with an hour.
    let range = (range, any::<bool>()).prop_map(|((from, length, points), whole)| match whole {
        true => (from / 60 * 60, (length + 59) / 60 * 60, points),
        false => (from, length, points),
    });
    (
        prop::collection::btree_map(0i64..1_400, snapshot, 0..60),
        prop::collection::btree_set(0usize..60, 0..6),
        0i64..1_600,
        prop::collection::vec(range, 6),
    )
        .prop_map(|(snapshots, late, closed, ranges)| Charted { snapshots, late, closed, ranges })
}

async fn a_chart_is_what_its_snapshots_give_in_every_form(store: History) {
    let config = Config { failure_persistence: None, ..Config::default() };
    let cases = if matches!(store, History::Sqlite(_)) { config.cases / 2 } else { config.cases / 16 };
    let config = Config { cases, ..config };
    let number = Cell::new(0);
    let check = |case: Charted| {
        number.set(number.get() + 1);
        block_in_place(|| Handle::current().block_on(charts_agree(&store, server(number.get()), &case)))
    };
    TestRunner::new(config).run(&charted(), check).unwrap();
}

async fn charts_agree(store: &History, id: ServerId, case: &Charted) -> Result<(), TestCaseError> {
    let at = |minutes: i64| MIDNIGHT - 5 * HOUR + minutes * MINUTE;
    let all: Vec<Record> = case
        .snapshots
        .iter()
        .map(|(minute, (covers, cpu, used))| {
            let cpu = cpu.map(|tenths| f32::from(tenths) / 10.0);
            measured(id, at(*minute), covers * MINUTE, cpu, used.map(|used| u64::from(used) * 4_096))
        })
        .collect();
    let is_late = |place: &usize| case.late.contains(place);
    let early: Vec<Record> = all
        .iter()
        .enumerate()
        .filter(|(place, _)| !is_late(place))
        .map(|(_, record)| record.clone())
        .collect();
    append(store, &early).await;
    let agree = async |records: &[Record]| {
        for (from, length, points) in &case.ranges {
            let (from, to) = (at(*from), at(from + length));
            let chart = store.chart(id, from, to, *points).await.unwrap();
            let wanted = reduced(records, from, to, *points);
            alike(&chart.points, &wanted)?;
            prop_assert!(!chart.rounded);
        }
        Ok(())
    };
    agree(&early).await?;
    roll_up(store, at(case.closed), 10_000).await;
    agree(&early).await?;
    append_late(store, &all).await;
    agree(&all).await?;
    roll_up(store, LATE, 10_000).await;
    agree(&all).await
}

/// Every 30 s for so many hours, but for the second half of each third.
fn host(id: ServerId, from: Millis, hours: i64) -> Vec<Record> {
    let beats = (1..=120 * hours).filter(|n| (n - 1) / 60 % 6 != 5);
    beats.map(|n| measured(id, from + n * 30_000, 30_000, Some((n % 100) as f32 / 10.0), None)).collect()
}

async fn a_late_snapshot_is_seen_at_once_and_after_its_hour_is_made_again(store: History) {
    let id = server(1);
    append(&store, &host(id, MIDNIGHT, 30)).await;
    roll_up_all(&store, LATE).await;
    let (from, to) = (MIDNIGHT, MIDNIGHT + 30 * HOUR);
    let was = covered(&store, id, from, to).await;
    assert_eq!(was, 25 * HOUR);
    // It vouches for the end of one hour and the beginning of the next, over midnight.
    let late = measured(id, MIDNIGHT + 24 * HOUR + 5, 17, Some(99.0), None);
    let late_too = measured(id, MIDNIGHT + 3 * HOUR - 10 * MINUTE, 20 * MINUTE, Some(98.0), None);
    append_late(&store, &[late.clone(), late_too]).await;
    for _ in 0..2 {
        // Of the first, what lies before midnight was not covered.
        assert_eq!(covered(&store, id, from, to).await, was + 20 * MINUTE + 12);
        assert_eq!(covered(&store, id, from + 2 * HOUR + 45 * MINUTE, from + 3 * HOUR).await, 5 * MINUTE);
        let gaps = store.outages(id, vec![Piece { from, to }], 100).await.unwrap().gaps;
        assert_eq!(gaps.iter().map(Piece::length).sum::<Millis>(), 30 * HOUR - was - 20 * MINUTE - 12);
        let points = store.points(id, from, to, 30).await.unwrap();
        assert_eq!((points[2].cpu.unwrap().max, points[24].cpu.unwrap().max), (98.0, 99.0));
        assert_eq!((points[2].count, points[24].count), (62, 120));
        roll_up_all(&store, LATE).await;
    }
    // Once more is once.
    append_late(&store, &[late]).await;
    roll_up_all(&store, LATE).await;
    assert_eq!(store.roll_up(&Closing::new(LATE, [])).await.unwrap(), RollUp::default());
    assert_eq!(store.points(id, from, to, 30).await.unwrap()[24].count, 120);
}

async fn what_is_rolled_up_outlives_its_snapshots(store: History) {
    let (id, gone) = (server(1), server(2));
    append(&store, &host(id, MIDNIGHT, 40)).await;
    append(&store, &host(gone, MIDNIGHT + HOUR, 3)).await;
    let (from, to) = (MIDNIGHT, MIDNIGHT + 40 * HOUR);
    let windows = [(from, to), (from + 7 * MINUTE, to - 11 * MINUTE), (from + 3 * HOUR, from + 5 * HOUR)];
    let mut before = Vec::new();
    for (from, to) in windows {
        before.push(covered(&store, id, from, to).await);
    }
    let gaps = store.outages(id, vec![Piece { from, to }], 100).await.unwrap();
    let points = store.points(id, from, to, 20).await.unwrap();
    roll_up_all(&store, LATE).await;
    store.expire(MIDNIGHT + 100 * DAY).await.unwrap();
    let kept = store.rolled_from(&[id, gone, server(3)]).await.unwrap();
    assert!(kept[0].is_some_and(|kept| kept <= from) && kept[1].is_some() && kept[2].is_none(), "{kept:?}");
    for ((from, to), before) in windows.into_iter().zip(before) {
        assert_eq!(covered(&store, id, from, to).await, before);
    }
    assert_eq!(store.outages(id, vec![Piece { from, to }], 100).await.unwrap(), gaps);
    let chart = store.chart(id, from, to, 20).await.unwrap();
    assert_eq!((&chart.points, chart.rounded), (&points, false));
    // Half an hour is rounded to the hour that begins in it.
    let chart = store.chart(id, from, from + 2 * HOUR, 4).await.unwrap();
    assert_eq!(
        chart.points.iter().map(|point| (point.at, point.count)).collect::<Vec<_>>(),
        [(from, 119), (from + HOUR, 120)]
    );
    assert!(chart.rounded);
    let extents = store.extents(&[id, gone]).await.unwrap();
    assert_eq!(extents[0].map(|extent| (extent.oldest_start, extent.newest)), Some((from, to)));
    assert_eq!(extents[1].map(|extent| extent.newest), Some(MIDNIGHT + 4 * HOUR - HOUR / 2));
    // What comes again for a day that is gone is refused, and changes nothing.
    assert_eq!(store.append(&host(id, MIDNIGHT, 1)[..3]).await.unwrap().len(), 3);
    store.expire(MIDNIGHT + 450 * DAY).await.unwrap();
    assert_eq!(covered(&store, id, from, to).await, 0);
    assert_eq!(store.points(id, from, to, 20).await.unwrap(), []);
}

async fn an_hour_of_very_many_stretches_keeps_its_sum_alone(store: History) {
    let id = server(1);
    let sample = |n: i64| record(id, MIDNIGHT + n * 10_000, 4_000);
    append(&store, &(1..=360 * 3).map(sample).collect::<Vec<_>>()).await;
    append(&store, &[record(id, MIDNIGHT + 9 * HOUR, 0)]).await;
    roll_up_all(&store, LATE).await;
    let whole = Piece { from: MIDNIGHT, to: MIDNIGHT + 3 * HOUR };
    let cut = Piece { from: MIDNIGHT + HOUR + HOUR / 2, to: MIDNIGHT + 3 * HOUR };
    let of = async |piece: Piece| store.measured(&[(id, vec![piece])]).await.unwrap()[0];
    let sum = 3 * 360 * 4_000;
    // As long as there are snapshots they tell.
    assert_eq!(
        (of(whole).await.covered, of(cut).await.covered, of(cut).await.rounded),
        (sum, sum / 2, false)
    );
    assert_eq!(store.outages(id, vec![whole], 10_000).await.unwrap().gaps.len(), 360 * 3);
    store.expire(MIDNIGHT + 60 * DAY).await.unwrap();
    assert_eq!((of(whole).await.covered, of(whole).await.rounded), (sum, false));
    let measured = of(cut).await;
    assert!(measured.rounded);
    for piece in [whole, cut] {
        let outages = store.outages(id, vec![piece], 10_000).await.unwrap();
        let missing: Millis = outages.gaps.iter().map(Piece::length).sum();
        assert_eq!((missing, outages.rounded), (piece.length() - of(piece).await.covered, true));
    }
}

async fn two_that_roll_up_at_once_do_no_harm(store: History) {
    let ids: Vec<ServerId> = (1..=6).map(server).collect();
    let all: Vec<Vec<Record>> = ids.iter().map(|id| host(*id, MIDNIGHT, 12)).collect();
    let done = Cell::new(false);
    let feed = async {
        // Each third of a server's snapshots comes late.
        for turn in [0, 1, 2] {
            for records in &all {
                let part: Vec<Record> = records
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| n % 3 == turn)
                    .map(|(_, r)| r.clone())
                    .collect();
                append_late(&store, &part).await;
                tokio::task::yield_now().await;
            }
        }
        done.set(true);
    };
    let work = async || {
        while !done.get() {
            // A cluster does not answer about an index while it is made; what is to do is done later.
            let _ = store.roll_up(&Closing::new(LATE, [])).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(feed, work(), work());
    for form in 0..2 {
        for (id, records) in ids.iter().zip(&all) {
            let (from, to) = (MIDNIGHT, MIDNIGHT + 12 * HOUR);
            assert_eq!(covered(&store, *id, from, to).await, 10 * HOUR, "{form}");
            alike(&store.points(*id, from, to, 4).await.unwrap(), &reduced(records, from, to, 4)).unwrap();
        }
        roll_up_all(&store, LATE).await;
    }
}

async fn a_server_of_a_long_interval_is_waited_for(store: History) {
    let id = server(1);
    append(&store, &[record(id, MIDNIGHT + HOUR / 2, HOUR / 2)]).await;
    let slow = fleet::Interval::try_from(HOUR).unwrap();
    let closed = MIDNIGHT + HOUR + 2 * HOUR;
    let closing = |watermark| Closing::new(watermark, [(id, slow)]);
    // Until its hour closes there is nothing to do, but to look for servers.
    for (watermark, rolled) in [(closed - 1, None), (closed, Some(0))] {
        for _ in 0..3 {
            store.roll_up(&closing(watermark)).await.unwrap();
        }
        let from = store.rolled_from(&[id]).await.unwrap();
        assert_eq!(from, [rolled]);
    }
    assert_eq!(covered(&store, id, MIDNIGHT, MIDNIGHT + HOUR).await, HOUR / 2);
}

async fn what_is_forgotten_is_gone_from_rollups_that_it_cuts(store: History) {
    let (cut, silent) = (server(1), server(2));
    // The second host is silent from the middle of the fourth hour on, but for its last day.
    append(&store, &host(cut, MIDNIGHT, 20)).await;
    append(&store, &host(silent, MIDNIGHT, 3)).await;
    append(&store, &[record(silent, MIDNIGHT + 3 * HOUR + 5 * MINUTE, 5 * MINUTE)]).await;
    append(&store, &[record(silent, MIDNIGHT + 20 * HOUR, 0)]).await;
    roll_up_all(&store, LATE).await;
    let (before, to) = (MIDNIGHT + 3 * HOUR + 20 * MINUTE, MIDNIGHT + 20 * HOUR);
    let left: Vec<Record> =
        host(cut, MIDNIGHT, 20).into_iter().filter(|record| record.snapshot.sampled_at() >= before).collect();
    // Once more: what is forgotten twice is forgotten.
    for _ in 0..2 {
        for id in [cut, silent] {
            let mut from = 0;
            while let Some(next) = store.forget(id, before, from).await.unwrap() {
                from = next;
            }
        }
        for form in 0..2 {
            // The first sample that is left vouches for half a minute before.
            let kept = 40 * MINUTE + 16 * HOUR - 5 * (HOUR / 2) + 30_000;
            assert_eq!(covered(&store, cut, MIDNIGHT, to).await, kept, "{form}");
            alike(&store.points(cut, MIDNIGHT, to, 20).await.unwrap(), &reduced(&left, MIDNIGHT, to, 20))
                .unwrap();
            assert_eq!(covered(&store, silent, MIDNIGHT, to).await, 0, "{form}");
            assert_eq!(store.points(silent, MIDNIGHT, to, 20).await.unwrap(), [], "{form}");
            roll_up_all(&store, LATE).await;
        }
    }
    assert_eq!(store.roll_up(&Closing::new(LATE, [])).await.unwrap(), RollUp::default());
    // What comes late for such an hour is seen, before and after that is made again.
    append_late(&store, &[measured(cut, MIDNIGHT + 3 * HOUR + 10, 10, Some(77.0), None)]).await;
    for form in 0..2 {
        let points = store.points(cut, MIDNIGHT, to, 20).await.unwrap();
        assert_eq!(points[0].cpu.map(|cpu| cpu.max), Some(77.0), "{form}");
        roll_up_all(&store, LATE).await;
    }
}

#[tokio::test]
async fn a_process_that_was_killed_at_any_step_answers_as_before_and_goes_on() {
    let mut folder = testkit::tempdir().unwrap();
    let open = async |path: &Path| History::open_sqlite(&path.join("history.db"), 35).await.unwrap();
    let mut store = open(folder.path()).await;
    let ids: Vec<ServerId> = (1..=5).map(server).collect();
    for id in &ids {
        append(&store, &host(*id, MIDNIGHT - 20 * HOUR, 50)).await;
    }
    let (from, to) = (MIDNIGHT - 20 * HOUR, MIDNIGHT + 30 * HOUR);
    let wanted = reduced(&host(ids[0], from, 50), from, to, 25);
    let mut steps = 0;
    loop {
        // While it goes on, each step makes something dirty again.
        if steps < 6 {
            let late = MIDNIGHT - 20 * HOUR + 175 * MINUTE + steps * 24 * HOUR / 6;
            append(&store, &[record(ids[4], late, 0)]).await;
        }
        let done = store.roll_up(&Closing::new(LATE, [])).await.unwrap();
        // The files as a killed process leaves them.
        let copy = testkit::tempdir().unwrap();
        for file in ["history.db", "history.db-wal"] {
            std::fs::copy(folder.path().join(file), copy.path().join(file)).unwrap();
        }
        store.close().await;
        (store, folder) = (open(copy.path()).await, copy);
        for id in &ids {
            // An hour of each three lacks its second half.
            assert_eq!(covered(&store, *id, from, to).await, 50 * HOUR - 16 * HOUR / 2, "{steps}");
        }
        assert_eq!(store.points(ids[0], from, to, 25).await.unwrap(), wanted, "{steps}");
        steps += 1;
        if done.left == 0 && steps > 6 {
            break;
        }
    }
    store.close().await;
}

#[tokio::test]
async fn rollups_are_kept_no_longer_than_is_said() {
    let folder = testkit::tempdir().unwrap();
    let kept = Kept::new(2, Some(5)).unwrap();
    assert_eq!(Kept::new(6, Some(5)), None);
    let store = History::open_sqlite(&folder.path().join("history.db"), kept).await.unwrap();
    let id = server(1);
    append(&store, &host(id, MIDNIGHT, 8 * 24)).await;
    roll_up_all(&store, LATE).await;
    let a_day = covered(&store, id, MIDNIGHT, MIDNIGHT + DAY).await;
    for day in 0..8 {
        store.expire(MIDNIGHT + (day + 5) * DAY).await.unwrap();
        assert_eq!(store.rolled_from(&[id]).await.unwrap(), [Some(MIDNIGHT + day * DAY)]);
        let whole = covered(&store, id, MIDNIGHT, MIDNIGHT + 8 * DAY).await;
        assert_eq!(whole, (8 - day) * a_day, "{day}");
    }
    store.close().await;
}
