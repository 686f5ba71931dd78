//! Management as a process of its own. It is the one that migrates the registry.

use std::{io, net::TcpListener, time::Duration};

use cache::Cache;
use chassis::{Clock, Health, http, lifecycle::Shutdown, service};
use history::{History, HistoryError};
use registry::{Registry, RegistryError};
use tokio::{task::JoinSet, time::sleep};

use crate::{FirstAdminError, Management, first_admin::given_first_admin, settings::Settings};

/// How often to look whether the registry is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why management cannot run (any more).
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

/// Runs management until `shutdown` or a signal asks it to stop. The stores may come later: until then it is not ready.
pub async fn run(
    settings: Settings,
    clock: Clock,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let health = Health::new(&["registry", "history"]);
    let registry = Registry::open_postgres(&settings.database_url);
    let days = settings.interface.history_days;
    let history = History::open_elasticsearch(&settings.elasticsearch_url, &settings.prefix, days)?;
    let cache = Cache::redis(&settings.redis_url, &settings.prefix);
    migrate(&registry).await?;
    given_first_admin(&registry, settings.admin_password, &clock).await?;
    health.reached("registry");
    let management = Management::new(settings.interface, registry.clone(), history.clone(), cache, clock);
    let server = {
        let management = management.clone();
        http::serve(listener, http::KEEP_ALIVE, &health, move |config| management.configure(config))?
    };
    let mut parts = JoinSet::new();
    parts.spawn(management.run(shutdown.soft.child_token()));
    let (soft, ready) = (shutdown.soft.child_token(), health.clone());
    parts.spawn(async move {
        let reach = async {
            while history.ping().await.is_err() {
                sleep(LOOK_EVERY).await;
            }
            ready.reached("history");
            std::future::pending::<()>().await;
        };
        soft.run_until_cancelled(reach).await;
    });
    let ended = service::run(server, parts, health, shutdown, settings.drain).await;
    registry.close().await;
    Ok(ended?)
}

/// Brings the schema up to date, as soon as the registry answers.
async fn migrate(registry: &Registry) -> Result<(), RegistryError> {
    let mut told = String::new();
    loop {
        match registry.migrate().await {
            Err(error @ RegistryError::Unavailable(_)) => {
                let reason = error.to_string();
                if reason != told {
                    tracing::warn!(reason, "waiting for the registry");
                    told = reason;
                }
            }
            done => return done,
        }
        sleep(LOOK_EVERY).await;
    }
}
