//! A connection of either engine, held for one transaction or for one statement.

use std::pin::Pin;

use sqlx::{PgConnection, PgTransaction, SqliteConnection, SqliteTransaction, pool::PoolConnection};

use super::{Registry, RegistryError, postgres, sqlite, statement::Mode};

/// Work on an engine. Boxed, and of no caller's type: an `async fn` is compiled by whoever awaits it, and the methods of
/// [`Registry`] by each service that calls them; what drives an engine is compiled here, once.
pub(super) type Running<'s, T> = Pin<Box<dyn Future<Output = Result<T, RegistryError>> + Send + 's>>;

/// What statements are sent on.
pub(super) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

pub(super) enum Session {
    Sqlite(PoolConnection<sqlx::Sqlite>),
    Postgres(postgres::Session),
}

/// A transaction that is dropped, as on an error, is rolled back on the way to the pool; nobody waits for that.
pub(super) enum Begun<'s> {
    Sqlite(SqliteTransaction<'s>),
    Postgres(PgTransaction<'s>),
}

impl Registry {
    pub(super) fn session(&self, mode: Mode) -> Running<'_, Session> {
        Box::pin(async move {
            Ok(match self {
                Self::Sqlite(db) => Session::Sqlite(db.connection(mode).await?),
                Self::Postgres(db) => Session::Postgres(db.session().await?),
            })
        })
    }
}

impl Session {
    pub(super) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(connection) => Connection::Sqlite(connection),
            Self::Postgres(session) => Connection::Postgres(session.connection()),
        }
    }

    pub(super) fn begin(&mut self, mode: Mode) -> Running<'_, Begun<'_>> {
        Box::pin(async move {
            Ok(match self {
                Self::Sqlite(connection) => Begun::Sqlite(sqlite::begin(connection, mode).await?),
                Self::Postgres(session) => Begun::Postgres(session.begin(mode).await?),
            })
        })
    }

    /// Whether the engine may leave its caller without an answer.
    pub(super) fn may_stall(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// The answer, or an error if it took too long; the connection is then given up.
    pub(super) fn settle<T, E: From<RegistryError>>(self, answer: Option<Result<T, E>>) -> Result<T, E> {
        answer.unwrap_or_else(|| Err(self.give_up().into()))
    }

    fn give_up(self) -> RegistryError {
        if let Self::Postgres(session) = self {
            session.give_up();
        }
        postgres::unanswered()
    }
}

impl Begun<'_> {
    pub(super) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(transaction) => Connection::Sqlite(transaction),
            Self::Postgres(transaction) => Connection::Postgres(transaction),
        }
    }
}

impl<'s> Begun<'s> {
    pub(super) fn commit(self) -> Running<'s, ()> {
        Box::pin(async move {
            match self {
                Self::Sqlite(transaction) => transaction.commit().await?,
                Self::Postgres(transaction) => transaction.commit().await?,
            }
            Ok(())
        })
    }
}

/// `None` when it takes too long, of an engine that [may stall](Session::may_stall).
pub(super) async fn answer<T, E>(
    may_stall: bool,
    work: impl Future<Output = Result<T, E>>,
) -> Option<Result<T, E>> {
    if may_stall { postgres::answer(work).await } else { Some(work.await) }
}
