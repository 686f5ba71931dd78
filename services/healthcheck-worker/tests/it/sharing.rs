//! Two workers on one queue.

use std::time::Duration;

use ::fleet::Message;
use futures_util::future::join_all;

use crate::{
    app::{NOW, beat},
    fleet,
};

#[tokio::test]
async fn two_workers_share_the_work_and_store_nothing_twice() {
    fleet::with(async |fleet| {
        fleet.enrol([1, 2]).await;
        let holding = Duration::from_secs(600);
        let workers = [fleet.worker("one", holding), fleet.worker("two", holding)];
        // Each takes part before the load comes.
        testkit::eventually("both have rows", async || fleet.registry.progress().await.unwrap().len() == 2)
            .await;
        let messages = (0..1_000).map(|number| {
            let records = vec![beat(1, NOW - number), beat(2, NOW - number)];
            fleet.publisher.publish(Message::Snapshots(records))
        });
        assert!(join_all(messages).await.iter().all(Result::is_ok));
        fleet.until_stored(2_000).await;
        let [one, two] = workers;
        one.stop().await;
        two.stop().await;
        fleet.nothing_is_left().await;
        assert_eq!(fleet.stored().await, 2_000);
        let rows = fleet.registry.progress().await.unwrap();
        assert!(rows.iter().all(|row| row.newest_settled.is_some()), "{rows:?}");
        assert!(rows.iter().all(|row| row.oldest_in_hand.is_none()), "{rows:?}");
    })
    .await;
}
