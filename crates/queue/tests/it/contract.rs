//! What every variant promises, one promise a case.

use std::{pin::pin, time::Duration};

use queue::{Consumer, Delivery, PublishError, Publisher};
use tokio::{task::JoinHandle, time::timeout};

pub type Published = JoinHandle<Result<(), PublishError<u32>>>;

/// Publishes in a task of its own and lets it run until it waits.
pub async fn publish(publisher: &Publisher<u32>, message: u32) -> Published {
    let publisher = publisher.clone();
    let task = tokio::spawn(async move { publisher.publish(message).await });
    tokio::task::yield_now().await;
    task
}

pub fn messages(batch: &[Delivery<u32>]) -> Vec<u32> {
    batch.iter().map(|delivery| *delivery.message()).collect()
}

pub async fn receive(consumer: &mut Consumer<u32>) -> Vec<Delivery<u32>> {
    consumer.receive(100).await.unwrap()
}

/// Receives until it has so many.
pub async fn collect(consumer: &mut Consumer<u32>, count: usize) -> Vec<Delivery<u32>> {
    let mut batch = Vec::new();
    while batch.len() < count {
        batch.extend(consumer.receive(count - batch.len()).await.unwrap());
    }
    batch
}

pub async fn ack(batch: Vec<Delivery<u32>>) {
    for delivery in batch {
        delivery.ack().await;
    }
}

pub async fn what_is_published_arrives(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let published = publish(&publisher, 1).await;
    let batch = receive(&mut consumer).await;
    assert_eq!(messages(&batch), [1]);
    ack(batch).await;
    assert_eq!(published.await.unwrap(), Ok(()));
}

pub async fn unacked_delivery_returns(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let published = publish(&publisher, 1).await;
    drop(receive(&mut consumer).await);
    let again = receive(&mut consumer).await;
    assert_eq!(messages(&again), [1]);
    ack(again).await;
    assert_eq!(published.await.unwrap(), Ok(()));
}

pub async fn acked_delivery_never_returns(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let _first = publish(&publisher, 1).await;
    ack(receive(&mut consumer).await).await;
    let _second = publish(&publisher, 2).await;
    assert_eq!(messages(&receive(&mut consumer).await), [2]);
}

pub async fn first_published_is_first_received(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let _waiting = [publish(&publisher, 1).await, publish(&publisher, 2).await, publish(&publisher, 3).await];
    assert_eq!(messages(&collect(&mut consumer, 3).await), [1, 2, 3]);
}

pub async fn most_is_the_most(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let _waiting = [publish(&publisher, 1).await, publish(&publisher, 2).await, publish(&publisher, 3).await];
    let batch = collect(&mut consumer, 3).await;
    drop(batch);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let batch = consumer.receive(2).await.unwrap();
        assert!(batch.len() <= 2);
        seen.extend(messages(&batch));
        ack(batch).await;
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3]);
}

pub async fn full_is_unavailable_until_there_is_room(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    consumer.pause();
    let mut waiting = Vec::new();
    let full = loop {
        let mut published = publish(&publisher, 1).await;
        match timeout(Duration::from_secs(1), &mut published).await {
            Ok(Err(error)) => panic!("{error}"),
            Ok(Ok(Err(error))) => break error,
            Ok(Ok(Ok(()))) | Err(_) => waiting.push(published),
        }
        assert!(waiting.len() < 100, "it takes them all");
    };
    assert!(matches!(full, PublishError::Unavailable(_)), "{full}");
    assert!(waiting.len() >= 4, "it is full with {}", waiting.len());
    let draining = tokio::spawn(async move {
        loop {
            ack(receive(&mut consumer).await).await;
        }
    });
    testkit::eventually("there is room again", async || publisher.publish(2).await.is_ok()).await;
    draining.abort();
}

pub async fn a_message_outlives_its_publisher(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let published = publish(&publisher, 1).await;
    published.abort();
    assert!(published.await.unwrap_err().is_cancelled());
    let batch = receive(&mut consumer).await;
    assert_eq!(messages(&batch), [1]);
    ack(batch).await;
}

pub async fn receiving_can_be_given_up(publisher: Publisher<u32>, mut consumer: Consumer<u32>) {
    let _published = publish(&publisher, 1).await;
    for _ in 0..3 {
        let mut given_up = pin!(consumer.receive(1));
        tokio::select! {
            biased;
            () = std::future::ready(()) => {}
            _ = &mut given_up => {}
        }
    }
    assert_eq!(messages(&receive(&mut consumer).await), [1]);
}
