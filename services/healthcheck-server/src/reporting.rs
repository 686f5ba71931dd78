//! The lease of the agent that tells somebody when no gate answers: management elects it, a gate passes it on.

use std::sync::{PoisonError, RwLock};

use cache::Cache;
use fleet::{Millis, ServerId, alert::lease::Lease, wire::v1::Watch};

/// The lease as the cache told it last.
#[derive(Debug, Default)]
pub struct Reporting(RwLock<Option<Lease>>);

impl Reporting {
    /// Asks the cache. Without an answer the last one stays, which is safe: a lease that is old ends earlier.
    pub async fn read(&self, cache: &Cache) {
        if let Ok(lease) = cache.reporter_lease().await {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = lease;
        }
    }

    /// What to tell this server: how much is left of its lease, if it is the one that has it.
    pub fn told(&self, server: ServerId, now: Millis) -> Option<Watch> {
        let lease = *self.0.read().unwrap_or_else(PoisonError::into_inner);
        lease.and_then(|lease| lease.left(server, now)).map(|lease_ms| Watch { lease_ms })
    }
}
