//! Mail as a process of its own, between the broker, the registry and an SMTP server.

use std::{io, net::TcpListener};

use chassis::{Clock, Health, Running, http, lifecycle::Shutdown, reach, service};
use queue::rabbitmq;
use registry::Registry;
use tokio::task::JoinSet;

use crate::{Mail, settings::Settings};

/// Why mail cannot run (any more).
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener cannot be used, or a part ended by itself.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs mail until `shutdown` or a signal asks it to stop. Broker and registry may start later: until mail has
/// reached both once it is not ready, and takes nothing from the queue. It does not wait for the SMTP server: a mail
/// that the server does not take is tried again.
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
    let Settings { letterhead, sender, queue, database_url, drain, bounds } = settings;
    let health = Health::new(&["registry", "queue"]);
    let registry = Registry::open_postgres(&database_url);
    let server = http::serve(listener, http::KEEP_ALIVE, bounds, &health, |_| {})?;
    let (soft, reached) = (shutdown.soft.child_token(), health.clone());
    let work = async move {
        let schema = reach("the registry", || registry.expect_schema());
        if soft.run_until_cancelled(schema).await.is_none() {
            return;
        }
        reached.reached("registry");
        let consumer = rabbitmq::consumer(&queue);
        if soft.run_until_cancelled(consumer.reached()).await.is_none() {
            return;
        }
        reached.reached("queue");
        Mail::new(consumer, registry, sender, letterhead, clock).run(soft).await;
    };
    let mut parts = JoinSet::new();
    parts.spawn(work);
    Ok(service::run(server, parts, health, shutdown, drain).await?)
}
