//! Whether a process is ready.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

/// Whether this process is ready: each of its parts was reached once, and it is not stopping. Clones share it.
///
/// A part that is lost later does not make it unready: it answers 503 itself where it must, and a proxy that took every
/// replica out would turn that into a worse error.
#[derive(Debug, Clone)]
pub struct Health(Arc<State>);

#[derive(Debug)]
struct State {
    parts: Vec<(&'static str, AtomicBool)>,
    stopping: AtomicBool,
    metrics_are_local: AtomicBool,
    changed: Notify,
}

impl Health {
    /// Not ready until each of `parts` was reached.
    pub fn new(parts: &[&'static str]) -> Self {
        let parts = parts.iter().map(|part| (*part, AtomicBool::new(false))).collect();
        let (stopping, metrics_are_local) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(State { parts, stopping, metrics_are_local, changed: Notify::new() }))
    }

    /// From now on `/metrics` is for this host alone, where the port is open to others. What is asked for by others goes to
    /// whatever else is mounted there.
    pub fn keep_metrics_local(&self) {
        self.0.metrics_are_local.store(true, Ordering::Relaxed);
    }

    pub(crate) fn keeps_metrics_local(&self) -> bool {
        self.0.metrics_are_local.load(Ordering::Relaxed)
    }

    /// `part` was reached.
    pub fn reached(&self, part: &str) {
        self.set(part, true);
    }

    /// `part` is no longer fit for use, so a proxy should send nothing here. Not for a server that is merely lost: then
    /// this process still answers, with 503.
    pub fn unfit(&self, part: &str) {
        self.set(part, false);
    }

    fn set(&self, part: &str, fit: bool) {
        for (name, reached) in &self.0.parts {
            if *name == part {
                reached.store(fit, Ordering::Relaxed);
            }
        }
        self.0.changed.notify_waiters();
    }

    /// Returns once it is ready.
    pub async fn until_ready(&self) {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            // From here on a change is not missed.
            changed.as_mut().enable();
            if self.ready() {
                return;
            }
            changed.await;
        }
    }

    /// From now on not ready: the proxy should send no more.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether to send requests here.
    pub fn ready(&self) -> bool {
        !self.0.stopping.load(Ordering::Relaxed) && self.missing().is_empty()
    }

    /// The parts that it waits for.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let missing = self.0.parts.iter().filter(|(_, reached)| !reached.load(Ordering::Relaxed));
        missing.map(|(part, _)| *part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_every_part_was_reached_and_until_it_stops() {
        let health = Health::new(&["registry", "history"]);
        health.reached("registry");
        assert!(!health.ready());
        assert_eq!(health.missing(), ["history"]);
        health.reached("history");
        assert!(health.ready());
        health.unfit("history");
        assert!(!health.ready());
        health.reached("history");
        assert!(health.ready());
        health.stop();
        assert!(!health.ready());
    }
}
