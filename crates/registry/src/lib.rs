//! The system of record: servers and what workers saw of them, enrolments, people and their sessions.
//!
//! [`Registry`] has one variant for each engine and the same methods on both. A statement is one constant text in the
//! SQL that PostgreSQL and SQLite share, except where a batch goes in: `$1` placeholders, `ON CONFLICT … DO
//! UPDATE … WHERE excluded…`, `RETURNING`, `NULLS LAST` on columns that may be null, times as `BIGINT` Unix ms, ids as
//! text, and text that is compared regardless of case folded in Rust.
//!
//! Writers may be many on PostgreSQL: each transaction first takes, by a guarded `UPDATE … RETURNING`, the row that it is
//! about, and a batch writes at most one row a key, in the order of keys.
//!
//! Not found is `Ok(None)` or `Ok(false)`; an error says what the caller can do about it, see [`RegistryError`]. Time
//! is an argument of every method that writes one.
#![warn(missing_docs)]

mod account;
mod advice;
mod api_token;
mod audit;
mod condition;
mod enrolment;
mod grants;
mod import;
mod list;
mod listing;
mod migrate;
mod outbox;
mod pause;
mod people;
mod pipeline;
mod postgres;
mod profile;
mod refusal;
mod report;
mod revocation;
mod role;
mod roll;
mod schedule;
mod server;
mod session;
mod sighting;
mod sqlite;
mod statement;
mod text;

use std::{future::Future, path::Path, str::FromStr};

use serde::Serialize;
use sqlx::{
    FromRow,
    error::DatabaseError as _,
    postgres::PgRow,
    sqlite::{SqliteError, SqliteRow},
};

use advice::Advice;
use statement::Dialect;

pub use account::{Account, AccountChange, AccountFilter, NewAccount};
pub use api_token::ApiToken;
pub use audit::{Actor, AuditEntry, AuditFilter, Change, Who};
pub use enrolment::{Enrol, Enrolled, EnrolmentToken};
pub use grants::{BadDatabaseRole, DatabaseRole, Guest};
pub use import::{ImportFault, ImportRow, Verdict};
pub use list::{Page, ServerFilter, Sort, SortKey};
pub use outbox::{Attempt, Delivery, DeliveryState};
pub use pause::Pause;
pub use people::User;
pub use profile::{Changed, Profile, ProfileChange};
pub use refusal::Refusal;
pub use report::{NewReport, Report, ReportRow, ReportState};
pub use role::{Role, RoleChange, RoleId};
pub use roll::{Counts, Roll};
pub use schedule::{ReportSchedule, ScheduleChange};
pub use server::Server;
pub use session::Refresh;
pub use sighting::{Marks, Sighting, Standing};
pub use text::fold_name;

/// The registry. Clones share its connections.
#[derive(Clone)]
pub enum Registry {
    /// A file of its own, in write-ahead mode. For one process.
    Sqlite(Sqlite),
    /// A server, shared by any number of processes.
    Postgres(Postgres),
}

pub use postgres::{BadUrl, Postgres, PostgresUrl};
pub use sqlite::Sqlite;

const BEHIND: &str =
    "the registry's schema is older than this release; the process that migrates it has to start first";

/// What the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The engine did not answer, or answered that it cannot. Try again later.
    #[error("the registry is unavailable: {}", Advice(.0))]
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
        let sqlite = error.as_database_error().and_then(|error| error.try_downcast_ref::<SqliteError>());
        let code = sqlite.and_then(|error| error.code()?.parse::<u32>().ok());
        // The low byte is the kind: SQLITE_CORRUPT and SQLITE_NOTADB.
        match code.is_some_and(|code| matches!(code & 0xff, 11 | 26)) {
            true => Self::Damaged(error),
            false => Self::Unavailable(error),
        }
    }
}

/// Runs one expression on whichever engine this is; `$db` has `reader()`, `writer()`, `begin_read()` and
/// `begin_write()` on each. In it `?` and `return` end the expression, not the function around it.
macro_rules! on {
    ($registry:expr, $db:ident => $body:expr) => {
        match $registry {
            $crate::Registry::Sqlite($db) => $crate::done(async { Ok($body) }).await?,
            $crate::Registry::Postgres(postgres) => {
                let mut session = postgres.session().await?;
                let work = {
                    let $db = &mut session;
                    $crate::postgres::answer(async { Ok($body) }).await
                };
                session.settle(work)?
            }
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

    /// The registry on the PostgreSQL server of this URL, such as
    /// `postgres://user:password@host:5432/database?sslmode=verify-full`.
    ///
    /// Connects when it is first used and whenever it has to, so it opens while the server is away; every method is then
    /// [`RegistryError::Unavailable`] within seconds, and works again once the server is back. A call that the server
    /// does not answer is given up after 13 s at most; whether it had its effect is then not known.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open_postgres(url: &PostgresUrl) -> Self {
        Self::Postgres(Postgres::open(url))
    }

    /// Brings the schema up to this release's.
    ///
    /// A schema that is newer is left as it is: migrations expand first and contract a release later, so that after a
    /// rollback the release before still starts on it. [`RegistryError::Schema`] when a migration of this release is
    /// not the one that the store has seen. On PostgreSQL several processes may do so at once: one works, the others wait.
    pub async fn migrate(&self) -> Result<(), RegistryError> {
        match self {
            Self::Sqlite(db) => migrate::run(Dialect::Sqlite, db.writer()).await,
            Self::Postgres(db) => db.migrate().await,
        }
    }

    /// Whether the schema is this release's or a later one; false while whoever migrates has not done so.
    pub async fn has_schema(&self) -> Result<bool, RegistryError> {
        match self.schema_version().await {
            Ok(version) => Ok(version >= Some(migrate::version())),
            Err(RegistryError::Unavailable(error)) if migrate::is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn schema_version(&self) -> Result<Option<i64>, RegistryError> {
        const APPLIED: &str = "SELECT MAX(version) FROM _sqlx_migrations WHERE success";
        Ok(on!(self, db => sqlx::query_scalar(APPLIED).fetch_one(db.reader()).await?))
    }

    /// Fails until the registry answers and [has its schema](Self::has_schema). A process that does not migrate calls
    /// it again and again when it starts.
    ///
    /// # Errors
    /// `Schema` while the schema is missing or too old, else as every call.
    pub async fn expect_schema(&self) -> Result<(), RegistryError> {
        if self.has_schema().await? { Ok(()) } else { Err(RegistryError::Schema(BEHIND.to_owned())) }
    }

    /// Whether the registry answers and has a schema.
    pub async fn ping(&self) -> Result<(), RegistryError> {
        const PING: &str = "SELECT version FROM versions WHERE name = 'denylist'";
        let _version: i64 = on!(self, db => sqlx::query_scalar(PING).fetch_one(db.reader()).await?);
        Ok(())
    }

    /// Waits for what is under way, then closes. Every later call is [`RegistryError::Unavailable`].
    pub async fn close(&self) {
        match self {
            Self::Sqlite(db) => db.close().await,
            Self::Postgres(db) => db.close().await,
        }
    }

    /// The rows of one page by `list`, whose parameters are limit and offset, and how many there are by `total`; both of one
    /// moment.
    pub(crate) async fn page_of<R>(
        &self,
        list: &'static str,
        total: &'static str,
        page: Page,
    ) -> Result<(Vec<R>, i64), RegistryError>
    where
        R: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        Ok(on!(self, db => {
            let mut tx = db.begin_read().await?;
            let rows = sqlx::query_as(list).bind(page.limit()).bind(page.offset()).fetch_all(&mut *tx).await?;
            let total = sqlx::query_scalar(total).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            (rows, total)
        }))
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}

/// Lets `?` in an async block know its error.
async fn done<T>(work: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
    work.await
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
