//! The gate: takes snapshots in and queues them. It knows no store: who sends is in the credential, who may no longer
//! send is in the denylist.

mod body;
mod instruments;
mod notices;
mod opening;
mod pack;
mod poll;
mod rate;
mod rejection;
mod report;
mod reporting;
mod service;
pub mod settings;
mod take;

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use actix_web::web;
use cache::{Cache, Denylist};
use chassis::{Clock, Problem, Room, Running, Trouble};
use fleet::{Credential, Keyring, Message, ServerId, Tick, liveness::TICK_EVERY};
use instruments::Instruments;
use notices::Notices;
use opening::Opening;
use pack::Packer;
use queue::{PublishError, Publisher};
use rate::Rates;
use rejection::Rejection;
use reporting::Reporting;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub use service::run;

/// How often a gate looks whether a credential was revoked.
const REFRESH: Duration = Duration::from_secs(2);

/// How often a gate asks what changed of what it tells single servers; and every so many times for all of it, since a cache that
/// was emptied does not tell what went.
const NOTICES_EVERY: Duration = Duration::from_millis(500);
const NOTICES_ANEW: u32 = 60;

/// Most polls that a gate holds, as long as they are at most half of its connections.
pub const MOST_HELD_POLLS: usize = 5_000;

/// What a gate is told at start.
pub struct GateSettings {
    /// The keys that credentials are checked with.
    pub keyring: Keyring,
    /// For how many days raw history is kept; what was sampled before is refused.
    pub history_days: u16,
    /// Unique to the running process.
    pub name: String,
    /// The disk that snapshots go to, where it is the gate's business; while it is full none are taken.
    pub room: Option<Room>,
    /// Most polls that are held at once.
    pub held_polls: usize,
}

/// The gate. Clones share it.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    settings: GateSettings,
    publisher: Publisher<Message>,
    /// Packs snapshots into messages, where the publisher is a broker's.
    packer: Option<Packer>,
    cache: Cache,
    clock: Clock,
    denylist: RwLock<Denylist>,
    /// Servers that the registry never knew.
    unknown: RwLock<HashSet<ServerId>>,
    notices: Notices,
    /// Nobody waits any more.
    closing: CancellationToken,
    reporting: Reporting,
    rates: Rates,
    instruments: Instruments,
}

impl Gate {
    /// A gate that is not yet mounted. To be called within a runtime.
    pub fn new(settings: GateSettings, publisher: Publisher<Message>, cache: Cache, clock: Clock) -> Self {
        let packer = match publisher {
            // In process a message costs a move of a pointer: nothing is gained by packing several requests into one.
            Publisher::InProcess(_) => None,
            Publisher::RabbitMq(_) => Some(Packer::start(publisher.clone())),
        };
        let notices = Notices::new(settings.held_polls);
        Self(Arc::new(Inner {
            notices,
            closing: CancellationToken::new(),
            settings,
            publisher,
            packer,
            cache,
            clock,
            denylist: RwLock::default(),
            unknown: RwLock::default(),
            reporting: Reporting::default(),
            rates: Rates::default(),
            instruments: Instruments::new(),
        }))
    }

    /// Mounts `/healthcheck/v1/snapshots`, `bulletin` and `results`.
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        config.service(
            web::resource("/healthcheck/v1/bulletin")
                .app_data(web::Data::from(Arc::clone(&self.0)))
                .route(web::get().to(poll::get))
                .default_service(web::to(poll::not_get)),
        );
        config.service(
            web::resource("/healthcheck/v1/results")
                .app_data(web::Data::from(Arc::clone(&self.0)))
                .route(web::post().to(poll::post))
                .default_service(web::to(take::wrong_method)),
        );
        config.service(
            web::resource("/healthcheck/v1/snapshots")
                .app_data(web::Data::from(Arc::clone(&self.0)))
                .route(web::post().to(take::post))
                .default_service(web::to(take::wrong_method)),
        );
    }

    /// Reads the denylist, so that not even the first request is judged without it. Without an answer it is read later.
    pub async fn read_denylist(&self) {
        if let Ok(Some(denylist)) = self.0.cache.denylist().await {
            self.0.replace_denylist(denylist);
        }
        self.0.read_unknown().await;
        self.0.notices.read(&self.0.cache, true).await;
        self.0.reporting.read(&self.0.cache).await;
    }

    /// Publishes ticks and follows the denylist until `shutdown`. From then on no poll is held.
    pub fn run(self, shutdown: CancellationToken) -> Running<()> {
        Box::pin(async move {
            let work = async {
                tokio::join!(self.0.publish_ticks(), self.0.follow_denylist(), self.0.follow_notices())
            };
            shutdown.run_until_cancelled(work).await;
            self.0.closing.cancel();
        })
    }
}

impl Inner {
    /// Publishes a tick every few seconds, through the queue that snapshots go through: whoever settles a tick has settled
    /// what came before it. The log says by the ticks, and not by requests, whether the queue takes anything: one that is
    /// nearly full refuses some requests and takes others. Before the queue was reached there is nothing to publish to.
    async fn publish_ticks(&self) {
        self.publisher.reached().await;
        let mut every = interval(Duration::from_millis(TICK_EVERY.unsigned_abs()));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut opening = Opening::default();
        let queue =
            Trouble::saying("nothing is taken; agents are told to come back", "the queue confirms again");
        loop {
            every.tick().await;
            let at = self.clock.now();
            let tick = Tick { gate: self.settings.name.clone(), at, open_since: opening.open_since(at) };
            // Who takes no snapshots is not open, or all that are refused would look down.
            let published = match self.full() {
                true => Err(PublishError::Unavailable("the disk is full")),
                false => self.publisher.publish(Message::Tick(tick)).await,
            };
            if queue.watch(published).is_some() {
                opening.confirmed(self.clock.now());
                self.instruments.open_since.set(opening.open_since(at) as f64 / 1_000.0);
            }
        }
    }

    async fn follow_denylist(&self) {
        let mut every = interval(REFRESH);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let cache = Trouble::saying(
            "the denylist cannot be read; the last one stays",
            "the denylist can be read again",
        );
        loop {
            every.tick().await;
            if let Some(Some(denylist)) = cache.watch(self.cache.denylist().await) {
                self.replace_denylist(denylist);
            }
            self.read_unknown().await;
            self.reporting.read(&self.cache).await;
        }
    }

    /// The log is told of a cache that is away by whoever reads the denylist.
    async fn follow_notices(&self) {
        let mut every = interval(NOTICES_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 0_u32.. {
            every.tick().await;
            self.notices.read(&self.cache, turn.is_multiple_of(NOTICES_ANEW)).await;
        }
    }

    /// The answer to a request that is not taken, which is counted.
    fn refuse(&self, rejection: Rejection) -> Problem {
        let problem = rejection.problem(self.clock.now());
        self.instruments.refused(problem.code());
        problem
    }

    /// The answer to a method that a resource does not know; it knows `method`.
    fn wrong_method(&self, method: &'static str) -> Problem {
        let problem = Problem::only(method);
        self.instruments.refused(problem.code());
        problem.with("now", self.clock.now())
    }

    /// Keeps the highest version ever seen.
    fn replace_denylist(&self, denylist: Denylist) {
        let mut held = self.denylist.write().unwrap_or_else(PoisonError::into_inner);
        if denylist.version > held.version {
            tracing::info!(version = denylist.version, servers = denylist.lowest.len(), "new denylist");
            *held = denylist;
        }
    }

    /// Whether the disk has no room for snapshots.
    fn full(&self) -> bool {
        self.settings.room.as_ref().is_some_and(Room::full)
    }

    /// Without an answer the last ones stay; the log is told of that by whoever reads the denylist.
    async fn read_unknown(&self) {
        if let Ok(unknown) = self.cache.unknown(self.clock.now()).await {
            let unknown = unknown.into_iter().map(|one| one.server).collect();
            *self.unknown.write().unwrap_or_else(PoisonError::into_inner) = unknown;
        }
    }

    fn is_unknown(&self, server: ServerId) -> bool {
        self.unknown.read().unwrap_or_else(PoisonError::into_inner).contains(&server)
    }

    fn denied(&self, credential: &Credential) -> bool {
        let denylist = self.denylist.read().unwrap_or_else(PoisonError::into_inner);
        denylist.lowest.get(&credential.server).is_some_and(|lowest| credential.generation < *lowest)
    }
}
