//! The loop: takes a sample when it is due and sends it at once; sends what is held in between.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use fleet::{Interval, Millis};
use serde_json::value::RawValue;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use wire::{bounds::MAX_SNAPSHOTS, v1};

use crate::{
    AgentError, GRACE,
    backoff::{Backoff, LONGEST, jitter},
    clock::{Clocks, Reading, millis},
    covers::covers,
    enrol::enrol,
    gate::{Gates, client},
    orders::Orders,
    processes::{Processes, shortened},
    sample::Sampler,
    settings::Settings,
    spool::{Bounds, Dropped, Pack, Sample, Spool},
    state::{Moment, Store, about},
    watch::{Outage, Watch},
};

/// Pause between two packs of back-fill. A gate takes 20 requests a second of one agent.
const BETWEEN_PACKS: Duration = Duration::from_millis(100);
/// Back-fill waits when the next sample is due sooner than this.
const SHORTEST: Duration = Duration::from_millis(250);
/// Most samples and bytes of a pack, before gzip. Far below what a gate takes, as a pack is in memory.
const PACK: (usize, usize) = (MAX_SNAPSHOTS, 128 * 1024);
/// With this the JSON of a snapshot begins that has no stamps yet.
const NO_STAMPS: &str = "{\"sampled_at\":0,\"covers_ms\":0";

/// One agent at work.
pub(crate) struct Agent {
    pub settings: Settings,
    pub store: Store,
    pub spool: Spool,
    pub clocks: Clocks,
    pub sampler: Sampler,
    processes: Processes,
    pub gates: Gates,
    pub orders: Orders,
    /// Greatest `sampled_at` that a gate took or that is held.
    pub highest: Option<Millis>,
    /// When the previous sample was taken, if this run took it.
    previous: Option<Instant>,
    backoff: Backoff,
    backfill_at: Instant,
    /// Whether the newest sample was accepted when it was sent at once; `None` before the first.
    reached: Option<bool>,
    disk_full: bool,
    /// Whether the suite answers, and what was told of that.
    pub watch: Watch,
    /// What the log said last of a sample that was set aside, so that it does not repeat itself.
    pub told_aside: String,
}

/// How an attempt to send a pack ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// No sample of the pack is held any longer.
    Done,
    /// Some are still held: try again later, after `wait` if a gate asked for it.
    Kept { why: String, wait: Option<Duration> },
    /// The stamps of those that are held were mended: try again at once.
    Restamped,
}

/// Runs an agent until `shutdown`, then finishes the attempt in hand, for at most 2 s. Nothing is lost when it is
/// killed.
///
/// # Errors
/// Only before the first sample, and only what a person has to mend. What fails later is told in the log and tried
/// again.
pub fn run(
    settings: Settings,
    shutdown: CancellationToken,
) -> Pin<Box<dyn Future<Output = Result<(), AgentError>> + Send>> {
    // Boxed, because whoever awaits an `async fn` compiles its body once more.
    Box::pin(until_stopped(settings, shutdown))
}

async fn until_stopped(settings: Settings, shutdown: CancellationToken) -> Result<(), AgentError> {
    let mut store = Store::open(&settings.state_dir)?;
    let urls = settings.urls.iter().chain([&settings.enrol_url]);
    let client = client(urls.map(String::as_str), &settings.authorities)?;
    let spool_dir = settings.state_dir.join("spool");
    let spool = Spool::open(&spool_dir, Bounds::default())
        .map_err(|source| AgentError::StateDir { dir: spool_dir, source })?;
    let work = async {
        enrol(&settings, &mut store, &client, &shutdown).await?;
        if shutdown.is_cancelled() {
            return Ok(());
        }
        let orders =
            Orders::start(client.clone(), &settings.state_dir, settings.hand.clone(), settings.clock.clone());
        let gates = Gates::new(client, settings.urls.clone(), settings.interval_duration() * 5);
        Agent::new(settings, store, spool, gates, orders).work(&shutdown).await;
        Ok(())
    };
    let grace = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = work => result,
        () = grace => Ok(()),
    }
}

impl Agent {
    fn new(settings: Settings, mut store: Store, mut spool: Spool, gates: Gates, orders: Orders) -> Self {
        if let Some(last) = spool.take_last() {
            let newer = Moment { boot: last.boot, up: last.up, at: last.at };
            if store.state.last.as_ref().is_none_or(|last| last.boot != newer.boot || last.up < newer.up) {
                store.state.last = Some(newer);
            }
        }
        let earlier = store.state.last.as_ref().map(|last| &*last.boot);
        let clocks = Clocks::new(settings.clock.clone(), store.state.anchor.clone(), earlier);
        let interval = settings.interval_duration();
        tracing::info!(
            server_id = store.state.server_id,
            urls = settings.urls.join(","),
            interval_s = interval.as_secs(),
            held = spool.len(),
            "the agent starts"
        );
        store.state.interval_ms = settings.interval.millis();
        store.state.outage = store.state.outage.take().and_then(Outage::found);
        let processes = Processes::start(settings.processes);
        Self {
            highest: store.state.highest.max(spool.newest()),
            settings,
            store,
            spool,
            clocks,
            sampler: Sampler::new(),
            processes,
            gates,
            orders,
            previous: None,
            backoff: Backoff::new(interval),
            backfill_at: Instant::now() + jitter(interval, crate::random()),
            reached: None,
            disk_full: false,
            watch: Watch::default(),
            told_aside: String::new(),
        }
    }

    async fn work(mut self, shutdown: &CancellationToken) {
        let interval = self.settings.interval_duration();
        let mut due = Instant::now();
        let mut first = true;
        while self.until(due, shutdown).await {
            self.beat().await;
            if shutdown.is_cancelled() {
                return;
            }
            due += if first { self.until_phase() } else { interval };
            first = false;
            // Samples that were missed are not made up for: the next one vouches for up to two intervals.
            while due <= Instant::now() {
                due += interval;
            }
        }
    }

    /// Back-fills until the next sample is due. It waits until a gate told the time in this boot, as samples that were
    /// sent with wrong stamps cannot be taken back. `false`: shut down.
    async fn until(&mut self, due: Instant, shutdown: &CancellationToken) -> bool {
        loop {
            let some = !self.spool.is_empty() && self.clocks.anchor().is_some();
            let wake = if some && self.backfill_at + SHORTEST <= due { self.backfill_at } else { due };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return false,
                () = sleep_until(wake.into()) => {}
            }
            if Instant::now() >= due {
                return true;
            }
            self.back_fill(due).await;
        }
    }

    /// Takes one sample and sends it, whatever the back-off.
    async fn beat(&mut self) {
        let (sample, certain) = self.sample().await;
        self.highest = self.highest.max(Some(sample.at));
        let (start, dropped) = self.spool.append(sample.clone(), certain);
        self.count(dropped);
        let pack = Pack { start, samples: vec![sample] };
        let timeout = self.timeout();
        let mut end = self.settle(pack, timeout).await;
        if end == End::Restamped {
            end = match self.spool.pack(1, PACK.1) {
                Ok(Some(pack)) => self.settle(pack, timeout).await,
                _ => End::Done,
            };
        }
        self.conclude(end);
        if let Some(credential) = self.store.state.bearer() {
            let server = self.store.state.server_id.as_deref();
            self.orders.reached(self.gates.serving(), credential, server);
        }
        self.watch_over().await;
    }

    async fn back_fill(&mut self, due: Instant) {
        let left = due.saturating_duration_since(Instant::now());
        let pack = self.spool.pack(PACK.0, PACK.1).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read what is held");
            None
        });
        let end = match pack {
            Some(pack) => self.settle(pack, self.timeout().min(left)).await,
            None => End::Kept { why: String::new(), wait: Some(LONGEST) },
        };
        let wait = match end {
            End::Done => {
                self.backoff.reset();
                BETWEEN_PACKS
            }
            // Were it at once, a gate that refuses every stamp would be asked without a pause.
            End::Restamped => self.backoff.failed(None, crate::random()),
            End::Kept { wait, .. } => self.backoff.failed(wait, crate::random()),
        };
        self.backfill_at = Instant::now() + wait;
    }

    /// Takes note of how sending the newest sample ended. The log tells when that differs from the time before.
    fn conclude(&mut self, end: End) {
        let interval = self.settings.interval_duration();
        let now = Instant::now();
        match end {
            End::Done if self.store.state.failure.is_none() => {
                if self.reached != Some(true) {
                    tracing::info!(held = self.spool.len(), "the suite takes what this agent sends");
                    self.backoff.reset();
                    // Not at once: the whole fleet found the suite away, and comes back in the same interval.
                    self.backfill_at = self.backfill_at.min(now + jitter(interval, crate::random()));
                }
                self.reached = Some(true);
            }
            End::Done => self.reached = Some(false),
            End::Kept { .. } | End::Restamped => {
                let (why, wait) = match end {
                    End::Kept { why, wait } => (why, wait),
                    _ => ("refuses the time of what is sent, even by its own clock".to_owned(), None),
                };
                if self.reached != Some(false) {
                    tracing::warn!("the suite does not take what this agent sends, which is kept: {why}");
                }
                self.reached = Some(false);
                if let Some(wait) = wait {
                    self.backfill_at = self.backfill_at.max(now + wait.min(LONGEST));
                }
                self.fail(why);
            }
        }
    }

    /// Keeps for `healthcheck` what is wrong. The file is written when that changes.
    pub fn fail(&mut self, why: String) {
        if self.store.state.failure.as_ref() != Some(&why) {
            self.store.state.failure = Some(why);
            self.store.save();
        }
    }

    /// Takes a sample. Also answers what time it is, if that is certain: a gate told the time in this boot.
    async fn sample(&mut self) -> (Sample, Option<Millis>) {
        let reading = self.clocks.read();
        let taken = Instant::now();
        let since = self.since(reading);
        self.previous = Some(taken);
        // Not before: another thread wakes here, and whatever passes between the two clocks is a gap to the suite.
        let asked = self.processes.ask();
        let mut at = reading.at;
        if self.highest == Some(at) {
            // Two samples of one moment would be one to the suite.
            at += 1;
        }
        let covers = covers(since, at, self.highest, self.settings.interval);
        let (mut measured, cut) = self.sampler.sample(reading);
        self.store.state.cut += cut;
        let taken = self.orders.look();
        measured.agent = self.marked(about(&self.store.state, &self.spool, reading, taken));
        measured.processes = self.processes.wait(asked, self.settings.interval_duration()).await;
        if let Some(shorter) = shortened(&measured, self.settings.interval) {
            measured = shorter;
            self.processes.lost();
        }
        let sample = Sample {
            boot: self.clocks.boot().to_owned(),
            up: reading.up,
            since: since.unwrap_or(0),
            at,
            covers,
            measured: without_stamps(&measured, self.settings.interval),
        };
        (sample, self.clocks.anchor().map(|_| reading.at))
    }

    /// Time since the previous sample. After a restart in the same boot the time since the boot stands in for the
    /// monotonic clock, which is new with each process.
    fn since(&self, reading: Reading) -> Option<Millis> {
        if let Some(previous) = self.previous {
            // Rounded up, as the stamps are to the millisecond: no gaps of one between neighbours.
            return Some(millis(previous.elapsed()) + 1);
        }
        let last = self.store.state.last.as_ref()?;
        (last.boot == self.clocks.boot()).then(|| reading.up - last.up + 1)
    }

    fn count(&mut self, dropped: Dropped) {
        if dropped.count > 0 {
            self.store.state.dropped += dropped.count;
            self.store.state.highest = self.store.state.highest.max(dropped.newest);
            tracing::warn!(
                dropped = dropped.count,
                "more is held than this agent may keep: the oldest are dropped"
            );
            self.store.save();
        }
        if self.spool.in_memory() != self.disk_full {
            self.disk_full = self.spool.in_memory();
            if self.disk_full {
                tracing::error!(
                    "the disk takes no sample: keeping them in memory; make room in the state folder"
                );
            } else {
                tracing::info!("the disk takes samples again");
            }
        }
    }

    /// Well below the interval, so that a gate that does not answer does not delay the next sample, if the interval
    /// allows.
    fn timeout(&self) -> Duration {
        (self.settings.interval_duration() / 3).clamp(Duration::from_secs(1), Duration::from_secs(10))
    }

    /// How long after the first sample, which is taken at once, the second is due: at this server's place in the
    /// interval, but at least a quarter of an interval later.
    fn until_phase(&mut self) -> Duration {
        let interval = self.settings.interval.millis();
        let id = self.store.state.server_id.as_deref().unwrap_or_default();
        let wait = (phase(id, interval) - self.clocks.read().at).rem_euclid(interval);
        let wait = if wait < interval / 4 { wait + interval } else { wait };
        Duration::from_millis(wait.unsigned_abs())
    }
}

impl Settings {
    /// The interval, as timers have it.
    pub(crate) fn interval_duration(&self) -> Duration {
        Duration::from_millis(self.interval.millis().unsigned_abs())
    }
}

/// Where in the interval this server samples: FNV-1a of its id, so that a fleet spreads and a server keeps its place.
fn phase(id: &str, interval: Millis) -> Millis {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    i64::try_from(hash >> 1).unwrap_or(0).rem_euclid(interval)
}

/// The measurements as the spool keeps them. Those that a gate would refuse are left out, and the stamps go alone.
fn without_stamps(measured: &v1::Snapshot, interval: Interval) -> Box<RawValue> {
    let checked = fleet::Snapshot::check(measured.clone(), interval);
    if let Err(fault) = &checked {
        tracing::error!(%fault, "this host's measurements are out of bounds, and left out");
    }
    let json = checked.ok().and_then(|checked| serde_json::to_string(&checked).ok()).unwrap_or_default();
    let rest = json.strip_prefix(NO_STAMPS).unwrap_or("}");
    let rest = format!("{{{}", rest.strip_prefix(',').unwrap_or(rest));
    RawValue::from_string(rest).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_kept_and_spread() {
        let ids: Vec<String> =
            (0..1_000u64).map(|n| fleet::ServerId::new(n as Millis, [n as u8; 10]).to_string()).collect();
        let mut tenths = [0; 10];
        for id in &ids {
            let place = phase(id, 30_000);
            assert_eq!(place, phase(id, 30_000));
            tenths[usize::try_from(place / 3_000).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (60..150).contains(count)), "{tenths:?}");
    }

    #[test]
    fn stamps_come_off_and_go_on_again() {
        let interval = Interval::DEFAULT;
        let full = v1::Snapshot { load: Some([1.0, 0.5, 0.25]), ..v1::Snapshot::default() };
        for snapshot in [full, v1::Snapshot::default()] {
            let measured = without_stamps(&snapshot, interval);
            let sample = Sample { boot: String::new(), up: 0, since: 0, at: 77, covers: 30, measured };
            let mut wire = Vec::new();
            sample.put(&mut wire).unwrap();
            let back: v1::Snapshot = serde_json::from_slice(&wire).unwrap();
            assert_eq!(back, v1::Snapshot { sampled_at: 77, covers_ms: 30, ..snapshot });
        }
    }
}
