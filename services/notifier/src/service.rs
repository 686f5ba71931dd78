//! The notifier as a process of its own, between the registry and the world outside.

use std::{io, net::TcpListener};

use chassis::{Clock, Health, Running, http, lifecycle::Shutdown, reach, service};
use registry::Registry;
use tokio::task::JoinSet;

use crate::{Notifier, settings::Settings};

/// Why the notifier cannot run (any more).
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener cannot be used, or a part ended by itself.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs the notifier until `shutdown` or a signal asks it to stop. The registry may start later: until it was reached once
/// this process is not ready.
pub fn run(
    settings: Settings,
    clock: Clock,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Running<Result<(), StartError>> {
    Box::pin(until_stopped(settings, clock, listener, shutdown))
}

async fn until_stopped(
    settings: Settings,
    clock: Clock,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let Settings { notifier, sender, database_url, drain, bounds } = settings;
    let health = Health::new(&["registry"]);
    let registry = Registry::open_postgres(&database_url);
    let server = http::serve(listener, http::KEEP_ALIVE, bounds, &health, |_| {})?;
    let (soft, reached) = (shutdown.soft.child_token(), health.clone());
    let work = async move {
        let schema = reach("the registry", || registry.expect_schema());
        if soft.run_until_cancelled(schema).await.is_none() {
            return;
        }
        reached.reached("registry");
        Notifier::new(registry, sender, notifier, clock).run(soft).await;
    };
    let mut parts = JoinSet::new();
    parts.spawn(work);
    Ok(service::run(server, parts, health, shutdown, drain).await?)
}
