use std::process::ExitCode;

use chassis::{
    Clock,
    lifecycle::Shutdown,
    service::{self, Command},
};
use clap::Parser;
use mail::settings::{Arguments, Settings};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Healthcheck) => arguments.service.healthcheck(),
        None => service::exit("mail", start(&arguments)),
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = Settings::check(arguments)?;
    let listener = arguments.service.begin()?;
    let mail = mail::run(settings, Clock::system(), listener, Shutdown::default());
    Ok(actix_web::rt::System::new().block_on(mail)?)
}
