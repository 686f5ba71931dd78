//! Throttling by failures alone: who succeeds is never slowed down.

use chassis::Problem;
use fleet::Millis;

use crate::{app::App, http::failure::rate_limited};

/// Failures count for this long.
const WINDOW: Millis = 15 * 60_000;

/// How many failures there may be of one kind.
pub(crate) struct Limit {
    /// What failures are counted by.
    pub(crate) key: String,
    /// After this many of them no further attempt is looked at.
    pub(crate) most: usize,
    /// What there were too many of, for people.
    pub(crate) what: &'static str,
}

/// 429 if one of `limits` is reached. Without the cache nobody is throttled: until it is back, attempts are bounded by
/// how few hashes are computed at once.
pub(crate) async fn check(app: &App, limits: &[Limit]) -> Result<(), Problem> {
    let now = app.clock.now();
    for limit in limits {
        let failures = app.cache.failures(&limit.key, now, WINDOW).await;
        if let Some((count, oldest)) = app.cache_trouble.watch(failures)
            && count >= limit.most
        {
            return Err(rate_limited(limit.what, oldest.unwrap_or(now) + WINDOW - now));
        }
    }
    Ok(())
}

/// Counts a failure by each of `limits`.
pub(crate) async fn fail(app: &App, limits: &[Limit]) {
    let now = app.clock.now();
    for limit in limits {
        app.cache_trouble.watch(app.cache.fail(&limit.key, now, WINDOW).await);
    }
}
