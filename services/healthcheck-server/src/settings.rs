//! The settings of `healthcheck-server`: flags with environment variables of the same meaning, and secrets.

use std::time::Duration;

use cache::RedisUrl;
use chassis::{
    Mistakes,
    http::Bounds,
    service::{Command, ServiceArguments},
    settings::BadSettings,
};
use clap::Parser;
use fleet::{Keyring, retention};
use queue::rabbitmq;

/// The gate: takes snapshots in from agents and queues them in RabbitMQ.
///
/// From the environment alone, each also as a file named by NAME_FILE: AMQP_URL, REDIS_URL, AGENT_KEY,
/// AGENT_KEY_PREVIOUS.
#[derive(Debug, Parser)]
#[command(name = "healthcheck-server", version, about)]
pub struct Arguments {
    #[command(flatten)]
    pub service: ServiceArguments,
    /// Whole days for which raw snapshots are kept: what is older is refused
    #[arg(long, env = "HISTORY_DAYS", default_value_t = retention::DEFAULT_DAYS, value_parser = clap::value_parser!(u16).range(1..=3650))]
    history_days: u16,
    /// How many proxies of yours stand in front; with 0 each client address has its own share of the connections
    #[arg(long, env = "TRUSTED_PROXIES", default_value_t = 0)]
    trusted_proxies: u8,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Settings that were checked.
#[derive(Debug)]
pub struct Settings {
    pub keyring: Keyring,
    pub history_days: u16,
    pub amqp_url: rabbitmq::Url,
    pub redis_url: RedisUrl,
    pub prefix: String,
    pub drain: Duration,
    pub bounds: Bounds,
}

impl Settings {
    /// Checks everything and tells all mistakes at once. Opens nothing but the files of secrets.
    pub fn check(arguments: &Arguments) -> Result<Self, BadSettings> {
        let mut mistakes = Mistakes::default();
        let amqp_url = mistakes.required("AMQP_URL");
        let redis_url = mistakes.required("REDIS_URL");
        let key = mistakes.required("AGENT_KEY");
        let previous = mistakes.parsed("AGENT_KEY_PREVIOUS");
        let (Some(amqp_url), Some(redis_url), Some(key)) = (amqp_url, redis_url, key) else {
            return Err(mistakes.into());
        };
        mistakes.check()?;
        Ok(Self {
            keyring: Keyring::new(key, previous),
            history_days: arguments.history_days,
            amqp_url,
            redis_url,
            prefix: arguments.service.prefix.clone(),
            drain: arguments.service.drain(),
            bounds: arguments.service.doors.bounds(arguments.trusted_proxies),
        })
    }
}
