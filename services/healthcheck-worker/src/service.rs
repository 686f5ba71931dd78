//! The worker as a process of its own, between the broker and the stores.

use std::{io, net::TcpListener};

use cache::Cache;
use chassis::{Clock, Health, http, lifecycle::Shutdown, service};
use history::{History, HistoryError};
use queue::rabbitmq;
use registry::Registry;
use tokio::task::JoinSet;

use crate::{Worker, settings::Settings};

/// Why the worker cannot run (any more).
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener cannot be used, or a part of the worker ended by itself.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The prefix cannot name indices.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// Runs a worker until `shutdown` or a signal asks it to stop. Broker and stores may come later; until it has reached all of
/// them once it is not ready, and until the registry has its schema it takes nothing from the queue.
pub async fn run(
    settings: Settings,
    clock: Clock,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let Settings { history_days, amqp_url, database_url, elasticsearch_url, redis_url, prefix, drain } =
        settings;
    let health = Health::new(&["registry", "queue"]);
    let registry = Registry::open_postgres(&database_url);
    let history = History::open_elasticsearch(&elasticsearch_url, &prefix, history_days)?;
    let cache = Cache::redis(&redis_url, &prefix);
    let name = service::process_name("worker");
    tracing::info!(%name, "a worker starts");
    let server = http::serve(listener, http::KEEP_ALIVE, &health, |_| {})?;
    let mut parts = JoinSet::new();
    let (soft, ready) = (shutdown.soft.child_token(), health.clone());
    parts.spawn(async move {
        let tell = |reason: &str| tracing::warn!(reason, "waiting for the registry");
        if soft.run_until_cancelled(registry.wait_for_schema(tell)).await.is_none() {
            return;
        }
        ready.reached("registry");
        let consumer = rabbitmq::consumer(&rabbitmq::Settings::new(amqp_url, &prefix, "snapshots"));
        if soft.run_until_cancelled(consumer.reached()).await.is_none() {
            return;
        }
        ready.reached("queue");
        Worker::new(name, consumer, registry, history, cache, clock).run(soft).await;
    });
    Ok(service::run(server, parts, health, shutdown, drain).await?)
}
