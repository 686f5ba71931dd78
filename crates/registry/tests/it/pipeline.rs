//! How far the workers have got.

use fleet::{Pipeline, liveness::Progress};

use crate::store::{NOW, Store};

const PROGRESS: Progress = Progress {
    newest_settled: Some(NOW),
    oldest_in_hand: Some(NOW - 5),
    open_since: Some(NOW - 900_000),
    written_at: NOW + 3,
};

pub async fn progress_is_one_row_a_worker(mut store: Store) {
    assert!(store.registry.progress().await.unwrap().is_empty());
    let idle = Progress { oldest_in_hand: None, ..PROGRESS };
    store.registry.put_progress("one", &Progress::default()).await.unwrap();
    store.registry.put_progress("one", &PROGRESS).await.unwrap();
    store.registry.put_progress("two", &idle).await.unwrap();
    store.restart().await;
    assert_eq!(store.registry.progress().await.unwrap(), [PROGRESS, idle]);
    let wanted = Pipeline { watermark: Some(NOW - 5), open_since: Some(NOW - 900_000) };
    assert_eq!(Pipeline::of(&store.registry.progress().await.unwrap(), NOW), wanted);
}

pub async fn a_worker_that_starts_anew_keeps_what_was_settled(store: Store) {
    store.registry.put_progress("one", &PROGRESS).await.unwrap();
    let fresh = Progress { written_at: NOW + 60_000, ..Progress::default() };
    store.registry.put_progress("one", &fresh).await.unwrap();
    let wanted = Progress { newest_settled: Some(NOW), ..fresh };
    assert_eq!(store.registry.progress().await.unwrap(), [wanted]);
}

pub async fn workers_write_at_once(store: Store) {
    store.warm().await;
    let mut tasks = Vec::new();
    for number in 0..16 {
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move {
            // Four workers, each of which writes four times at once.
            let name = format!("worker-{}", number % 4);
            let progress = Progress { newest_settled: Some(NOW), written_at: NOW, ..Progress::default() };
            registry.put_progress(&name, &progress).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.registry.progress().await.unwrap().len(), 4);
}

const DAY: i64 = 86_400_000;

pub async fn workers_that_are_gone_are_forgotten(store: Store) {
    let at = |written_at| Progress { newest_settled: Some(written_at), written_at, ..PROGRESS };
    let ages = [("old", DAY + 1), ("older", 9 * DAY), ("day", DAY), ("young", 5)];
    for (name, _) in ages {
        // First all at one time, so that none is forgotten yet.
        store.registry.put_progress(name, &at(NOW - 9 * DAY)).await.unwrap();
    }
    let idle = Progress { written_at: NOW - 9 * DAY, ..Progress::default() };
    store.registry.put_progress("that settled nothing", &idle).await.unwrap();
    // A row that is there costs one statement, which forgets nobody.
    for (name, age) in ages {
        store.registry.put_progress(name, &at(NOW - age)).await.unwrap();
    }
    assert_eq!(store.registry.progress().await.unwrap().len(), 5);
    store.registry.put_progress("new", &at(NOW)).await.unwrap();
    assert_eq!(store.registry.progress().await.unwrap(), [at(NOW - DAY), at(NOW), at(NOW - 5)]);
}

pub async fn the_watermark_survives_its_worker(store: Store) {
    store.registry.put_progress("old", &PROGRESS).await.unwrap();
    let fresh = Progress { written_at: NOW + 9 * DAY, ..Progress::default() };
    store.registry.put_progress("new", &fresh).await.unwrap();
    let pipeline = Pipeline::of(&store.registry.progress().await.unwrap(), fresh.written_at);
    assert_eq!(pipeline.watermark, PROGRESS.newest_settled);
}
