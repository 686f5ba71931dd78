//! The REST interface for people and programs, under `/server-management/v1`.
//!
//! It reads the registry, history and the cache, and owns every change that a person makes. The parsers of parameters
//! and bodies stand before the handlers, so that no handler sees a raw string.
//!
//! The rooms are in three storeys. The ground (`app`, `http`) knows no domain. Each domain (`people`, `servers`,
//! `processes`, `orders`, `reports`, `alerts`, `operations`) is a folder, whose `mod.rs` says where its URLs lead and who may go there, and names all
//! that others may use of it. The roof (the other files) joins them.
#![warn(missing_docs)]

mod alerts;
mod app;
mod background;
pub mod commands;
mod http;
mod openapi;
mod operations;
mod orders;
mod people;
mod processes;
mod reports;
mod routes;
mod servers;
mod service;
#[expect(missing_docs, reason = "clap makes the help of them; the rest is named by its variables")]
pub mod settings;

use std::sync::atomic::Ordering;

use actix_web::web;
use cache::Cache;
use chassis::{Clock, Room, Running};
use fleet::{
    AllowedDomains, Keyring, MailJob,
    alert::{guard::Allowed, seal::ChannelKeys},
    retention::Kept,
};
use history::History;
use queue::Publisher;
use registry::{Registry, RegistryError};
use tokio_util::sync::CancellationToken;

pub use operations::{AfterRestore, AfterRestoreError, DeadLetterQueues, after_restore};
pub use orders::{BadOrderKey, OrderKey};
pub use people::{
    BadPassword, FirstAdmin, FirstAdminError, ResetPassword, ResetPasswordError, ShortTokenKey, TokenKey,
    admin_password, admin_password_applies, first_admin, reset_password,
};
pub use servers::{BadPublicUrl, Downloads, PublicUrl, make_enrolment_token};
pub use service::{StartError, run};

use crate::{
    alerts::Sealing,
    app::App,
    operations::DeadLetters,
    orders::Signing,
    servers::{Figures, Install, Pictures},
};

/// What the interface needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Makes the credentials of servers.
    pub keyring: Keyring,
    /// Signs access tokens.
    pub token_key: TokenKey,
    /// For how many whole days history is kept; nothing is expected of the time before.
    pub kept: Kept,
    /// For how many days an API token serves at most.
    pub api_token_max_days: u16,
    /// For how many days the audit log is kept.
    pub audit_days: u16,
    /// How many proxies of ours stand in front. With 0 a client's address is that of the connection; else the one that
    /// the outermost of them wrote into `X-Forwarded-For`, since all before it is the client's own invention.
    pub proxies: usize,
    /// Where reports may be mailed to.
    pub allowed_domains: AllowedDomains,
    /// Under which address hosts reach the suite; without it the one by which they ask is believed.
    pub public_url: Option<PublicUrl>,
    /// The agents that are offered to hosts, if any.
    pub downloads: Option<Downloads>,
    /// Seal the secrets of channels; without any no channel that has one can be made.
    pub channel_keys: Option<ChannelKeys>,
    /// The internal targets that messages may go to.
    pub notify_allow: Allowed,
    /// Signs orders; without it none can be made.
    pub order_key: Option<OrderKey>,
}

/// The interface. Clones share it.
#[derive(Clone)]
pub struct Management {
    app: web::Data<App>,
    token_key: web::Data<TokenKey>,
    install: web::Data<Install>,
    figures: web::Data<Figures>,
    pictures: web::Data<Pictures>,
    dead_letters: web::Data<DeadLetters>,
    sealing: web::Data<Sealing>,
    signing: web::Data<Signing>,
    disk: web::Data<Option<Room>>,
}

impl Management {
    /// The interface over these stores.
    pub fn new(
        settings: Settings,
        registry: Registry,
        history: History,
        cache: Cache,
        dead_letters: DeadLetterQueues,
        clock: Clock,
    ) -> Self {
        http::instruments::describe();
        operations::describe();
        alerts::describe();
        orders::describe();
        let signing = Signing(settings.order_key.clone());
        let sealing = Sealing { keys: settings.channel_keys.clone(), allowed: settings.notify_allow.clone() };
        let Settings { keyring, token_key, public_url, downloads, .. } = settings;
        let Settings { kept, api_token_max_days, audit_days, proxies, allowed_domains, .. } = settings;
        let settings =
            app::Settings { keyring, kept, api_token_max_days, audit_days, proxies, allowed_domains };
        Self {
            app: web::Data::new(App::new(settings, registry, history, cache, clock)),
            token_key: web::Data::new(token_key),
            figures: web::Data::default(),
            pictures: web::Data::default(),
            install: web::Data::new(Install { public_url, downloads }),
            dead_letters: web::Data::new(DeadLetters::new(dead_letters)),
            sealing: web::Data::new(sealing),
            signing: web::Data::new(signing),
            disk: web::Data::new(None),
        }
    }

    /// Tells of this disk, where the stores share one with the interface.
    #[must_use]
    pub fn on(self, disk: Room) -> Self {
        Self { disk: web::Data::new(Some(disk)), ..self }
    }

    /// Answers 503 until [`let_in`](Self::let_in), and gives no uptime figure until history was asked what it keeps.
    pub(crate) fn shut(self) -> Self {
        self.app.awaited.registry.store(true, Ordering::Relaxed);
        self.app.awaited.retention.store(true, Ordering::Relaxed);
        self
    }

    /// The registry is there, with its schema and its first user.
    pub(crate) fn let_in(&self) {
        self.app.awaited.registry.store(false, Ordering::Relaxed);
    }

    /// Mounts `/metrics` for whoever has the scope `server:read`, beside the one that [`chassis::Health::keep_metrics_local`]
    /// keeps to the host itself.
    pub fn configure_metrics(&self, config: &mut web::ServiceConfig) {
        routes::mount_metrics(config);
    }

    /// Mounts it under `/server-management/v1`, the dashboard at `/`, and the script that installs agents.
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        config.app_data(self.app.clone()).app_data(self.token_key.clone());
        config
            .app_data(self.figures.clone())
            .app_data(self.pictures.clone())
            .app_data(self.install.clone())
            .app_data(self.dead_letters.clone());
        config.app_data(self.disk.clone()).app_data(self.sealing.clone()).app_data(self.signing.clone());
        operations::mount_dashboard(config);
        routes::mount(config);
    }

    /// Brings the denylist to the cache, before gates serve.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn publish_denylist(&self) -> Result<(), RegistryError> {
        self.app.publish_denylist().await
    }

    /// Makes a report of every run of a schedule that is due now, as [`run`](Self::run) does every second.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn make_due_reports(&self) -> Result<(), RegistryError> {
        reports::make_due(&self.app, self.app.clock.now()).await
    }

    /// Makes the rules for alerts that the suite is shipped with, each once in its life: what people delete stays deleted.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn ship_alert_rules(&self) -> Result<(), RegistryError> {
        alerts::ship(&self.app).await
    }

    /// Begins and ends what is due of maintenance windows, as [`run`](Self::run) does every second.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn maintain(&self) -> Result<(), RegistryError> {
        alerts::maintain(&self.app).await
    }

    /// Looks who fell silent, and makes incidents of what breaks rules, as [`run`](Self::run) does every second.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn judge(&self) -> Result<(), RegistryError> {
        let disk = self.disk.as_ref().as_ref();
        alerts::Judge::default().judge(&self.app, &self.dead_letters, disk).await
    }

    /// Makes messages of what there is to tell of incidents, as [`run`](Self::run) does every second.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn tell(&self) -> Result<(), RegistryError> {
        alerts::tell(&self.app).await
    }

    /// Ends the orders whose time is over, and has gates tell hosts of those that stand, as [`run`](Self::run) does every few
    /// seconds.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn keep_orders(&self) -> Result<(), RegistryError> {
        orders::keep(&self.app).await
    }

    /// Elects the agent that tells when no gate answers, as [`run`](Self::run) does every few seconds.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn elect_reporter(&self) -> Result<(), RegistryError> {
        alerts::elect_reporter(&self.app).await
    }

    /// What has to be done without being asked, until `shutdown`: the denylist goes to the cache at once and every 5 s;
    /// history, and people's tokens, sessions and audit log, forget what is too old, at once and every hour; the dead letters are counted every 10 s; reports that
    /// are due are made and computed, and their mails brought to `jobs`; incidents are opened and resolved every second; orders expire, and go
    /// to the gates.
    pub fn run(self, jobs: Publisher<MailJob>, shutdown: CancellationToken) -> Running<()> {
        Box::pin(async move {
            let disk = self.disk.as_ref().as_ref();
            background::run(&self.app, &self.sealing, &self.dead_letters, disk, &jobs, shutdown).await;
        })
    }
}
