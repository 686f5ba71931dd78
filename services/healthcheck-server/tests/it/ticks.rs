//! The gate says that it is open.

use fleet::Tick;

use crate::app::{self, Consume, NOW};

#[tokio::test]
async fn the_first_tick_comes_at_once() {
    let app = app::spawn(Consume::AllBut(0)).await;
    app.run();
    testkit::eventually("a tick", async || !app.ticks().is_empty()).await;
    assert_eq!(app.ticks()[0], Tick { gate: "gate".to_owned(), at: NOW, open_since: NOW });
}

#[tokio::test(start_paused = true)]
async fn ticks_come_every_five_seconds_and_a_gap_starts_a_new_opening() {
    use cache::Cache;
    use chassis::Clock;
    use fleet::Message;
    use healthcheck_server::{Gate, GateSettings};

    let (publisher, mut consumer) = queue::in_process(100, |_| 1);
    let clock = Clock::fixed(NOW);
    let settings = GateSettings {
        keyring: app::ring(),
        history_days: 35,
        name: "gate".to_owned(),
        room: None,
        held_polls: 1,
    };
    let gate = Gate::new(settings, publisher, Cache::in_process(), clock.clone());
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(gate.run(stop.clone()));
    let mut told = Vec::new();
    for step in [5_000, 5_000, 16_000, 5_000] {
        for delivery in consumer.receive(100).await.unwrap() {
            let Message::Tick(tick) = delivery.message().clone() else { panic!("not a tick") };
            told.push((tick.at - NOW, tick.open_since - NOW));
            delivery.ack().await;
        }
        tokio::task::yield_now().await;
        clock.advance(step);
    }
    assert_eq!(told, [(0, 0), (5_000, 0), (10_000, 0), (26_000, 26_000)]);
    stop.cancel();
    running.await.unwrap();
    assert!(consumer.receive(1).await.is_none(), "a stopped gate holds no publisher");
}

#[tokio::test(start_paused = true)]
async fn a_gate_whose_disk_is_full_is_not_open() {
    use std::time::Duration;

    use cache::Cache;
    use chassis::{Clock, Room};
    use fleet::Message;
    use healthcheck_server::{Gate, GateSettings};

    let (publisher, mut consumer) = queue::in_process(100, |_| 1);
    let (clock, room) = (Clock::fixed(NOW), Room::new(100, 99));
    let name = "gate".to_owned();
    let settings = GateSettings {
        keyring: app::ring(),
        history_days: 35,
        name,
        room: Some(room.clone()),
        held_polls: 1,
    };
    let gate = Gate::new(settings, publisher, Cache::in_process(), clock.clone());
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(gate.run(stop.clone()));
    let minute = Duration::from_secs(60);
    assert!(tokio::time::timeout(minute, consumer.receive(1)).await.is_err(), "a tick");
    clock.advance(60_000);
    room.measured(1_000, 0);
    let delivery = consumer.receive(1).await.unwrap().pop().unwrap();
    let Message::Tick(tick) = delivery.message().clone() else { panic!("not a tick") };
    assert_eq!(tick.open_since, NOW + 60_000);
    delivery.ack().await;
    stop.cancel();
    running.await.unwrap();
}
