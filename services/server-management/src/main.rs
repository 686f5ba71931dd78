use std::process::ExitCode;

use chassis::{Clock, Mistakes, lifecycle::Shutdown, service};
use clap::Parser;
use registry::Registry;
use server_management::settings::{Arguments, Command, ResetArguments, Settings};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::Healthcheck) => arguments.service.healthcheck(),
        Some(Command::ResetPassword(reset)) => {
            service::exit("server-management reset-password", reset_password(reset))
        }
        None => service::exit("server-management", start(&arguments)),
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = Settings::check(arguments)?;
    let listener = arguments.service.begin()?;
    let management = server_management::run(settings, Clock::system(), listener, Shutdown::default());
    Ok(actix_web::rt::System::new().block_on(management)?)
}

/// Management may run meanwhile: the database keeps the two apart, and an ended session counts with its next request.
fn reset_password(reset: &ResetArguments) -> anyhow::Result<()> {
    let mut mistakes = Mistakes::default();
    let (url, given) = (mistakes.required("DATABASE_URL"), ResetArguments::given(&mut mistakes));
    mistakes.check()?;
    let Some(url) = url else { return Ok(()) };
    let registry = Registry::open_postgres(&url);
    actix_web::rt::System::new().block_on(async {
        let reset = reset.run(&registry, given, &Clock::system()).await;
        registry.close().await;
        reset.map(drop)
    })?;
    Ok(())
}
