use std::process::ExitCode;

use chassis::{
    Clock,
    lifecycle::Shutdown,
    service::{self, ConsumerCommand},
};
use clap::Parser;
use healthcheck_worker::settings::{Arguments, Settings};
use queue::rabbitmq;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(ConsumerCommand::Healthcheck) => arguments.service.healthcheck(),
        Some(ConsumerCommand::Redrive) => service::exit("healthcheck-worker redrive", redrive(&arguments)),
        None => service::exit("healthcheck-worker", start(&arguments)),
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = Settings::check(arguments)?;
    let listener = arguments.service.begin()?;
    let worker = healthcheck_worker::run(settings, Clock::system(), listener, Shutdown::default());
    Ok(actix_web::rt::System::new().block_on(worker)?)
}

fn redrive(arguments: &Arguments) -> anyhow::Result<()> {
    let queue = Settings::queue(arguments)?;
    let moved = actix_web::rt::System::new().block_on(rabbitmq::redrive(&queue))?;
    println!("{moved} dead letters went through the queue again");
    Ok(())
}
