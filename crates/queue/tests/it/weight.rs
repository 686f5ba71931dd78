//! What only the variant within a process has: its bound is a weight.

use queue::PublishError;

#[tokio::test(start_paused = true)]
async fn what_is_unsettled_counts_by_its_weight_wherever_it_is() {
    let (publisher, mut consumer) = queue::in_process(10, |message: &usize| *message);
    let publish = async |message| publisher.publish(message).await;
    let full = async |message| matches!(publish(message).await, Err(PublishError::Unavailable("full")));
    assert!(full(11).await);
    // Its publisher gives up after ten seconds; it is still there.
    assert_eq!(publish(7).await, Err(PublishError::Unavailable("not stored within 10 s")));
    assert!(full(4).await);
    let in_hand = consumer.receive(10).await.unwrap();
    assert!(full(4).await);
    drop(in_hand);
    assert!(full(4).await);
    for delivery in consumer.receive(10).await.unwrap() {
        delivery.ack().await;
    }
    assert!(!full(10).await);
}
