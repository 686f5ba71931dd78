//! What a broker adds: it is away, comes back, is full, holds what nobody wrote, and confirms what it keeps.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::join_all};
use lapin::{
    options::{ConfirmSelectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use queue::{
    Consumer, PublishError, Refused,
    rabbitmq::{LARGEST, consumer, dead_letters, publisher, redrive},
};
use testkit::eventually;

use crate::{
    contract::{ack, collect, messages, receive},
    place::Place,
};

fn arguments(pairs: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

#[tokio::test]
async fn queues_are_what_the_contract_says() {
    let place = Place::new().await;
    let _publisher = place.publisher().await;
    let dead = place.dead();
    let arguments = arguments(&[
        ("x-queue-type", text("quorum")),
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(&dead)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-delivery-limit", AMQPValue::LongInt(50)),
    ]);
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    // The broker refuses to declare a queue again with other arguments.
    place.channel.queue_declare(place.queue().as_str().into(), options, arguments).await.unwrap();
}

#[tokio::test]
async fn publish_returns_once_the_broker_has_it() {
    let place = Place::new().await;
    let publisher = place.publisher().await;
    publisher.publish(1).await.unwrap();
    publisher.publish(2).await.unwrap();
    assert_eq!(place.ready(&place.queue()).await, 2);
}

#[tokio::test]
async fn a_broker_that_is_away_is_told_at_once_and_found_later() {
    let place = Place::through_a_proxy().await;
    let proxy = place.proxy();
    proxy.cut();
    let publisher = publisher::<u32>(&place.settings);
    let mut consumer = consumer::<u32>(&place.settings);
    let begun = Instant::now();
    assert!(matches!(publisher.publish(1).await, Err(PublishError::Unavailable(_))));
    // A confirm would be waited for ten.
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(publisher.reached().now_or_never().is_none());
    assert!(consumer.reached().now_or_never().is_none());
    assert!(dead_letters(&place.settings).await.is_err());
    proxy.mend();
    publisher.reached().await;
    consumer.reached().await;
    publisher.publish(2).await.unwrap();
    assert_eq!(messages(&receive(&mut consumer).await), [2]);
}

#[tokio::test]
async fn prefetch_is_as_configured_after_a_reconnect() {
    let mut place = Place::through_a_proxy().await;
    place.settings.prefetch = 3;
    let proxy = place.proxy();
    let publisher = place.publisher().await;
    for message in 0..10 {
        publisher.publish(message).await.unwrap();
    }
    let mut consumer = place.consumer().await;
    let held = collect(&mut consumer, 3).await;
    eventually("seven wait", async || place.ready(&place.queue()).await == 7).await;
    proxy.cut();
    eventually("all went back", async || place.ready(&place.queue()).await == 10).await;
    // Their connection is lost, so settling them has no effect.
    ack(held).await;
    proxy.mend();
    let held = collect(&mut consumer, 3).await;
    // Without a prefetch the broker would deliver these too, before it confirms them.
    eventually("connected", async || publisher.publish(10).await.is_ok()).await;
    publisher.publish(11).await.unwrap();
    assert!(consumer.receive(100).now_or_never().is_none(), "more than the prefetch");
    assert_eq!(place.ready(&place.queue()).await, 9);
    let mut seen = BTreeSet::from_iter(messages(&held));
    ack(held).await;
    for _ in 0..9 {
        let one = collect(&mut consumer, 1).await;
        seen.extend(messages(&one));
        ack(one).await;
    }
    assert_eq!(seen, (0..12).collect());
}

#[tokio::test]
async fn confirmed_is_never_lost_when_connections_break() {
    let place = Place::through_a_proxy().await;
    let proxy = place.proxy();
    let publisher = place.publisher().await;
    let mut consumer = place.consumer().await;
    let (mut confirmed, mut seen) = (BTreeSet::new(), BTreeMap::<u32, u32>::new());
    for round in 0..8 {
        let sent = (0..300).map(|number| publisher.publish(round * 1_000 + number));
        let cutting = async {
            // Cuts at another moment in each round.
            for _ in 0..round * 20 {
                tokio::task::yield_now().await;
            }
            proxy.cut();
            proxy.mend();
        };
        let (outcomes, ()) = tokio::join!(join_all(sent), cutting);
        for (number, outcome) in (0..).zip(outcomes) {
            if outcome.is_ok() {
                confirmed.insert(round * 1_000 + number);
            }
        }
        eventually("connected again", async || publisher.publish(u32::MAX).await.is_ok()).await;
    }
    assert!(confirmed.len() > 300, "{} confirmed", confirmed.len());
    while !confirmed.iter().all(|number| seen.contains_key(number)) {
        let batch = receive(&mut consumer).await;
        for number in messages(&batch) {
            *seen.entry(number).or_default() += 1;
        }
        ack(batch).await;
    }
}

#[tokio::test]
async fn a_swallowed_confirm_is_unavailable_and_at_most_a_duplicate() {
    let place = Place::through_a_proxy().await;
    let proxy = place.proxy();
    let publisher = place.publisher().await;
    proxy.swallow_replies();
    let begun = Instant::now();
    assert!(matches!(publisher.publish(1).await, Err(PublishError::Unavailable(_))));
    assert!(begun.elapsed() >= Duration::from_secs(9) && begun.elapsed() < Duration::from_secs(15));
    assert_eq!(place.ready(&place.queue()).await, 1);
    proxy.mend();
    eventually("connected again", async || publisher.publish(2).await.is_ok()).await;
    // That may have been the connection which is about to be given up: another attempt may be in doubt too.
    let attempts = Cell::new(1);
    eventually("it is sent again", async || {
        attempts.set(attempts.get() + 1);
        publisher.publish(1).await.is_ok()
    })
    .await;
    let waiting = place.ready(&place.queue()).await;
    let batch = collect(&mut place.consumer().await, waiting as usize).await;
    let ones = messages(&batch).into_iter().filter(|message| *message == 1).count();
    assert!((2..=attempts.get()).contains(&ones), "{ones} of {} attempts", attempts.get());
    drop(batch);
}

#[tokio::test]
async fn a_broker_that_stalls_is_left_and_found_again() {
    let place = Place::through_a_proxy().await;
    let proxy = place.proxy();
    let publisher = place.publisher().await;
    proxy.stall();
    assert!(matches!(publisher.publish(1).await, Err(PublishError::Unavailable(_))));
    eventually("it is taken for away", async || {
        publisher.publish(2).await == Err(PublishError::Unavailable("the broker is away"))
    })
    .await;
    proxy.mend();
    eventually("connected again", async || publisher.publish(3).await.is_ok()).await;
}

#[tokio::test]
async fn a_deleted_queue_confirms_nothing_and_comes_back() {
    let place = Place::new().await;
    let publisher = place.publisher().await;
    let mut consumer = place.consumer().await;
    consumer.pause();
    publisher.publish(0).await.unwrap();
    place.delete(&place.queue()).await;
    let outcomes = join_all((0..500).map(|number| publisher.publish(number))).await;
    let confirmed = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(confirmed < 500);
    eventually("declared again", async || publisher.publish(500).await.is_ok()).await;
    assert!(place.ready(&place.queue()).await as usize > confirmed);
    let batch = collect(&mut consumer, confirmed + 1).await;
    ack(batch).await;
}

#[tokio::test]
async fn poison_is_dead_lettered_at_the_first_try_and_its_neighbours_are_unharmed() {
    let place = Place::new().await;
    place.channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let publisher = place.publisher().await;
    publisher.publish(1).await.unwrap();
    place.put(b"\xff\xfe").await;
    place.put(br#"{"version":99}"#).await;
    publisher.publish(2).await.unwrap();
    place.put(&vec![b'1'; 10_000_000]).await;
    place.put(b"").await;
    publisher.publish(3).await.unwrap();
    let mut consumer = place.consumer().await;
    let batch = collect(&mut consumer, 3).await;
    assert_eq!(messages(&batch), [1, 2, 3]);
    eventually("four dead letters", async || dead_letters(&place.settings).await == Ok(4)).await;
    ack(batch).await;
    drop(consumer);
    let letters = place.take_dead().await;
    let bytes: Vec<usize> = letters.iter().map(|(payload, ..)| payload.len()).collect();
    assert_eq!(bytes, [10_000_000, 2, 0, 14]);
    let starts = [
        "it is 10000000 bytes long",
        "it is not UTF-8",
        "it is not a message: EOF",
        "it is not a message: invalid type",
    ];
    for ((_, reason, origin), start) in letters.iter().zip(starts) {
        assert!(reason.starts_with(start), "{reason}");
        assert_eq!(*origin, place.queue());
    }
    assert_eq!(place.ready(&place.queue()).await, 0);
}

#[tokio::test]
async fn refused_parts_alone_are_dead_lettered_each_with_its_reason() {
    let place = Place::new().await;
    let publisher = place.publisher().await;
    publisher.publish(1).await.unwrap();
    publisher.publish(2).await.unwrap();
    let mut consumer = place.consumer().await;
    for delivery in collect(&mut consumer, 2).await {
        match delivery.message() {
            1 => {
                let refused = |message, reason: &str| Refused { message, reason: reason.to_owned() };
                delivery.refuse(vec![refused(10, "odd"), refused(11, "odder")]).await;
            }
            _ => delivery.ack().await,
        }
    }
    drop(consumer);
    eventually("nothing is left", async || place.ready(&place.queue()).await == 0).await;
    let (odd, origin) = (|reason: &str| reason.to_owned(), place.queue());
    let expected = [(b"10".to_vec(), odd("odd"), origin.clone()), (b"11".to_vec(), odd("odder"), origin)];
    assert_eq!(place.take_dead().await, expected);
}

#[tokio::test]
async fn dead_letters_go_through_again() {
    let place = Place::new().await;
    assert_eq!(dead_letters(&place.settings).await, Ok(0), "nobody has declared it yet");
    let publisher = place.publisher().await;
    let mut consumer = place.consumer().await;
    for message in 0..250 {
        publisher.publish(message).await.unwrap();
    }
    place.put(b"never a number").await;
    for _ in 0..250 {
        let delivery = collect(&mut consumer, 1).await.remove(0);
        let message = *delivery.message();
        delivery.refuse(vec![Refused { message, reason: "not today".to_owned() }]).await;
    }
    eventually("all are dead", async || dead_letters(&place.settings).await == Ok(251)).await;
    assert_eq!(redrive(&place.settings).await, Ok(251));
    let batch = collect(&mut consumer, 200).await;
    let mut seen = BTreeSet::from_iter(messages(&batch));
    ack(batch).await;
    let batch = collect(&mut consumer, 50).await;
    seen.extend(messages(&batch));
    ack(batch).await;
    assert_eq!(seen, (0..250).collect());
    eventually("the hopeless one is back", async || dead_letters(&place.settings).await == Ok(1)).await;
    assert!(place.take_dead().await[0].1.starts_with("it is not a message"));
}

#[tokio::test]
async fn what_is_never_settled_ends_as_a_dead_letter() {
    let place = Place::new().await;
    let publisher = place.publisher().await;
    let mut consumer = place.consumer().await;
    publisher.publish(1).await.unwrap();
    for _ in 0..=50 {
        drop(receive(&mut consumer).await);
    }
    eventually("it is dead", async || dead_letters(&place.settings).await == Ok(1)).await;
    assert_eq!(redrive(&place.settings).await, Ok(1));
    assert_eq!(messages(&receive(&mut consumer).await), [1]);
}

#[tokio::test]
async fn a_paused_consumer_leaves_everything_to_others() {
    let place = Place::new().await;
    let publisher = place.publisher().await;
    let mut paused = place.consumer().await;
    for message in 0..10 {
        publisher.publish(message).await.unwrap();
    }
    let held = collect(&mut paused, 5).await;
    paused.pause();
    let mut other = place.consumer().await;
    let batch = collect(&mut other, 10).await;
    ack(held).await;
    assert_eq!(BTreeSet::from_iter(messages(&batch)), (0..10).collect());
    drop(batch);
    drop(other);
    let batch = collect(&mut paused, 10).await;
    assert_eq!(BTreeSet::from_iter(messages(&batch)), (0..10).collect(), "it resumes");
}

#[tokio::test]
async fn what_a_pause_hands_back_was_handed_out_once() {
    let place = Place::new().await;
    let publisher = place.publisher().await;
    join_all((0..300).map(|message| publisher.publish(message))).await;
    let mut consumer = place.consumer().await;
    let mut done = collect(&mut consumer, 200).await;
    let held = done.split_off(100);
    ack(done).await;
    consumer.pause();
    drop(held);
    eventually("the rest is back", async || place.ready(&place.queue()).await == 200).await;
    assert_eq!(place.most_deliveries().await, 1);
}

#[tokio::test]
async fn closing_tells_the_broker_of_all_that_was_settled() {
    let place = Place::new().await;
    let publisher = place.publisher().await;
    join_all((0..150).map(|message| publisher.publish(message))).await;
    let mut consumer = place.consumer().await;
    let mut held = collect(&mut consumer, 150).await;
    drop(held.split_off(140));
    ack(held).await;
    consumer.close().await;
    eventually("ten went back", async || place.ready(&place.queue()).await == 10).await;
}

#[tokio::test]
async fn what_is_in_hand_outlives_its_consumer() {
    let place = Place::new().await;
    let publisher = place.publisher().await;
    for message in 0..3 {
        publisher.publish(message).await.unwrap();
    }
    let mut consumer: Consumer<u32> = place.consumer().await;
    let mut held = collect(&mut consumer, 2).await;
    drop(consumer);
    eventually("the third went back", async || place.ready(&place.queue()).await == 1).await;
    held.remove(0).ack().await;
    drop(held);
    eventually("the second went back", async || place.ready(&place.queue()).await == 2).await;
}

#[tokio::test]
async fn what_was_acked_at_last_is_acked() {
    let place = Place::new().await;
    let publisher = place.publisher().await;
    join_all((0..600).map(|message| publisher.publish(message))).await;
    let mut seen = BTreeSet::new();
    for _ in 0..6 {
        let mut consumer = place.consumer().await;
        let batch = collect(&mut consumer, 100).await;
        seen.extend(messages(&batch));
        // The consumer is dropped while its acks are on their way.
        ack(batch).await;
    }
    assert_eq!(seen, (0..600).collect(), "nothing came twice");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let place = Place::new().await;
    let publisher = publisher::<String>(&place.settings);
    publisher.reached().await;
    let largest = "x".repeat(LARGEST - 2);
    publisher.publish(largest).await.unwrap();
    let Err(PublishError::Refused(refused)) = publisher.publish("x".repeat(LARGEST - 1)).await else {
        panic!("it was taken")
    };
    assert_eq!(refused.len(), 1);
    assert!(refused[0].reason.contains("100001 bytes long"), "{}", refused[0].reason);
}
