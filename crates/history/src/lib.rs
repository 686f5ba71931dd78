//! Snapshots over time: what each server sent, for how long it was covered, and points for charts.
//!
//! Identity is `(server, sampled_at)`: whoever is unsure whether an append arrived repeats it. Snapshots are kept by
//! whole UTC days of `sampled_at`.
#![warn(missing_docs)]

mod answers;
pub mod block;
mod elastic;
mod processes;
mod samples;
mod sqlite;
mod timeline;

/// Before what others await. A plain `async fn` is compiled by each crate that awaits it; the future in a box once, here.
use async_recursion::async_recursion as boxed;
use std::{error::Error, path::Path};

use fleet::{
    Millis, Record, ServerId,
    hours::Closing,
    retention::Kept,
    series::Point,
    uptime::{Outages, Piece},
};

pub use answers::{Chart, Covered, Extent, Packed, Rejected, RollUp};
pub use elastic::{BadUrl, Elastic, ElasticUrl};
pub use processes::Order;
pub use sqlite::Sqlite;

/// The longest time that a snapshot may cover: twice the longest interval.
const LONGEST_COVERS: Millis = 2 * 3_600_000;

/// The store. Clones share it.
#[derive(Clone)]
pub enum History {
    /// A file of its own.
    Sqlite(Sqlite),
    /// Indices in a cluster.
    Elasticsearch(Elastic),
}

/// What the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Try again later.
    #[error("history is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// This release cannot use the file or the indices, or the setting that names them; the text says what to do.
    #[error("{0}")]
    Schema(String),
    /// The file as a whole is damaged, or is something else.
    #[error(
        "the history file is damaged; restore it from a backup, or move it away and start with an empty one"
    )]
    Damaged(#[source] sqlx::Error),
    /// A bug, or a damaged file: a row that this release cannot read.
    #[error("history is corrupt: {table}, {row}: {reason}")]
    Corrupt {
        /// Which table.
        table: String,
        /// Which row.
        row: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl History {
    /// Opens or makes the file; [`History::expire`] leaves so many whole days before today in it.
    ///
    /// One process at a time may have it open: the caller guards the folder.
    ///
    /// # Errors
    /// `Schema` for a file of a later release, `Damaged` for what is no history file, else `Unavailable`.
    pub async fn open_sqlite(path: &Path, kept: impl Into<Kept>) -> Result<Self, HistoryError> {
        Ok(Self::Sqlite(Sqlite::open(path, kept.into()).await?))
    }

    /// History in daily indices `<prefix>-snapshots-YYYY.MM.DD`. Does not wait for the server: until it answers, every
    /// call fails with `Unavailable`, and each later call tries again.
    ///
    /// # Errors
    /// `Schema` for what is no prefix.
    pub fn open_elasticsearch(
        url: &ElasticUrl,
        prefix: &str,
        kept: impl Into<Kept>,
    ) -> Result<Self, HistoryError> {
        Ok(Self::Elasticsearch(Elastic::open(url, prefix, kept.into())?))
    }

    /// Stores the records; they are durable when this returns. Of two records with one identity the first one stored
    /// stays. Returns those that it will never take, because their day is past retention or the mapping refuses them;
    /// all others are stored. After an error some of them may be stored: repeat the call with all of them.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.append", skip_all)]
    #[crate::boxed]
    pub async fn append(&self, records: &[Record]) -> Result<Vec<Rejected>, HistoryError> {
        match self {
            Self::Sqlite(store) => store.append(records).await,
            Self::Elasticsearch(store) => store.append(records).await,
        }
    }

    /// The ends of each server's history, in the order asked; `None` where there is none.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.extents", skip_all)]
    #[crate::boxed]
    pub async fn extents(&self, servers: &[ServerId]) -> Result<Vec<Option<Extent>>, HistoryError> {
        match self {
            Self::Sqlite(store) => store.extents(servers).await,
            Self::Elasticsearch(store) => store.extents(servers).await,
        }
    }

    /// For how much of its pieces each server is covered, in the order asked: the measure of the union of what its
    /// snapshots vouch for, so what two of them vouch for counts once. The pieces of a server must not overlap.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.covered", skip_all)]
    #[crate::boxed]
    pub async fn measured(&self, asked: &[(ServerId, Vec<Piece>)]) -> Result<Vec<Covered>, HistoryError> {
        match self {
            Self::Sqlite(store) => store.measured(asked).await,
            Self::Elasticsearch(store) => store.measured(asked).await,
        }
    }

    /// [`measured`](Self::measured), whether or not it is exact to the hour alone.
    #[crate::boxed]
    pub async fn covered(&self, asked: &[(ServerId, Vec<Piece>)]) -> Result<Vec<Millis>, HistoryError> {
        Ok(self.measured(asked).await?.into_iter().map(|covered| covered.covered).collect())
    }

    /// The latest `most` gaps in the pieces of one server, which must be in order. Gaps are what
    /// [`covered`](Self::covered) leaves of the pieces. Reads the snapshots from the latest to the earliest, a
    /// bounded part at a time.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.outages", skip_all)]
    #[crate::boxed]
    pub async fn outages(
        &self,
        server: ServerId,
        pieces: Vec<Piece>,
        most: usize,
    ) -> Result<Outages, HistoryError> {
        match self {
            Self::Sqlite(store) => store.outages(server, pieces, most).await,
            Self::Elasticsearch(store) => store.outages(server, pieces, most).await,
        }
    }

    /// The longest gap in the pieces of each server, in the order asked: the longest of its
    /// [`outages`](Self::outages), and the earliest of several as long; `None` where there is none. The pieces of a
    /// server must be in order.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.longest_gaps", skip_all)]
    #[crate::boxed]
    pub async fn longest_gaps(
        &self,
        asked: &[(ServerId, Vec<Piece>)],
    ) -> Result<Vec<Option<Piece>>, HistoryError> {
        match self {
            Self::Sqlite(store) => store.longest_gaps(asked).await,
            Self::Elasticsearch(store) => store.longest_gaps(asked).await,
        }
    }

    /// `[from, to)` of one server as `points` equal buckets.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.points", skip_all)]
    #[crate::boxed]
    pub async fn chart(
        &self,
        server: ServerId,
        from: Millis,
        to: Millis,
        points: u32,
    ) -> Result<Chart, HistoryError> {
        match self {
            Self::Sqlite(store) => store.chart(server, from, to, points).await,
            Self::Elasticsearch(store) => store.chart(server, from, to, points).await,
        }
    }

    /// The points of a [`chart`](Self::chart).
    #[crate::boxed]
    pub async fn points(
        &self,
        server: ServerId,
        from: Millis,
        to: Millis,
        points: u32,
    ) -> Result<Vec<Point>, HistoryError> {
        Ok(self.chart(server, from, to, points).await?.points)
    }

    /// Makes rollups of some closed hours, or makes some again that a late snapshot has touched: a bounded part of what
    /// is to do. First come hours that closed lately, then those that are out of date, then older history, the latest of
    /// it first. Answers are the same before and after it. It may be abandoned at any time, and called by several
    /// processes at once: what they make is the same.
    ///
    /// # Errors
    /// `Unavailable`.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.roll_up", skip_all)]
    #[crate::boxed]
    pub async fn roll_up(&self, closing: &Closing) -> Result<RollUp, HistoryError> {
        match self {
            Self::Sqlite(store) => store.roll_up(closing).await,
            Self::Elasticsearch(store) => store.roll_up(closing).await,
        }
    }

    /// To be called after [`append`](Self::append), and before these records count as stored, with the time at which that
    /// was done: notes which of them came late to an hour that others may have rolled up. A file knows that by itself.
    ///
    /// # Errors
    /// `Unavailable`: some are noted; call it again with all of them.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.note_late", skip_all)]
    #[crate::boxed]
    pub async fn note_late(&self, records: &[Record], now: Millis) -> Result<(), HistoryError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Elasticsearch(store) => store.note_late(records, now).await,
        }
    }

    /// From when on the rollups of each server are there without a gap, in the order asked; `None` where there are none.
    /// What a server has rolled up reaches further back than [`oldest_retained`](Self::oldest_retained) once days leave
    /// that were rolled up before.
    #[crate::boxed]
    pub async fn rolled_from(&self, servers: &[ServerId]) -> Result<Vec<Option<Millis>>, HistoryError> {
        match self {
            Self::Sqlite(store) => Ok(store.rolled_from(servers)),
            Self::Elasticsearch(store) => store.rolled_from(servers).await,
        }
    }

    /// Removes the snapshots, and the rollups, of days before the oldest midnights that are kept at `now`. From then on the store takes no record of
    /// such a day, not even if a later call passes an earlier `now`.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.expire", skip_all)]
    #[crate::boxed]
    pub async fn expire(&self, now: Millis) -> Result<(), HistoryError> {
        match self {
            Self::Sqlite(store) => store.expire(now).await,
            Self::Elasticsearch(store) => store.expire(now).await,
        }
    }

    /// Moves a bounded part of what is rolled up into [blocks](block), beside what comes in; a cluster keeps a document a
    /// snapshot. Answers are the same before and after it. One at a time; called until there is no more, it has looked
    /// at everything once.
    ///
    /// # Errors
    /// `Unavailable`. It may be repeated.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.pack", skip_all)]
    #[crate::boxed]
    pub async fn pack(&self) -> Result<Packed, HistoryError> {
        match self {
            Self::Sqlite(store) => store.pack().await,
            Self::Elasticsearch(_) => Ok(Packed::default()),
        }
    }

    /// Removes a part of what a server sampled in `[from, before)`, the oldest first. Returns from when on there may be more
    /// of it, to be passed as `from` to the next call; `None` once nothing is left. Each call is bounded work, and
    /// may be repeated. What is appended meanwhile may stay.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.forget", skip_all)]
    #[crate::boxed]
    pub async fn forget(
        &self,
        server: ServerId,
        before: Millis,
        from: Millis,
    ) -> Result<Option<Millis>, HistoryError> {
        match self {
            Self::Sqlite(store) => store.forget(server, before, from).await,
            Self::Elasticsearch(store) => store.forget(server, before, from).await,
        }
    }

    /// Gives a bounded part of much unused space of the file back to the disk. Returns whether there may be more. A
    /// file that a release made which could not do so reuses its space instead, and so does a cluster.
    ///
    /// # Errors
    /// `Unavailable`.
    #[crate::boxed]
    pub async fn give_back(&self) -> Result<bool, HistoryError> {
        match self {
            Self::Sqlite(store) => store.give_back().await,
            Self::Elasticsearch(_) => Ok(false),
        }
    }

    /// Writes a file that nobody has open anew, as small as what is in it, beside it, and puts that in its place. From
    /// then on the file [gives back](Self::give_back) what is dropped. Returns its bytes before and after.
    ///
    /// # Errors
    /// As [`open_sqlite`](Self::open_sqlite), and `Unavailable` when the disk has no room for the copy. The file is as it
    /// was then.
    pub async fn compact_sqlite(path: &Path) -> Result<(u64, u64), HistoryError> {
        Sqlite::compact(path).await
    }

    /// The midnight before which this store has no snapshots. It never goes back, even if more days are to be kept than
    /// before: what was removed is gone. Before the first [`expire`](Self::expire) it is 0.
    pub fn oldest_retained(&self) -> Millis {
        match self {
            Self::Sqlite(store) => store.oldest_retained(),
            Self::Elasticsearch(store) => store.oldest_retained(),
        }
    }

    /// Looks at a bounded part of what was stored out of order, or by a release before, to tell whether stretches of
    /// it overlap. Answers are the same before and after it, and quicker after it. Called until it returns false, it
    /// has looked at everything once; a cluster has nothing to look at.
    ///
    /// # Errors
    /// `Unavailable`.
    #[crate::boxed]
    pub async fn decide_overlaps(&self) -> Result<bool, HistoryError> {
        match self {
            Self::Sqlite(store) => store.decide_overlaps().await,
            Self::Elasticsearch(_) => Ok(false),
        }
    }

    /// Whether the store answers.
    #[crate::boxed]
    pub async fn ping(&self) -> Result<(), HistoryError> {
        match self {
            Self::Sqlite(store) => store.ping().await,
            Self::Elasticsearch(store) => store.ping().await,
        }
    }

    /// Bytes inside the store's own file that it will fill before the file grows. 0 where the store is no file.
    ///
    /// # Errors
    /// `Unavailable`.
    #[crate::boxed]
    pub async fn spare_bytes(&self) -> Result<u64, HistoryError> {
        match self {
            Self::Sqlite(store) => store.spare_bytes().await,
            Self::Elasticsearch(_) => Ok(0),
        }
    }

    /// Bytes that the snapshots take as they are stored: of the file, or of all indices with their replicas.
    ///
    /// # Errors
    /// `Unavailable`, and `Schema` if the account may not ask.
    #[crate::boxed]
    pub async fn size(&self) -> Result<u64, HistoryError> {
        match self {
            Self::Sqlite(store) => store.size().await,
            Self::Elasticsearch(store) => store.size().await,
        }
    }

    /// Waits for what is under way and closes the store. Every later call fails with `Unavailable`.
    #[crate::boxed]
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Elasticsearch(store) => store.close().await,
        }
    }
}
