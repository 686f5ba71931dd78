//! Telling what the judge found, once a second and in every replica.

use chassis::random;
use fleet::{Pipeline, alert::telling::STORM_AHEAD};
use registry::RegistryError;

use crate::app::App;

/// Most passes at once: whatever there is, the judge has its turn.
const MOST_PASSES: usize = 20;

/// Makes messages of what there is to say.
pub(crate) async fn tell(app: &App) -> Result<(), RegistryError> {
    let now = app.clock.now();
    if !app.registry.has_to_tell(now).await? {
        return Ok(());
    }
    let ahead = ahead(app).await?;
    for _ in 0..MOST_PASSES {
        let told = app.registry.tell(ahead, random, now).await?;
        if told.notifications > 0 {
            tracing::debug!(notifications = told.notifications, incidents = told.items, "incidents are told");
        }
        if !told.more {
            break;
        }
    }
    Ok(())
}

/// How many servers are about to fall silent. Without the cache nobody is waited for.
async fn ahead(app: &App) -> Result<usize, RegistryError> {
    let pipeline = Pipeline::of(&app.registry.progress().await?, app.clock.now());
    let Some(watermark) = pipeline.watermark else { return Ok(0) };
    let silent = app.cache.silent(watermark, watermark + STORM_AHEAD).await;
    Ok(app.cache_trouble.watch(silent).map_or(0, |silent| silent.len()))
}
