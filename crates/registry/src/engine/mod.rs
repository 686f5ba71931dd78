//! The ground: the two engines, transactions on them, and what every statement is made of. It knows no domain.

mod advice;
mod column;
mod error;
pub(crate) mod fold;
mod grants;
mod migrate;
mod page;
mod postgres;
mod row;
mod session;
mod sqlite;
mod statement;
mod tx;

use std::path::Path;

/// Before what others await. A plain `async fn` is compiled by each crate that awaits it; the future in a box once, here.
pub(crate) use async_recursion::async_recursion as boxed;
pub(crate) use column::{corrupt, count, hex, id, json};
pub(crate) use row::row;
pub(crate) use statement::{Dialect, PerEngine, Query, Statement, one_of, query};
pub(crate) use tx::{Stop, Tx};

pub use error::RegistryError;
pub use fold::fold_name;
pub use grants::{BadDatabaseRole, DatabaseRole, Guest};
pub use page::Page;
pub use postgres::{BadUrl, Postgres, PostgresUrl};
pub use sqlite::Sqlite;

/// The registry. Clones share its connections.
#[derive(Clone)]
pub enum Registry {
    /// A file of its own, in write-ahead mode. For one process.
    Sqlite(Sqlite),
    /// A server, shared by any number of processes.
    Postgres(Postgres),
}

const BEHIND: &str =
    "the registry's schema is older than this release; the process that migrates it has to start first";

const APPLIED: &str = "SELECT MAX(version) FROM _sqlx_migrations WHERE success";
const SIZE: PerEngine = PerEngine {
    sqlite: "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    postgres: "SELECT pg_database_size(current_database())",
};
const PING: &str = "SELECT version FROM versions WHERE name = 'denylist'";

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
    /// [`RegistryError::Unavailable`] within seconds, and works again once the server is back. A transaction, or a
    /// statement alone, that the server does not answer is given up after 13 s at most; whether it had its effect is
    /// then not known.
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
    #[crate::engine::boxed]
    pub async fn migrate(&self) -> Result<(), RegistryError> {
        match self {
            Self::Sqlite(db) => db.migrate().await,
            Self::Postgres(db) => db.migrate().await,
        }
    }

    /// Whether the schema is this release's or a later one; false while whoever migrates has not done so.
    #[crate::engine::boxed]
    pub async fn has_schema(&self) -> Result<bool, RegistryError> {
        match self.reader().one::<(Option<i64>,)>(APPLIED).await {
            Ok((version,)) => Ok(version >= Some(migrate::version())),
            Err(RegistryError::Unavailable(error)) if migrate::is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Fails until the registry answers and [has its schema](Self::has_schema). A process that does not migrate calls it
    /// again and again when it starts.
    ///
    /// # Errors
    /// `Schema` while the schema is missing or too old, else as every call.
    #[crate::engine::boxed]
    pub async fn expect_schema(&self) -> Result<(), RegistryError> {
        if self.has_schema().await? { Ok(()) } else { Err(RegistryError::Schema(BEHIND.to_owned())) }
    }

    /// Whether the registry answers and has a schema.
    #[crate::engine::boxed]
    pub async fn ping(&self) -> Result<(), RegistryError> {
        self.reader().one::<(i64,)>(PING).await.map(drop)
    }

    /// Bytes that the file takes, or the database with all that is in it.
    #[crate::engine::boxed]
    pub async fn size(&self) -> Result<u64, RegistryError> {
        let (bytes,): (i64,) = self.reader().one(query(SIZE)).await?;
        Ok(bytes.unsigned_abs())
    }

    /// Waits for what is under way, then closes. Every later call is [`RegistryError::Unavailable`].
    #[crate::engine::boxed]
    pub async fn close(&self) {
        match self {
            Self::Sqlite(db) => db.close().await,
            Self::Postgres(db) => db.close().await,
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}
