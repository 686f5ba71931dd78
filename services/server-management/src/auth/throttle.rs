//! Throttling by failures alone: who succeeds is never slowed down.

use chassis::Problem;
use fleet::Millis;

use crate::{app::App, failure::rate_limited};

/// Failures count for this long.
const WINDOW: Millis = 15 * 60_000;

/// After this many of them no further attempt is looked at.
const MOST: usize = 10;

/// 429 if one of `keys` has failed too often. Without the cache nobody is throttled; the cost of a hash, and how few
/// are computed at once, bound what is tried meanwhile.
pub(crate) async fn check(app: &App, keys: &[String]) -> Result<(), Problem> {
    let now = app.clock.now();
    for key in keys {
        let failures = app.cache.failures(key, now, WINDOW).await;
        if let Some((count, oldest)) = app.cache_trouble.watch(failures)
            && count >= MOST
        {
            return Err(rate_limited(oldest.unwrap_or(now) + WINDOW - now));
        }
    }
    Ok(())
}

/// Counts a failure of each of `keys`.
pub(crate) async fn fail(app: &App, keys: &[String]) {
    let now = app.clock.now();
    for key in keys {
        app.cache_trouble.watch(app.cache.fail(key, now, WINDOW).await);
    }
}
