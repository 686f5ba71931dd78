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
