//! The embedded engine: one file, one connection that writes, a few that read.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use sqlx::{
    SqlitePool, SqliteTransaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::RegistryError;

/// Readers do not wait for each other; the list of a large fleet keeps one busy for tens of ms.
const READERS: u32 = 4;

/// For how long a caller waits for a connection, and a connection for the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// The SQLite variant of [`Registry`](crate::Registry).
#[derive(Clone)]
pub struct Sqlite {
    write: SqlitePool,
    read: SqlitePool,
}

impl Sqlite {
    pub(crate) async fn open(path: &Path) -> Result<Self, RegistryError> {
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
                // A connection to a file does not go stale: no trial of it, no end to its life.
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        // The writer is first: it turns the file to write-ahead mode.
        let write = pool().max_connections(1).connect_with(options.clone()).await?;
        let read = pool().max_connections(READERS).connect_with(options.pragma("query_only", "on")).await?;
        Ok(Self { write, read })
    }

    /// For one statement that only reads.
    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.read
    }

    /// For one statement that writes.
    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.write
    }

    /// All statements in it see the same state.
    pub(crate) async fn begin_read(&self) -> Result<SqliteTransaction<'static>, RegistryError> {
        Ok(self.read.begin().await?)
    }

    /// Takes the write lock at once: a transaction that reads first and locks later fails when another wrote between.
    pub(crate) async fn begin_write(&self) -> Result<SqliteTransaction<'static>, RegistryError> {
        Ok(self.write.begin_with("BEGIN IMMEDIATE").await?)
    }

    pub(crate) async fn close(&self) {
        // The writer is last, so that it finds no reader and folds its log into the file.
        self.read.close().await;
        self.write.close().await;
    }
}
