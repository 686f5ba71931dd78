use std::{process::ExitCode, time::Duration};

use cache::{Cache, RedisUrl};
use chassis::{Clock, Mistakes, lifecycle::Shutdown, reach, service};
use clap::Parser;
use registry::Registry;
use server_management::settings::{AfterRestoreArguments, Arguments, Command, ResetArguments, Settings};

/// For how long a command waits for the cache.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// Before management starts on the restored database, or while it runs; mail has to wait for it.
fn after_restore(arguments: &AfterRestoreArguments, prefix: &str) -> anyhow::Result<()> {
    let mut mistakes = Mistakes::default();
    let database = mistakes.required("DATABASE_URL");
    let redis: Option<RedisUrl> = match arguments.without_cache {
        true => None,
        false => mistakes.required("REDIS_URL"),
    };
    mistakes.check()?;
    let Some(database) = database else { return Ok(()) };
    service::provide_tls();
    let told = actix_web::rt::System::new().block_on(async {
        let registry = Registry::open_postgres(&database);
        let cache = redis.map(|url| Cache::redis(&url, prefix));
        if let Some(cache) = &cache {
            // It connects in the background. One that stays away is told of below.
            drop(tokio::time::timeout(PATIENCE, reach("the cache", || cache.clock())).await);
        }
        // A backup may be of the release before.
        registry.migrate().await?;
        let done = server_management::after_restore(&registry, cache.as_ref(), &Clock::system()).await;
        registry.close().await;
        anyhow::Ok(done?.tell("server-management"))
    })?;
    print!("{told}");
    Ok(())
}
