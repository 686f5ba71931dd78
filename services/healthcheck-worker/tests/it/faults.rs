//! A store that is away, and the end.

use queue::PublishError;

use crate::app::{self, App, NOW, beat, server};

/// The registry takes no sightings; history, which comes first, still stores.
const BREAK: &str = "CREATE TRIGGER away BEFORE INSERT ON sightings BEGIN SELECT RAISE(ABORT, 'away'); END";
const MEND: &str = "DROP TRIGGER away";

async fn until_stored(app: &App, number: u8) {
    testkit::eventually("history stores it", async || app.stored(number).await == 1).await;
}

#[tokio::test]
async fn what_was_half_stored_is_stored_once_when_the_store_is_back() {
    let app = app::spawn().await;
    app.enrol(1).await;
    app.enrol(2).await;
    app.sql(BREAK).await;
    let publisher = app.publisher.clone();
    let published = tokio::spawn(async move {
        publisher.publish(fleet::Message::Snapshots(vec![beat(1, NOW), beat(2, NOW)])).await
    });
    until_stored(&app, 1).await;
    assert!(!published.is_finished(), "acked before every store has it");
    assert_eq!((app.marks(1).await, app.latest(1).await), (None, None));
    app.sql(MEND).await;
    assert_eq!(published.await.unwrap(), Ok(()));
    assert_eq!([app.stored(1).await, app.stored(2).await], [1, 1]);
    assert_eq!(app.marks(2).await.unwrap().sampled_at, NOW);
}

#[tokio::test]
async fn what_waits_for_a_store_is_neither_settled_nor_in_hand() {
    let app = app::spawn().await;
    app.enrol(1).await;
    app.tick(NOW - 1_000, NOW - 1_000).await.unwrap();
    app.sql(BREAK).await;
    let publisher = app.publisher.clone();
    let published =
        tokio::spawn(async move { publisher.publish(fleet::Message::Snapshots(vec![beat(1, NOW)])).await });
    until_stored(&app, 1).await;
    app.stop.cancel();
    let App { running, registry, .. } = app;
    running.await.unwrap();
    let row = registry.progress().await.unwrap()[0];
    assert_eq!((row.newest_settled, row.oldest_in_hand), (Some(NOW - 1_000), None));
    assert!(matches!(published.await.unwrap(), Err(PublishError::Unavailable(_))));
}

#[tokio::test]
async fn the_worker_ends_with_its_publishers_and_settles_what_waits() {
    let app = app::spawn().await;
    app.enrol(1).await;
    let publisher = app.publisher.clone();
    let published =
        tokio::spawn(async move { publisher.publish(fleet::Message::Snapshots(vec![beat(1, NOW)])).await });
    let App { publisher, running, registry, history, .. } = app;
    drop(publisher);
    assert_eq!(published.await.unwrap(), Ok(()));
    running.await.unwrap();
    let extents = history.extents(&[server(1)]).await.unwrap();
    assert_eq!(extents[0].unwrap().newest, NOW);
    assert_eq!(registry.progress().await.unwrap()[0].newest_settled, Some(NOW));
}

#[tokio::test]
async fn a_message_of_discarded_snapshots_alone_is_acked_and_moves_the_watermark() {
    let app = app::spawn().await;
    app.enrol(9).await;
    app.registry.revoke(server(9), &registry::Actor::system(), NOW).await.unwrap().unwrap();
    app.publish(vec![beat(9, NOW)]).await.unwrap();
    app.publish(Vec::new()).await.unwrap();
    app.stop.cancel();
    let App { running, registry, .. } = app;
    running.await.unwrap();
    assert_eq!(registry.progress().await.unwrap()[0].newest_settled, Some(NOW));
}
