//! The worker as a process of its own, between the broker and the stores.

use std::{io, net::TcpListener, time::Duration};

use cache::Cache;
use chassis::{Clock, Health, Running, http, lifecycle::Shutdown, reach, service};
use history::{History, HistoryError};
use queue::rabbitmq;
use registry::Registry;
use tokio::task::JoinSet;

use crate::{Worker, settings::Settings};

/// A bulk request costs Elasticsearch nearly as much with few snapshots as with many, and gates have answered by then.
const GATHERING: Duration = Duration::from_secs(1);

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

/// Runs a worker until `shutdown` or a signal asks it to stop. Broker and stores may start later. The worker is not
/// ready until it has reached each of them once, and takes nothing from the queue until the registry has its schema
/// and history answers.
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
    let Settings { history_days, queue, database_url, elasticsearch_url, redis_url, prefix, drain, bounds } =
        settings;
    let health = Health::new(&["registry", "history", "cache", "queue"]);
    let registry = Registry::open_postgres(&database_url);
    let history = History::open_elasticsearch(&elasticsearch_url, &prefix, history_days)?;
    let cache = Cache::redis(&redis_url, &prefix);
    let name = service::process_name("worker");
    tracing::info!(%name, "a worker starts");
    let server = http::serve(listener, http::KEEP_ALIVE, bounds, &health, |_| {})?;
    let mut parts = JoinSet::new();
    let (soft, reached) = (shutdown.soft.child_token(), health.clone());
    let work = async move {
        let stores =
            async { tokio::join!(reach_registry(&registry, &reached), reach_history(&history, &reached)) };
        if soft.run_until_cancelled(stores).await.is_none() {
            return;
        }
        let consumer = rabbitmq::consumer(&queue);
        if soft.run_until_cancelled(consumer.reached()).await.is_none() {
            return;
        }
        reached.reached("queue");
        let reach_cache = soft.run_until_cancelled(reach_cache(&cache, &reached));
        let worker =
            Worker::new(name, consumer, registry, history, cache.clone(), clock).gathering(GATHERING);
        tokio::join!(worker.run(soft.clone()), reach_cache);
    };
    // What it still has in hand when `hard` is cancelled returns to the queue.
    let hard = shutdown.hard.clone();
    parts.spawn(async move {
        hard.run_until_cancelled(work).await;
    });
    Ok(service::run(server, parts, health, shutdown, drain).await?)
}

async fn reach_registry(registry: &Registry, health: &Health) {
    reach("the registry", || registry.expect_schema()).await;
    health.reached("registry");
}

/// Nothing can be stored until history answers; a message taken earlier could only be handed back.
async fn reach_history(history: &History, health: &Health) {
    reach("history", || history.ping()).await;
    health.reached("history");
}

/// Only readiness waits for the cache: snapshots are stored without it.
async fn reach_cache(cache: &Cache, health: &Health) {
    reach("the cache", || cache.clock()).await;
    health.reached("cache");
}
