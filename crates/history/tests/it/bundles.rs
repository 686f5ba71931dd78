//! Rollups of days that are over, in a file: bundled, they answer what the snapshots and the hours answered.

use std::path::Path;

use fleet::{Millis, Record, ServerId, hours::HOUR, retention::DAY, uptime::Piece, wire::v1};
use history::{History, HistoryError};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::make::{MIDNIGHT, chance, roll_up, server, with};

/// Days of history.
const DAYS: u64 = 3;
const END: Millis = MIDNIGHT + 3 * DAY;

async fn open(path: &Path) -> History {
    History::open_sqlite(path, 35).await.unwrap()
}

async fn pack(store: &History) {
    while store.pack().await.unwrap().more {}
}

async fn run(path: &Path, statement: &'static str) -> Vec<i64> {
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query_scalar(statement).fetch_all(&mut connection).await.unwrap()
}

/// How many rows of hours there are, and how many bundles.
async fn forms(path: &Path) -> (i64, i64) {
    let span = "SELECT COUNT(*) FROM rollups_625";
    (run(path, span).await[0], run(path, "SELECT COUNT(*) FROM bundles_625").await[0])
}

/// What some servers may send in some days: gaps, overlaps, duplicates, any order, figures that are missing at times.
fn some(state: &mut u64, servers: u64, each: usize) -> Vec<Record> {
    let mut records = Vec::new();
    for n in 0..servers {
        for _ in 0..each {
            let at = MIDNIGHT + 60_000 * i64::try_from(chance(state, DAYS * 1_440)).unwrap() + 500;
            let covers = [0, 60_000, 60_000, 90_000, 2 * HOUR][usize::try_from(chance(state, 5)).unwrap()];
            let total = (chance(state, 3) > 0).then_some(chance(state, 10_000) as f32 / 100.0);
            let cpu = v1::Cpu { total, ..v1::Cpu::default() };
            let used = (n != 1).then_some(chance(state, 1 << 22) * 4_096);
            let memory = v1::Memory { used, ..v1::Memory::default() };
            let raw = v1::Snapshot { sampled_at: at, covers_ms: covers, ..v1::Snapshot::default() };
            records.push(with(server(n), v1::Snapshot { cpu: Some(cpu), memory: Some(memory), ..raw }));
        }
    }
    records
}

/// All that can be asked of a server, over ranges that end anywhere, and over some that end with hours and days.
async fn answers(store: &History, id: ServerId, state: &mut u64) -> String {
    let mut all = format!("{:?}", store.extents(&[id]).await.unwrap());
    for unit in [7_000, 7_000, 7_000, HOUR, HOUR, DAY / 2, DAY] {
        let most = u64::try_from(4 * DAY / unit).unwrap();
        let mut moment = || MIDNIGHT - DAY / 2 + unit * i64::try_from(chance(state, most)).unwrap();
        let (a, b) = (moment(), moment());
        let (from, to) = (a.min(b), a.max(b) + unit);
        let piece = Piece { from, to };
        let chart = store.chart(id, from, to, 1 + u32::try_from(chance(state, 30)).unwrap()).await.unwrap();
        let measured = store.measured(&[(id, vec![piece])]).await.unwrap();
        let outages = store.outages(id, vec![piece], 10_000).await.unwrap();
        let longest = store.longest_gaps(&[(id, vec![piece])]).await.unwrap();
        let missing: Millis = outages.gaps.iter().map(Piece::length).sum();
        assert_eq!(measured[0].covered + missing, to - from, "{from} {to}");
        all += &format!("\n{from} {to} {measured:?} {outages:?} {longest:?} {chart:?}");
    }
    all
}

async fn agree(bundled: &History, plain: &History, servers: u64, seed: u64) {
    for n in 0..servers {
        let (mut a, mut b) = (seed, seed);
        let (a, b) = (answers(bundled, server(n), &mut a).await, answers(plain, server(n), &mut b).await);
        assert_eq!(a, b, "server {n} of seed {seed}");
    }
}

async fn append(stores: [&History; 2], records: &[Record]) {
    for store in stores {
        store.append(records).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundling_changes_no_answer_whatever_comes_late_is_forgotten_or_expires() {
    let rounds = if std::env::var_os("ROLLCALL_PROVE").is_some() { 300 } else { 2 };
    for seed in 0..rounds {
        let folder = testkit::tempdir().unwrap();
        let path = folder.path().join("bundled.db");
        let bundled = open(&path).await;
        let plain = open(&folder.path().join("plain.db")).await;
        let mut state = seed;
        for round in 0..3 {
            append([&bundled, &plain], &some(&mut state, 3, if round == 0 { 300 } else { 9 })).await;
            agree(&bundled, &plain, 3, seed).await;
            // The last day is not over in the first round.
            let watermark = if round == 0 { END - 4 * HOUR } else { END + DAY };
            for store in [&bundled, &plain] {
                roll_up(store, watermark, usize::MAX).await;
            }
            pack(&bundled).await;
            agree(&bundled, &plain, 3, seed + 1).await;
        }
        // What is left are hours of the day of the newest one.
        let (hours, bundles) = forms(&path).await;
        assert!(hours <= 3 * 24 && bundles > 0, "{hours} {bundles}");
        let before = MIDNIGHT + 60_000 * i64::try_from(chance(&mut state, 2 * 1_440)).unwrap();
        for store in [&bundled, &plain] {
            let mut from = 0;
            while let Some(next) = store.forget(server(2), before, from).await.unwrap() {
                from = next;
            }
        }
        agree(&bundled, &plain, 3, seed + 2).await;
        for store in [&bundled, &plain] {
            roll_up(store, END + DAY, usize::MAX).await;
        }
        pack(&bundled).await;
        agree(&bundled, &plain, 3, seed + 3).await;
        // From here on there is nothing but rollups.
        for store in [&bundled, &plain] {
            store.expire(END + 40 * DAY).await.unwrap();
        }
        agree(&bundled, &plain, 3, seed + 4).await;
        bundled.close().await;
        let again = open(&path).await;
        agree(&again, &plain, 3, seed + 5).await;
        again.close().await;
        plain.close().await;
    }
}

/// A file with some days of rollups that are not bundled.
async fn rolled_up(path: &Path) -> History {
    let store = open(path).await;
    store.append(&some(&mut 7, 3, 900)).await.unwrap();
    roll_up(&store, END + DAY, usize::MAX).await;
    store
}

#[tokio::test]
async fn a_file_of_schema_3_is_read_as_it_is_and_bundled_in_the_background() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = rolled_up(&path).await;
    let plain = rolled_up(&folder.path().join("plain.db")).await;
    store.close().await;
    run(&path, "DROP TABLE bundles_624").await;
    run(&path, "DROP TABLE bundles_625").await;
    run(&path, "PRAGMA user_version = 3").await;
    let store = open(&path).await;
    let (hours, bundles) = forms(&path).await;
    assert!(hours > 100 && bundles == 0, "{hours} {bundles}");
    agree(&store, &plain, 3, 1).await;
    // Each step leaves one history.
    while store.pack().await.unwrap().more {
        agree(&store, &plain, 3, 2).await;
    }
    let (left, bundles) = forms(&path).await;
    assert!(left < hours && left <= 3 * 24 && bundles >= 12, "{left} {bundles}");
    agree(&store, &plain, 3, 3).await;
    store.close().await;
    plain.close().await;
}

#[tokio::test]
async fn a_damaged_bundle_is_corrupt_and_says_where() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = rolled_up(&path).await;
    pack(&store).await;
    run(
        &path,
        "UPDATE bundles_625 SET body = CAST(substr(body, 1, 20) || x'00' || substr(body, 22) AS BLOB)
         WHERE key = (SELECT MIN(key) FROM bundles_625)",
    )
    .await;
    let whole = store.chart(server(0), MIDNIGHT, MIDNIGHT + 2 * DAY, 2).await.unwrap_err();
    let cut = [(server(0), vec![Piece { from: MIDNIGHT + HOUR, to: END }])];
    for error in [whole, store.measured(&cut).await.unwrap_err()] {
        assert!(
            matches!(&error, HistoryError::Corrupt { table, row, .. }
                if table == "bundles_625" && row == "number 1 in hours 480000 to 480011"),
            "{error}"
        );
    }
    // It holds nothing else up, not even what comes late for its hours.
    assert!(!store.chart(server(1), MIDNIGHT, MIDNIGHT + 2 * DAY, 2).await.unwrap().points.is_empty());
    store.append(&some(&mut 8, 3, 100)).await.unwrap();
    assert_eq!(roll_up(&store, END + DAY, usize::MAX).await, 0);
    pack(&store).await;
    store.close().await;
}

#[tokio::test]
async fn an_hour_of_which_all_was_forgotten_is_silent_after_it_was_made_again() {
    for bundled in [false, true] {
        let folder = testkit::tempdir().unwrap();
        let store = open(&folder.path().join("history.db")).await;
        let at = |at: Millis| {
            with(server(1), v1::Snapshot { sampled_at: at, covers_ms: 60_000, ..v1::Snapshot::default() })
        };
        store.append(&[at(MIDNIGHT + HOUR + 120_000), at(MIDNIGHT + 2 * DAY)]).await.unwrap();
        roll_up(&store, END, usize::MAX).await;
        if bundled {
            pack(&store).await;
        }
        let mut from = 0;
        while let Some(next) = store.forget(server(1), MIDNIGHT + HOUR + HOUR / 2, from).await.unwrap() {
            from = next;
        }
        for form in 0..2 {
            let piece = Piece { from: MIDNIGHT, to: MIDNIGHT + DAY };
            let covered = store.measured(&[(server(1), vec![piece])]).await.unwrap()[0].covered;
            assert_eq!(covered, 0, "bundled: {bundled}, form {form}");
            roll_up(&store, END, usize::MAX).await;
        }
        store.close().await;
    }
}
