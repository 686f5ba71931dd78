//! A worker waits for company where it is told to, and acks nothing meanwhile.

use std::{pin::pin, time::Duration};

use futures_util::{future::join_all, poll};
use tokio::time::Instant;

use crate::app::{self, NOW, beat};

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn nothing_is_acked_before_there_is_enough_company() {
    let app = app::spawn_gathering(HOUR).await;
    app.enrol(1).await;
    let mut snapshots = pin!(join_all((0..49).map(|at| app.publish(vec![beat(1, NOW + at)]))));
    assert!(poll!(snapshots.as_mut()).is_pending());
    assert_eq!(app.stored(1).await, 0);
    app.tick(NOW, NOW).await.unwrap();
    assert!(snapshots.await.iter().all(Result::is_ok));
    assert_eq!(app.stored(1).await, 49);
}

#[tokio::test]
async fn snapshots_alone_are_stored_when_the_time_is_over() {
    let gathering = Duration::from_millis(50);
    let app = app::spawn_gathering(gathering).await;
    app.enrol(1).await;
    let begun = Instant::now();
    app.publish(vec![beat(1, NOW)]).await.unwrap();
    assert!(begun.elapsed() >= gathering);
    assert_eq!(app.stored(1).await, 1);
}

#[tokio::test]
async fn a_tick_waits_for_nobody_and_many_snapshots_wait_for_no_more() {
    let app = app::spawn_gathering(HOUR).await;
    app.enrol(1).await;
    app.tick(NOW, NOW).await.unwrap();
    app.publish((0..5_000).map(|at| beat(1, NOW + at)).collect()).await.unwrap();
    assert_eq!(app.stored(1).await, 5_000);
}

#[tokio::test]
async fn a_shutdown_ends_the_wait_and_what_is_in_hand_is_stored() {
    let app = app::spawn_gathering(HOUR).await;
    app.enrol(1).await;
    app.tick(NOW, NOW).await.unwrap();
    let mut snapshot = pin!(app.publish(vec![beat(1, NOW)]));
    assert!(poll!(snapshot.as_mut()).is_pending());
    // The worker was woken by it, and runs before this task does again.
    tokio::task::yield_now().await;
    app.stop.cancel();
    snapshot.await.unwrap();
    assert_eq!(app.stored(1).await, 1);
}
