//! What the binary does instead of running. Here and not in `main.rs`, which would compile the stores a second time.

use std::time::Duration;

use cache::{Cache, RedisUrl};
use chassis::{Clock, Mistakes, reach, service};
use registry::Registry;

use crate::settings::{AfterRestoreArguments, ResetArguments};

/// For how long a command waits for the cache.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sets a user's password. Management may run meanwhile: the database keeps the two apart, and an ended session counts with its
/// next request.
///
/// # Errors
/// When a setting is missing, the database does not answer, there is no such user, or the password is not taken.
pub fn reset_password(reset: &ResetArguments) -> anyhow::Result<()> {
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

/// Ends what a restored backup brought back, and says what else there is to do. To be run before management starts on the
/// restored database, or while it runs; mail has to wait for it.
///
/// # Errors
/// When a setting is missing, or the database does not answer.
pub fn after_restore(arguments: &AfterRestoreArguments, prefix: &str) -> anyhow::Result<()> {
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
        let done = crate::after_restore(&registry, cache.as_ref(), &Clock::system()).await;
        registry.close().await;
        anyhow::Ok(done?.tell("server-management"))
    })?;
    print!("{told}");
    Ok(())
}
