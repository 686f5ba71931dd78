//! What the services of the fleet composition share: their flags, how they begin and how they end.

use std::{
    fmt::Display,
    io,
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    time::Duration,
};

use actix_web::dev::Server;
use clap::{Args, Subcommand};
use tokio::task::JoinSet;
use tracing::level_filters::LevelFilter;

use crate::{
    Health, allocator,
    http::{self, DoorArguments},
    lifecycle::{self, Running, Shutdown},
    random,
    telemetry::{self, LogFormat},
};

/// How long what is in hand may take once it stops serving. Docker's `stop_grace_period` has to be longer than this and
/// the drain together.
pub const GRACE: Duration = Duration::from_secs(20);

/// Flags that every service has.
#[derive(Debug, Clone, Args)]
pub struct ServiceArguments {
    /// Address and port to listen on
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080", value_parser = http::listen_address, global = true)]
    pub listen: SocketAddr,
    /// What the names of queues, indices and keys begin with, so that several suites may share their servers
    #[arg(long, env = "ROLLCALL_PREFIX", default_value = "rollcall", value_parser = prefix, global = true)]
    pub prefix: String,
    /// Seconds to serve on after SIGTERM, for a proxy in front to notice
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=600))]
    pub drain_seconds: u16,
    /// What its HTTP server holds at most
    #[command(flatten)]
    pub doors: DoorArguments,
    /// What log lines look like
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// Least severe level that is logged: error, warn, info, debug, trace or off
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: LevelFilter,
}

/// What a service may do instead of running.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Exit with 0 if the process that listens on --listen is ready
    Healthcheck,
}

/// What a service that consumes a queue may do instead of running.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConsumerCommand {
    /// Exit with 0 if the process that listens on --listen is ready
    Healthcheck,
    /// Send the dead letters through the queue again, those that wait now, and tell how many. Needs AMQP_URL alone
    Redrive,
}

impl ServiceArguments {
    /// Starts the log and the metrics, and opens the listener.
    pub fn begin(&self) -> io::Result<TcpListener> {
        allocator::give_back();
        telemetry::start(self.log_format, self.log_level);
        lifecycle::allow_open_files();
        provide_tls();
        let listen = self.listen;
        TcpListener::bind(listen).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {listen}: {error}; try --listen"))
        })
    }

    /// For how long to serve on after SIGTERM.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }

    /// What the `healthcheck` subcommand exits with.
    pub fn healthcheck(&self) -> ExitCode {
        exit("healthcheck", http::healthcheck(self.listen))
    }
}

/// All that speaks TLS in this process uses one provider of cryptography. A second call changes nothing.
pub fn provide_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A name that no other process has, now or later.
pub fn process_name(role: &str) -> String {
    format!("{role}-{:016x}", u64::from_le_bytes(random()))
}

/// Exits of `main`: an error goes to stderr, with the name of who failed.
pub fn exit<E: Display>(name: &str, result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With all its causes, if it is one that knows them.
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until `shutdown` or a signal asks to stop: then it turns unready, serves on for `drain`, closes the listener and
/// waits for `parts`, which are to end by themselves when `shutdown.soft` is cancelled.
///
/// # Errors
/// When the server or one of `parts` ends before it was asked to.
pub fn run(
    server: Server,
    parts: JoinSet<()>,
    health: Health,
    shutdown: Shutdown,
    drain: Duration,
) -> Running<io::Result<()>> {
    Box::pin(until_stopped(server, parts, health, shutdown, drain))
}

async fn until_stopped(
    server: Server,
    mut parts: JoinSet<()>,
    health: Health,
    shutdown: Shutdown,
    drain: Duration,
) -> io::Result<()> {
    tokio::spawn(shutdown.clone().on_signal(health.clone(), drain, GRACE));
    let stop = shutdown.soft.child_token();
    parts.spawn(async move {
        let told = async {
            health.until_ready().await;
            tracing::info!("ready");
        };
        stop.run_until_cancelled(async { tokio::join!(told, telemetry::upkeep()) }).await;
    });
    let listener = server.handle();
    let mut served = tokio::spawn(server);
    let died = tokio::select! {
        // Parts that were asked to end may do so before this is polled.
        biased;
        () = shutdown.soft.cancelled() => None,
        ended = &mut served => Some(format!("the HTTP server ended: {ended:?}")),
        Some(ended) = parts.join_next() => Some(format!("a part ended by itself: {ended:?}")),
    };
    shutdown.soft.cancel();
    let drained = async {
        listener.stop(true).await;
        while parts.join_next().await.is_some() {}
    };
    if shutdown.hard.run_until_cancelled(drained).await.is_none() {
        listener.stop(false).await;
    }
    tracing::info!("stopped");
    died.map_or(Ok(()), |died| Err(io::Error::other(died)))
}

/// Reads a prefix: one that suits all three servers.
fn prefix(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if first && text.len() <= 40 && text.bytes().all(plain) && !text.contains("-snapshots") {
        return Ok(text.to_owned());
    }
    Err("up to 40 of a-z, 0-9, '-', '_' and '.', a letter or digit first, without \"-snapshots\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_suits_queues_indices_and_keys() {
        for good in ["rollcall", "a", "9-x_y.z"] {
            assert_eq!(prefix(good).as_deref(), Ok(good));
        }
        for bad in ["", "_p", "-p", "P", "a*", "a b", "a-snapshots-b", &"a".repeat(41)] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }
}
