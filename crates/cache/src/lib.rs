//! Disposable shared state: who is silent when, latest values, the denylist, failures to throttle by, who writes most, who tells
//! when the suite is away. Losing it loses nothing but speed.
#![warn(missing_docs)]

mod connection;
mod failures;
mod in_process;
mod in_redis;
mod notices;
mod reporters;
mod roll;
mod unknown;
mod writers;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    str::FromStr,
    sync::Arc,
};

use fleet::{Millis, ServerId, alert::lease::Lease};

pub use failures::MOST_COUNTED;

/// The cache did not answer; go on without it.
#[derive(Debug, thiserror::Error)]
#[error("the cache is unavailable: {0}")]
pub struct Unavailable(String);

/// A text that is not the address of a Redis. It is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("not a Redis URL: expected redis://[[user]:password@]host[:port][/database], or rediss:// for TLS")]
pub struct BadUrl;

/// Where a Redis is and who we are to it: `redis://` or, for TLS, `rediss://`. Never prints: it may hold a password.
#[derive(Clone)]
pub struct RedisUrl(redis::Client);

impl FromStr for RedisUrl {
    type Err = BadUrl;

    fn from_str(url: &str) -> Result<Self, BadUrl> {
        // It connects to nothing yet.
        redis::Client::open(url).map(Self).map_err(|_| BadUrl)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl([redacted])")
    }
}

/// What a worker saw of one server.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which server.
    pub server: ServerId,
    /// Gate time of its newest beat.
    pub received_at: Millis,
    /// The moment from which it counts as silent after that beat.
    pub silent_at: Millis,
    /// The newest snapshot of the batch, as JSON.
    pub latest: Arc<str>,
    /// Its `sampled_at`: an older one never replaces a newer one.
    pub sampled_at: Millis,
}

/// The latest of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// Gate time of its newest beat.
    pub received_at: Millis,
    /// Greatest `sampled_at`.
    pub sampled_at: Millis,
    /// That snapshot, as JSON.
    pub snapshot: Arc<str>,
}

/// Which credentials are no longer accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Denylist {
    /// When it changed last, in Unix ms by the registry, at least one more than before that change.
    pub version: i64,
    /// Lowest generation still accepted, by server. A server that is not in it is accepted in any generation.
    pub lowest: BTreeMap<ServerId, u32>,
}

/// A server that the registry never knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown {
    /// Its id, by a credential of ours.
    pub server: ServerId,
    /// The greatest generation of the credentials that it showed.
    pub generation: u32,
    /// Gate time of the newest snapshot that a worker had of it.
    pub last_seen: Millis,
}

/// How much came of a server lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writer {
    /// Which server.
    pub server: ServerId,
    /// About how many bytes its snapshots are.
    pub bytes: u64,
    /// How many there were.
    pub snapshots: u64,
}

/// What gates tell single servers, as far as it changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noticed {
    /// What to ask with next.
    pub version: i64,
    /// These are all that there are, and not only those that changed.
    pub whole: bool,
    /// By server; `None`: it has none any more.
    pub notices: Vec<(ServerId, Option<Arc<str>>)>,
}

/// The cache. Clones share it.
#[derive(Clone)]
pub enum Cache {
    /// In this process.
    InProcess(Arc<in_process::InProcess>),
    /// In Redis, shared by all processes of a fleet.
    Redis(Arc<in_redis::InRedis>),
}

impl Cache {
    /// An empty one in this process. It forgets servers that have been silent for seven days.
    pub fn in_process() -> Self {
        Self::InProcess(Arc::default())
    }

    /// The one at `url` under keys that begin with `prefix`. Returns at once and connects in
    /// the background of the current tokio runtime, for ever; until then, and whenever it is away, calls answer
    /// [`Unavailable`]. No call takes longer than half a second. It too forgets what is silent for seven days.
    pub fn redis(url: &RedisUrl, prefix: &str) -> Self {
        Self::Redis(Arc::new(in_redis::InRedis::open(url, prefix)))
    }

    /// Takes what a batch saw. Older values never win; what [was heard](fleet::liveness::Beat::replaces) ahead of the
    /// clock loses to any. The clock is Redis' own, and in process `now`.
    pub async fn see(&self, seen: Vec<Seen>, now: Millis) -> Result<(), Unavailable> {
        match self {
            Self::InProcess(cache) => {
                cache.see(seen, now);
                Ok(())
            }
            Self::Redis(cache) => cache.see(&seen).await,
        }
    }

    /// Takes what was heard ahead of the clock, which is Redis' own and in process `now`, as heard now: whoever sent it
    /// and is gone is then silent in time.
    pub async fn correct(&self, now: Millis) -> Result<(), Unavailable> {
        match self {
            Self::InProcess(cache) => {
                cache.correct(now);
                Ok(())
            }
            Self::Redis(cache) => cache.correct().await,
        }
    }

    /// The servers whose `silent_at` is in `[from, to)`, with it.
    pub async fn silent(&self, from: Millis, to: Millis) -> Result<Vec<(ServerId, Millis)>, Unavailable> {
        match self {
            Self::InProcess(cache) => Ok(cache.silent(from, to)),
            Self::Redis(cache) => cache.silent(from, to).await,
        }
    }

    /// From when each of these servers counts as silent; one that is not known is left out.
    pub async fn silent_at(&self, servers: &[ServerId]) -> Result<HashMap<ServerId, Millis>, Unavailable> {
        match self {
            Self::InProcess(cache) => Ok(cache.silent_at(servers)),
            Self::Redis(cache) => cache.silent_at(servers).await,
        }
    }

    /// The latest of these servers; one that is not known is left out.
    pub async fn latest(&self, servers: &[ServerId]) -> Result<HashMap<ServerId, Latest>, Unavailable> {
        match self {
            Self::InProcess(cache) => Ok(cache.latest(servers)),
            Self::Redis(cache) => cache.latest(servers).await,
        }
    }

    /// Puts the whole denylist; an older version never replaces a newer one.
    pub async fn put_denylist(&self, denylist: Denylist) -> Result<(), Unavailable> {
        match self {
            Self::InProcess(cache) => {
                cache.put_denylist(denylist);
                Ok(())
            }
            Self::Redis(cache) => cache.put_denylist(&denylist).await,
        }
    }

    /// The denylist, if there is one.
    pub async fn denylist(&self) -> Result<Option<Denylist>, Unavailable> {
        match self {
            Self::InProcess(cache) => Ok(cache.denylist()),
            Self::Redis(cache) => cache.denylist().await,
        }
    }

    /// Takes servers that the registry never knew. They are remembered for 24 h after they were seen last, the newest
    /// 10,000 of them.
    pub async fn note_unknown(&self, unknown: &[Unknown]) -> Result<(), Unavailable> {
        match self {
            Self::InProcess(cache) => {
                cache.note_unknown(unknown);
                Ok(())
            }
            Self::Redis(cache) => cache.note_unknown(unknown).await,
        }
    }

    /// The servers that the registry never knew, by id, each once.
    pub async fn unknown(&self, now: Millis) -> Result<Vec<Unknown>, Unavailable> {
        match self {
            Self::InProcess(cache) => Ok(cache.unknown(now)),
            Self::Redis(cache) => cache.unknown(now).await,
        }
    }

    /// These servers are known by now.
    pub async fn forget_unknown(&self, servers: &[ServerId]) -> Result<(), Unavailable> {
        match self {
            Self::InProcess(cache) => {
                cache.forget_unknown(servers);
                Ok(())
            }
            Self::Redis(cache) => cache.forget_unknown(servers).await,
        }
    }

    /// Takes agents that said, at these gate times, that they would tell somebody when the suite is away. They are remembered
    /// for 24 h after they said it last, the newest 1,000 of them.
    pub async fn note_reporters(&self, said: &[(ServerId, Millis)]) -> Result<(), Unavailable> {
        match self {
            Self::InProcess(cache) => {
                cache.note_reporters(said);
                Ok(())
            }
            Self::Redis(cache) => cache.note_reporters(said).await,
        }
    }

    /// The agents that said so, by id. Whether they still do is in their [latest](Self::latest).
    pub async fn reporters(&self, now: Millis) -> Result<Vec<ServerId>, Unavailable> {
        match self {
            Self::InProcess(cache) => Ok(cache.reporters(now)),
            Self::Redis(cache) => cache.reporters(now).await,
        }
    }

    /// Puts the lease of the agent that tells when the suite is away.
    pub async fn put_reporter_lease(&self, lease: Lease) -> Result<(), Unavailable> {
        match self {
            Self::InProcess(cache) => {
                cache.put_reporter_lease(lease);
                Ok(())
            }
            Self::Redis(cache) => cache.put_reporter_lease(&lease).await,
        }
    }

    /// That lease, if there is one. It may be an older one than the registry's, which is as good: it ends earlier.
    pub async fn reporter_lease(&self) -> Result<Option<Lease>, Unavailable> {
        match self {
            Self::InProcess(cache) => Ok(cache.reporter_lease()),
            Self::Redis(cache) => cache.reporter_lease().await,
        }
    }

    /// Puts the servers of which this worker wrote most lately, in place of those that it put before. They count for a
    /// minute.
    pub async fn put_writers(
        &self,
        worker: &str,
        writers: &[Writer],
        now: Millis,
    ) -> Result<(), Unavailable> {
        match self {
            Self::InProcess(cache) => {
                cache.put_writers(worker, writers, now);
                Ok(())
            }
            Self::Redis(cache) => cache.put_writers(worker, writers, now).await,
        }
    }

    /// The ten servers of which all workers together wrote most lately, the most first.
    pub async fn writers(&self, now: Millis) -> Result<Vec<Writer>, Unavailable> {
        match self {
            Self::InProcess(cache) => Ok(cache.writers(now)),
            Self::Redis(cache) => cache.writers(now).await,
        }
    }

    /// Puts what gates are to tell this server; `None`, or an empty text: nothing.
    pub async fn put_notice(&self, server: ServerId, notice: Option<&str>) -> Result<(), Unavailable> {
        let notice = notice.filter(|notice| !notice.is_empty());
        match self {
            Self::InProcess(cache) => {
                cache.put_notice(server, notice);
                Ok(())
            }
            Self::Redis(cache) => cache.put_notice(server, notice).await,
        }
    }

    /// Puts what gates are to tell all servers; those that are left out: nothing.
    pub async fn put_notices(&self, notices: &BTreeMap<ServerId, String>) -> Result<(), Unavailable> {
        match self {
            Self::InProcess(cache) => {
                cache.put_notices(notices);
                Ok(())
            }
            Self::Redis(cache) => cache.put_notices(notices).await,
        }
    }

    /// What changed of notices since the [version](Noticed::version) that was told before; all of them without one. A cache
    /// that was emptied meanwhile does not tell what went with it: now and then, ask for all.
    pub async fn notices(&self, since: Option<i64>) -> Result<Noticed, Unavailable> {
        match self {
            Self::InProcess(cache) => Ok(cache.notices(since)),
            Self::Redis(cache) => cache.notices(since).await,
        }
    }

    /// Counts one failure of `key` at `now` and forgets those that are `window` old.
    pub async fn fail(&self, key: &str, now: Millis, window: Millis) -> Result<(), Unavailable> {
        match self {
            Self::InProcess(cache) => {
                cache.fail(key, now, window);
                Ok(())
            }
            Self::Redis(cache) => cache.fail(key, now, window).await,
        }
    }

    /// How many failures of `key` are younger than `window`, [`MOST_COUNTED`] at the most, and when the oldest of
    /// them was.
    pub async fn failures(
        &self,
        key: &str,
        now: Millis,
        window: Millis,
    ) -> Result<(usize, Option<Millis>), Unavailable> {
        match self {
            Self::InProcess(cache) => Ok(cache.failures(key, now, window)),
            Self::Redis(cache) => cache.failures(key, now, window).await,
        }
    }

    /// The clock of the cache's server, Unix ms, to hold a process's own against. `None` in process: there is one clock.
    pub async fn clock(&self) -> Result<Option<Millis>, Unavailable> {
        match self {
            Self::InProcess(_) => Ok(None),
            Self::Redis(cache) => cache.clock().await.map(Some),
        }
    }
}
