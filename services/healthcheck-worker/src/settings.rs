//! The settings of `healthcheck-worker`: flags with environment variables of the same meaning, and secrets.

use std::time::Duration;

use cache::RedisUrl;
use chassis::{
    Mistakes,
    http::Bounds,
    service::{ConsumerCommand, ServiceArguments},
    settings::BadSettings,
};
use clap::Parser;
use fleet::retention;
use history::ElasticUrl;
use queue::rabbitmq;
use registry::PostgresUrl;

/// The worker: stores what the gates queued in RabbitMQ into Elasticsearch, PostgreSQL and Redis.
///
/// From the environment alone, each also as a file named by NAME_FILE: AMQP_URL, DATABASE_URL, ELASTICSEARCH_URL, REDIS_URL.
#[derive(Debug, Parser)]
#[command(name = "healthcheck-worker", version, about)]
pub struct Arguments {
    #[command(flatten)]
    pub service: ServiceArguments,
    /// Whole days for which raw snapshots are kept: what is older is refused
    #[arg(long, env = "HISTORY_DAYS", default_value_t = retention::DEFAULT_DAYS, value_parser = clap::value_parser!(u16).range(1..=3650))]
    history_days: u16,
    #[command(subcommand)]
    pub command: Option<ConsumerCommand>,
}

/// Settings that were checked.
#[derive(Debug)]
pub struct Settings {
    pub history_days: u16,
    pub queue: rabbitmq::Settings,
    pub database_url: PostgresUrl,
    pub elasticsearch_url: ElasticUrl,
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
        let database_url = mistakes.required("DATABASE_URL");
        let elasticsearch_url = mistakes.required("ELASTICSEARCH_URL");
        let redis_url = mistakes.required("REDIS_URL");
        let (Some(amqp_url), Some(database_url), Some(elasticsearch_url), Some(redis_url)) =
            (amqp_url, database_url, elasticsearch_url, redis_url)
        else {
            return Err(mistakes.into());
        };
        mistakes.check()?;
        Ok(Self {
            history_days: arguments.history_days,
            queue: queue_at(amqp_url, arguments),
            database_url,
            elasticsearch_url,
            redis_url,
            prefix: arguments.service.prefix.clone(),
            drain: arguments.service.drain(),
            bounds: arguments.service.doors.bounds(0),
        })
    }

    /// The queue alone, for what needs nothing else.
    pub fn queue(arguments: &Arguments) -> Result<rabbitmq::Settings, BadSettings> {
        let mut mistakes = Mistakes::default();
        let amqp_url = mistakes.required("AMQP_URL");
        let Some(amqp_url) = amqp_url else { return Err(mistakes.into()) };
        mistakes.check()?;
        Ok(queue_at(amqp_url, arguments))
    }
}

fn queue_at(url: rabbitmq::Url, arguments: &Arguments) -> rabbitmq::Settings {
    rabbitmq::Settings::new(url, &arguments.service.prefix, "snapshots")
}
