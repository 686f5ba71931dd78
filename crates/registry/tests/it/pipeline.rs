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

pub async fn a_lease_is_one_holders_until_it_ends_or_is_given_back(store: Store) {
    let take =
        async |holder: &str, now, until| store.registry.take_lease("work", holder, now, until).await.unwrap();
    assert!(take("one", NOW, NOW + 60).await);
    assert!(!take("two", NOW + 59, NOW + 119).await);
    assert!(take("one", NOW + 59, NOW + 119).await, "it is renewed");
    assert!(!take("two", NOW + 118, NOW + 178).await);
    assert!(take("two", NOW + 119, NOW + 179).await, "it has ended");
    assert!(!take("one", NOW + 119, NOW + 179).await);
    assert!(store.registry.take_lease("other", "one", NOW, NOW + 60).await.unwrap());
    store.registry.give_back_lease("work", "one").await.unwrap();
    assert!(!take("one", NOW + 120, NOW + 180).await, "it was not its own");
    store.registry.give_back_lease("work", "two").await.unwrap();
    assert!(take("one", NOW + 120, NOW + 7_200_000).await);
    // A clock that was a day ahead does not keep it for a day.
    assert!(take("two", NOW + 120 + 3_600_000, NOW + 9_000_000).await);
}

pub async fn of_those_who_ask_at_once_one_has_the_lease(store: Store) {
    store.warm().await;
    let mut tasks = Vec::new();
    for number in 0..8 {
        let registry = store.registry.clone();
        let holder = format!("worker-{number}");
        tasks.push(tokio::spawn(async move {
            registry.take_lease("work", &holder, NOW, NOW + 60).await.unwrap()
        }));
    }
    let mut holders = 0;
    for task in tasks {
        holders += u32::from(task.await.unwrap());
    }
    assert_eq!(holders, 1);
}
