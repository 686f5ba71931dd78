use std::{net::TcpListener, process::ExitCode};

use anyhow::Context;
use chassis::{
    Clock, allocator, http,
    lifecycle::{self, Shutdown},
    telemetry,
};
use clap::Parser;
use standalone::{
    commands,
    data::DataDir,
    settings::{Arguments, Command, Settings},
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Some(Command::Healthcheck) => {
            return match http::healthcheck(arguments.listen) {
                Ok(()) => ExitCode::SUCCESS,
                Err(reason) => {
                    eprintln!("{reason}");
                    ExitCode::FAILURE
                }
            };
        }
        Some(Command::ResetPassword(reset)) => commands::reset_password(&arguments.data, reset),
        Some(Command::AfterRestore) => commands::after_restore(&arguments.data),
        Some(Command::Compact) => commands::compact(&arguments.data),
        None => start(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    allocator::give_back();
    let settings = Settings::check(arguments)?;
    telemetry::start(arguments.log_format, arguments.log_level);
    lifecycle::allow_open_files();
    drop(rustls::crypto::ring::default_provider().install_default());
    let data = DataDir::take(&arguments.data)?;
    let listen = arguments.listen;
    let listener =
        TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}; try --listen"))?;
    let suite = standalone::run(data, settings, Clock::system(), listener, Shutdown::default());
    actix_web::rt::System::new().block_on(suite)
}
