//! The gate as a process of its own, between the agents and the broker.

use std::{io, net::TcpListener, time::Duration};

use cache::Cache;
use chassis::{Clock, Health, Running, http, lifecycle::Shutdown, service};
use fleet::{Message, Millis};
use metrics::Gauge;
use queue::{Publisher, rabbitmq};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{Gate, GateSettings, MOST_HELD_POLLS, instruments, settings::Settings};

/// How often this clock is compared with the cache's.
const COMPARE: Duration = Duration::from_secs(2);

/// A clock that is off by more is worth a look.
const WORTH_A_LOOK: Millis = 2_000;

/// A clock that is off by more would put every agent's samples in the wrong place: the gate is not ready.
const UNFIT: Millis = 30_000;

/// How far this clock and the cache's are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skew {
    Small,
    WorthALook,
    Unfit,
}

/// Makes the gate ready.
struct Watch {
    publisher: Publisher<Message>,
    cache: Cache,
    clock: Clock,
    health: Health,
    ahead: Gauge,
    skew: Skew,
}

/// Runs a gate until `shutdown` or a signal asks it to stop. Broker and cache may come later: until it has reached
/// both once it is not ready, and answers 503 or judges without a denylist.
///
/// # Errors
/// When the listener cannot be used, or a part of the gate ends by itself.
pub fn run(
    settings: Settings,
    clock: Clock,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Running<io::Result<()>> {
    Box::pin(until_stopped(settings, clock, listener, shutdown))
}

async fn until_stopped(
    settings: Settings,
    clock: Clock,
    listener: TcpListener,
    shutdown: Shutdown,
) -> io::Result<()> {
    let Settings { keyring, history_days, amqp_url, redis_url, prefix, drain, bounds } = settings;
    let health = Health::new(&["queue", "cache", "clock"]);
    let publisher = rabbitmq::publisher(&rabbitmq::Settings::new(amqp_url, &prefix, "snapshots"));
    let cache = Cache::redis(&redis_url, &prefix);
    let name = service::process_name("gate");
    let listen = listener.local_addr()?;
    tracing::info!(%name, %listen, "a gate starts");
    // Beats need connections too.
    let held_polls = MOST_HELD_POLLS.min(bounds.connections / 2);
    let settings = GateSettings { keyring, history_days, name, room: None, held_polls };
    let gate = Gate::new(settings, publisher.clone(), cache.clone(), clock.clone());
    gate.read_denylist().await;
    let server = {
        let gate = gate.clone();
        http::serve(listener, http::KEEP_ALIVE, bounds, &health, move |config| gate.configure(config))?
    };
    let ahead = instruments::clock_skew();
    let watch = Watch { publisher, cache, clock, health: health.clone(), ahead, skew: Skew::Small };
    let mut parts = JoinSet::new();
    parts.spawn(gate.run(shutdown.soft.child_token()));
    parts.spawn(watch.run(shutdown.soft.child_token()));
    service::run(server, parts, health, shutdown, drain).await
}

impl Watch {
    async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.watch()).await;
    }

    async fn watch(&mut self) {
        let mut every = interval(COMPARE);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reached = false;
        loop {
            tokio::select! {
                () = self.publisher.reached(), if !reached => {
                    reached = true;
                    self.health.reached("queue");
                }
                _ = every.tick() => self.compare_clocks().await,
            }
        }
    }

    /// Compares our clock with the cache's, which all gates share. Without an answer the last verdict stands; that the cache
    /// is away is logged by what reads the denylist.
    async fn compare_clocks(&mut self) {
        let asked = self.clock.now();
        let Ok(Some(theirs)) = self.cache.clock().await else { return };
        let ahead = (asked + self.clock.now()) / 2 - theirs;
        self.ahead.set(ahead as f64 / 1_000.0);
        self.health.reached("cache");
        match judge(ahead) {
            Skew::Unfit => self.health.unfit("clock"),
            Skew::Small | Skew::WorthALook => self.health.reached("clock"),
        }
        self.tell(judge(ahead), ahead);
    }

    fn tell(&mut self, skew: Skew, ahead_ms: Millis) {
        if self.skew == skew {
            return;
        }
        self.skew = skew;
        match skew {
            Skew::Small => tracing::info!(ahead_ms, "this clock and the cache's agree again"),
            Skew::WorthALook => {
                tracing::warn!(ahead_ms, "this clock and the cache's differ; set both by NTP");
            }
            Skew::Unfit => {
                tracing::error!(ahead_ms, "not ready: this clock or the cache's is wrong; set both by NTP");
            }
        }
    }
}

fn judge(ahead: Millis) -> Skew {
    match ahead.abs() {
        0..=WORTH_A_LOOK => Skew::Small,
        ..=UNFIT => Skew::WorthALook,
        _ => Skew::Unfit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_to_the_millisecond_either_way() {
        for (off, skew) in [
            (0, Skew::Small),
            (2_000, Skew::Small),
            (2_001, Skew::WorthALook),
            (30_000, Skew::WorthALook),
            (30_001, Skew::Unfit),
        ] {
            assert_eq!((judge(off), judge(-off)), (skew, skew), "{off}");
        }
    }
}
