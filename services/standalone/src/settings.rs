//! The settings of `rollcall`: flags with environment variables of the same meaning.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use chassis::{
    Mistakes, Secret,
    http::{self, Bounds, DoorArguments},
    settings::BadSettings,
    telemetry::LogFormat,
};
use clap::{Parser, Subcommand};
use fleet::{
    AgentKey, AllowedDomains, Recipient,
    alert::seal::ChannelKeys,
    retention::{self, Kept},
};
use mail::{Authorities, SmtpUrl};
use notifier::{HeartbeatUrl, settings::TellingArguments};
use server_management::{
    Downloads, OrderKey, PublicUrl, TokenKey,
    settings::{self, ResetArguments},
};

/// Server-fleet monitoring in one process: gate, worker, management, mail, notifier and this host's own agent on one port.
#[derive(Debug, Parser)]
#[command(name = "rollcall", version, about)]
pub struct Arguments {
    /// Folder of the databases, the keys and the first password; made if it is missing
    #[arg(long, env = "ROLLCALL_DATA", default_value = "data")]
    pub data: PathBuf,
    /// Address and port to listen on
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080", value_parser = http::listen_address, global = true)]
    pub listen: SocketAddr,
    /// Do not monitor this host itself
    #[arg(long)]
    no_agent: bool,
    /// Seconds between two samples of this host's own agent, 1 to 3600
    #[arg(long, env = "ROLLCALL_INTERVAL", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3600))]
    interval: u16,
    /// How much this host's own agent tells of what runs; full, but off in a container, unless set
    #[arg(long, env = "ROLLCALL_PROCESSES", value_parser = ["full", "basic", "off"])]
    processes: Option<String>,
    /// File in which the owner of this host says which orders its own agent carries out; /etc/rollcall/hand.conf unless set
    #[arg(long, env = "ROLLCALL_HAND_CONF", value_name = "FILE")]
    hand_conf: Option<String>,
    /// Whole days for which raw snapshots are kept
    #[arg(long, env = "HISTORY_DAYS", default_value_t = retention::DEFAULT_DAYS, value_parser = clap::value_parser!(u16).range(1..=3650))]
    history_days: u16,
    /// Whole days for which rollups are kept, HISTORY_DAYS or more; 400, or HISTORY_DAYS if that is more, unless set
    #[arg(long, env = "ROLLUP_DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
    rollup_days: Option<u16>,
    /// Days for which an API token serves at most; 90, or these if they are fewer, unless its maker says otherwise
    #[arg(long, env = "API_TOKEN_MAX_DAYS", default_value_t = settings::DEFAULT_API_TOKEN_MAX_DAYS, value_parser = clap::value_parser!(u16).range(1..=3650))]
    api_token_max_days: u16,
    /// Days for which the audit log is kept
    #[arg(long, env = "AUDIT_DAYS", default_value_t = settings::DEFAULT_AUDIT_DAYS, value_parser = clap::value_parser!(u16).range(1..=3650))]
    audit_days: u16,
    /// Bytes of the data folder's disk that are kept free for people's changes: with less, no snapshots are taken. Unless
    /// set 256 MiB, or a tenth of a smaller disk
    #[arg(long, env = "DISK_RESERVE_BYTES")]
    disk_reserve_bytes: Option<u64>,
    /// Seconds to serve on after SIGTERM, for a proxy in front to notice
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=600))]
    drain_seconds: u16,
    /// How many proxies of yours stand in front: whose X-Forwarded-For is believed
    #[arg(long, env = "TRUSTED_PROXIES", default_value_t = 0)]
    trusted_proxies: u8,
    /// Address that reports come from; needed with SMTP_URL
    #[arg(long, env = "MAIL_FROM")]
    mail_from: Option<Recipient>,
    /// Domains that reports may be mailed to, separated by commas; * for any. Unless set none with SMTP_URL, any without
    #[arg(long, env = "MAIL_ALLOWED_DOMAINS")]
    mail_allowed_domains: Option<AllowedDomains>,
    /// PEM file of certificate authorities that may vouch for the SMTP server, besides the usual ones
    #[arg(long, env = "SMTP_CA_FILE")]
    smtp_ca_file: Option<PathBuf>,
    /// Address under which hosts reach the suite, for install.sh; unless set the one by which they ask for it
    #[arg(long, env = "PUBLIC_URL", value_name = "URL")]
    public_url: Option<PublicUrl>,
    /// Folder with files named rollcall-agent-ARCH, which hosts fetch by install.sh; unless set none are offered
    #[arg(long, env = "AGENT_DOWNLOADS", value_name = "DIR")]
    agent_downloads: Option<PathBuf>,
    #[command(flatten)]
    telling: TellingArguments,
    #[command(flatten)]
    doors: DoorArguments,
    /// What log lines look like
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Least severe level that is logged: error, warn, info, debug, trace or off
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: tracing::level_filters::LevelFilter,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of running.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Exit with 0 if the process that listens on --listen is ready
    Healthcheck,
    /// Set a password while rollcall is stopped: that of NEW_PASSWORD or NEW_PASSWORD_FILE, or one that is made and shown
    ResetPassword(ResetArguments),
    /// After a backup was restored, while rollcall is stopped: end what it brought back, and say what else there is to do
    AfterRestore,
    /// While rollcall is stopped: make history.db as small as what is in it, and say how much that gave back
    Compact,
}

/// Settings that were checked.
#[derive(Debug)]
pub struct Settings {
    /// In seconds; `None`: no agent for this host.
    pub agent_interval: Option<u16>,
    /// How much this host's own agent tells of what runs; `None`: what it does by itself.
    pub processes: Option<String>,
    /// Where it is said which orders this host's own agent carries out; `None`: where it is usually.
    pub hand_conf: Option<String>,
    pub kept: Kept,
    pub api_token_max_days: u16,
    pub audit_days: u16,
    /// In bytes; `None`: by the size of the disk.
    pub disk_reserve: Option<u64>,
    pub drain: Duration,
    pub proxies: u8,
    pub bounds: Bounds,
    /// `None`: made at first start and kept in the data folder.
    pub agent_key: Option<AgentKey>,
    pub agent_key_previous: Option<AgentKey>,
    pub token_key: Option<TokenKey>,
    /// `None`: mails become files in the data folder.
    pub smtp_url: Option<SmtpUrl>,
    pub smtp_authorities: Authorities,
    pub mail_from: Recipient,
    pub allowed_domains: AllowedDomains,
    pub public_url: Option<PublicUrl>,
    /// `None`: no agents are offered to hosts.
    pub downloads: Option<Downloads>,
    /// `None`: made at first start and kept in the data folder.
    pub channel_keys: Option<ChannelKeys>,
    /// `None`: made at first start and kept in the data folder.
    pub order_key: Option<OrderKey>,
    /// Where messages may go, and what sends them.
    pub telling: TellingArguments,
    pub sender: notifier::Sender,
    pub heartbeat: Option<HeartbeatUrl>,
    /// `None`: generated at first start and kept in the data folder.
    pub admin_password: Option<Secret>,
}

impl Settings {
    /// Checks everything and tells all mistakes at once. Opens nothing but the files of secrets.
    pub fn check(arguments: &Arguments) -> Result<Self, BadSettings> {
        let mut mistakes = Mistakes::default();
        let smtp_url: Option<SmtpUrl> = mistakes.parsed("SMTP_URL");
        let kept = settings::kept(arguments.history_days, arguments.rollup_days, &mut mistakes);
        let sender = arguments.telling.sender(&mut mistakes);
        let mail_from = mail_from(arguments, smtp_url.is_some(), &mut mistakes);
        let (Some(mail_from), Some(kept), Some(sender)) = (mail_from, kept, sender) else {
            return Err(mistakes.into());
        };
        // Without an SMTP server mails become files, whoever they are addressed to.
        let allowed = match smtp_url {
            Some(_) => AllowedDomains::Only(Vec::new()),
            None => AllowedDomains::Any,
        };
        let settings = Self {
            agent_interval: (!arguments.no_agent).then_some(arguments.interval),
            processes: arguments.processes.clone(),
            hand_conf: arguments.hand_conf.clone(),
            kept,
            api_token_max_days: arguments.api_token_max_days,
            audit_days: arguments.audit_days,
            disk_reserve: arguments.disk_reserve_bytes,
            drain: Duration::from_secs(arguments.drain_seconds.into()),
            proxies: arguments.trusted_proxies,
            bounds: arguments.doors.bounds(arguments.trusted_proxies),
            agent_key: mistakes.parsed("AGENT_KEY"),
            agent_key_previous: mistakes.parsed("AGENT_KEY_PREVIOUS"),
            token_key: mistakes.parsed("TOKEN_KEY"),
            smtp_url,
            smtp_authorities: smtp_authorities(arguments, &mut mistakes),
            mail_from,
            allowed_domains: arguments.mail_allowed_domains.clone().unwrap_or(allowed),
            public_url: arguments.public_url.clone(),
            downloads: downloads(arguments, &mut mistakes),
            channel_keys: settings::channel_keys(&mut mistakes),
            order_key: mistakes.parsed("ORDER_KEY"),
            telling: arguments.telling.clone(),
            sender,
            heartbeat: mistakes.parsed("HEARTBEAT_URL"),
            admin_password: admin_password(&mut mistakes),
        };
        mistakes.check()?;
        Ok(settings)
    }
}

/// The sender of mails. Mails that become files need none, and get an address that leads nowhere.
fn mail_from(arguments: &Arguments, sends: bool, mistakes: &mut Mistakes) -> Option<Recipient> {
    if sends && arguments.mail_from.is_none() {
        mistakes.add("MAIL_FROM: is not set, and SMTP_URL is; set it to the address that reports come from");
    }
    let nowhere = || mistakes.take("MAIL_FROM", "rollcall@localhost".parse());
    arguments.mail_from.clone().or_else(nowhere)
}

fn smtp_authorities(arguments: &Arguments, mistakes: &mut Mistakes) -> Authorities {
    let read = arguments.smtp_ca_file.as_deref().map(Authorities::read);
    read.and_then(|read| mistakes.take("SMTP_CA_FILE", read)).unwrap_or_default()
}

fn downloads(arguments: &Arguments, mistakes: &mut Mistakes) -> Option<Downloads> {
    mistakes.take("AGENT_DOWNLOADS", Downloads::list(arguments.agent_downloads.as_deref()?))
}

fn admin_password(mistakes: &mut Mistakes) -> Option<Secret> {
    let secret = mistakes.secret("ADMIN_PASSWORD")?;
    mistakes.take("ADMIN_PASSWORD", server_management::admin_password(secret))
}
