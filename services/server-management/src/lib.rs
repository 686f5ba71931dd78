//! The REST interface for people and programs, under `/server-management/v1`.
//!
//! It reads the registry, history and the cache, and owns every change that a person makes. Where each URL leads and
//! who may go there is one table, in `routes`; the parsers of parameters and bodies stand before the handlers, so that
//! no handler sees a raw string.
#![warn(missing_docs)]

mod app;
mod auth;
mod background;
mod body;
mod dashboard;
mod enrolment;
mod failure;
mod first_admin;
mod openapi;
mod query;
mod routes;
mod servers;
mod service;
mod sessions;
#[expect(missing_docs, reason = "clap makes the help of them; the rest is named by its variables")]
pub mod settings;
mod snapshots;
mod status;
mod uptime;

use actix_web::web;
use cache::Cache;
use chassis::Clock;
use fleet::Keyring;
use history::History;
use registry::{Registry, RegistryError};
use tokio_util::sync::CancellationToken;

pub use auth::token::{ShortTokenKey, TokenKey};
pub use enrolment::make_enrolment_token;
pub use first_admin::{BadAdminPassword, FirstAdmin, FirstAdminError, admin_password, first_admin};
pub use service::{StartError, run};

use crate::app::App;

/// What the interface needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Makes the credentials of servers.
    pub keyring: Keyring,
    /// Signs access tokens.
    pub token_key: TokenKey,
    /// For how many whole days raw snapshots are kept; nothing is expected of the time before.
    pub history_days: u16,
    /// How many proxies of ours stand in front. With 0 a client's address is that of the connection; else the one that
    /// the outermost of them wrote into `X-Forwarded-For`, since all before it is the client's own invention.
    pub proxies: usize,
}

/// The interface. Clones share it.
#[derive(Clone)]
pub struct Management {
    app: web::Data<App>,
}

impl Management {
    /// The interface over these stores.
    pub fn new(settings: Settings, registry: Registry, history: History, cache: Cache, clock: Clock) -> Self {
        Self { app: web::Data::new(App::new(settings, registry, history, cache, clock)) }
    }

    /// Mounts it under `/server-management/v1`, and the dashboard at `/`.
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        dashboard::mount(config);
        routes::mount(&self.app, config);
    }

    /// Brings the denylist to the cache, before gates serve.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn publish_denylist(&self) -> Result<(), RegistryError> {
        self.app.publish_denylist().await
    }

    /// What has to be done without being asked, until `shutdown`: the denylist goes to the cache at once and every 5 s;
    /// history forgets what is too old, at once and every hour.
    pub async fn run(self, shutdown: CancellationToken) {
        background::run(&self.app, shutdown).await;
    }
}
