//! The suite was off: what people see afterwards.

use chassis::Clock;
use testkit::{eventually, tempdir};

use crate::suite::{Client, Suite};

const NOW: i64 = 1_790_000_000_000;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;

/// Waits until everything up to this moment is stored, as ticks tell.
async fn caught_up(client: &Client, clock: &Clock) {
    let now = clock.now();
    let caught_up = async || client.get("status").await["watermark"].as_i64() >= Some(now);
    eventually("the watermark reaches now", caught_up).await;
}

#[tokio::test]
async fn after_an_hour_off_nobody_is_down_who_answers_and_the_silent_one_is_after_four_intervals() {
    let dir = tempdir().unwrap();
    let clock = Clock::fixed(NOW);
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    let (well, gone) = (suite.client.enrol("well").await, suite.client.enrol("gone").await);
    suite.client.beat(&well, NOW).await;
    suite.client.beat(&gone, NOW).await;
    suite.stop().await;

    clock.advance(HOUR);
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    caught_up(&suite.client, &clock).await;
    assert_eq!(suite.client.state(&well).await, "up");
    assert_eq!(suite.client.state(&gone).await, "up");

    // Steps shorter than 15 s: a longer gap between two ticks would be an outage of its own.
    clock.advance(4 * SECOND);
    suite.client.beat(&well, clock.now()).await;
    caught_up(&suite.client, &clock).await;
    assert_eq!(suite.client.get("status").await["down"], 0);
    clock.advance(1);
    caught_up(&suite.client, &clock).await;
    assert_eq!(suite.client.state(&well).await, "up");
    assert_eq!(suite.client.state(&gone).await, "down");
    suite.stop().await;
}

#[tokio::test]
async fn an_uptime_figure_outlives_a_restart_and_counts_the_gap() {
    let dir = tempdir().unwrap();
    let clock = Clock::fixed(NOW);
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    let host = suite.client.enrol("host").await;
    for beat in 1..=20 {
        clock.set(NOW + beat * SECOND);
        suite.client.beat(&host, clock.now()).await;
    }
    suite.stop().await;

    // 20 s covered, 20 s missed, 20 s covered.
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    for beat in 41..=60 {
        clock.set(NOW + beat * SECOND);
        suite.client.beat(&host, clock.now()).await;
    }
    let path = format!("servers/{}/uptime?from={NOW}&to={}", host.id, NOW + HOUR);
    let figure = suite.client.get(&path).await;
    assert_eq!(figure["expected_ms"], 60 * SECOND, "{figure}");
    assert_eq!(figure["covered_ms"], 40 * SECOND, "{figure}");
    suite.stop().await;
}
