//! The gate as a process of its own, between the agents and the broker.

use std::{io, net::TcpListener, time::Duration};

use cache::Cache;
use chassis::{Clock, Health, Trouble, http, lifecycle::Shutdown, service};
use fleet::Millis;
use metrics::gauge;
use queue::rabbitmq;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{Gate, GateSettings, settings::Settings};

/// How often this clock is held against the cache's.
const COMPARE: Duration = Duration::from_secs(5);

/// A clock that is off by more is worth a look.
const WORTH_A_LOOK: Millis = 2_000;

/// A clock that is off by more would put every agent's samples in the wrong place: the gate is not ready.
const UNFIT: Millis = 30_000;

/// Runs a gate until `shutdown` or a signal asks it to stop. Broker and cache may come later: until it has reached
/// both once it is not ready, and answers 503 or judges without a denylist.
///
/// # Errors
/// When the listener cannot be used, or a part of the gate ends by itself.
pub async fn run(
    settings: Settings,
    clock: Clock,
    listener: TcpListener,
    shutdown: Shutdown,
) -> io::Result<()> {
    let Settings { keyring, history_days, amqp_url, redis_url, prefix, drain } = settings;
    let health = Health::new(&["queue", "cache", "clock"]);
    let publisher = rabbitmq::publisher(&rabbitmq::Settings::new(amqp_url, &prefix, "snapshots"));
    let cache = Cache::redis(&redis_url, &prefix);
    let name = service::process_name("gate");
    tracing::info!(%name, "a gate starts");
    let settings = GateSettings { keyring, history_days, name };
    let gate = Gate::new(settings, publisher.clone(), cache.clone(), clock.clone());
    gate.read_denylist().await;
    let server = {
        let gate = gate.clone();
        http::serve(listener, http::KEEP_ALIVE, &health, move |config| gate.configure(config))?
    };
    let mut parts = JoinSet::new();
    parts.spawn(gate.run(shutdown.soft.child_token()));
    let watch = {
        let health = health.clone();
        async move {
            let reach = async {
                publisher.reached().await;
                health.reached("queue");
            };
            tokio::join!(reach, compare_clocks(&cache, &clock, &health));
        }
    };
    let soft = shutdown.soft.child_token();
    parts.spawn(async move {
        soft.run_until_cancelled(watch).await;
    });
    service::run(server, parts, health, shutdown, drain).await
}

/// Holds our clock against the cache's, which all gates share. Without an answer the last verdict stands.
async fn compare_clocks(cache: &Cache, clock: &Clock, health: &Health) {
    let skew = gauge!("rollcall_gate_clock_skew_ms");
    let away = Trouble::new("the cache");
    let mut told = false;
    let mut every = interval(COMPARE);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let asked = clock.now();
        let Some(Some(theirs)) = away.watch(cache.clock().await) else { continue };
        health.reached("cache");
        let ahead = (asked + clock.now()) / 2 - theirs;
        skew.set(ahead as f64);
        if told != (ahead.abs() > WORTH_A_LOOK) {
            told = !told;
            if told {
                tracing::warn!(ahead_ms = ahead, "this clock and the cache's differ; set both by NTP");
            } else {
                tracing::info!(ahead_ms = ahead, "this clock and the cache's agree again");
            }
        }
        if ahead.abs() > UNFIT {
            health.unfit("clock");
        } else {
            health.reached("clock");
        }
    }
}
