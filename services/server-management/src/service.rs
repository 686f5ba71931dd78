//! Management as a process of its own. It is the one that migrates the registry.

use std::{io, net::TcpListener};

use cache::Cache;
use chassis::{Clock, Health, Running, Secret, http, lifecycle::Shutdown, reach, service};
use fleet::MailJob;
use history::{History, HistoryError};
use queue::{DeadLetters, Publisher, rabbitmq};
use registry::{DatabaseRole, Guest, Registry, RegistryError};
use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{DeadLetterQueues, FirstAdminError, Management, people::given_first_admin, settings::Settings};

/// Why management cannot start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener cannot be used, or a part ended by itself.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The prefix cannot name indices.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The registry is there, and cannot be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is no user, and none can be made.
    #[error(transparent)]
    FirstAdmin(#[from] FirstAdminError),
}

/// What comes up once the stores answer.
struct Start {
    management: Management,
    registry: Registry,
    guests: Vec<(Guest, DatabaseRole)>,
    history: History,
    cache: Cache,
    admin_password: Option<Secret>,
    jobs: Publisher<MailJob>,
    clock: Clock,
    health: Health,
}

/// Runs management until `shutdown` or a signal asks it to stop. It serves at once; the stores may come later: until it
/// has reached each of them once it is not ready, and until the registry has its schema and a user it answers 503.
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
    let health = Health::new(&["registry", "history", "cache"]);
    let registry = Registry::open_postgres(&settings.database_url);
    let (prefix, interface) = (&settings.prefix, settings.interface);
    let history = History::open_elasticsearch(&settings.elasticsearch_url, prefix, interface.history_days)?;
    let cache = Cache::redis(&settings.redis_url, prefix);
    let queue = |name| rabbitmq::Settings::new(settings.amqp_url.clone(), prefix, name);
    let jobs = rabbitmq::publisher(&queue("mail"));
    let dead_letters = DeadLetterQueues {
        snapshots: DeadLetters::RabbitMq(Box::new(queue("snapshots"))),
        mail: DeadLetters::RabbitMq(Box::new(queue("mail"))),
    };
    let management = Management::new(
        interface,
        registry.clone(),
        history.clone(),
        cache.clone(),
        dead_letters,
        clock.clone(),
    );
    let management = management.shut();
    let server = {
        let management = management.clone();
        let bounds = settings.bounds;
        http::serve(listener, http::KEEP_ALIVE, bounds, &health, move |config| management.configure(config))?
    };
    let (fail, mut failed) = oneshot::channel();
    let (soft, admin_password) = (shutdown.soft.child_token(), settings.admin_password);
    let start = Start {
        management,
        registry: registry.clone(),
        guests: settings.guests,
        history,
        cache,
        admin_password,
        jobs,
        clock,
        health: health.clone(),
    };
    let mut parts = JoinSet::new();
    parts.spawn(async move {
        if let Some(Err(error)) = soft.run_until_cancelled(start.run(soft.child_token())).await {
            // A part that ends ends the process; `run` says why.
            drop(fail.send(error));
        }
    });
    let ended = service::run(server, parts, health, shutdown.clone(), settings.drain).await;
    // Closing waits for statements that are under way, which may never end when the database has stopped answering.
    shutdown.hard.run_until_cancelled(registry.close()).await;
    match failed.try_recv() {
        Ok(error) => Err(error),
        Err(_) => Ok(ended?),
    }
}

impl Start {
    /// Ends only when it fails.
    async fn run(self, stop: CancellationToken) -> Result<(), StartError> {
        let Self { management, registry, guests, history, cache, admin_password, jobs, clock, health } = self;
        let manage = async {
            reach("the registry", || prepare(&management, &registry, &guests, &admin_password, &clock))
                .await?;
            health.reached("registry");
            management.let_in();
            management.run(jobs, stop).await;
            Ok(())
        };
        let reach_history = async {
            reach("history", || history.ping()).await;
            health.reached("history");
            Ok(())
        };
        let reach_cache = async {
            reach("the cache", || cache.clock()).await;
            health.reached("cache");
            Ok(())
        };
        tokio::try_join!(manage, reach_history, reach_cache).map(drop)
    }
}

/// Brings the schema up to date, lets the other services in and makes the first user. The outer error is that the
/// registry is away, which passes; the inner one is for a person to mend.
async fn prepare(
    management: &Management,
    registry: &Registry,
    guests: &[(Guest, DatabaseRole)],
    admin_password: &Option<Secret>,
    clock: &Clock,
) -> Result<Result<(), StartError>, StartError> {
    let work = async {
        registry.migrate().await?;
        for (guest, role) in guests {
            registry.admit(*guest, role).await?;
        }
        management.ship_alert_rules().await?;
        Ok(given_first_admin(registry, admin_password.clone(), clock).await?)
    };
    match work.await {
        Err(error) if StartError::may_pass(&error) => Err(error),
        done => Ok(done),
    }
}

impl StartError {
    /// Whether it is only that the registry is away.
    fn may_pass(&self) -> bool {
        let error = match self {
            Self::Registry(error) | Self::FirstAdmin(FirstAdminError::Registry(error)) => error,
            Self::Io(_) | Self::History(_) | Self::FirstAdmin(_) => return false,
        };
        matches!(error, RegistryError::Unavailable(_))
    }
}
