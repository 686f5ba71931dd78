//! What the store keeps in memory of its file: which tables there are, and the number and ends of each server.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use fleet::{Millis, ServerId, hours::Rolled};
use sqlx::SqliteConnection;

use super::layout::SLOT;
use crate::{Extent, HistoryError};

/// What the file holds as of the last commit.
#[derive(Default)]
pub struct Known {
    pub oldest: Millis,
    /// The oldest midnight for which rollups are kept.
    pub oldest_rolled: Millis,
    /// Spans that have tables of rollups.
    pub spans: BTreeSet<i64>,
    pub days: BTreeSet<i64>,
    pub hours: BTreeSet<i64>,
    /// No hour from this one on has a block.
    pub packed_until: i64,
    pub servers: HashMap<ServerId, Server>,
    /// Greatest number ever given.
    pub last_number: i64,
}

/// A server of the file. Its `newest` is the one in the file; the true one may be later, by less than a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    pub number: i64,
    pub ends: Extent,
    /// The true newest `sampled_at`; `None` until it was read from the file.
    pub last: Option<Millis>,
    /// Which hours of it are rolled up; `None` until there is one.
    pub rolled: Option<Rolled>,
}

impl Server {
    /// Whether these ends, which include the ones here, must be written to the file.
    pub fn outdated_by(&self, ends: Extent) -> bool {
        ends.newest >= self.ends.newest + SLOT || ends.oldest_start < self.ends.oldest_start
    }
}

impl Known {
    /// Reads it from the file.
    pub async fn load(connection: &mut SqliteConnection) -> Result<Self, HistoryError> {
        let (oldest, oldest_rolled) =
            sqlx::query_as("SELECT oldest, rollups FROM horizon").fetch_one(&mut *connection).await?;
        let packed_until: i64 = sqlx::query_scalar("SELECT COALESCE((MAX(key) >> 28) + 1, 0) FROM blocks")
            .fetch_one(&mut *connection)
            .await?;
        let mut known = Self { oldest, oldest_rolled, packed_until, ..Self::default() };
        let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
            .fetch_all(&mut *connection)
            .await?;
        for table in tables {
            known.days.extend(table.strip_prefix("day_").and_then(|day| day.parse::<i64>().ok()));
            known.spans.extend(table.strip_prefix("rollups_").and_then(|span| span.parse::<i64>().ok()));
            known.hours.extend(table.strip_prefix("bodies_").and_then(|hour| hour.parse::<i64>().ok()));
        }
        type Row = (i64, Vec<u8>, Millis, Millis, Option<i64>, Option<i64>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT number, id, oldest_start, newest, first, until FROM servers LEFT JOIN rolled USING (number)",
        )
        .fetch_all(&mut *connection)
        .await?;
        for (number, id, oldest_start, newest, first, until) in rows {
            let id = <[u8; 16]>::try_from(id).map_err(|_| HistoryError::Corrupt {
                table: "servers".into(),
                row: format!("number {number}"),
                reason: "the id is not 16 bytes long".into(),
            })?;
            let rolled = first.zip(until).map(|(first, until)| Rolled { first, until });
            let server = Server { number, ends: Extent { oldest_start, newest }, last: None, rolled };
            known.servers.insert(ServerId::from_bytes(id), server);
        }
        let last: Option<i64> =
            sqlx::query_scalar("SELECT MAX(seq) FROM sqlite_sequence WHERE name = 'servers'")
                .fetch_one(connection)
                .await?;
        known.last_number = last.unwrap_or(0);
        Ok(known)
    }

    /// Takes over servers that were committed, and the true newest samples of all that the batch is about.
    pub fn adopt(&mut self, written: HashMap<ServerId, Server>, lasts: HashMap<ServerId, Millis>) {
        for (id, server) in written {
            self.last_number = self.last_number.max(server.number);
            self.servers.insert(id, server);
        }
        for (id, last) in lasts {
            if let Some(server) = self.servers.get_mut(&id) {
                server.last = Some(last);
            }
        }
    }
}

/// The oldest midnight that is kept, as this connection sees it.
pub async fn horizon(connection: &mut SqliteConnection) -> Result<Millis, HistoryError> {
    Ok(sqlx::query_scalar("SELECT oldest FROM horizon").fetch_one(connection).await?)
}

/// Extends the ends of a server by one snapshot.
pub fn stretch(ends: &mut HashMap<ServerId, Server>, id: ServerId, was: Server, snapshot: &fleet::Snapshot) {
    let fresh = match ends.entry(id) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(was),
    };
    fresh.ends.oldest_start = fresh.ends.oldest_start.min(snapshot.from());
    fresh.ends.newest = fresh.ends.newest.max(snapshot.sampled_at());
}
