//! What only this process can promise: a publisher waits for the settlement. Time is paused: what would wait for ever ends
//! at the ten seconds, with an error.

use std::{pin::pin, time::Duration};

use queue::{Consumer, PublishError, Publisher, Refused};
use tokio::time::{Instant, timeout};

use crate::contract::{ack, messages, publish, receive};

pub async fn publish_returns_after_ack(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let published = publish(&publisher, 1).await;
    let batch = receive(&mut consumer).await;
    tokio::task::yield_now().await;
    assert!(!published.is_finished());
    ack(batch).await;
    assert_eq!(published.await.unwrap(), Ok(()));
}

pub async fn unacked_delivery_is_not_settled(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let published = publish(&publisher, 1).await;
    drop(receive(&mut consumer).await);
    tokio::task::yield_now().await;
    assert!(!published.is_finished());
    let again = receive(&mut consumer).await;
    assert_eq!(messages(&again), [1]);
    ack(again).await;
    assert_eq!(published.await.unwrap(), Ok(()));
}

pub async fn what_returns_keeps_its_order_and_its_changes(
    publisher: Publisher<u32>,
    mut consumer: Consumer<u32>,
) {
    let _first = publish(&publisher, 1).await;
    let _second = publish(&publisher, 2).await;
    let mut batch = receive(&mut consumer).await;
    *batch[1].message_mut() = 20;
    let _third = publish(&publisher, 3).await;
    drop(batch);
    assert_eq!(messages(&receive(&mut consumer).await), [1, 20, 3]);
}

pub async fn full_is_told_at_once(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let mut waiting = Vec::new();
    for message in 0..4 {
        waiting.push(publish(&publisher, message).await);
    }
    let begun = Instant::now();
    assert!(matches!(publisher.publish(4).await, Err(PublishError::Unavailable(_))));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    ack(receive(&mut consumer).await).await;
    for published in waiting {
        assert_eq!(published.await.unwrap(), Ok(()));
    }
    let published = publish(&publisher, 5).await;
    ack(receive(&mut consumer).await).await;
    assert_eq!(published.await.unwrap(), Ok(()));
}

pub async fn refused_parts_come_back_to_the_publisher(
    publisher: Publisher<u32>,
    mut consumer: Consumer<u32>,
) {
    let published = publish(&publisher, 1).await;
    let refused = vec![Refused { message: 1, reason: "odd".to_owned() }];
    for delivery in receive(&mut consumer).await {
        delivery.refuse(refused.clone()).await;
    }
    assert_eq!(published.await.unwrap(), Err(PublishError::Refused(refused)));
    let never = consumer.receive(1);
    assert!(timeout(Duration::from_secs(60), never).await.is_err(), "what was refused came back");
}

pub async fn closed_is_unavailable(publisher: Publisher<u32>, consumer: Consumer<u32>) {
    drop(consumer);
    let begun = Instant::now();
    assert!(matches!(publisher.publish(1).await, Err(PublishError::Unavailable(_))));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

pub async fn a_lost_consumer_frees_those_who_wait(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let begun = Instant::now();
    let taken = publish(&publisher, 1).await;
    let batch = receive(&mut consumer).await;
    let waiting = publish(&publisher, 2).await;
    drop(consumer);
    assert!(matches!(waiting.await.unwrap(), Err(PublishError::Unavailable(_))));
    drop(batch);
    assert!(matches!(taken.await.unwrap(), Err(PublishError::Unavailable(_))));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

pub async fn silence_of_ten_seconds_is_unavailable(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let begun = Instant::now();
    assert!(matches!(publisher.publish(1).await, Err(PublishError::Unavailable(_))));
    assert!(begun.elapsed() >= Duration::from_secs(10) && begun.elapsed() < Duration::from_secs(11));
    assert_eq!(messages(&receive(&mut consumer).await), [1], "whoever stopped waiting lost nothing");
}

pub async fn all_that_waits_comes_at_once(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let _waiting = [publish(&publisher, 1).await, publish(&publisher, 2).await, publish(&publisher, 3).await];
    assert_eq!(messages(&receive(&mut consumer).await), [1, 2, 3]);
}

pub async fn the_head_of_the_queue_comes_first(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let _waiting = [publish(&publisher, 1).await, publish(&publisher, 2).await, publish(&publisher, 3).await];
    let two = consumer.receive(2).await.unwrap();
    assert_eq!(messages(&two), [1, 2]);
    drop(two);
    let first = consumer.receive(1).await.unwrap();
    assert_eq!(messages(&first), [1]);
    let rest = consumer.receive(100).await.unwrap();
    assert_eq!(messages(&rest), [2, 3]);
}

pub async fn no_publisher_is_the_end(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let clone = publisher.clone();
    let published = publish(&publisher, 1).await;
    published.abort();
    drop((publisher, published.await));
    assert_eq!(messages(&receive(&mut consumer).await), [1], "what still waits comes first");
    let batch = receive(&mut consumer).await;
    ack(batch).await;
    let mut end = pin!(consumer.receive(1));
    assert!(timeout(Duration::from_secs(1), &mut end).await.is_err(), "a clone may still publish");
    drop(clone);
    assert!(timeout(Duration::from_secs(1), &mut end).await.unwrap().is_none());
}

pub async fn receiving_waits_for_a_message(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    assert!(timeout(Duration::from_secs(1), consumer.receive(1)).await.is_err());
    let _published = publish(&publisher, 1).await;
    assert_eq!(messages(&receive(&mut consumer).await), [1]);
}
