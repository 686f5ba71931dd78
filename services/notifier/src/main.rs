use std::process::ExitCode;

use chassis::{
    Clock,
    lifecycle::Shutdown,
    service::{self, Command},
};
use clap::Parser;
use notifier::settings::{Arguments, Settings};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Healthcheck) => arguments.service.healthcheck(),
        None => service::exit("notifier", start(&arguments)),
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = Settings::check(arguments)?;
    let listener = arguments.service.begin()?;
    let notifier = notifier::run(settings, Clock::system(), listener, Shutdown::default());
    Ok(actix_web::rt::System::new().block_on(notifier)?)
}
