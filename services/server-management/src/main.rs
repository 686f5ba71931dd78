use std::process::ExitCode;

use chassis::{Clock, lifecycle::Shutdown, service};
use clap::Parser;
use server_management::{
    commands::{after_restore, reset_password},
    settings::{Arguments, Command, Settings},
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::Healthcheck) => arguments.service.healthcheck(),
        Some(Command::ResetPassword(reset)) => {
            service::exit("server-management reset-password", reset_password(reset))
        }
        Some(Command::AfterRestore(restored)) => service::exit(
            "server-management after-restore",
            after_restore(restored, &arguments.service.prefix),
        ),
        None => service::exit("server-management", start(&arguments)),
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = Settings::check(arguments)?;
    let listener = arguments.service.begin()?;
    let management = server_management::run(settings, Clock::system(), listener, Shutdown::default());
    Ok(actix_web::rt::System::new().block_on(management)?)
}
