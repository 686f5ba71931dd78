//! The settings of `server-management`: flags with environment variables of the same meaning, and secrets.

use std::{path::PathBuf, time::Duration};

use cache::RedisUrl;
use chassis::{Clock, Mistakes, Secret, http::Bounds, service::ServiceArguments, settings::BadSettings};
use clap::{Args, Parser, Subcommand};
use fleet::{
    AllowedDomains, Keyring,
    alert::{
        guard::Allowed,
        seal::{ChannelKey, ChannelKeys},
    },
    retention::{self, Kept},
};
use history::ElasticUrl;
use queue::rabbitmq;
use registry::{DatabaseRole, Guest, PostgresUrl, Registry};

use crate::{Downloads, OrderKey, PublicUrl, ResetPassword, ResetPasswordError, TokenKey, reset_password};

/// Management: the REST interface and the dashboard, over PostgreSQL, Elasticsearch and Redis.
///
/// From the environment alone, each also as a file named by NAME_FILE: AMQP_URL, DATABASE_URL, ELASTICSEARCH_URL, REDIS_URL,
/// AGENT_KEY, AGENT_KEY_PREVIOUS, TOKEN_KEY, CHANNEL_KEY, CHANNEL_KEY_PREVIOUS, ORDER_KEY,
/// ADMIN_PASSWORD.
#[derive(Debug, Parser)]
#[command(name = "server-management", version, about)]
pub struct Arguments {
    #[command(flatten)]
    pub service: ServiceArguments,
    /// Whole days for which raw snapshots are kept
    #[arg(long, env = "HISTORY_DAYS", default_value_t = retention::DEFAULT_DAYS, value_parser = clap::value_parser!(u16).range(1..=3650))]
    history_days: u16,
    /// Whole days for which rollups are kept, HISTORY_DAYS or more; 400, or HISTORY_DAYS if that is more, unless set
    #[arg(long, env = "ROLLUP_DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
    rollup_days: Option<u16>,
    /// Days for which an API token serves at most; 90, or these if they are fewer, unless its maker says otherwise
    #[arg(long, env = "API_TOKEN_MAX_DAYS", default_value_t = DEFAULT_API_TOKEN_MAX_DAYS, value_parser = clap::value_parser!(u16).range(1..=3650))]
    api_token_max_days: u16,
    /// Days for which the audit log is kept
    #[arg(long, env = "AUDIT_DAYS", default_value_t = DEFAULT_AUDIT_DAYS, value_parser = clap::value_parser!(u16).range(1..=3650))]
    audit_days: u16,
    /// How many proxies of yours stand in front: whose X-Forwarded-For is believed
    #[arg(long, env = "TRUSTED_PROXIES", default_value_t = 0)]
    trusted_proxies: u8,
    /// Domains that reports may be mailed to, separated by commas; * for any, and none unless set
    #[arg(long, env = "MAIL_ALLOWED_DOMAINS", default_value = "")]
    mail_allowed_domains: AllowedDomains,
    /// Role in PostgreSQL, which has to be there, that is given what workers need and nothing else
    #[arg(long, env = "DATABASE_WORKER_ROLE")]
    database_worker_role: Option<DatabaseRole>,
    /// Role in PostgreSQL, which has to be there, that is given what mail needs and nothing else
    #[arg(long, env = "DATABASE_MAIL_ROLE")]
    database_mail_role: Option<DatabaseRole>,
    /// Role in PostgreSQL, which has to be there, that is given what the notifier needs and nothing else
    #[arg(long, env = "DATABASE_NOTIFIER_ROLE")]
    database_notifier_role: Option<DatabaseRole>,
    /// Internal targets that messages may go to, hosts or networks with their ports, separated by commas; the same as the notifier's
    #[arg(long, env = "NOTIFY_ALLOW", value_name = "HOST:PORT,…", default_value = "")]
    notify_allow: Allowed,
    /// Address under which hosts reach the suite, for install.sh; unless set the one by which they ask for it
    #[arg(long, env = "PUBLIC_URL", value_name = "URL")]
    public_url: Option<PublicUrl>,
    /// Folder with files named rollcall-agent-ARCH, which hosts fetch by install.sh; unless set none are offered
    #[arg(long, env = "AGENT_DOWNLOADS", value_name = "DIR")]
    agent_downloads: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// For how long snapshots and rollups are kept.
pub fn kept(history_days: u16, rollup_days: Option<u16>, mistakes: &mut Mistakes) -> Option<Kept> {
    let kept = Kept::new(history_days, rollup_days);
    if kept.is_none() {
        mistakes.add(format!(
            "ROLLUP_DAYS: must be at least HISTORY_DAYS, which is {history_days}: rollups are kept for as long as what \
             they are made of, or longer"
        ));
    }
    kept
}

/// `API_TOKEN_MAX_DAYS` unless set.
pub const DEFAULT_API_TOKEN_MAX_DAYS: u16 = 365;

/// `AUDIT_DAYS` unless set.
pub const DEFAULT_AUDIT_DAYS: u16 = 400;

/// What to do instead of running.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Exit with 0 if the process that listens on --listen is ready
    Healthcheck,
    /// Set a password: that of NEW_PASSWORD or NEW_PASSWORD_FILE, or one that is made and shown. Needs DATABASE_URL alone
    ResetPassword(ResetArguments),
    /// After a backup of the database was restored: end what it brought back, and say what else there is to do. Needs
    /// DATABASE_URL and REDIS_URL alone
    AfterRestore(AfterRestoreArguments),
}

/// What was lost besides the database.
#[derive(Debug, Clone, Args)]
pub struct AfterRestoreArguments {
    /// Redis was lost too: what it knew of credentials that were revoked since the backup is gone
    #[arg(long)]
    pub without_cache: bool,
}

/// Whose password is reset, and what stays.
#[derive(Debug, Clone, Args)]
pub struct ResetArguments {
    /// Name of the user, regardless of case
    #[arg(default_value = "admin")]
    username: String,
    /// Leave the user's API tokens, which are deleted otherwise
    #[arg(long)]
    keep_api_tokens: bool,
}

impl ResetArguments {
    /// The password that the environment has for it, if any.
    pub fn given(mistakes: &mut Mistakes) -> Option<Secret> {
        mistakes.secret("NEW_PASSWORD")
    }

    /// Resets it, and says so: a password that was made stands on standard output, alone.
    pub async fn run(
        &self,
        registry: &Registry,
        given: Option<Secret>,
        clock: &Clock,
    ) -> Result<ResetPassword, ResetPasswordError> {
        let reset = reset_password(registry, &self.username, given, self.keep_api_tokens, clock).await?;
        let ResetPassword { username, made, disabled } = &reset;
        let tokens = if self.keep_api_tokens { "" } else { ", its API tokens are deleted" };
        eprintln!("{username} has a new password; its sessions have ended{tokens}");
        if *disabled {
            eprintln!("{username} is disabled: nobody logs in as this user until an admin enables it");
        }
        if let Some(made) = made {
            println!("{}", made.expose());
        }
        Ok(reset)
    }
}

/// Settings of the process that were checked.
#[derive(Debug)]
pub struct Settings {
    pub interface: crate::Settings,
    pub amqp_url: rabbitmq::Url,
    pub database_url: PostgresUrl,
    /// Whom to let into the database.
    pub guests: Vec<(Guest, DatabaseRole)>,
    pub elasticsearch_url: ElasticUrl,
    pub redis_url: RedisUrl,
    pub prefix: String,
    pub drain: Duration,
    pub bounds: Bounds,
    /// For the first user, at the very first start.
    pub admin_password: Option<Secret>,
}

impl Settings {
    /// Checks everything and tells all mistakes at once. Opens nothing but the files of secrets.
    pub fn check(arguments: &Arguments) -> Result<Self, BadSettings> {
        let mut mistakes = Mistakes::default();
        let amqp_url = mistakes.required("AMQP_URL");
        let database_url = mistakes.required("DATABASE_URL");
        let elasticsearch_url = mistakes.required("ELASTICSEARCH_URL");
        let redis_url = mistakes.required("REDIS_URL");
        let key = mistakes.required("AGENT_KEY");
        let previous = mistakes.parsed("AGENT_KEY_PREVIOUS");
        let token_key: Option<TokenKey> = mistakes.required("TOKEN_KEY");
        let admin_password = mistakes.secret("ADMIN_PASSWORD");
        let admin_password = admin_password
            .and_then(|password| mistakes.take("ADMIN_PASSWORD", crate::admin_password(password)));
        let channel_keys = channel_keys(&mut mistakes);
        let order_key: Option<OrderKey> = mistakes.parsed("ORDER_KEY");
        let downloads = arguments.agent_downloads.as_deref();
        let downloads =
            downloads.and_then(|folder| mistakes.take("AGENT_DOWNLOADS", Downloads::list(folder)));
        let kept = kept(arguments.history_days, arguments.rollup_days, &mut mistakes);
        let stores = (amqp_url, database_url, elasticsearch_url, redis_url);
        let (
            (Some(amqp_url), Some(database_url), Some(elasticsearch_url), Some(redis_url)),
            Some(key),
            Some(token_key),
            Some(kept),
        ) = (stores, key, token_key, kept)
        else {
            return Err(mistakes.into());
        };
        mistakes.check()?;
        let interface = crate::Settings {
            keyring: Keyring::new(key, previous),
            token_key,
            kept,
            api_token_max_days: arguments.api_token_max_days,
            audit_days: arguments.audit_days,
            proxies: arguments.trusted_proxies.into(),
            allowed_domains: arguments.mail_allowed_domains.clone(),
            public_url: arguments.public_url.clone(),
            downloads,
            channel_keys,
            notify_allow: arguments.notify_allow.clone(),
            order_key,
        };
        let notifier = arguments.database_notifier_role.clone().map(|role| (Guest::Notifier, role));
        let worker = arguments.database_worker_role.clone().map(|role| (Guest::Worker, role));
        let mail = arguments.database_mail_role.clone().map(|role| (Guest::Mail, role));
        let (prefix, drain) = (arguments.service.prefix.clone(), arguments.service.drain());
        Ok(Self {
            interface,
            amqp_url,
            database_url,
            guests: worker.into_iter().chain(mail).chain(notifier).collect(),
            elasticsearch_url,
            redis_url,
            prefix,
            drain,
            bounds: arguments.service.doors.bounds(arguments.trusted_proxies),
            admin_password,
        })
    }
}

/// The keys of the secrets of channels, if there are any: CHANNEL_KEY and CHANNEL_KEY_PREVIOUS.
pub fn channel_keys(mistakes: &mut Mistakes) -> Option<ChannelKeys> {
    let key: Option<ChannelKey> = mistakes.parsed("CHANNEL_KEY");
    let previous: Option<ChannelKey> = mistakes.parsed("CHANNEL_KEY_PREVIOUS");
    if key.is_none() && previous.is_some() {
        mistakes.add("CHANNEL_KEY: is not set, and CHANNEL_KEY_PREVIOUS is");
    }
    Some(ChannelKeys::new(key?, previous))
}
