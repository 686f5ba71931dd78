//! What only a file can get wrong.

use std::{fs, os::unix::fs::FileExt, path::Path};

use fleet::{retention::DAY, snapshot::MAX_TIME, uptime::Piece};
use history::{Extent, History, HistoryError};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::make::{MIDNIGHT, full, record, server, with_cpu};

async fn open(path: &Path) -> Result<History, HistoryError> {
    History::open_sqlite(path, 35).await
}

async fn run(path: &Path, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn what_was_stored_survives_reopening() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = open(&path).await.unwrap();
    store.append(&[with_cpu(server(1), MIDNIGHT, 5.0), record(server(2), MIDNIGHT + DAY, 9)]).await.unwrap();
    // Less than a slot later, so the new end of the server is not written to the file at once.
    store.append(&[with_cpu(server(1), MIDNIGHT + 1_000, 7.0)]).await.unwrap();
    store.expire(MIDNIGHT + 35 * DAY).await.unwrap();
    store.close().await;

    let store = open(&path).await.unwrap();
    let extents = store.extents(&[server(1), server(2), server(3)]).await.unwrap();
    let first = Extent { oldest_start: MIDNIGHT - 1, newest: MIDNIGHT + 1_000 };
    let second = Extent { oldest_start: MIDNIGHT + DAY - 9, newest: MIDNIGHT + DAY };
    assert_eq!(extents, [Some(first), Some(second), None]);
    let points = store.points(server(1), MIDNIGHT, MIDNIGHT + DAY, 1).await.unwrap();
    assert_eq!((points[0].count, points[0].cpu.unwrap().max), (2, 7.0));
    let again = [with_cpu(server(1), MIDNIGHT, 99.0), record(server(3), MIDNIGHT + 2_000, 4)];
    store.append(&again).await.unwrap();
    let ever = vec![Piece { from: 0, to: MAX_TIME }];
    let asked = [1, 2, 3].map(|n| (server(n), ever.clone()));
    assert_eq!(store.covered(&asked).await.unwrap(), [2, 9, 4]);
    let points = store.points(server(1), MIDNIGHT, MIDNIGHT + DAY, 1).await.unwrap();
    assert_eq!((points[0].count, points[0].cpu.unwrap().max), (2, 7.0));
    let rejected = store.append(&[record(server(1), MIDNIGHT - 1, 0)]).await.unwrap();
    assert_eq!(rejected.len(), 1, "the horizon survives too");
    assert_eq!(store.oldest_retained(), MIDNIGHT);
    store.expire(MIDNIGHT + 30 * DAY).await.unwrap();
    assert_eq!(store.oldest_retained(), MIDNIGHT, "what was forgotten once is gone");
}

#[tokio::test]
async fn what_was_appended_is_there_without_closing() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = open(&path).await.unwrap();
    store.append(&[record(server(1), MIDNIGHT, 5)]).await.unwrap();
    // The files as a killed process leaves them.
    let copy = testkit::tempdir().unwrap();
    for file in ["history.db", "history.db-wal"] {
        fs::copy(folder.path().join(file), copy.path().join(file)).unwrap();
    }
    let copied = open(&copy.path().join("history.db")).await.unwrap();
    let asked = [(server(1), vec![Piece { from: 0, to: MAX_TIME }])];
    assert_eq!(copied.covered(&asked).await.unwrap(), [5]);
    store.close().await;
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let folder = testkit::tempdir().unwrap();
    let store = open(&folder.path().join("history.db")).await.unwrap();
    store.ping().await.unwrap();
    store.close().await;
    assert!(matches!(store.ping().await, Err(HistoryError::Unavailable(_))));
    let append = store.append(&[record(server(1), MIDNIGHT, 5)]).await;
    assert!(matches!(append, Err(HistoryError::Unavailable(_))));
}

#[tokio::test]
async fn a_file_of_a_later_release_is_refused_and_left_alone() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    open(&path).await.unwrap().close().await;
    run(&path, "PRAGMA user_version = 5").await;
    let error = open(&path).await.map(drop).unwrap_err();
    assert!(matches!(&error, HistoryError::Schema(why) if why.contains("schema 5")), "{error}");
    run(&path, "PRAGMA user_version = 4").await;
    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_foreign_database_is_refused() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    run(&path, "CREATE TABLE theirs (x)").await;
    let error = open(&path).await.map(drop).unwrap_err();
    assert!(matches!(&error, HistoryError::Schema(_)), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_damaged() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    fs::write(&path, "not a database, although long enough to have a header ".repeat(100)).unwrap();
    let error = open(&path).await.map(drop).unwrap_err();
    assert!(matches!(error, HistoryError::Damaged(_)), "{error}");
}

#[tokio::test]
async fn damage_within_the_file_is_an_error_and_no_panic() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = open(&path).await.unwrap();
    let batch: Vec<_> = (0..4_000).map(|n| with_cpu(server(1), MIDNIGHT + n * 1_000, 5.0)).collect();
    store.append(&batch).await.unwrap();
    store.close().await;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    // After those that say what there is.
    for page in 13..file.metadata().unwrap().len() / 4_096 {
        file.write_all_at(&[0xa5; 4_096], page * 4_096).unwrap();
    }
    let store = open(&path).await.unwrap();
    let points = store.points(server(1), MIDNIGHT, MIDNIGHT + DAY, 10).await;
    assert!(matches!(points, Err(HistoryError::Damaged(_) | HistoryError::Corrupt { .. })), "{points:?}");
    let covered = store.covered(&[(server(1), vec![Piece { from: 0, to: MAX_TIME }])]).await;
    assert!(matches!(covered, Err(HistoryError::Damaged(_))), "{covered:?}");
}

#[tokio::test]
async fn a_lost_body_is_corrupt() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = open(&path).await.unwrap();
    store.append(&[record(server(1), 20_000 * DAY, 5)]).await.unwrap();
    store.close().await;
    run(&path, "DELETE FROM bodies_480000").await;
    let store = open(&path).await.unwrap();
    let error = store.points(server(1), MIDNIGHT, MIDNIGHT + DAY, 1).await.unwrap_err();
    assert!(matches!(&error, HistoryError::Corrupt { table, .. } if table == "bodies_480000"), "{error}");
}

/// Bytes of a file to which so many batches were appended: of 20 new small snapshots each, and of `replayed`.
async fn size_after(batches: i64, replayed: &[fleet::Record]) -> u64 {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = open(&path).await.unwrap();
    store.append(replayed).await.unwrap();
    let hosts: Vec<_> = (100..120).map(server).collect();
    for batch in 1..=batches {
        // Keys of the new ones lie before and after those of the replayed ones.
        let mut records: Vec<_> =
            hosts.iter().map(|host| with_cpu(*host, MIDNIGHT + batch * 1_000, 5.0)).collect();
        records.extend_from_slice(replayed);
        assert_eq!(store.append(&records).await.unwrap(), []);
    }
    let points = store.points(hosts[7], MIDNIGHT, MIDNIGHT + DAY, 1).await.unwrap();
    assert_eq!(i64::try_from(points[0].count).unwrap(), batches);
    store.close().await;
    fs::metadata(&path).unwrap().len()
}

#[tokio::test]
async fn replayed_snapshots_take_no_space_however_busy_the_suite_is() {
    // They lie between, before and after the new ones, some in packs of their own.
    let replayed: Vec<_> = (0_i64..240)
        .map(|n| full(server(1 + n.unsigned_abs() % 3 * 110), MIDNIGHT + 500 + n * 60_000))
        .collect();
    let (once, often) = (size_after(10, &replayed).await, size_after(60, &replayed).await);
    let without = size_after(60, &[]).await - size_after(10, &[]).await;
    assert!(often - once < 2 * without, "50 batches took {without} bytes, with replays {}", often - once);
}

#[tokio::test]
async fn what_lies_among_replayed_snapshots_is_stored_whole_and_the_first_one_wins() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = open(&path).await.unwrap();
    let at = |n: i64| MIDNIGHT + n * 1_000;
    let first: Vec<_> = (0..300).step_by(3).map(|n| with_cpu(server(1), at(n), 10.0)).collect();
    store.append(&first).await.unwrap();
    let all: Vec<_> = (0..300).map(|n| with_cpu(server(1), at(n), 40.0)).collect();
    store.append(&all).await.unwrap();
    store.append(&all).await.unwrap();
    store.close().await;
    let store = open(&path).await.unwrap();
    let points = store.points(server(1), MIDNIGHT, at(300), 300).await.unwrap();
    assert_eq!(points.len(), 300);
    for (n, point) in points.iter().enumerate() {
        let expected = if n % 3 == 0 { 10.0 } else { 40.0 };
        assert_eq!((point.count, point.cpu.unwrap().max), (1, expected), "{n}");
    }
    assert_eq!(store.covered(&[(server(1), vec![Piece { from: 0, to: MAX_TIME }])]).await.unwrap(), [300]);
}

async fn forget(store: &History, n: u64) {
    let mut from = 0;
    while let Some(next) = store.forget(server(n), MAX_TIME, from).await.unwrap() {
        from = next;
    }
    while store.give_back().await.unwrap() {}
}

/// So many hours of three servers.
async fn filled(path: &Path, hours: i64) -> History {
    let store = open(path).await.unwrap();
    for hour in 0..hours {
        let records = (0..360)
            .flat_map(|n| (0..3).map(move |id| full(server(id), MIDNIGHT + hour * 3_600_000 + n * 10_000)));
        store.append(&records.collect::<Vec<_>>()).await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_new_file_becomes_smaller_when_servers_are_forgotten() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = filled(&path, 60).await;
    let before = store.size().await.unwrap();
    for n in 0..3 {
        forget(&store, n).await;
    }
    let spare = store.spare_bytes().await.unwrap();
    assert!(spare <= 1 << 20, "{spare} of {before}");
    store.close().await;
    let after = fs::metadata(&path).unwrap().len();
    assert!(after < before / 2, "{before} {after}");
}

#[tokio::test]
async fn compacting_gives_back_what_an_older_file_holds_and_loses_nothing() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    // As a release before made it.
    run(&path, "PRAGMA auto_vacuum = none; PRAGMA journal_mode = wal; CREATE TABLE x (y); DROP TABLE x;")
        .await;
    let store = filled(&path, 6).await;
    forget(&store, 1).await;
    forget(&store, 2).await;
    let spare = store.spare_bytes().await.unwrap();
    assert!(!store.give_back().await.unwrap(), "such a file cannot");
    store.close().await;
    fs::write(folder.path().join("history.db.compact"), "what a run left that was broken off").unwrap();
    let (before, after) = History::compact_sqlite(&path).await.unwrap();
    assert!(
        after < before * 2 / 3 && before - after > spare && after == fs::metadata(&path).unwrap().len(),
        "{before} {after} {spare}"
    );
    assert!(!folder.path().join("history.db.compact").exists());
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let store = open(&path).await.unwrap();
    let points = store.points(server(0), MIDNIGHT, MIDNIGHT + DAY, 1).await.unwrap();
    assert_eq!(points[0].count, 6 * 360);
    assert_eq!(store.spare_bytes().await.unwrap(), 0);
    store.append(&[full(server(0), MIDNIGHT + DAY)]).await.unwrap();
    store.close().await;
    let options = SqliteConnectOptions::new().filename(&path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let mode: i64 = sqlx::query_scalar("PRAGMA auto_vacuum").fetch_one(&mut connection).await.unwrap();
    assert_eq!(mode, 2, "from now on it gives back by itself");
}

#[tokio::test]
async fn a_file_that_is_open_is_not_compacted() {
    let folder = testkit::tempdir().unwrap();
    let path = folder.path().join("history.db");
    let store = filled(&path, 1).await;
    let compacted = History::compact_sqlite(&path).await;
    assert!(matches!(compacted, Err(HistoryError::Unavailable(_))), "{compacted:?}");
    assert!(!folder.path().join("history.db.compact").exists());
    store.close().await;
}
