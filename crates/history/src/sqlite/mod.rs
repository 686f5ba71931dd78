//! History in one SQLite file, for one process.

mod append;
mod blocks;
mod compact;
mod forget;
mod known;
mod layout;
mod outages;
mod overlaps;
mod pack;
mod processes;
mod read;
mod rollups;
mod samples;

use std::{
    collections::HashMap,
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use blocks::Rounds;
use fleet::{
    Millis, hours,
    retention::{self, Kept},
};
use known::Known;
use layout::SLOT;
use rollups::Makings;
use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection, SqlitePool,
    sqlite::{
        SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    },
};
use tokio::sync::{Mutex, MutexGuard};

use crate::HistoryError;

/// The schema that this release reads and writes.
const VERSION: i64 = 4;
/// Shelves of blocks that are removed by one transaction.
const SHELVES_AT_ONCE: i64 = 128;
/// Connections that only read.
const READERS: u32 = 4;

/// A history file. Clones share it.
#[derive(Clone)]
pub struct Sqlite(Arc<Inner>);

struct Inner {
    writer: SqlitePool,
    readers: SqlitePool,
    kept: Kept,
    known: RwLock<Known>,
    /// Locked by whoever writes.
    writing: Mutex<Writing>,
    /// The day and number of the last doubt that was looked at.
    looked_at: std::sync::Mutex<(i64, i64)>,
    /// What is being made of what the file holds, so that whoever changes that can say so.
    makings: std::sync::Mutex<Makings>,
    /// Held by whoever makes rollups.
    rolling: Mutex<()>,
    /// Held by whoever packs.
    packing: Mutex<Rounds>,
}

/// State that only writing needs.
struct Writing {
    /// Whether `known` is what the file holds. It may not be after a write that failed or was abandoned midway.
    settled: bool,
    /// The next id of a pack, by hour. For an hour that is missing here it has to be read from the file.
    packs: HashMap<i64, i64>,
}

impl Sqlite {
    /// See [`crate::History::open_sqlite`].
    pub async fn open(path: &Path, kept: Kept) -> Result<Self, HistoryError> {
        // The file is made here because SQLite would make it readable by everyone. Its log gets the mode of the file.
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(sqlx::Error::Io)?;
        let writer = pool(1)
            .after_release(|connection, _| Box::pin(sound(connection)))
            // A file is made so, or never is: what is dropped can be given back to the disk, see `give_back`.
            .connect_with(
                options(path).auto_vacuum(SqliteAutoVacuum::Incremental).pragma("cache_size", "-8000"),
            )
            .await?;
        let mut connection = writer.acquire().await?;
        migrate(&mut connection).await?;
        processes::begin(&mut connection).await?;
        let known = RwLock::new(Known::load(&mut connection).await?);
        drop(connection);
        let readers = options(path).pragma("cache_size", "-4000").pragma("query_only", "on");
        let readers = pool(READERS).connect_with(readers).await?;
        let writing = Mutex::new(Writing { settled: true, packs: HashMap::new() });
        let looked_at = std::sync::Mutex::new(overlaps::FIRST);
        let (makings, rolling, packing) = (std::sync::Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Inner {
            writer,
            readers,
            kept,
            known,
            writing,
            looked_at,
            makings,
            rolling,
            packing,
        })))
    }

    /// See [`crate::History::expire`].
    ///
    /// Each table is dropped in a transaction of its own, so that appends can run in between.
    pub async fn expire(&self, now: Millis) -> Result<(), HistoryError> {
        let [oldest, oldest_rolled] =
            [self.0.kept.raw, self.0.kept.rollups].map(|days| retention::oldest_retained(now, days));
        self.raise_horizon(oldest, oldest_rolled).await?;
        let (oldest, oldest_rolled) = (self.known().oldest, self.known().oldest_rolled);
        let old_hours: Vec<i64> = self.known().hours.range(..layout::hour(oldest)).copied().collect();
        for hour in old_hours {
            let mut writing = self.write().await?;
            self.run(&mut writing, format!("DROP TABLE IF EXISTS bodies_{hour}")).await?;
            writing.packs.remove(&hour);
            self.known_mut().hours.remove(&hour);
        }
        let old_days: Vec<i64> = self.known().days.range(..layout::day(oldest)).copied().collect();
        for day in old_days {
            let mut writing = self.write().await?;
            self.run(&mut writing, format!("DROP TABLE IF EXISTS day_{day}")).await?;
            self.known_mut().days.remove(&day);
        }
        self.drop_blocks(layout::hour(oldest)).await?;
        self.expire_commands(layout::day(oldest)).await?;
        let spans: Vec<i64> = self.known().spans.iter().copied().collect();
        for span in spans.into_iter().filter(|span| rollups::span_ends(*span) <= oldest_rolled) {
            let mut writing = self.write().await?;
            for table in ["bundles", "covered", "rollups"] {
                self.run(&mut writing, format!("DROP TABLE IF EXISTS {table}_{span}")).await?;
            }
            self.known_mut().spans.remove(&span);
        }
        self.forget_overlaps(layout::day(oldest)).await
    }

    /// Removes the blocks of the hours before this one, a few shelves at a time.
    async fn drop_blocks(&self, hour: i64) -> Result<(), HistoryError> {
        loop {
            let _writing = self.write().await?;
            let dropped = sqlx::query(
                "DELETE FROM blocks WHERE key IN (SELECT key FROM blocks WHERE key < $1 LIMIT $2)",
            )
            .bind(blocks::first_key(hour))
            .bind(SHELVES_AT_ONCE)
            .execute(&self.0.writer)
            .await?;
            if dropped.rows_affected() == 0 {
                return Ok(());
            }
        }
    }

    /// After this readers use no table from before these midnights, of snapshots and of rollups, so such tables may be
    /// dropped while they read.
    async fn raise_horizon(&self, oldest: Millis, oldest_rolled: Millis) -> Result<(), HistoryError> {
        let mut writing = self.write().await?;
        let (was, was_rolled) = (self.known().oldest, self.known().oldest_rolled);
        if oldest <= was && oldest_rolled <= was_rolled {
            return Ok(());
        }
        let (oldest, oldest_rolled) = (oldest.max(was), oldest_rolled.max(was_rolled));
        writing.settled = false;
        let mut transaction = self.0.writer.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("UPDATE horizon SET oldest = $1, rollups = $2")
            .bind(oldest)
            .bind(oldest_rolled)
            .execute(&mut *transaction)
            .await?;
        // What was not made again by now stays as it is.
        sqlx::query("DELETE FROM dirty WHERE hour < $1")
            .bind(hours::hour(oldest))
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "DELETE FROM servers WHERE newest + $1 <= \
             CASE WHEN number IN (SELECT number FROM rolled) THEN $2 ELSE $3 END",
        )
        .bind(SLOT)
        .bind(oldest_rolled)
        .bind(oldest)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM rolled WHERE number NOT IN (SELECT number FROM servers)")
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let mut known = self.known_mut();
        (known.oldest, known.oldest_rolled) = (oldest, oldest_rolled);
        known.servers.retain(|_, server| {
            server.ends.newest + SLOT > if server.rolled.is_some() { oldest_rolled } else { oldest }
        });
        writing.settled = true;
        Ok(())
    }

    /// See [`crate::History::oldest_retained`].
    pub fn oldest_retained(&self) -> Millis {
        self.known().oldest
    }

    /// See [`crate::History::ping`].
    pub async fn ping(&self) -> Result<(), HistoryError> {
        known::horizon(&mut *self.0.readers.acquire().await?).await.map(drop)
    }

    /// See [`crate::History::spare_bytes`].
    pub async fn spare_bytes(&self) -> Result<u64, HistoryError> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size",
        )
        .fetch_one(&self.0.readers)
        .await?;
        Ok(bytes.unsigned_abs())
    }

    /// See [`crate::History::size`].
    pub async fn size(&self) -> Result<u64, HistoryError> {
        let bytes: i64 =
            sqlx::query_scalar("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
                .fetch_one(&self.0.readers)
                .await?;
        Ok(bytes.unsigned_abs())
    }

    /// See [`crate::History::close`].
    pub async fn close(&self) {
        // The writer is closed last: the last connection that closes moves the log into the file.
        self.0.readers.close().await;
        let _writing = self.0.writing.lock().await;
        self.0.writer.close().await;
    }

    /// Takes the lock of writing, and brings `known` up to date with the file if need be.
    async fn write(&self) -> Result<MutexGuard<'_, Writing>, HistoryError> {
        let mut writing = self.0.writing.lock().await;
        if !writing.settled {
            let known = Known::load(&mut *self.0.writer.acquire().await?).await?;
            *self.known_mut() = known;
            *writing = Writing { settled: true, packs: HashMap::new() };
        }
        Ok(writing)
    }

    async fn run(&self, writing: &mut Writing, statement: String) -> Result<(), HistoryError> {
        writing.settled = false;
        sqlx::query(AssertSqlSafe(statement)).execute(&self.0.writer).await?;
        writing.settled = true;
        Ok(())
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<sqlx::Error> for HistoryError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
        // The low byte is the kind: SQLITE_CORRUPT and SQLITE_NOTADB.
        let damaged = code.is_some_and(|code| matches!(code & 0xff, 11 | 26));
        if damaged || matches!(error, sqlx::Error::ColumnDecode { .. }) {
            Self::Damaged(error)
        } else {
            Self::Unavailable(error.into())
        }
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged snapshot survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        // A checkpoint at 8 MiB. A later one would rewrite the same pages less often, but stall a batch for longer.
        .pragma("wal_autocheckpoint", "2000")
        // A log that grew during a long read is truncated to this.
        .pragma("journal_size_limit", "67108864")
        .pragma("temp_store", "memory")
}

/// Connections that are never closed: each new one would read the schema and prepare its statements again.
fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Whether a connection may be used again. After a full disk or a failed write SQLite rolls back by itself, while the
/// driver goes on to believe that it is inside the transaction; such a connection has to be closed.
async fn sound(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Makes the schema of a new file, and refuses a file that is something else.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), HistoryError> {
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await?;
    if version == VERSION {
        return Ok(());
    }
    if version == 1 {
        overlaps::begin(connection).await?;
    }
    if version == 1 || version == 2 {
        rollups::begin(connection).await?;
    }
    if (1..=3).contains(&version) {
        return rollups::begin_bundles(connection).await;
    }
    if version != 0 {
        return Err(HistoryError::Schema(format!(
            "the history file has schema {version}, this release knows {VERSION}: start the release that wrote it"
        )));
    }
    let tables: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_schema").fetch_one(&mut *connection).await?;
    if tables > 0 {
        return Err(HistoryError::Schema(
            "the history file is some other database: move it away, or choose another data folder".into(),
        ));
    }
    let script = format!(
        "BEGIN IMMEDIATE; {} {} {} {} {} COMMIT;",
        layout::SCHEMA,
        layout::OVERLAPS,
        rollups::SCHEMA,
        blocks::SCHEMA,
        rollups::BUNDLES
    );
    sqlx::raw_sql(AssertSqlSafe(script)).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use fleet::{Interval, Record, ServerId, Snapshot, wire::v1};

    use super::*;

    fn record(at: Millis) -> Record {
        let hostname = Some(format!("{at:0256}"));
        let host = Some(v1::Host { hostname, ..v1::Host::default() });
        let snapshot = v1::Snapshot { sampled_at: at, covers_ms: 0, host, ..v1::Snapshot::default() };
        Record {
            server: ServerId::new(1, [1; 10]),
            generation: 1,
            received_at: at,
            interval: Interval::DEFAULT,
            snapshot: Snapshot::check(snapshot, Interval::DEFAULT).unwrap(),
        }
    }

    #[tokio::test]
    async fn a_full_disk_stops_nothing_for_longer_than_it_is_full() {
        let dir = testkit::tempdir().unwrap();
        let store = Sqlite::open(&dir.path().join("history.db"), 35.into()).await.unwrap();
        let at = 1_790_000_000_000;
        store.append(&[record(at)]).await.unwrap();
        // SQLite answers as on a full disk.
        sqlx::query("PRAGMA max_page_count = 1").execute(&store.0.writer).await.unwrap();
        let many: Vec<Record> = (0..5_000).map(|n| record(at + n)).collect();
        assert!(matches!(store.append(&many).await, Err(HistoryError::Unavailable(_))));
        sqlx::query("PRAGMA max_page_count = 1000000").execute(&store.0.writer).await.unwrap();
        assert_eq!(store.append(&many).await.unwrap(), []);
        assert_eq!(store.expire(at).await.map_err(|error| error.to_string()), Ok(()));
    }
}
