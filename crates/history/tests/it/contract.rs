use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use fleet::{Millis, Record, ServerId, retention::DAY, series::Figures, snapshot::MAX_TIME, uptime::Piece};
use futures_util::future::join_all;
use history::{Extent, History};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::{runtime::Handle, task::block_in_place};

use crate::make::{MIDNIGHT, full, record, roll_up, server, with_cpu};

crate::on_every_store! {
    append_twice_is_once
    first_wins
    batch_across_midnight
    a_large_batch_is_stored_whole
    the_order_of_arrival_does_not_matter
    appends_side_by_side_lose_nothing
    an_append_given_up_midway_harms_nothing
    expire_drops_whole_days
    an_expired_day_never_returns
    extents_follow_every_snapshot
    a_piece_is_covered_by_what_overlaps_it
    unknown_server_is_zero
    a_huge_range_looks_only_at_days_that_exist
    points_equal_a_brute_force_reduction
    points_show_every_figure
    samples_are_the_newest_of_each_bucket_as_they_were_sent
    pages_of_servers_are_answered_whole
    extents_see_every_day
    servers_asked_together_are_covered_as_if_alone
    servers_that_end_at_their_newest_sample_are_covered_to_it
    what_is_stored_takes_room
    a_server_is_forgotten_up_to_a_time_and_nobody_else_is
}

const EVER: Piece = Piece { from: 0, to: MAX_TIME };

async fn covered(store: &History, id: ServerId, piece: Piece) -> Millis {
    store.covered(&[(id, vec![piece])]).await.unwrap()[0]
}

async fn count(store: &History, id: ServerId) -> u64 {
    store.points(id, 0, MAX_TIME, 1).await.unwrap().first().map_or(0, |point| point.count)
}

async fn extent(store: &History, id: ServerId) -> Option<Extent> {
    store.extents(&[id]).await.unwrap()[0]
}

/// Whether the future is done, after one poll.
async fn polled_once(future: &mut (impl Future + Unpin)) -> bool {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_ready())).await
}

async fn append_twice_is_once(store: History) {
    let batch: Vec<Record> = (1..=50).map(|n| record(server(1), MIDNIGHT + n * 30_000, 30_000)).collect();
    for _ in 0..2 {
        assert_eq!(store.append(&batch).await.unwrap(), []);
        assert_eq!(count(&store, server(1)).await, 50);
        assert_eq!(covered(&store, server(1), EVER).await, 50 * 30_000);
    }
    let half_known = [&batch[25..], &[record(server(1), MIDNIGHT + 51 * 30_000, 30_000)]].concat();
    store.append(&half_known).await.unwrap();
    assert_eq!(count(&store, server(1)).await, 51);
}

async fn first_wins(store: History) {
    let at = MIDNIGHT + 1_000;
    store.append(&[with_cpu(server(1), at, 10.0), with_cpu(server(1), at, 20.0)]).await.unwrap();
    // Alone, and beside one that is new.
    store.append(&[record(server(1), at, 900)]).await.unwrap();
    store.append(&[record(server(1), at, 900), record(server(2), at, 900)]).await.unwrap();
    let points = store.points(server(1), MIDNIGHT, MIDNIGHT + DAY, 1).await.unwrap();
    assert_eq!((points[0].count, points[0].cpu.unwrap().max), (1, 10.0));
    assert_eq!(covered(&store, server(1), EVER).await, 1);
    let extent = extent(&store, server(1)).await;
    assert_eq!(extent, Some(Extent { oldest_start: at - 1, newest: at }));
}

async fn batch_across_midnight(store: History) {
    let batch: Vec<Record> =
        (-1..=1).map(|n| record(server(1), MIDNIGHT + n * 2 * DAY + 5_000, 10_000)).collect();
    store.append(&batch).await.unwrap();
    assert_eq!(count(&store, server(1)).await, 3);
    let evening = Piece { from: MIDNIGHT - DAY, to: MIDNIGHT };
    assert_eq!(covered(&store, server(1), evening).await, 5_000);
    let morning = Piece { from: MIDNIGHT, to: MIDNIGHT + DAY };
    assert_eq!(covered(&store, server(1), morning).await, 5_000);
}

async fn a_large_batch_is_stored_whole(store: History) {
    let batch: Vec<Record> = (0..4_000)
        .map(|n| with_cpu(server(n % 500), MIDNIGHT + i64::try_from(n).unwrap() * 2_000, (n % 100) as f32))
        .collect();
    store.append(&batch).await.unwrap();
    for n in [0, 1, 250, 499] {
        assert_eq!(count(&store, server(n)).await, 8);
        let points = store.points(server(n), MIDNIGHT, MIDNIGHT + DAY, 1).await.unwrap();
        assert_eq!(points[0].cpu.unwrap().max, (n % 100) as f64);
    }
}

async fn the_order_of_arrival_does_not_matter(store: History) {
    let times = [7, 3, 9, 1, 8, 2, 6, 4, 5].map(|minute| MIDNIGHT + minute * 60_000);
    for at in times {
        store.append(&[record(server(1), at, 60_000)]).await.unwrap();
    }
    let mut sorted = times;
    sorted.sort_unstable();
    store.append(&sorted.map(|at| record(server(2), at, 60_000))).await.unwrap();
    assert_eq!(extent(&store, server(1)).await, extent(&store, server(2)).await);
    assert_eq!(covered(&store, server(1), EVER).await, covered(&store, server(2), EVER).await);
}

async fn appends_side_by_side_lose_nothing(store: History) {
    let batches: Vec<Vec<Record>> = (0..20)
        .map(|n| {
            (n..n + 10).map(|n| record(server(n % 7), MIDNIGHT + i64::try_from(n).unwrap(), 0)).collect()
        })
        .collect();
    for answer in join_all(batches.iter().map(|batch| store.append(batch))).await {
        assert_eq!(answer.unwrap(), []);
    }
    let mut total = 0;
    for n in 0..7 {
        total += count(&store, server(n)).await;
    }
    assert_eq!(total, 29);
}

async fn an_append_given_up_midway_harms_nothing(store: History) {
    let mut given_up = 0;
    for n in 0..40 {
        let at = MIDNIGHT + i64::try_from(n).unwrap() * DAY / 2;
        let batch = [record(server(n), at, 1), record(server(1_000), at, 1)];
        let mut append = Box::pin(store.append(&batch));
        let mut done = false;
        for _ in 0..=n {
            done = done || polled_once(&mut append).await;
            tokio::task::yield_now().await;
        }
        given_up += u64::from(!done);
        drop(append);
        if n % 2 == 0 {
            store.append(&batch).await.unwrap();
            assert_eq!(count(&store, server(n)).await, 1);
        }
    }
    assert!(given_up > 0);
    for n in 0..40 {
        let at = MIDNIGHT + i64::try_from(n).unwrap() * DAY / 2;
        store.append(&[record(server(n), at, 1), record(server(1_000), at, 1)]).await.unwrap();
        assert_eq!(count(&store, server(n)).await, 1);
    }
    assert_eq!(count(&store, server(1_000)).await, 40);
    assert_eq!(covered(&store, server(1_000), EVER).await, 40);
}

async fn expire_drops_whole_days(store: History) {
    // Each in the last millisecond of its day.
    let days = [0, 4, 5, 6, 20, 39];
    let batch = days.map(|day| record(server(1), MIDNIGHT + (day + 1) * DAY - 1, 500));
    store.append(&batch).await.unwrap();
    store.append(&[record(server(2), MIDNIGHT, 500)]).await.unwrap();
    store.expire(MIDNIGHT + 40 * DAY).await.unwrap();
    assert_eq!(count(&store, server(1)).await, 4);
    assert_eq!(covered(&store, server(1), EVER).await, 4 * 500);
    store.expire(MIDNIGHT + 41 * DAY - 1).await.unwrap();
    assert_eq!(count(&store, server(1)).await, 4);
    store.expire(MIDNIGHT + 41 * DAY).await.unwrap();
    assert_eq!(count(&store, server(1)).await, 3);
    let newest = extent(&store, server(1)).await.map(|extent| extent.newest);
    assert_eq!(newest, Some(MIDNIGHT + 40 * DAY - 1));
    assert_eq!(extent(&store, server(2)).await, None);
}

async fn an_expired_day_never_returns(store: History) {
    store.append(&[record(server(1), MIDNIGHT, 0)]).await.unwrap();
    store.expire(MIDNIGHT + 36 * DAY).await.unwrap();
    // A clock that was put back.
    store.expire(MIDNIGHT).await.unwrap();
    let batch = [
        record(server(1), MIDNIGHT + DAY, 0),
        record(server(1), MIDNIGHT + DAY - 1, 0),
        record(server(2), MIDNIGHT - 10 * DAY, 0),
    ];
    let rejected = store.append(&batch).await.unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.index).collect::<Vec<_>>(), [1, 2]);
    assert!(rejected[0].reason.contains("no longer kept"), "{}", rejected[0].reason);
    assert_eq!(count(&store, server(1)).await, 1);
    assert_eq!(extent(&store, server(2)).await, None);
}

async fn extents_follow_every_snapshot(store: History) {
    let mut expected: Option<Extent> = None;
    // Small steps, large ones, late ones, over midnight and over the edges of slots.
    let times =
        [0, 1_000, 299_999, 300_000, 301_000, -1, 599_999, 86_000_000, 86_399_999, 86_400_000, 86_699_999];
    for offset in times {
        let at = MIDNIGHT + offset;
        for _ in 0..2 {
            store.append(&[record(server(1), at, 700)]).await.unwrap();
        }
        let was = expected.unwrap_or(Extent { oldest_start: at - 700, newest: at });
        let now = Extent { oldest_start: was.oldest_start.min(at - 700), newest: was.newest.max(at) };
        expected = Some(now);
        let answer = store.extents(&[server(9), server(1)]).await.unwrap();
        assert_eq!(answer, [None, expected]);
    }
}

async fn a_piece_is_covered_by_what_overlaps_it(store: History) {
    let at = MIDNIGHT + 7_200_000;
    store.append(&[record(server(1), at, 7_200_000)]).await.unwrap();
    let piece = |from, to| Piece { from: MIDNIGHT + from, to: MIDNIGHT + to };
    for (asked, expected) in [
        (piece(-5, 5), 5),
        (piece(100, 200), 100),
        (piece(0, 7_200_000), 7_200_000),
        (piece(7_199_999, 9_000_000), 1),
        (piece(7_200_000, 9_000_000), 0),
        (piece(-100, 0), 0),
        (piece(200, 100), 0),
    ] {
        assert_eq!(covered(&store, server(1), asked).await, expected, "{asked:?}");
    }
    let several = vec![piece(0, 10), piece(20, 30), piece(7_199_990, 7_200_010)];
    assert_eq!(store.covered(&[(server(1), several)]).await.unwrap(), [30]);
}

async fn unknown_server_is_zero(store: History) {
    store.append(&[record(server(1), MIDNIGHT, 10)]).await.unwrap();
    let asked = [(server(2), vec![EVER]), (server(1), vec![EVER]), (server(1), vec![])];
    assert_eq!(store.covered(&asked).await.unwrap(), [0, 10, 0]);
    assert_eq!(store.extents(&[server(2)]).await.unwrap(), [None]);
    assert_eq!(store.points(server(2), 0, MAX_TIME, 10).await.unwrap(), []);
    assert_eq!(store.covered(&[]).await.unwrap(), [0; 0]);
    assert_eq!(store.extents(&[]).await.unwrap(), []);
    assert_eq!(store.append(&[]).await.unwrap(), []);
}

async fn a_huge_range_looks_only_at_days_that_exist(store: History) {
    store
        .append(&[record(server(1), MIDNIGHT, 10), record(server(1), MIDNIGHT + 3 * DAY, 10)])
        .await
        .unwrap();
    let ask = async {
        for _ in 0..100 {
            assert_eq!(covered(&store, server(1), EVER).await, 20);
            assert_eq!(count(&store, server(1)).await, 2);
        }
    };
    // A visit to each of three million days would take minutes.
    tokio::time::timeout(Duration::from_secs(60), ask).await.unwrap();
    let backwards = store.points(server(1), MAX_TIME, 0, 10).await.unwrap();
    assert_eq!(backwards, []);
}

async fn points_equal_a_brute_force_reduction(store: History) {
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let samples = prop::collection::btree_map(0i64..9_000_000, 0f32..100.0, 0..60);
    let asked = (samples, -100_000i64..9_000_000, 1i64..9_000_000, 1u32..50);
    let case = std::cell::Cell::new(0);
    let check = |(samples, from, length, points): (std::collections::BTreeMap<i64, f32>, i64, i64, u32)| {
        case.set(case.get() + 1);
        let (id, start) = (server(case.get()), MIDNIGHT - 4_500_000);
        let batch: Vec<Record> = samples.iter().map(|(at, cpu)| with_cpu(id, start + at, *cpu)).collect();
        let got = block_in_place(|| {
            Handle::current().block_on(async {
                store.append(&batch).await.unwrap();
                store.points(id, start + from, start + from + length, points).await.unwrap()
            })
        });
        let mut expected = Vec::new();
        for bucket in 0..i64::from(points) {
            // at belongs to the bucket floor((at - from) * points / length).
            let inside: Vec<f64> = samples
                .iter()
                .filter(|(at, _)| **at >= from && **at < from + length)
                .filter(|(at, _)| (*at - from) * i64::from(points) / length == bucket)
                .map(|(_, cpu)| f64::from(*cpu))
                .collect();
            if !inside.is_empty() {
                let mean = inside.iter().sum::<f64>() / inside.len() as f64;
                expected.push((inside.len() as u64, mean, inside.iter().copied().fold(0.0, f64::max)));
            }
        }
        prop_assert_eq!(got.len(), expected.len());
        for (point, (count, mean, max)) in got.iter().zip(expected) {
            let cpu = point.cpu.unwrap();
            prop_assert_eq!((point.count, cpu.max), (count, max));
            prop_assert!((cpu.avg - mean).abs() < 1e-9);
        }
        Ok(())
    };
    runner.run(&asked, check).unwrap();
}

async fn points_show_every_figure(store: History) {
    let record = full(server(1), MIDNIGHT + 5);
    store.append(std::slice::from_ref(&record)).await.unwrap();
    let points = store.points(server(1), MIDNIGHT, MIDNIGHT + 10, 2).await.unwrap();
    assert_eq!(points.len(), 1);
    assert_eq!((points[0].at, points[0].count), (MIDNIGHT + 5, 1));
    let shown = serde_json::to_value(&points[0]).unwrap();
    for (name, value) in Figures::NAMES.iter().zip(Figures::of(&record.snapshot).values()) {
        let value = value.unwrap();
        assert_eq!(shown[name], serde_json::json!({"avg": value, "max": value}), "{name}");
    }
}

async fn samples_are_the_newest_of_each_bucket_as_they_were_sent(store: History) {
    let day = MIDNIGHT + DAY;
    // Of two hours, over midnight, one a minute; another server's do not matter.
    let times = (0..120).map(|minute| day - 3_600_000 + 60_000 * minute + 7);
    let records: Vec<Record> = times.map(|at| full(server(1), at)).collect();
    store.append(&records).await.unwrap();
    store.append(&[record(server(2), day + 5, 1)]).await.unwrap();
    let sent =
        |at: Millis| records.iter().find(|one| one.snapshot.sampled_at() == at).unwrap().snapshot.clone();
    let (from, to) = (day - 3_600_000, day + 3_600_000);
    // Buckets of 50 min: the second one is over midnight, the last one ends within the range.
    for closed in [false, true] {
        let found = store.samples(server(1), from, to - 1_200_000, 2).await.unwrap();
        assert_eq!(found, [sent(from + 49 * 60_000 + 7), sent(from + 99 * 60_000 + 7)], "{closed}");
        let found = store.samples(server(1), from + 8, from + 60_008, 3).await.unwrap();
        assert_eq!(found, [sent(from + 60_007)], "the start is in the range, its end is not");
        assert_eq!(store.samples(server(1), from, to, 1_000).await.unwrap().len(), 120);
        assert_eq!(store.samples(server(1), 0, MAX_TIME, 1).await.unwrap(), [sent(to - 60_000 + 7)]);
        if !closed {
            roll_up(&store, day + DAY, usize::MAX).await;
            while store.pack().await.unwrap().more {}
        }
    }
    let none = [(server(3), from, to), (server(1), to, from), (server(1), to, to + DAY)];
    for (id, from, to) in none {
        assert_eq!(store.samples(id, from, to, 10).await.unwrap(), []);
    }
    // What came late to a packed hour is seen beside it.
    let late = full(server(1), from + 99 * 60_000 + 9);
    store.append(std::slice::from_ref(&late)).await.unwrap();
    let found = store.samples(server(1), from, to - 1_200_000, 2).await.unwrap();
    assert_eq!(found.last(), Some(&late.snapshot));
    store.expire(day + 35 * DAY).await.unwrap();
    let found = store.samples(server(1), from, to, 4).await.unwrap();
    assert_eq!(found.len(), 2, "the day before is gone");
}

async fn pages_of_servers_are_answered_whole(store: History) {
    const SERVERS: u64 = 2_500;
    let at = |n: u64| MIDNIGHT + i64::try_from(n).unwrap() * 10_000;
    let batch: Vec<Record> = (0..SERVERS).map(|n| record(server(n), at(n), 1_000)).collect();
    store.append(&batch).await.unwrap();
    let servers: Vec<ServerId> = (0..SERVERS).rev().map(server).collect();
    let extents = store.extents(&servers).await.unwrap();
    let expected = (0..SERVERS).rev().map(|n| Some(Extent { oldest_start: at(n) - 1_000, newest: at(n) }));
    assert_eq!(extents, expected.collect::<Vec<_>>());
    let whole: Vec<_> = servers.iter().map(|server| (*server, vec![EVER])).collect();
    assert_eq!(store.covered(&whole).await.unwrap(), vec![1_000; whole.len()]);
    // No two servers are asked about the same pieces.
    let pieces =
        |n| vec![Piece { from: at(n) - 300, to: at(n) - 100 }, Piece { from: at(n) - 50, to: MAX_TIME }];
    let own: Vec<_> = (0..SERVERS).map(|n| (server(n), pieces(n))).collect();
    assert_eq!(store.covered(&own).await.unwrap(), vec![250; own.len()]);
}

async fn extents_see_every_day(store: History) {
    let noon = |day: i64| MIDNIGHT + day * DAY + DAY / 2;
    // For each server the days on which it reports.
    let heard: [&[i64]; 7] = [&[0, 1, 2, 3, 4, 5], &[0], &[5], &[0, 5], &[2, 3], &[1, 5], &[0, 3]];
    let mut batch = Vec::new();
    for (n, days) in (0..).zip(heard) {
        batch.extend(days.iter().map(|day| record(server(n), noon(*day), 60_000)));
    }
    // Server 7: the snapshot of the second day covers time from before the snapshot of the first day.
    batch.push(record(server(7), MIDNIGHT + DAY - 1, 0));
    batch.push(record(server(7), MIDNIGHT + DAY + 10, 7_200_000));
    batch.push(record(server(7), noon(5), 0));
    store.append(&batch).await.unwrap();
    let mut expected: Vec<Option<Extent>> = heard
        .iter()
        .map(|days| Some(Extent { oldest_start: noon(days[0]) - 60_000, newest: noon(days[days.len() - 1]) }))
        .collect();
    expected.push(Some(Extent { oldest_start: MIDNIGHT + DAY + 10 - 7_200_000, newest: noon(5) }));
    expected.push(None);
    let asked: Vec<ServerId> = (0..9).map(server).collect();
    assert_eq!(store.extents(&asked).await.unwrap(), expected);
    for (id, expected) in asked.iter().zip(expected) {
        assert_eq!(extent(&store, *id).await, expected);
    }
    assert_eq!(store.extents(&[asked[1], asked[1]]).await.unwrap()[1].unwrap().newest, noon(0));
}

async fn servers_asked_together_are_covered_as_if_alone(store: History) {
    // Four servers over four days, each with gaps, samples at midnight and across it.
    let mut intervals: Vec<Vec<(Millis, Millis)>> = Vec::new();
    for n in 0..4 {
        let mut at = MIDNIGHT - 3_000_000 + n * 777;
        let mut own = Vec::new();
        for step in 0..90 {
            at += 600_000 + (step * 7_919 + n * 104_729) % 6_000_000;
            let covers = ((step * 15_485_863) % 7_200_000).min(at - own.last().map_or(0, |(_, end)| *end));
            own.push((at - covers, at));
        }
        own.retain(|(from, to)| *from > MIDNIGHT || *to <= MIDNIGHT || n != 1);
        intervals.push(own);
    }
    for (n, own) in (0..).zip(&intervals) {
        let batch: Vec<Record> = own.iter().map(|(from, to)| record(server(n), *to, to - from)).collect();
        store.append(&batch).await.unwrap();
    }
    let edges = [-3_000_000, -1, 0, 1, 43_200_000, DAY - 1, DAY, DAY + 1, 2 * DAY - 1, 2 * DAY, 3 * DAY - 1];
    let edges = edges.iter().copied().chain((1..8).map(|n| n * 31_000_003));
    let edges: Vec<Millis> = edges.map(|edge| MIDNIGHT + edge).collect();
    for (turn, from) in edges.iter().enumerate() {
        let mut asked = Vec::new();
        let mut expected = Vec::new();
        for (n, own) in intervals.iter().enumerate() {
            // Some pieces end at the same time and some do not; each server is asked about twice, with two pieces
            // each time.
            for to in [edges[(turn + 3) % edges.len()], edges[(turn + n) % edges.len()] + 5_000] {
                let pieces =
                    vec![Piece { from: *from, to }, Piece { from: to + 100, to: to + 100 + 90_000_000 }];
                let sum =
                    |piece: &Piece| own.iter().map(|(from, to)| piece.overlap(*from, *to)).sum::<Millis>();
                expected.push(pieces.iter().filter(|piece| piece.from < piece.to).map(sum).sum::<Millis>());
                asked.push((server(n as u64), pieces));
            }
        }
        assert_eq!(store.covered(&asked).await.unwrap(), expected, "{turn}");
        assert_eq!(store.covered(&asked[..1]).await.unwrap(), expected[..1], "{turn}");
    }
}

async fn servers_that_end_at_their_newest_sample_are_covered_to_it(store: History) {
    const SERVERS: u64 = 40;
    fn newest(n: u64) -> Millis {
        MIDNIGHT + DAY / 2 + i64::try_from(n).unwrap() * 1_001
    }
    let mut batch = Vec::new();
    for n in 0..SERVERS {
        batch.extend((0..100).map(|step| record(server(n), newest(n) - step * 600_000, 500_000)));
    }
    // Three servers report again later: within the piece that is asked about, across its end, and long after it.
    batch.push(record(server(1), newest(1) + 300_000, 400_000));
    batch.push(record(server(2), newest(2) + 5_400_000, 5_000_000));
    batch.push(record(server(3), newest(3) + DAY, 500_000));
    store.append(&batch).await.unwrap();
    let asked = |end: fn(u64) -> Millis| {
        let piece = move |n| Piece { from: MIDNIGHT - DAY / 4 + 100, to: end(n) };
        (0..=SERVERS).map(|n| (server(n), vec![piece(n)])).collect::<Vec<_>>()
    };
    // The pieces end at the newest sample, before it, and after it. The last server never reported.
    for end in [newest, |n| newest(n) - 100_000, |n| newest(n) + 250_000] {
        let asked = asked(end);
        let together = store.covered(&asked).await.unwrap();
        for (one, together) in asked.iter().zip(&together) {
            let alone = store.covered(std::slice::from_ref(one)).await.unwrap();
            assert_eq!(alone, [*together], "{one:?}");
        }
        assert!(together[0] > 0);
        assert_eq!(together[usize::try_from(SERVERS).unwrap()], 0);
    }
}

async fn what_is_stored_takes_room(store: History) {
    let before = store.size().await.unwrap();
    let batch: Vec<Record> = (1..=2_000).map(|n| record(server(1), MIDNIGHT + n * 30_000, 30_000)).collect();
    assert_eq!(store.append(&batch).await.unwrap(), []);
    // Asking for what is there has it written out.
    assert_eq!(count(&store, server(1)).await, 2_000);
    testkit::eventually("2,000 snapshots take room", async || store.size().await.unwrap() > before).await;
}

async fn forget(store: &History, id: ServerId, before: Millis) -> usize {
    let (mut from, mut steps) = (0, 0);
    while let Some(next) = store.forget(id, before, from).await.unwrap() {
        assert!(next > from, "it goes on");
        (from, steps) = (next, steps + 1);
    }
    steps
}

async fn a_server_is_forgotten_up_to_a_time_and_nobody_else_is(store: History) {
    let times: Vec<Millis> = (0..60).map(|n| MIDNIGHT + n * 3_600_000).collect();
    let both = times.iter().flat_map(|at| [full(server(1), *at), full(server(2), *at)]);
    store.append(&both.collect::<Vec<_>>()).await.unwrap();
    roll_up(&store, times[59] + DAY, usize::MAX).await;
    assert!(forget(&store, server(1), times[41]).await > 1, "each call is bounded work");
    assert_eq!((count(&store, server(1)).await, count(&store, server(2)).await), (19, 60));
    let after = Piece { from: times[41], to: MAX_TIME };
    assert_eq!((covered(&store, server(1), after).await, covered(&store, server(2), EVER).await), (18, 60));
    assert_eq!(extent(&store, server(2)).await.unwrap().oldest_start, MIDNIGHT - 1);
    forget(&store, server(1), MAX_TIME + 1).await;
    assert_eq!((count(&store, server(1)).await, count(&store, server(2)).await), (0, 60));
    assert_eq!(extent(&store, server(1)).await, None);
    // It may begin anew.
    store.append(&[full(server(1), times[3])]).await.unwrap();
    assert_eq!((count(&store, server(1)).await, covered(&store, server(1), EVER).await), (1, 1));
}
