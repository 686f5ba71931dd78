//! Rolls up history, and packs what is rolled up: one worker of all at a time, beside what comes in.

use std::time::Duration;

use chassis::{Clock, Trouble};
use fleet::{
    Millis, Pipeline,
    hours::{Closing, LONG_INTERVAL},
};
use history::History;
use registry::Registry;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::instruments::Rollups;

/// How often it looks for hours that have closed.
const EVERY: Duration = Duration::from_secs(15);

/// The lease of this work, and how long it lasts: when its holder is gone, another takes over after that.
const LEASE: &str = "rollups";
const LASTS: Millis = 60_000;

/// It has no more than a quarter of a processor, so that what comes in is not held up.
const RESTS: u32 = 3;

/// See the module.
pub struct Rolling<'a> {
    pub name: &'a str,
    pub registry: &'a Registry,
    pub history: &'a History,
    pub clock: &'a Clock,
}

impl Rolling<'_> {
    /// Until it is dropped. What is under way then is either done or not begun.
    pub async fn run(&self) {
        let instruments = Rollups::new();
        let registry = Trouble::new("the registry");
        let (rolling, packing) = (Trouble::new("rolling up history"), Trouble::new("packing history"));
        let mut due = interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let mut leased = false;
            // Steps until nothing is left, or another has the lease.
            while let Some(Some(closing)) = registry.watch(self.closing().await) {
                leased = true;
                if rolling.watch(self.work(&closing, &instruments).await) != Some(true) {
                    break;
                }
            }
            if leased {
                packing.watch(self.pack(&instruments).await);
            }
        }
    }

    /// Packs what is rolled up, until all was looked at once, or it is time to look for hours that have closed.
    async fn pack(&self, instruments: &Rollups) -> Result<(), history::HistoryError> {
        let began = Instant::now();
        while began.elapsed() < EVERY {
            let step = Instant::now();
            let done = self.history.pack().await?;
            instruments.packed.increment(done.snapshots);
            if !done.more {
                break;
            }
            sleep(RESTS * step.elapsed()).await;
        }
        Ok(())
    }

    /// Gives the lease back, when no more is to be done.
    pub async fn end(&self) {
        // Without that another waits for its end.
        let _ = self.registry.give_back_lease(LEASE, self.name).await;
    }

    /// Which hours are closed; `None` while another worker has the lease, or nothing was settled yet.
    async fn closing(&self) -> Result<Option<Closing>, registry::RegistryError> {
        let now = self.clock.now();
        if !self.registry.take_lease(LEASE, self.name, now, now + LASTS).await? {
            return Ok(None);
        }
        let Some(watermark) = Pipeline::of(&self.registry.progress().await?, now).watermark else {
            return Ok(None);
        };
        Ok(Some(Closing::new(watermark, self.registry.slow_servers(LONG_INTERVAL).await?)))
    }

    /// Works for half of the lease at most. Returns whether something is left.
    async fn work(&self, closing: &Closing, instruments: &Rollups) -> Result<bool, history::HistoryError> {
        let began = Instant::now();
        let half = Duration::from_millis(LASTS.unsigned_abs() / 2);
        loop {
            let step = Instant::now();
            let done = self.history.roll_up(closing).await?;
            instruments.made.increment(done.made);
            instruments.left.set(done.left as f64);
            if done.left == 0 || done.made == 0 {
                return Ok(false);
            }
            sleep(RESTS * step.elapsed()).await;
            if began.elapsed() > half {
                return Ok(true);
            }
        }
    }
}
