//! The gate as a process is composed, with a clock that the test sets.

use std::{net::TcpListener, time::Duration};

use chassis::{Clock, http::Bounds, lifecycle::Shutdown};
use healthcheck_server::settings::Settings;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{app::ring, place::Place};

#[tokio::test]
async fn a_clock_that_is_off_by_more_than_thirty_seconds_makes_it_unready() {
    let place = Place::new().await;
    let settings = Settings {
        keyring: ring(),
        history_days: 35,
        amqp_url: place.amqp_url.parse().unwrap(),
        redis_url: place.redis_url.parse().unwrap(),
        prefix: place.prefix.clone(),
        drain: Duration::ZERO,
        bounds: Bounds { connections: 100, per_address: None, bytes: 1024 * 1024 },
    };
    let (right, clock) = (Clock::system(), Clock::fixed(0));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/health/ready", listener.local_addr().unwrap());
    let shutdown = Shutdown::default();
    let running = healthcheck_server::run(settings, clock.clone(), listener, shutdown.clone());
    let running = tokio::spawn(running);

    let client = testkit::http();
    let missing = async || {
        let answer: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
        answer["missing"].clone()
    };
    let ready = Value::Null;
    eventually("only its clock is wrong", async || missing().await == json!(["clock"])).await;
    for off in [29_000, -29_000] {
        eventually("ready", async || {
            clock.set(right.now() + off);
            missing().await == ready
        })
        .await;
        eventually("unready", async || {
            clock.set(right.now() + off.signum() * 31_000);
            missing().await == json!(["clock"])
        })
        .await;
    }
    shutdown.soft.cancel();
    running.await.unwrap().unwrap();
    place.remove().await;
}
