//! The system of record: servers and what workers saw of them, enrolments, people and their sessions.
//!
//! [`Registry`] has one variant for each engine and the same methods on both. A statement is one constant text in the
//! SQL that PostgreSQL and SQLite share, except where a batch goes in or out: `$1` placeholders, `ON CONFLICT … DO
//! UPDATE … WHERE excluded…`, `RETURNING`, `NULLS LAST` on columns that may be null, times as `BIGINT` Unix ms, ids as
//! text, and text that is compared regardless of case folded in Rust.
//!
//! Not found is `Ok(None)` or `Ok(false)`; an error says what the caller can do about it, see [`RegistryError`]. Time
//! is an argument of every method that writes one.
#![warn(missing_docs)]

mod enrolment;
mod list;
mod migrate;
mod pause;
mod people;
mod pipeline;
mod revocation;
mod roll;
mod server;
mod session;
mod sighting;
mod sqlite;
mod statement;
mod text;

use std::{path::Path, str::FromStr};

use serde::Serialize;

pub use enrolment::{Enrol, Enrolled, EnrolmentToken};
pub use list::{Page, ServerFilter, Sort, SortKey};
pub use people::User;
pub use roll::{Counts, Roll};
pub use server::Server;
pub use session::Refresh;
pub use sighting::{Marks, Sighting, Standing};
pub use text::fold_name;

/// The registry. Clones share its connections.
#[derive(Clone)]
pub enum Registry {
    /// A file of its own, in write-ahead mode. For one process.
    Sqlite(Sqlite),
}

pub use sqlite::Sqlite;

/// What the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The engine did not answer, or answered that it cannot. Try again later.
    #[error("the registry is unavailable: {0}")]
    Unavailable(sqlx::Error),
    /// The file is no database, or a damaged one. Trying again does not help; restore a backup.
    #[error("the registry is damaged, restore a backup: {0}")]
    Damaged(sqlx::Error),
    /// The schema in the store is not one that this release can bring up to date. A person has to look.
    #[error(
        "the registry's schema does not fit this release: {0}; restore a backup, or start the release that wrote it"
    )]
    Schema(String),
    /// A stored value that no release writes: a bug, or a damaged store. Trying again does not help.
    #[error("the registry is corrupt: {table}.{column} of {row}")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// Which column.
        column: &'static str,
        /// Key of the row.
        row: String,
    },
}

impl From<sqlx::Error> for RegistryError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
        // The low byte is the kind: SQLITE_CORRUPT and SQLITE_NOTADB.
        match code.is_some_and(|code| matches!(code & 0xff, 11 | 26)) {
            true => Self::Damaged(error),
            false => Self::Unavailable(error),
        }
    }
}

/// Runs one expression on whichever engine this is; `$db` has `reader()`, `writer()`, `begin_read()` and
/// `begin_write()` on each.
macro_rules! on {
    ($registry:expr, $db:ident => $body:expr) => {
        match $registry {
            $crate::Registry::Sqlite($db) => $body,
        }
    };
}
use on;

impl Registry {
    /// Opens the file, or makes it, readable by its owner alone. Every commit is on disk when its method returns.
    ///
    /// [`migrate`](Self::migrate) comes next. Two processes on one file are kept apart by their data folder's lock, not
    /// here.
    pub async fn open_sqlite(path: &Path) -> Result<Self, RegistryError> {
        Ok(Self::Sqlite(Sqlite::open(path).await?))
    }

    /// Brings the schema up to this release's.
    ///
    /// A schema that is newer is left as it is: migrations expand first and contract a release later, so that after a
    /// rollback the release before still starts on it. [`RegistryError::Schema`] when a migration of this release is
    /// not the one that the store has seen.
    pub async fn migrate(&self) -> Result<(), RegistryError> {
        on!(self, db => migrate::run(db.writer()).await)
    }

    /// Whether the registry answers and has its schema.
    pub async fn ping(&self) -> Result<(), RegistryError> {
        const PING: &str = "SELECT version FROM versions WHERE name = 'denylist'";
        let _version: i64 = on!(self, db => sqlx::query_scalar(PING).fetch_one(db.reader()).await?);
        Ok(())
    }

    /// Waits for what is under way, then closes. Every later call is [`RegistryError::Unavailable`].
    pub async fn close(&self) {
        on!(self, db => db.close().await);
    }
}

/// The id in a text column.
fn id<T: FromStr>(table: &'static str, column: &'static str, text: &str) -> Result<T, RegistryError> {
    text.parse().map_err(|_| RegistryError::Corrupt { table, column, row: text.to_owned() })
}

/// The count in a `BIGINT` column.
fn count<T: TryFrom<i64>>(
    table: &'static str,
    column: &'static str,
    row: &str,
    number: i64,
) -> Result<T, RegistryError> {
    T::try_from(number).map_err(|_| RegistryError::Corrupt { table, column, row: row.to_owned() })
}

/// A batch as the one parameter of a statement.
fn json(batch: &impl Serialize) -> Result<String, RegistryError> {
    serde_json::to_string(batch).map_err(|error| sqlx::Error::Encode(error.into()).into())
}
