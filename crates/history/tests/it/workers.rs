//! Processes that roll up one history in a cluster: killed at any moment, stalled and woken.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use fleet::{
    Millis, Record, ServerId,
    hours::{Closing, HOUR},
    retention::DAY,
    uptime::Piece,
    wire::v1,
};
use history::{History, HistoryError};

use crate::{
    cluster::{self, Cluster},
    make::{MIDNIGHT, chance, roll_up, server, with},
};

const SERVERS: u64 = 3;
const LATE: Millis = MIDNIGHT + 20 * DAY;
/// Where the other process finds the cluster, its place there, and where it says how far it is.
const URL: &str = "ROLLCALL_ROLLING_URL";
const PREFIX: &str = "ROLLCALL_ROLLING_PREFIX";
const FOLDER: &str = "ROLLCALL_ROLLING_FOLDER";

/// No test of its own: the process that is killed, or stalled. It goes on until there is a file `enough`.
#[tokio::test]
async fn rolls_up_until_it_is_killed() {
    let [Ok(url), Ok(prefix), Ok(folder)] = [URL, PREFIX, FOLDER].map(std::env::var) else { return };
    let folder = PathBuf::from(folder);
    let store = History::open_elasticsearch(&url.parse().unwrap(), &prefix, 35).unwrap();
    std::fs::write(folder.join("begun"), "").unwrap();
    while !folder.join("enough").exists() {
        // An index that is being made does not answer yet.
        let done = store.roll_up(&Closing::new(LATE, [])).await;
        if done.is_ok_and(|done| done.left == 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    store.close().await;
}

async fn start(cluster: &Cluster, folder: &Path) -> Child {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "workers::rolls_up_until_it_is_killed", "--nocapture"])
        .env(URL, &cluster.servers.elasticsearch().direct)
        .env(PREFIX, cluster.prefix())
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    testkit::eventually("it begins", async || folder.join("begun").exists()).await;
    std::fs::remove_file(folder.join("begun")).unwrap();
    child
}

/// What some servers may send in two days: gaps, overlaps, duplicates, any order.
fn some(state: &mut u64, each: usize) -> Vec<Record> {
    let mut records = Vec::new();
    for n in 0..SERVERS {
        for _ in 0..each {
            let at = MIDNIGHT + 60_000 * i64::try_from(chance(state, 2_880)).unwrap() + 500;
            let covers = [0, 60_000, 60_000, 90_000, 2 * HOUR][usize::try_from(chance(state, 5)).unwrap()];
            let cpu = v1::Cpu { total: Some(chance(state, 800) as f32 / 8.0), ..v1::Cpu::default() };
            let raw =
                v1::Snapshot { sampled_at: at, covers_ms: covers, cpu: Some(cpu), ..v1::Snapshot::default() };
            records.push(with(server(n), raw));
        }
    }
    records
}

/// Stores them in both; the cluster is told that some may be late.
async fn append(store: &History, plain: &History, records: &[Record]) {
    store.append(records).await.unwrap();
    store.note_late(records, LATE).await.unwrap();
    plain.append(records).await.unwrap();
}

async fn answers(store: &History, id: ServerId) -> Result<String, HistoryError> {
    let mut all = String::new();
    for (from, to) in [(0, 48 * 60), (95, 1_800), (600, 2_000)] {
        let piece = Piece { from: MIDNIGHT + from * 60_000, to: MIDNIGHT + to * 60_000 };
        let covered = store.measured(&[(id, vec![piece])]).await?;
        let outages = store.outages(id, vec![piece], 10_000).await?;
        // Eighths add up exactly in any order.
        let chart = store.chart(id, piece.from, piece.to, 48).await?;
        all += &format!("\n{piece:?} {covered:?} {outages:?} {chart:?}");
    }
    Ok(all)
}

async fn agree(store: &History, plain: &History, when: &str) {
    for n in 0..SERVERS {
        let (wanted, mut found) = (answers(plain, server(n)).await.unwrap(), String::new());
        // An index that was being made when its maker was killed answers a little later.
        testkit::eventually("the cluster answers", async || {
            let answered = answers(store, server(n)).await;
            answered.map(|told| found = told).is_ok()
        })
        .await;
        assert_eq!(found, wanted, "server {n}, {when}");
    }
}

/// `ROLLCALL_KILLS` for more than the usual few.
#[tokio::test]
async fn killed_at_any_moment_rolling_up_changes_no_answer() {
    let kills: u64 = std::env::var("ROLLCALL_KILLS").map_or(4, |kills| kills.parse().unwrap());
    cluster::with(async |cluster| {
        let folder = testkit::tempdir().unwrap();
        let plain = History::open_sqlite(&folder.path().join("plain.db"), 35).await.unwrap();
        let (store, mut state) = (cluster.open(), 3);
        append(&store, &plain, &some(&mut state, 150)).await;
        for kill in 0..kills {
            append(&store, &plain, &some(&mut state, 4)).await;
            let mut child = start(cluster, folder.path()).await;
            // Not waited for: the moment is chance's.
            tokio::time::sleep(Duration::from_millis(chance(&mut state, 400))).await;
            child.kill().unwrap();
            child.wait().unwrap();
            agree(&store, &plain, &format!("killed {kill}")).await;
        }
        assert_eq!(roll_up(&store, LATE, usize::MAX).await, 0);
        agree(&store, &plain, "in the end").await;
        plain.close().await;
    })
    .await;
}

/// `ROLLCALL_KILLS` for more than the usual few.
#[tokio::test]
async fn stalled_at_any_moment_and_woken_after_another_took_over_a_worker_changes_no_answer() {
    let stalls: u64 = std::env::var("ROLLCALL_KILLS").map_or(4, |kills| kills.parse().unwrap());
    cluster::with(async |cluster| {
        let folder = testkit::tempdir().unwrap();
        let plain = History::open_sqlite(&folder.path().join("plain.db"), 35).await.unwrap();
        let (store, mut state) = (cluster.open(), 4);
        append(&store, &plain, &some(&mut state, 150)).await;
        for stall in 0..stalls {
            append(&store, &plain, &some(&mut state, 4)).await;
            let mut child = start(cluster, folder.path()).await;
            // Not waited for: the moment is chance's.
            tokio::time::sleep(Duration::from_millis(chance(&mut state, 400))).await;
            signal(&child, "STOP");
            // Another one has the lease meanwhile, snapshots come late, and a part is forgotten.
            append(&store, &plain, &some(&mut state, 4)).await;
            roll_up(&store, LATE, usize::MAX).await;
            if stall % 2 == 1 {
                let before = MIDNIGHT + 60_000 * i64::try_from(chance(&mut state, 1_440)).unwrap();
                for store in [&store, &plain] {
                    let mut from = 0;
                    while let Some(next) = store.forget(server(0), before, from).await.unwrap() {
                        from = next;
                    }
                }
                roll_up(&store, LATE, usize::MAX).await;
            }
            agree(&store, &plain, &format!("stalled {stall}")).await;
            std::fs::write(folder.path().join("enough"), "").unwrap();
            signal(&child, "CONT");
            assert!(child.wait().unwrap().success());
            std::fs::remove_file(folder.path().join("enough")).unwrap();
            agree(&store, &plain, &format!("woken {stall}")).await;
        }
        assert_eq!(roll_up(&store, LATE, usize::MAX).await, 0);
        agree(&store, &plain, "in the end").await;
        plain.close().await;
    })
    .await;
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}
