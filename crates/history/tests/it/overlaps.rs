//! What two snapshots vouch for counts once: against an oracle on histories with overlaps, and as named cases.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use fleet::{
    Millis, Record, ServerId,
    retention::DAY,
    uptime::{Outages, Piece},
};
use history::History;
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{runtime::Handle, task::block_in_place};

use crate::{
    cluster::{self, Cluster},
    make::{MIDNIGHT, record, roll_up, server},
};

crate::on_every_store! {
    covered_is_the_measure_of_the_union
    a_generous_covers_adds_nothing
    a_cloned_machine_adds_nothing
    a_repeated_stretch_adds_nothing
    a_stretch_reaches_back_over_midnight_and_past_what_came_between
}

const MINUTE: Millis = 60_000;
const HOUR: Millis = 3_600_000;
/// The oracle looks at these units of time.
const UNITS: std::ops::Range<i64> = -40..520;

/// All in units of time.
#[derive(Debug)]
struct Case {
    unit: Millis,
    /// What is vouched for, `covers` by `sampled_at`.
    snapshots: BTreeMap<i64, i64>,
    /// In which batches each arrives, by position.
    arrivals: Vec<Vec<usize>>,
    /// Whether what arrives again claims to cover something else.
    forged: bool,
    /// Rotates each batch.
    turn: usize,
    /// After each batch, up to when hours close, and how many steps roll them up.
    rolled: Vec<Option<(i64, usize)>>,
    /// The edges of the pieces that are asked about.
    windows: Vec<BTreeSet<i64>>,
}

const BATCHES: usize = 4;

fn cases(windows: usize) -> impl Strategy<Value = Case> {
    let kind = prop_oneof![8 => Just(0i64), 1 => 1i64..=4, 1 => -4i64..=-1];
    let own = prop::collection::vec((1i64..10, kind), 0..40);
    let clone = prop::collection::vec((0i64..300, 0i64..18), 0..4);
    let clone = prop_oneof![2 => Just(Vec::new()), 1 => clone];
    let arrivals = prop::collection::vec(prop::collection::vec(0..BATCHES, 1..3), 50);
    let windows = prop::collection::vec(prop::collection::btree_set(-30i64..480, 2..6), windows);
    // Milliseconds, odd ones, and lengths that spread a history over slots, hours and days.
    let unit = prop::sample::select(vec![1, 997, 30_000, 400_000]);
    let (forged, ordered) = (any::<bool>(), any::<bool>());
    let rolled = prop::collection::vec(prop::option::of((-30i64..480, 1usize..9)), BATCHES);
    let rolled = prop_oneof![1 => Just(vec![None; BATCHES]), 3 => rolled];
    (unit, own, clone, arrivals, (forged, ordered), 0usize..50, rolled, windows).prop_map(
        |(unit, own, clone, mut arrivals, (forged, ordered), turn, rolled, windows)| {
            let (mut at, mut snapshots) = (0, BTreeMap::new());
            for (step, more) in own {
                at += step;
                // Most lie end to end; some leave a gap, some reach further back.
                snapshots.insert(at, (step + more).max(0));
            }
            for (at, covers) in clone {
                snapshots.entry(at).or_insert(covers);
            }
            if ordered {
                let each = snapshots.len().div_ceil(BATCHES);
                arrivals = (0..snapshots.len()).map(|position| vec![position / each]).collect();
            }
            Case { unit, snapshots, arrivals, forged, turn, rolled, windows }
        },
    )
}

impl Case {
    fn at(&self, units: i64) -> Millis {
        MIDNIGHT + (units - 61) * self.unit
    }

    /// Some arrive twice, some late, none in order.
    fn batches(&self, id: ServerId) -> Vec<Vec<Record>> {
        let mut batches = vec![Vec::new(); BATCHES];
        for ((at, covers), arrivals) in self.snapshots.iter().zip(&self.arrivals) {
            let first = arrivals.iter().min();
            for batch in arrivals {
                let covers = if self.forged && Some(batch) > first { 17 - covers.min(&17) } else { *covers };
                batches[*batch].push(record(id, self.at(*at), covers * self.unit));
            }
        }
        // A batch is taken as a whole, so the order within it is of no account.
        for batch in &mut batches {
            let middle = self.turn.min(batch.len());
            batch.rotate_left(middle);
        }
        batches
    }

    /// The gaps in a window that the snapshots of the first so many batches leave.
    fn gaps(&self, window: &BTreeSet<i64>, batches: usize) -> Vec<Piece> {
        let stored = self.snapshots.iter().zip(&self.arrivals);
        let stored: Vec<(i64, i64)> = stored
            .filter(|(_, arrivals)| arrivals.iter().any(|batch| *batch < batches))
            .map(|((at, covers), _)| (at - covers, *at))
            .collect();
        let mut gaps: Vec<(i64, i64)> = Vec::new();
        for (from, to) in edges(window) {
            let begins = gaps.len();
            // The unit u is the time from u to u + 1.
            for unit in UNITS.filter(|unit| (from..to).contains(unit)) {
                if stored.iter().any(|(from, to)| (*from..*to).contains(&unit)) {
                    continue;
                }
                match gaps[begins..].last_mut().filter(|gap| gap.1 == unit) {
                    Some(gap) => gap.1 = unit + 1,
                    None => gaps.push((unit, unit + 1)),
                }
            }
        }
        gaps.into_iter().map(|(from, to)| Piece { from: self.at(from), to: self.at(to) }).collect()
    }

    fn pieces(&self, window: &BTreeSet<i64>) -> Vec<Piece> {
        edges(window).map(|(from, to)| Piece { from: self.at(from), to: self.at(to) }).collect()
    }
}

fn edges(window: &BTreeSet<i64>) -> impl Iterator<Item = (i64, i64)> {
    let edges: Vec<i64> = window.iter().copied().collect();
    edges.chunks_exact(2).map(|edge| (edge[0], edge[1])).collect::<Vec<_>>().into_iter()
}

fn sum(pieces: &[Piece]) -> Millis {
    pieces.iter().map(Piece::length).sum()
}

fn longest(gaps: &[Piece]) -> Option<Piece> {
    gaps.iter().copied().min_by_key(|gap| (-gap.length(), gap.from))
}

async fn covered_is_the_measure_of_the_union(store: History) {
    // Each case costs a server of its own some dozen round trips, so a cluster gets few; PROPTEST_CASES asks for more.
    let config = Config { failure_persistence: None, ..Config::default() };
    let (cases_of_store, windows) =
        if matches!(store, History::Sqlite(_)) { (config.cases, 30) } else { (config.cases / 16, 9) };
    let config = Config { cases: cases_of_store, ..config };
    let number = Cell::new(0);
    let check = |case: Case| {
        number.set(number.get() + 1);
        block_in_place(|| Handle::current().block_on(agrees_as_it_grows(&store, server(number.get()), &case)))
    };
    TestRunner::new(config).run(&cases(windows), check).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_windows_are_answered_right_if_asked_for() {
    // As many windows, in files of some hundred servers: ROLLCALL_WINDOWS says how many; few unless it does.
    let windows: u32 = std::env::var("ROLLCALL_WINDOWS").map_or(300, |windows| windows.parse().unwrap());
    const EACH: usize = 30;
    const SERVERS: u32 = 128;
    let mut left = windows.div_ceil(30);
    while left > 0 {
        let folder = testkit::tempdir().unwrap();
        let store = History::open_sqlite(&folder.path().join("history.db"), 35).await.unwrap();
        let number = Cell::new(0);
        let check = |case: Case| {
            number.set(number.get() + 1);
            block_in_place(|| {
                Handle::current().block_on(agrees_as_it_grows(&store, server(number.get()), &case))
            })
        };
        let config = Config { cases: left.min(SERVERS), failure_persistence: None, ..Config::default() };
        left -= config.cases;
        TestRunner::new(config).run(&cases(EACH), check).unwrap();
        store.close().await;
    }
}

async fn agrees_as_it_grows(store: &History, id: ServerId, case: &Case) -> Result<(), TestCaseError> {
    for (position, batch) in case.batches(id).iter().enumerate() {
        prop_assert_eq!(store.append(batch).await.unwrap(), []);
        if case.rolled[..position].iter().any(Option::is_some) {
            store.note_late(batch, case.at(UNITS.end) + DAY).await.unwrap();
        }
        // What was looked at once is looked at again when more has come.
        let decided = position % 2 == case.turn % 2;
        while decided && store.decide_overlaps().await.unwrap() {}
        // Some of it is rolled up, up to some moment, and not always to the end; later batches come late to that.
        if let Some((until, steps)) = case.rolled[position] {
            roll_up(store, case.at(until) + 2 * HOUR, steps).await;
        }
        if position % 2 == 1 {
            agrees(store, id, case, position + 1).await?;
        }
    }
    while store.decide_overlaps().await.unwrap() {}
    agrees(store, id, case, BATCHES).await?;
    if case.rolled.iter().any(Option::is_some) {
        roll_up(store, case.at(UNITS.end) + DAY, usize::MAX).await;
        agrees(store, id, case, BATCHES).await?;
    }
    Ok(())
}

async fn agrees(store: &History, id: ServerId, case: &Case, batches: usize) -> Result<(), TestCaseError> {
    let asked: Vec<(ServerId, Vec<Piece>)> =
        case.windows.iter().map(|window| (id, case.pieces(window))).collect();
    let covered = store.covered(&asked).await.unwrap();
    let found = store.longest_gaps(&asked).await.unwrap();
    for (position, ((_, pieces), window)) in asked.iter().zip(&case.windows).enumerate() {
        let gaps = case.gaps(window, batches);
        prop_assert_eq!(covered[position], sum(pieces) - sum(&gaps), "{:?}", pieces);
        prop_assert_eq!(found[position], longest(&gaps), "{:?}", pieces);
        // Each costs some round trips.
        if position % 3 == 0 {
            let outages = store.outages(id, pieces.clone(), usize::MAX).await.unwrap();
            prop_assert_eq!(outages, Outages { gaps: gaps.clone(), ..Outages::default() });
            let alone = store.covered(&asked[position..=position]).await.unwrap();
            prop_assert_eq!(alone, &covered[position..=position]);
            let few = store.outages(id, pieces.clone(), 1).await.unwrap();
            prop_assert_eq!(&few.gaps[..], &gaps[gaps.len().saturating_sub(1)..]);
            prop_assert_eq!(few.more_before, gaps.len().checked_sub(2).map(|last| gaps[last].to));
        }
    }
    Ok(())
}

/// Asserts what is covered in `(from, to]`, that the outages are the rest, and that both stay as they are once the
/// store has looked at the overlaps.
async fn is_covered(store: &History, from: Millis, to: Millis, expected: Millis) {
    let asked = [(server(1), vec![Piece { from, to }])];
    for _ in 0..2 {
        assert_eq!(store.covered(&asked).await.unwrap(), [expected]);
        let gaps = store.outages(server(1), asked[0].1.clone(), usize::MAX).await.unwrap().gaps;
        assert_eq!(sum(&gaps), to - from - expected);
        assert_eq!(store.longest_gaps(&asked).await.unwrap(), [longest(&gaps)]);
        while store.decide_overlaps().await.unwrap() {}
    }
}

/// A day in which every other hour was lived through, sampled every 30 s from `phase` on.
fn every_other_hour(phase: Millis, covers: Millis) -> Vec<Record> {
    let times = (0..12).flat_map(|hour| (1..=120).map(move |n| MIDNIGHT + 2 * hour * HOUR + n * 30_000));
    times.map(|at| record(server(1), at + phase, covers)).collect()
}

async fn a_generous_covers_adds_nothing(store: History) {
    for record in every_other_hour(0, 60_000).chunks(7) {
        store.append(record).await.unwrap();
    }
    // Each hour begins 30 s before it was lived through, which the first of its snapshots vouches for.
    is_covered(&store, MIDNIGHT, MIDNIGHT + DAY, 12 * HOUR + 11 * 30_000).await;
    is_covered(&store, MIDNIGHT, MIDNIGHT + 2 * HOUR - 30_000, HOUR).await;
}

async fn a_cloned_machine_adds_nothing(store: History) {
    let mut both = [every_other_hour(0, 30_000), every_other_hour(7_000, 30_000)].concat();
    both.sort_by_key(|record| record.snapshot.sampled_at());
    for records in both.chunks(11) {
        store.append(records).await.unwrap();
    }
    is_covered(&store, MIDNIGHT, MIDNIGHT + DAY, 12 * (HOUR + 7_000)).await;
    is_covered(&store, MIDNIGHT, MIDNIGHT + 2 * HOUR, HOUR + 7_000).await;
}

async fn a_repeated_stretch_adds_nothing(store: History) {
    let at = MIDNIGHT + 3 * HOUR;
    for n in 0..24 {
        let batch: Vec<Record> = (0..10).map(|k| record(server(1), at + 10 * n + k, 2 * HOUR)).collect();
        store.append(&batch).await.unwrap();
    }
    is_covered(&store, MIDNIGHT - 10 * DAY, MIDNIGHT + 10 * DAY, 2 * HOUR + 239).await;
}

async fn a_stretch_reaches_back_over_midnight_and_past_what_came_between(store: History) {
    let at = |minutes: i64| MIDNIGHT + minutes * MINUTE;
    // One reaches over the whole night. Of one server, what lies before midnight came later; of the other it came
    // first.
    let night = [(10, 5), (50, 110), (20, 5), (-30, 20), (-5, 3)];
    for (minutes, covers) in night {
        store.append(&[record(server(1), at(minutes), covers * MINUTE)]).await.unwrap();
    }
    for (minutes, covers) in [night[3], night[4], night[1]] {
        store.append(&[record(server(2), at(minutes), covers * MINUTE)]).await.unwrap();
    }
    let asked = [(server(2), vec![Piece { from: at(-120), to: at(120) }])];
    assert_eq!(store.covered(&asked).await.unwrap(), [110 * MINUTE]);
    is_covered(&store, at(-120), at(120), 110 * MINUTE).await;
    is_covered(&store, at(-40), at(-5), 35 * MINUTE).await;
    is_covered(&store, at(-5), at(1), 6 * MINUTE).await;
    assert_eq!(store.covered(&asked).await.unwrap(), [110 * MINUTE]);
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await.unwrap()
}

/// How many servers and days the file holds for overlapping.
async fn named(path: &Path) -> i64 {
    let mut connection = connect(path).await;
    sqlx::query_scalar("SELECT COUNT(*) FROM overlaps").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn an_honest_agent_is_not_taken_for_one_that_overlaps() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = History::open_sqlite(&path, 35).await.unwrap();
    let sample = |n: i64| record(server(1), MIDNIGHT - HOUR + n * 30_000, 30_000);
    let append = async |store: &History, numbers: &mut dyn Iterator<Item = i64>| {
        for number in numbers {
            // Each is delivered twice.
            store.append(&[sample(number)]).await.unwrap();
            store.append(&[sample(number)]).await.unwrap();
        }
    };
    append(&store, &mut (1..=150)).await;
    store.close().await;
    let store = History::open_sqlite(&path, 35).await.unwrap();
    append(&store, &mut (151..=160)).await;
    assert_eq!(named(&path).await, 0, "what comes in order needs no look");
    // An outage of ours: the newest one first, then what was missed, the newest first.
    append(&store, &mut (161..=400).rev()).await;
    assert_eq!(named(&path).await, 1);
    while store.decide_overlaps().await.unwrap() {}
    assert_eq!(named(&path).await, 0, "a look finds that nothing overlaps");
    append(&store, &mut (401..=410)).await;
    assert_eq!(named(&path).await, 0);
    // One that does overlap stays known, and what is no longer kept is forgotten.
    store.append(&[record(server(1), MIDNIGHT + 7, 40_000)]).await.unwrap();
    while store.decide_overlaps().await.unwrap() {}
    assert!(named(&path).await > 0);
    store.expire(MIDNIGHT + 40 * DAY).await.unwrap();
    assert_eq!(named(&path).await, 0);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_schema_1_is_answered_right_before_and_after_it_was_looked_at() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = History::open_sqlite(&path, 35).await.unwrap();
    for n in 2..300 {
        let at = MIDNIGHT + 10 * MINUTE;
        store.append(&[record(server(n), at, MINUTE), record(server(n), at + MINUTE, MINUTE)]).await.unwrap();
    }
    let late = server(200);
    store.append(&[record(late, MIDNIGHT + 15 * MINUTE, 20 * MINUTE)]).await.unwrap();
    store.append(&every_other_hour(0, 60_000)).await.unwrap();
    store.close().await;
    let mut connection = connect(&path).await;
    sqlx::raw_sql(
        "DROP TABLE overlaps; DROP TABLE undecided; DROP TABLE rolled; DROP TABLE blocks; DROP TABLE dirty; \
         ALTER TABLE horizon DROP COLUMN rollups; PRAGMA user_version = 1",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();

    let store = History::open_sqlite(&path, 35).await.unwrap();
    let asked = [(late, vec![Piece { from: MIDNIGHT - DAY, to: MIDNIGHT + DAY }])];
    let late_is = async |expected: Millis| assert_eq!(store.covered(&asked).await.unwrap(), [expected]);
    late_is(20 * MINUTE).await;
    assert!(store.decide_overlaps().await.unwrap());
    late_is(20 * MINUTE).await;
    // What comes while the days are looked at.
    store.append(&[record(late, MIDNIGHT + 16 * MINUTE, 2 * MINUTE)]).await.unwrap();
    late_is(21 * MINUTE).await;
    is_covered(&store, MIDNIGHT, MIDNIGHT + DAY, 12 * HOUR + 11 * 30_000).await;
    late_is(21 * MINUTE).await;
    // Of three hundred servers.
    assert_eq!(named(&path).await, 2);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_days_are_looked_at_is_not_missed() {
    const ROUNDS: i64 = 60;
    let folder = testkit::tempdir().unwrap();
    let store = History::open_sqlite(&folder.path().join("history.db"), 35).await.unwrap();
    let at = |round: i64| MIDNIGHT + round * MINUTE;
    let done = Cell::new(false);
    let append = async {
        // Every third minute is back-filled last.
        let (late, first): (Vec<i64>, Vec<i64>) = (0..ROUNDS).partition(|round| round % 3 == 1);
        for round in first.into_iter().chain(late) {
            let mut batch: Vec<Record> = (0..20).map(|n| record(server(n), at(round), MINUTE)).collect();
            // The clone of one of them.
            let cloned = server(u64::try_from(round % 20).unwrap());
            batch.push(record(cloned, at(round) + MINUTE / 2, MINUTE));
            store.append(&batch).await.unwrap();
        }
        done.set(true);
    };
    let look = async {
        let mut looks = 0;
        while !done.get() || store.decide_overlaps().await.unwrap() {
            looks += u64::from(store.decide_overlaps().await.unwrap());
            tokio::task::yield_now().await;
        }
        looks
    };
    let ((), looks) = tokio::join!(append, look);
    // A busy machine looks less often; never would prove nothing.
    assert!(looks > 0);
    let pieces = vec![Piece { from: MIDNIGHT - MINUTE, to: at(ROUNDS) }];
    let asked: Vec<(ServerId, Vec<Piece>)> = (0..20).map(|n| (server(n), pieces.clone())).collect();
    let covered = store.covered(&asked).await.unwrap();
    for (n, (id, _)) in asked.iter().enumerate() {
        // Of one, the clone was sampled last.
        let missing = if n == 19 { MINUTE / 2 } else { MINUTE };
        let gaps = store.outages(*id, pieces.clone(), usize::MAX).await.unwrap().gaps;
        assert_eq!((covered[n], sum(&gaps)), (sum(&pieces) - missing, missing), "{n}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_process_that_was_killed_knows_after_its_start_what_overlaps() {
    let mut folder = testkit::tempdir().unwrap();
    let open = async |path: &Path| History::open_sqlite(&path.join("history.db"), 35).await.unwrap();
    let mut store = open(folder.path()).await;
    // Steps within a slot of the file and over its edges, over midnight too; every third stretch reaches back into the
    // one before, and every seventh comes late.
    let step = 170_000;
    let times: Vec<i64> = (0..70).collect();
    let (late, first): (Vec<i64>, Vec<i64>) = times.iter().partition(|n| **n % 7 == 3);
    let mut stored: Vec<Piece> = Vec::new();
    for n in first.into_iter().chain(late) {
        let (at, covers) = (MIDNIGHT + (n - 40) * step, if n % 3 == 0 { 2 * step } else { step / 2 });
        store.append(&[record(server(1), at, covers)]).await.unwrap();
        stored.push(Piece { from: at - covers, to: at });
        // The files as a killed process leaves them.
        let copy = testkit::tempdir().unwrap();
        for file in ["history.db", "history.db-wal"] {
            std::fs::copy(folder.path().join(file), copy.path().join(file)).unwrap();
        }
        store.close().await;
        (store, folder) = (open(copy.path()).await, copy);
        let whole = Piece { from: MIDNIGHT - 50 * step, to: MIDNIGHT + 50 * step };
        let units = (whole.from..whole.to).step_by(usize::try_from(step / 2).unwrap());
        let covered = units.filter(|unit| stored.iter().any(|piece| piece.from <= *unit && *unit < piece.to));
        let expected = i64::try_from(covered.count()).unwrap() * step / 2;
        assert_eq!(store.covered(&[(server(1), vec![whole])]).await.unwrap(), [expected], "{n}");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_the_release_before_are_answered_right() {
    cluster::with(async |cluster: &Cluster| {
        let store = cluster.open();
        let half = every_other_hour(0, 60_000);
        store.append(&half[720..]).await.unwrap();
        // The same mapping and the same documents, but for what links them.
        for record in half[..720].iter().step_by(12) {
            let at = record.snapshot.sampled_at();
            let document = serde_json::json!({
                "server": record.server, "sampled_at": at, "from": at - 60_000, "covers": 60_000, "body": {},
            });
            let path = format!("{}/_create/{at}", cluster.index("2024.10.04"));
            let made = cluster.servers.ask_elasticsearch("PUT", &path, Some(document)).await;
            assert_eq!(made["result"], "created", "{made}");
        }
        // Before noon ten snapshots of each hour, all apart; after noon all of them.
        let noon = MIDNIGHT + DAY / 2;
        is_covered(&store, MIDNIGHT, noon - HOUR, 60 * MINUTE - 30_000).await;
        is_covered(&store, noon - HOUR, MIDNIGHT + DAY, 6 * (HOUR + 30_000)).await;
    })
    .await;
}

/// How many searches this day has answered.
async fn searches(cluster: &Cluster) -> u64 {
    let index = cluster.index("2024.10.04");
    let stats = cluster.get(&format!("{index}/_stats/search")).await;
    stats["indices"][&index]["primaries"]["search"]["query_total"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_of_a_past_day_is_not_read_again_until_more_comes() {
    cluster::with(async |cluster: &Cluster| {
        let store = cluster.open();
        store.append(&every_other_hour(0, 60_000)).await.unwrap();
        store.append(&[record(server(1), MIDNIGHT + 3 * DAY, 1)]).await.unwrap();
        let asked = [(server(1), vec![Piece { from: MIDNIGHT, to: MIDNIGHT + DAY }])];
        // Beyond the next day, so that the day is not the last one.
        let longer = [(server(1), vec![Piece { from: MIDNIGHT, to: MIDNIGHT + 3 * DAY }])];
        let expected = 12 * HOUR + 11 * 30_000;
        let mut took = Vec::new();
        for _ in 0..3 {
            let before = searches(cluster).await;
            assert_eq!(store.covered(&longer).await.unwrap(), [expected + 1]);
            took.push(searches(cluster).await - before);
        }
        assert!(took[1] < took[0] && took[2] == took[1], "{took:?}");
        // A late one that vouches for the hour after the first.
        store.append(&[record(server(1), MIDNIGHT + 2 * HOUR - 1, HOUR)]).await.unwrap();
        let expected = expected + HOUR - 30_000;
        assert_eq!(store.covered(&longer).await.unwrap(), [expected + 1]);
        assert_eq!(store.covered(&asked).await.unwrap(), [expected]);
    })
    .await;
}
