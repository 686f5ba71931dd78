//! `rollcall-agent`: see `--help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
#[cfg(target_os = "linux")]
use rollcall_agent::hand;
use rollcall_agent::{Args, Settings, healthcheck, run, state_dir};
use tokio_util::sync::CancellationToken;

/// Samples this host and reports to a Rollcall suite. A token is needed once, to enrol.
#[derive(Parser)]
#[command(name = "rollcall-agent", version)]
struct Cli {
    #[command(flatten)]
    args: Args,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Sample and report (the default)
    Run,
    /// Exit with 0 if the last attempt of the running agent succeeded within 3 intervals, else say why
    Healthcheck,
    /// Carry out the signed orders that the agent passes on, as far as the owner of this host allows
    #[cfg(target_os = "linux")]
    Hand(hand::HandArgs),
    /// Make a key for signing orders
    #[cfg(target_os = "linux")]
    OrderKey(hand::KeyArgs),
    /// Sign an order, offline, and print the signature
    #[cfg(target_os = "linux")]
    Sign(hand::SignArgs),
}

fn main() -> ExitCode {
    let Cli { args, command } = Cli::parse();
    let result = match command.unwrap_or(Command::Run) {
        Command::Healthcheck => healthcheck(&state_dir(&args)).map_err(|why| why.to_string()),
        Command::Run => work(&args),
        #[cfg(target_os = "linux")]
        Command::Hand(own) => {
            tracing_subscriber::fmt().with_ansi(false).with_target(false).init();
            hand::serve(&args, own)
        }
        #[cfg(target_os = "linux")]
        Command::OrderKey(own) => hand::make_key(&own),
        #[cfg(target_os = "linux")]
        Command::Sign(own) => hand::sign(&own),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("rollcall-agent: {why}");
            ExitCode::FAILURE
        }
    }
}

fn work(args: &Args) -> Result<(), String> {
    let settings =
        Settings::read(args, std::env::var("ROLLCALL_TOKEN").ok()).map_err(|bad| bad.to_string())?;
    tracing_subscriber::fmt().with_ansi(false).with_target(false).init();
    // Names are resolved on a second thread, which goes when it is not needed.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .thread_stack_size(256 * 1024)
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let asked = shutdown.clone();
        tokio::spawn(async move {
            stop_asked().await;
            asked.cancel();
        });
        run(settings, shutdown).await.map_err(|error| error.to_string())
    });
    // Not waiting for a name that is still being resolved.
    runtime.shutdown_background();
    result
}

/// SIGTERM where there is such a thing, or ctrl-C. Without signals the process can only be killed, which loses nothing.
async fn stop_asked() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        return;
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
