//! Start and stop: a first signal asks, a second one insists.

use std::{future::Future, pin::Pin, time::Duration};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Health;

/// The work of a whole part. Boxed where it is made, because whoever awaits an `async fn` compiles its body, and all that this
/// awaits, once more: each binary would optimise its library a second time, and `rollcall` those of all services.
pub type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Allows this process as many open files as it may have at all: the usual soft limit of 1,024 is there for programs that
/// use select(2), and a server has a file for each connection.
pub fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays low");
    }
}

/// The two stages of stopping. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Take nothing new, finish what is in hand.
    pub soft: CancellationToken,
    /// Let go of everything.
    pub hard: CancellationToken,
}

impl Shutdown {
    /// Waits for SIGTERM or SIGINT, makes `health` unready, serves on for `drain` so that the proxy sees it, then
    /// cancels `soft`; cancels `hard` at a second signal or `grace` later. Also begins when `soft` is cancelled by a
    /// part that died.
    pub async fn on_signal(self, health: Health, drain: Duration, grace: Duration) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => tracing::info!("asked to stop"),
            _ = interrupt.recv() => tracing::info!("asked to stop"),
            () = self.soft.cancelled() => {}
        }
        health.stop();
        if !self.soft.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(drain) => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        self.soft.cancel();
        tokio::select! {
            () = tokio::time::sleep(grace) => tracing::warn!("not everything finished in time"),
            _ = terminate.recv() => tracing::warn!("asked again: stopping at once"),
            _ = interrupt.recv() => tracing::warn!("asked again: stopping at once"),
        }
        self.hard.cancel();
        Ok(())
    }
}
