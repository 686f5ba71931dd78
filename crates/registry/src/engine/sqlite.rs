//! The embedded engine: one file, one connection that writes, a few that read.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use sqlx::{
    Connection, SqliteConnection, SqlitePool, SqliteTransaction,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Dialect, RegistryError, migrate, statement::Mode};

/// Readers do not wait for each other; the list of a large fleet keeps one busy for tens of ms.
const READERS: u32 = 4;

/// For how long a caller waits for a connection, and a connection for the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// The SQLite variant of [`Registry`](super::Registry).
#[derive(Clone)]
pub struct Sqlite {
    write: SqlitePool,
    read: SqlitePool,
}

impl Sqlite {
    pub(super) async fn open(path: &Path) -> Result<Self, RegistryError> {
        // Made here because SQLite would make it readable by everyone; its log takes the file's own mode.
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(sqlx::Error::Io)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            // Readers go on while the writer writes.
            .journal_mode(SqliteJournalMode::Wal)
            // A commit is on disk when it returns: a 202 promises that.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE);
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(PATIENCE)
                // A connection to a file does not go stale, so it is neither tried before use nor ever closed.
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        // The writer is first: it turns the file to write-ahead mode.
        let write = pool()
            .max_connections(1)
            .after_release(|connection, _| Box::pin(sound(connection)))
            .connect_with(options.clone())
            .await?;
        let read = pool().max_connections(READERS).connect_with(options.pragma("query_only", "on")).await?;
        Ok(Self { write, read })
    }

    pub(super) async fn migrate(&self) -> Result<(), RegistryError> {
        migrate::run(Dialect::Sqlite, &self.write).await
    }

    pub(super) async fn connection(&self, mode: Mode) -> Result<PoolConnection<sqlx::Sqlite>, RegistryError> {
        let pool = match mode {
            Mode::Read => &self.read,
            Mode::Write => &self.write,
        };
        Ok(pool.acquire().await?)
    }

    pub(super) async fn close(&self) {
        // The writer is last, so that it finds no reader and folds its log into the file.
        self.read.close().await;
        self.write.close().await;
    }
}

pub(super) async fn begin(
    connection: &mut SqliteConnection,
    mode: Mode,
) -> Result<SqliteTransaction<'_>, RegistryError> {
    Ok(match mode {
        Mode::Read => connection.begin().await?,
        // Takes the write lock at once: a transaction that reads first and locks later fails when another one wrote
        // between.
        Mode::Write => connection.begin_with("BEGIN IMMEDIATE").await?,
    })
}

/// A full disk or a failed write makes SQLite roll back by itself; the driver then believes for ever that it is inside
/// that transaction. Such a connection is closed instead of used again.
async fn sound(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

#[cfg(test)]
mod tests {
    use fleet::id::UserId;

    use crate::engine::Registry;

    #[tokio::test]
    async fn a_full_disk_stops_nothing_for_longer_than_it_is_full() {
        let dir = testkit::tempdir().unwrap();
        let registry = Registry::open_sqlite(&dir.path().join("registry.db")).await.unwrap();
        registry.migrate().await.unwrap();
        let Registry::Sqlite(store) = &registry else { panic!("another engine") };
        // SQLite answers as on a full disk.
        sqlx::query("PRAGMA max_page_count = 1").execute(&store.write).await.unwrap();
        let (id, hash) = (UserId::new(1, [1; 10]), "h".repeat(100_000));
        registry.make_first_admin(id, "admin", &hash, 1).await.unwrap_err();
        sqlx::query("PRAGMA max_page_count = 1000000").execute(&store.write).await.unwrap();
        assert!(registry.make_first_admin(id, "admin", &hash, 1).await.unwrap());
    }
}
