//! `rollcall`: the gate, the worker, management, mail, the notifier and this host's own agent in one process, on SQLite and in-process
//! parts. The composition root of the embedded suite; it holds no logic of its own.

pub mod commands;
pub mod data;
mod keeper;
mod own_agent;
pub mod settings;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use actix_web::dev::Server;
use anyhow::{Context, bail};
use cache::Cache;
use chassis::{Clock, Health, Running, http, lifecycle::Shutdown, telemetry};
use fleet::{AgentKey, Keyring, MailJob, Message, alert::seal::ChannelKeys};
use healthcheck_server::{Gate, GateSettings, MOST_HELD_POLLS};
use healthcheck_worker::Worker;
use history::History;
use mail::{Letterhead, Mail, Sender};
use notifier::Notifier;
use queue::{DeadLetters, Publisher, in_process};
use registry::{Registry, RegistryError};
use server_management::{DeadLetterQueues, FirstAdmin, Management, OrderKey, TokenKey};
use tokio_util::task::TaskTracker;

use crate::{data::DataDir, keeper::Keeper, settings::Settings};

/// Bytes of memory that unsettled snapshots may take; beyond that the gate answers 503. At 33,333 small snapshots a
/// second this is a second and a half of them, while a checkpoint of the history stalls for some tenths of a second.
const QUEUE_CAPACITY: usize = 64 * 1024 * 1024;

/// Most mail jobs that wait or are on their way. All others stay in the registry.
const MAIL_CAPACITY: usize = 1_000;

/// How long settling what is in hand may take once the process stops serving.
const GRACE: Duration = Duration::from_secs(20);

/// The name of the worker, the same in every process, so that it has one row in the registry. A row that an earlier
/// process left would stay live beside a new one, and a restart would look as if the gate had been open all along.
const WORKER: &str = "rollcall";

/// What the first user is called, whose generated password stands in a file.
const FIRST_USER: &str = "admin";

struct Stores {
    registry: Registry,
    history: History,
    cache: Cache,
}

/// Runs the suite until `shutdown` or a signal asks it to stop.
///
/// # Errors
/// When a store cannot be opened, or a part of the suite ends by itself.
pub fn run(
    data: DataDir,
    settings: Settings,
    clock: Clock,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Running<anyhow::Result<()>> {
    Box::pin(until_stopped(data, settings, clock, listener, shutdown))
}

async fn until_stopped(
    data: DataDir,
    settings: Settings,
    clock: Clock,
    listener: TcpListener,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let bound = listener.local_addr()?;
    let listen = http::reachable(bound);
    let health = Health::new(&["registry", "history"]);
    let keyring = keyring(&data, &settings)?;
    let stores = open(&data, &settings, &health).await?;
    let keeper = Keeper::of(&data, settings.disk_reserve, stores.history.clone())?;
    let password = data.join("admin-password");
    let given = settings.admin_password.clone();
    let admin = server_management::first_admin(&stores.registry, given, &password, &clock).await?;

    let (publisher, consumer) = in_process(QUEUE_CAPACITY, Message::weight);
    let gate = GateSettings {
        keyring: keyring.clone(),
        history_days: settings.kept.raw,
        name: format!("rollcall-{}", std::process::id()),
        room: Some(keeper.room().clone()),
        // Beats, and people, need connections too.
        held_polls: MOST_HELD_POLLS.min(settings.bounds.connections / 2),
    };
    let gate = Gate::new(gate, publisher, stores.cache.clone(), clock.clone());
    let keys = channel_keys(&data, &settings)?;
    let management = management(&data, &settings, keyring, &keys, &stores, &clock)?.on(keeper.room().clone());
    let worker = Worker::new(
        WORKER.to_owned(),
        consumer,
        stores.registry.clone(),
        stores.history.clone(),
        stores.cache.clone(),
        clock.clone(),
    );

    let url = url(&settings, listen);
    let (jobs, mail) = mail(&data, &settings, &url, &stores.registry, &clock);
    let heartbeat = settings.heartbeat.clone();
    let telling = notifier::Settings { keys, url: Some(url), heartbeat, scale: notifier::settings::scale() };
    let notifier = Notifier::new(stores.registry.clone(), settings.sender.clone(), telling, clock.clone());

    management.ship_alert_rules().await?;
    management.publish_denylist().await?;
    gate.read_denylist().await;
    warn_of_clear(bound, settings.proxies);
    let server = serve(listener, &settings, &gate, &management, &health)?;
    let told = (settings.processes.as_deref(), settings.hand_conf.as_deref());
    let own_agent = match settings.agent_interval {
        Some(seconds) => {
            Some(own_agent::prepare(&data, &stores.registry, &clock, listen, seconds, told).await?)
        }
        None => None,
    };
    tokio::spawn(shutdown.clone().on_signal(health.clone(), settings.drain, GRACE));
    welcome(listen, &log_in(admin, &stores.registry, &password).await?);
    let parts = Parts { keeper, server, gate, management, worker, jobs, mail, notifier, own_agent };
    let ended = parts.run(&shutdown).await;
    stores.history.close().await;
    stores.registry.close().await;
    tracing::info!("stopped");
    ended
}

/// What runs, in the order in which it starts.
struct Parts {
    keeper: Keeper,
    server: Server,
    gate: Gate,
    management: Management,
    worker: Worker,
    jobs: Publisher<MailJob>,
    mail: Mail,
    notifier: Notifier,
    own_agent: Option<rollcall_agent::Settings>,
}

impl Parts {
    /// Runs all of it; stops listener → publishers → consumer.
    async fn run(self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let soft = &shutdown.soft;
        let publishers = TaskTracker::new();
        publishers.spawn(self.gate.run(soft.child_token()));
        publishers.spawn(self.management.run(self.jobs, soft.child_token()));
        publishers.spawn(self.mail.run(soft.child_token()));
        publishers.spawn(self.notifier.run(soft.child_token()));
        publishers.spawn(soft.child_token().run_until_cancelled_owned(telemetry::upkeep()));
        if let Some(settings) = self.own_agent {
            publishers.spawn(own_agent::run(settings, soft.child_token()));
        }
        publishers.close();
        let mut worker = tokio::spawn(self.worker.run(shutdown.hard.child_token()));
        let listener = self.server.handle();
        let mut served = tokio::spawn(self.server);
        let died = tokio::select! {
            () = soft.cancelled() => None,
            ended = &mut served => Some(anyhow::anyhow!("the HTTP server ended: {ended:?}")),
            // What is settled from here on would be lost: nothing is waited for.
            lost = self.keeper.run() => return Err(lost),
            ended = &mut worker => return Err(anyhow::anyhow!("the worker ended: {ended:?}")),
        };
        soft.cancel();
        let drained = async {
            listener.stop(true).await;
            publishers.wait().await;
        };
        if shutdown.hard.run_until_cancelled(drained).await.is_none() {
            listener.stop(false).await;
        }
        // The last publisher is gone, which ends the queue: the worker settles what waits, and ends too.
        worker.await.context("the worker died")?;
        died.map_or(Ok(()), Err)
    }
}

async fn open(data: &DataDir, settings: &Settings, health: &Health) -> anyhow::Result<Stores> {
    data.check_registry()?;
    let registry = open_registry(data).await?;
    health.reached("registry");
    let history = History::open_sqlite(&data.join("history.db"), settings.kept).await;
    let history = history.context("cannot open history.db")?;
    health.reached("history");
    Ok(Stores { registry, history, cache: Cache::in_process() })
}

async fn open_registry(data: &DataDir) -> anyhow::Result<Registry> {
    let registry =
        Registry::open_sqlite(&data.join("registry.db")).await.context("cannot open registry.db")?;
    registry.migrate().await.context("cannot bring registry.db up to date")?;
    Ok(registry)
}

fn management(
    data: &DataDir,
    settings: &Settings,
    keyring: Keyring,
    channel_keys: &ChannelKeys,
    stores: &Stores,
    clock: &Clock,
) -> anyhow::Result<Management> {
    let management = server_management::Settings {
        keyring,
        token_key: token_key(data, settings)?,
        kept: settings.kept,
        api_token_max_days: settings.api_token_max_days,
        audit_days: settings.audit_days,
        proxies: usize::from(settings.proxies),
        allowed_domains: settings.allowed_domains.clone(),
        public_url: settings.public_url.clone(),
        downloads: settings.downloads.clone(),
        channel_keys: Some(channel_keys.clone()),
        notify_allow: settings.telling.allowed().clone(),
        order_key: Some(order_key(data, settings)?),
    };
    Ok(Management::new(
        management,
        stores.registry.clone(),
        stores.history.clone(),
        stores.cache.clone(),
        DeadLetterQueues { snapshots: DeadLetters::InProcess, mail: DeadLetters::InProcess },
        clock.clone(),
    ))
}

/// Mail, and the publisher of its jobs. Without an SMTP server mails become files.
fn mail(
    data: &DataDir,
    settings: &Settings,
    url: &str,
    registry: &Registry,
    clock: &Clock,
) -> (Publisher<MailJob>, Mail) {
    let (jobs, consumer) = in_process(MAIL_CAPACITY, |_| 1);
    let sender = match &settings.smtp_url {
        Some(url) => Sender::Smtp(url.clone(), settings.smtp_authorities.clone()),
        None => {
            let outbox = data.join("outbox");
            tracing::info!(
                "no SMTP_URL is set: mails are written to {}, and sent to nobody",
                outbox.display()
            );
            Sender::Folder(outbox)
        }
    };
    let letterhead = Letterhead {
        from: settings.mail_from.clone(),
        allowed: settings.allowed_domains.clone(),
        url: Some(url.to_owned()),
    };
    (jobs, Mail::new(consumer, registry.clone(), sender, letterhead, clock.clone()))
}

fn keyring(data: &DataDir, settings: &Settings) -> anyhow::Result<Keyring> {
    let current = match &settings.agent_key {
        Some(key) => key.clone(),
        None if settings.agent_key_previous.is_none() && data.lacks_key_of_its_registry("agent-key") => {
            bail!(
                "{} is missing beside a registry that is there: every host would have to enrol again. Bring the file \
             back, or set AGENT_KEY, or, to replace the key, AGENT_KEY_PREVIOUS",
                data.join("agent-key").display()
            )
        }
        None => AgentKey::new(data.key("agent-key")?.expose().as_bytes()).context("the file agent-key")?,
    };
    Ok(Keyring::new(current, settings.agent_key_previous.clone()))
}

/// Where people look at what messages tell them of.
fn url(settings: &Settings, listen: SocketAddr) -> String {
    let url = settings
        .public_url
        .as_ref()
        .map_or_else(|| format!("http://{listen}"), |url| url.as_str().to_owned());
    url.trim_end_matches('/').to_owned()
}

fn channel_keys(data: &DataDir, settings: &Settings) -> anyhow::Result<ChannelKeys> {
    match &settings.channel_keys {
        Some(keys) => Ok(keys.clone()),
        None => Ok(ChannelKeys::new(
            data.key("channel-key")?.expose().parse().context("the file channel-key")?,
            None,
        )),
    }
}

fn order_key(data: &DataDir, settings: &Settings) -> anyhow::Result<OrderKey> {
    match &settings.order_key {
        Some(key) => Ok(key.clone()),
        None => data.key("order-key")?.expose().parse().context("the file order-key"),
    }
}

fn token_key(data: &DataDir, settings: &Settings) -> anyhow::Result<TokenKey> {
    match &settings.token_key {
        Some(key) => Ok(key.clone()),
        None => TokenKey::new(&data.key("token-key")?).context("the file token-key"),
    }
}

fn serve(
    listener: TcpListener,
    settings: &Settings,
    gate: &Gate,
    management: &Management,
    health: &Health,
) -> io::Result<Server> {
    let keep_alive = if settings.proxies == 0 { http::KEEP_ALIVE_DIRECT } else { http::KEEP_ALIVE };
    let (gate, management) = (gate.clone(), management.clone());
    // Everything is on one port here, which a proxy opens to the world.
    health.keep_metrics_local();
    http::serve(listener, keep_alive, settings.bounds, health, move |config| {
        gate.configure(config);
        management.configure(config);
        management.configure_metrics(config);
    })
}

/// Says what is wrong with a listener that other hosts reach and that has no TLS, nor a proxy that we know of.
fn warn_of_clear(bound: SocketAddr, proxies: u8) {
    if proxies == 0 && !bound.ip().is_loopback() {
        let port = bound.port();
        tracing::warn!(
            "{bound} is open to other hosts without TLS: passwords, tokens, credentials and what hosts report go over the \
             network in clear. Put a proxy with TLS in front, listen where it alone reaches, as --listen 127.0.0.1:{port}, \
             and set TRUSTED_PROXIES=1"
        );
    }
}

/// How to log in, as far as this process knows.
async fn log_in(admin: FirstAdmin, registry: &Registry, password: &Path) -> Result<String, RegistryError> {
    let file = password.display();
    Ok(match admin {
        FirstAdmin::Given => "as admin, with the password that ADMIN_PASSWORD set".to_owned(),
        FirstAdmin::Generated => format!("as admin, with the password in {file}"),
        FirstAdmin::NotNeeded if server_management::admin_password_applies(registry, password).await? => {
            format!("as admin, with the password in {file}; change it, and remove the file")
        }
        FirstAdmin::NotNeeded if password.exists() => {
            format!(
                "with the passwords in force; the one in {file} is not admin's (any more): remove the file"
            )
        }
        FirstAdmin::NotNeeded => {
            "with the passwords in force; who has lost one: rollcall reset-password".to_owned()
        }
    })
}

fn welcome(listen: SocketAddr, log_in: &str) {
    println!("rollcall {} is ready", env!("CARGO_PKG_VERSION"));
    println!("  look     http://{listen}/");
    println!("  log in   {log_in}");
    println!("  program  http://{listen}/server-management/v1/openapi.json");
}
