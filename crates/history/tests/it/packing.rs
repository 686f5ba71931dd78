//! Closed hours as blocks, in a file.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use fleet::{
    Millis, Record, ServerId, hours::HOUR, retention::DAY, snapshot::MAX_TIME, uptime::Piece, wire::v1,
};
use history::{History, HistoryError};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::make::{MIDNIGHT, chance, full, record, roll_up, server, with};

async fn open(path: &Path) -> History {
    History::open_sqlite(path, 35).await.unwrap()
}

/// Rolls up and packs all that is closed.
async fn settle(store: &History, watermark: Millis) -> u64 {
    assert_eq!(roll_up(store, watermark, usize::MAX).await, 0);
    pack(store).await
}

/// Packs until a whole round found nothing more; how many snapshots went into blocks.
async fn pack(store: &History) -> u64 {
    let mut snapshots = 0;
    loop {
        let packed = store.pack().await.unwrap();
        snapshots += packed.snapshots;
        if !packed.more {
            return snapshots;
        }
    }
}

/// What some servers may send in six hours: gaps, overlaps, duplicates, any order.
fn some(state: &mut u64, servers: u64, each: usize) -> Vec<Record> {
    let mut records = Vec::new();
    for n in 0..servers {
        for _ in 0..each {
            let at = MIDNIGHT + 60_000 * i64::try_from(chance(state, 360)).unwrap() + 500;
            let covers = [0, 60_000, 60_000, 90_000, 2 * HOUR][usize::try_from(chance(state, 5)).unwrap()];
            let cpu = v1::Cpu { total: Some(chance(state, 1_000) as f32 / 10.0), ..v1::Cpu::default() };
            let raw =
                v1::Snapshot { sampled_at: at, covers_ms: covers, cpu: Some(cpu), ..v1::Snapshot::default() };
            records.push(with(server(n), raw));
        }
    }
    records
}

/// All that can be asked of a server, over ranges that end anywhere.
async fn answers(store: &History, id: ServerId, state: &mut u64) -> String {
    let mut all = format!("{:?}", store.extents(&[id]).await.unwrap());
    for _ in 0..6 {
        let moment = |state: &mut u64| MIDNIGHT - HOUR + 7_000 * i64::try_from(chance(state, 4_700)).unwrap();
        let (a, b) = (moment(state), moment(state));
        let (from, to) = (a.min(b), a.max(b) + 1);
        let piece = Piece { from, to };
        let points = store.points(id, from, to, 1 + u32::try_from(chance(state, 30)).unwrap()).await.unwrap();
        let covered = store.covered(&[(id, vec![piece])]).await.unwrap();
        let outages = store.outages(id, vec![piece], 1_000).await.unwrap();
        let longest = store.longest_gaps(&[(id, vec![piece])]).await.unwrap();
        let missing: Millis = outages.gaps.iter().map(Piece::length).sum();
        assert_eq!(covered[0] + missing, to - from, "{from} {to}");
        all += &format!("\n{from} {to} {covered:?} {outages:?} {longest:?} {points:?}");
    }
    all
}

async fn agree(packed: &History, plain: &History, servers: u64, seed: u64) {
    for n in 0..servers {
        let (mut a, mut b) = (seed, seed);
        let (a, b) = (answers(packed, server(n), &mut a).await, answers(plain, server(n), &mut b).await);
        assert_eq!(a, b, "server {n} of seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packing_changes_no_answer_whatever_comes_late() {
    let rounds = if std::env::var_os("ROLLCALL_PROVE").is_some() { 400 } else { 6 };
    for seed in 0..rounds {
        let folder = testkit::tempdir().unwrap();
        let packed = open(&folder.path().join("packed.db")).await;
        let plain = open(&folder.path().join("plain.db")).await;
        let mut state = seed;
        for round in 0..3 {
            let records = some(&mut state, 3, if round == 0 { 120 } else { 7 });
            for store in [&packed, &plain] {
                store.append(&records).await.unwrap();
            }
            agree(&packed, &plain, 3, seed).await;
            // Not all is closed yet in the first round.
            let watermark = MIDNIGHT + if round == 0 { 4 * HOUR } else { 10 * HOUR };
            assert!(settle(&packed, watermark).await > 0);
            roll_up(&plain, watermark, usize::MAX).await;
            agree(&packed, &plain, 3, seed + 1).await;
            // All of it comes again.
            for store in [&packed, &plain] {
                store.append(&records).await.unwrap();
            }
            agree(&packed, &plain, 3, seed + 2).await;
        }
        packed.close().await;
        let again = open(&folder.path().join("packed.db")).await;
        agree(&again, &plain, 3, seed + 3).await;
        again.close().await;
        plain.close().await;
    }
}

async fn tables(path: &Path) -> Vec<String> {
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE name GLOB 'bodies_*' OR name GLOB 'day_*'")
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

async fn count(path: &Path, what: &'static str) -> i64 {
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query_scalar(what).fetch_one(&mut connection).await.unwrap()
}

/// An hour of so many hosts, one snapshot each 30 s, as it arrives.
async fn an_hour(store: &History, hosts: u64, hour: i64) {
    for n in 0..120 {
        let at = MIDNIGHT + hour * HOUR + n * 30_000;
        store.append(&(0..hosts).map(|id| full(server(id), at)).collect::<Vec<_>>()).await.unwrap();
    }
}

#[tokio::test]
async fn a_closed_hour_is_a_block_its_rows_are_gone_and_sending_it_again_stores_nothing() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = open(&path).await;
    an_hour(&store, 100, 0).await;
    an_hour(&store, 100, 1).await;
    assert_eq!(settle(&store, MIDNIGHT + HOUR + 600_000).await, 12_000, "one hour is closed");
    assert_eq!(pack(&store).await, 0);
    assert_eq!(tables(&path).await, ["day_20000", "bodies_480001"]);
    assert_eq!(count(&path, "SELECT COUNT(*) FROM day_20000").await, 12_000);
    let size = count(&path, "SELECT SUM(LENGTH(shelf) + LENGTH(members)) FROM blocks").await;
    // They are all alike.
    assert!(size < 12_000 * 5, "{size}");
    an_hour(&store, 100, 0).await;
    assert_eq!(count(&path, "SELECT COUNT(*) FROM day_20000").await, 12_000);
    assert_eq!(tables(&path).await.len(), 2, "what is repeated makes no table");
    let points = store.points(server(7), MIDNIGHT, MIDNIGHT + HOUR, 120).await.unwrap();
    assert_eq!(points.len(), 120);
    assert_eq!(points[5].cpu.unwrap().max, f64::from(12.3_f32));
    store.close().await;
}

#[tokio::test]
async fn the_newest_sample_of_a_silent_host_is_known_when_its_hour_is_packed() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = open(&path).await;
    // The second one is within a slot, so the file was not told of it.
    for at in [MIDNIGHT, MIDNIGHT + 100_000] {
        store.append(&[record(server(1), at, 10)]).await.unwrap();
    }
    assert_eq!(settle(&store, MIDNIGHT + DAY).await, 2);
    assert_eq!(store.extents(&[server(1)]).await.unwrap()[0].unwrap().newest, MIDNIGHT + 100_000);
    store.close().await;
    let store = open(&path).await;
    assert_eq!(store.extents(&[server(1)]).await.unwrap()[0].unwrap().newest, MIDNIGHT + 100_000);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_one_history_while_it_is_packed_and_appends_go_on() {
    let folder = testkit::tempdir().unwrap();
    let store = open(&folder.path().join("history.db")).await;
    for hour in 0..4 {
        an_hour(&store, 40, hour).await;
    }
    assert_eq!(roll_up(&store, MIDNIGHT + DAY, usize::MAX).await, 0);
    let packing = tokio::spawn({
        let store = store.clone();
        async move { pack(&store).await }
    });
    let mut late = 0;
    for round in 0.. {
        let done = packing.is_finished();
        let n = round % 40;
        let points = store.points(server(n), MIDNIGHT, MIDNIGHT + 4 * HOUR, 1).await.unwrap();
        let own = late / 40 + u64::from(n < late % 40);
        assert_eq!(points[0].count, 480 + own, "round {round}");
        let piece = Piece { from: MIDNIGHT - 1, to: MIDNIGHT + 4 * HOUR };
        assert_eq!(
            store.covered(&[(server(n), vec![piece])]).await.unwrap(),
            [i64::try_from(480 + own).unwrap()]
        );
        if done {
            break;
        }
        // Into an hour that may be packed already, or just be being packed.
        let at = MIDNIGHT
            + i64::try_from(late / 40 % 4).unwrap() * HOUR
            + 11
            + i64::try_from(late / 40).unwrap() * 20;
        store.append(&[record(server(late % 40), at, 1)]).await.unwrap();
        late += 1;
    }
    assert!(packing.await.unwrap() > 0);
    let rest = settle(&store, MIDNIGHT + DAY).await;
    assert!(rest > 0 || late == 0, "what came late is packed too");
    for n in 0..40 {
        let points = store.points(server(n), MIDNIGHT, MIDNIGHT + 4 * HOUR, 1).await.unwrap();
        assert_eq!(points[0].count, 480 + late / 40 + u64::from(n < late % 40));
    }
    store.close().await;
}

#[tokio::test]
async fn blocks_are_forgotten_with_their_server_and_expire_with_their_day() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = open(&path).await;
    for hour in [0, 1, 30] {
        an_hour(&store, 3, hour).await;
    }
    assert_eq!(settle(&store, MIDNIGHT + 3 * DAY).await, 3 * 3 * 120);
    // In the middle of the second hour.
    let before = MIDNIGHT + HOUR + 30_000 * 60;
    let mut from = 0;
    while let Some(next) = store.forget(server(1), before, from).await.unwrap() {
        from = next;
    }
    let counted = async |n| {
        let points = store.points(server(n), 0, MAX_TIME, 1).await.unwrap();
        points.first().map_or(0, |point| point.count)
    };
    assert_eq!((counted(0).await, counted(1).await, counted(2).await), (360, 180, 360));
    settle(&store, MIDNIGHT + 3 * DAY).await;
    assert_eq!(counted(1).await, 180);
    let mut from = 0;
    while let Some(next) = store.forget(server(2), MAX_TIME, from).await.unwrap() {
        from = next;
    }
    assert_eq!((counted(0).await, counted(1).await, counted(2).await), (360, 180, 0));
    store.expire(MIDNIGHT + 36 * DAY).await.unwrap();
    assert_eq!(count(&path, "SELECT COUNT(DISTINCT key >> 28) FROM blocks").await, 1);
    let raw = store.points(server(0), MIDNIGHT + DAY, MIDNIGHT + 2 * DAY, 100).await.unwrap();
    assert_eq!(raw.iter().map(|point| point.count).sum::<u64>(), 120);
    store.close().await;
}

#[tokio::test]
async fn a_damaged_block_is_corrupt_and_says_where() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = open(&path).await;
    an_hour(&store, 2, 0).await;
    settle(&store, MIDNIGHT + DAY).await;
    let options = SqliteConnectOptions::new().filename(&path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(
        "UPDATE blocks SET shelf = CAST(substr(shelf, 1, 60) || x'00' || substr(shelf, 62) AS BLOB)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let error = store.points(server(0), MIDNIGHT, MIDNIGHT + HOUR, 120).await.unwrap_err();
    assert!(
        matches!(&error, HistoryError::Corrupt { table, row, .. } if table == "blocks" && row == "number 1 in hour 480000"),
        "{error}"
    );
    assert_eq!(store.points(server(1), MIDNIGHT, MIDNIGHT + HOUR, 120).await.unwrap().len(), 120);
    // What comes in goes on, and what comes late for that hour is neither lost nor does it overwrite the block.
    let late = [record(server(0), MIDNIGHT + 7, 5), record(server(0), MIDNIGHT + DAY, 5)];
    assert_eq!(store.append(&late).await.unwrap(), []);
    settle(&store, MIDNIGHT + 2 * DAY).await;
    assert_eq!(store.points(server(0), MIDNIGHT + DAY, MIDNIGHT + 2 * DAY, 9).await.unwrap().len(), 1);
    assert!(store.points(server(0), MIDNIGHT, MIDNIGHT + HOUR, 120).await.is_err());
    store.close().await;
}

/// Where the process that is killed finds its file.
const CHILD: &str = "ROLLCALL_PACKING_CHILD";

/// No test of its own: what `killed_at_any_moment…` kills.
#[tokio::test]
async fn packs_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let store = open(&path).await;
    roll_up(&store, MIDNIGHT + DAY, usize::MAX).await;
    std::fs::write(path.with_extension("begun"), "").unwrap();
    loop {
        settle(&store, MIDNIGHT + DAY).await;
        tokio::task::yield_now().await;
    }
}

/// `ROLLCALL_KILLS` for more than the usual few.
#[tokio::test]
async fn killed_at_any_moment_packing_leaves_one_history() {
    let kills: u64 = std::env::var("ROLLCALL_KILLS").map_or(12, |kills| kills.parse().unwrap());
    let folder = testkit::tempdir().unwrap();
    let (path, plain) = (folder.path().join("history.db"), folder.path().join("plain.db"));
    let plain = open(&plain).await;
    let (mut state, mut midway) = (5, 0);
    for kill in 0..kills {
        let store = open(&path).await;
        let records = some(&mut state, 8, 60);
        store.append(&records).await.unwrap();
        plain.append(&records).await.unwrap();
        store.close().await;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "packing::packs_until_it_is_killed", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = path.with_extension("begun");
        testkit::eventually("it begins", async || begun.exists()).await;
        // Not waited for: the moment is chance's.
        tokio::time::sleep(Duration::from_millis(chance(&mut state, 30))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_file(begun).unwrap();
        let (blocks, rows) = (
            count(&path, "SELECT COUNT(*) FROM blocks").await,
            count(&path, "SELECT COUNT(*) FROM day_20000").await,
        );
        midway += u32::from(blocks > 0 && rows > 0);
        let store = open(&path).await;
        agree(&store, &plain, 8, kill).await;
        store.append(&records).await.unwrap();
        agree(&store, &plain, 8, kill + 1).await;
        store.close().await;
    }
    println!("{midway} of {kills} kills came midway");
    assert!(midway > 0 || kills < 100);
    let store = open(&path).await;
    settle(&store, MIDNIGHT + DAY).await;
    assert!(tables(&path).await.iter().all(|table| table.starts_with("day_")));
    agree(&store, &plain, 8, 77).await;
    store.close().await;
    plain.close().await;
}
