//! What the handlers of all domains share. It knows none of them: what one domain alone needs, such as the key of its
//! tokens, is data of its own beside this.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use cache::Cache;
use chassis::{Clock, Problem, Trouble};
use fleet::{AllowedDomains, Keyring, Pipeline, ServerId, liveness::SIGHTING_SLACK, retention::Kept};
use history::History;
use registry::{Registry, RegistryError, Roll};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::{Duration, timeout},
};

/// When to come back after a 503, in seconds.
pub(crate) const RETRY_AFTER: u64 = 5;

/// Password hashes that are computed at once: each takes 19 MiB and a core.
const HASHING: usize = 2;

/// Sheets that are made at once, each on a thread of its own.
const EXPORTING: usize = 4;

/// Sheets that are read at once: each may take some 150 MB.
const IMPORTING: usize = 1;

/// How long a sheet waits for its turn.
const SHEET_PATIENCE: Duration = Duration::from_secs(10);

/// How long a log-in waits for its turn.
const HASHING_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) registry: Registry,
    pub(crate) history: History,
    pub(crate) cache: Cache,
    pub(crate) clock: Clock,
    /// What has to be there before requests are let in.
    pub(crate) awaited: Awaited,
    /// Logs that the cache is away, and that it is back, once each.
    pub(crate) cache_trouble: Trouble,
    hashing: Semaphore,
    exporting: Arc<Semaphore>,
    importing: Semaphore,
}

/// As [`crate::Settings`] has them.
pub(crate) struct Settings {
    pub(crate) keyring: Keyring,
    pub(crate) kept: Kept,
    pub(crate) api_token_max_days: u16,
    pub(crate) audit_days: u16,
    pub(crate) proxies: usize,
    pub(crate) allowed_domains: AllowedDomains,
}

/// What a process that starts before its stores waits for. Nothing, unless it is told to.
#[derive(Default)]
pub(crate) struct Awaited {
    /// The registry, with its schema and the first user: without it nothing is answered.
    pub(crate) registry: AtomicBool,
    /// What history has forgotten already: without it an uptime figure would count on days that are gone.
    pub(crate) retention: AtomicBool,
}

impl App {
    pub(crate) fn new(
        settings: Settings,
        registry: Registry,
        history: History,
        cache: Cache,
        clock: Clock,
    ) -> Self {
        Self {
            settings,
            registry,
            history,
            cache,
            clock,
            awaited: Awaited::default(),
            cache_trouble: Trouble::new("the cache"),
            hashing: Semaphore::new(HASHING),
            exporting: Arc::new(Semaphore::new(EXPORTING)),
            importing: Semaphore::new(IMPORTING),
        }
    }

    /// What states are judged by, now. Without the cache, servers that fell silent lately are found down later, and
    /// none is found down falsely.
    ///
    /// The cache is asked for the last [`SIGHTING_SLACK`] alone: whoever fell silent before that is down by its
    /// sighting, which is never further behind.
    pub(crate) async fn roll(&self) -> Result<Roll, RegistryError> {
        let pipeline = Pipeline::of(&self.registry.progress().await?, self.clock.now());
        let Some(watermark) = pipeline.watermark else { return Ok(Roll { pipeline, silent: Vec::new() }) };
        let silent = self.cache.silent(watermark - SIGHTING_SLACK, watermark).await;
        Ok(Roll { pipeline, silent: self.cache_trouble.watch(silent).unwrap_or_default() })
    }

    /// Writes the denylist to the cache. A cache that is away gets it later: the registry, by which workers refuse,
    /// has it in any case.
    pub(crate) async fn publish_denylist(&self) -> Result<(), RegistryError> {
        let (version, lowest) = self.registry.denylist().await?;
        self.cache_trouble.watch(self.cache.put_denylist(cache::Denylist { version, lowest }).await);
        Ok(())
    }

    /// Gates let in again whoever is among the unknown servers and is known by now: it was adopted, or a newer backup was
    /// restored.
    pub(crate) async fn forget_known(&self) -> Result<(), RegistryError> {
        let unknown =
            self.cache_trouble.watch(self.cache.unknown(self.clock.now()).await).unwrap_or_default();
        let ids: Vec<ServerId> = unknown.iter().map(|one| one.server).collect();
        let mut known: Vec<ServerId> = self.registry.standing(&ids).await?.into_keys().collect();
        known.extend(self.registry.revoked(&ids).await?);
        if !known.is_empty() {
            self.cache_trouble.watch(self.cache.forget_unknown(&known).await);
        }
        Ok(())
    }

    /// 503 while `what` is [awaited](Awaited).
    pub(crate) fn arrived(&self, what: impl FnOnce(&Awaited) -> &AtomicBool) -> Result<(), Problem> {
        let awaited = what(&self.awaited).load(Ordering::Relaxed);
        if awaited { Err(Problem::unavailable(RETRY_AFTER)) } else { Ok(()) }
    }

    /// Waits for the right to make a sheet; 503 if too many others do.
    pub(crate) async fn turn_to_export(&self) -> Result<OwnedSemaphorePermit, Problem> {
        match timeout(SHEET_PATIENCE, Arc::clone(&self.exporting).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Problem::unavailable(SHEET_PATIENCE.as_secs())),
        }
    }

    /// Waits for the right to read a sheet; 503 if another takes too long.
    pub(crate) async fn turn_to_import(&self) -> Result<SemaphorePermit<'_>, Problem> {
        match timeout(SHEET_PATIENCE, self.importing.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Problem::unavailable(SHEET_PATIENCE.as_secs())),
        }
    }

    /// Waits for the right to hash a password; 503 if too many others wait.
    pub(crate) async fn turn_to_hash(&self) -> Result<SemaphorePermit<'_>, Problem> {
        match timeout(HASHING_PATIENCE, self.hashing.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Problem::unavailable(HASHING_PATIENCE.as_secs())),
        }
    }
}
