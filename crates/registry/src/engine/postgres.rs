//! The fleet's engine: a PostgreSQL server, 12 or later, which may be away, stall, and be shared by many processes.

use std::{fmt, future::Future, io, str::FromStr, time::Duration};

use sqlx::{
    Connection, Executor, PgConnection, PgPool, PgTransaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use super::{Dialect, RegistryError, migrate, statement::Mode};

/// A worker uses three (its batch, its progress, its health), a management process as many as it has requests under way.
/// Ten full processes stay under the 100 that a server allows by default; more than two a core only queue there.
const CONNECTIONS: u32 = 8;

/// For how long a caller waits for a connection. A server that restarts is back within it, so nobody notices.
const ACQUIRE: Duration = Duration::from_secs(3);

/// For how long a caller waits for its answer. Above `statement_timeout`: while the server lives it ends a slow
/// statement itself, and the connection stays good.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a connection that is not in use may take to say that it is good.
const PROBE: Duration = Duration::from_secs(1);

/// A connection that was used within this is taken to be good. No server restarts faster, so whoever finds it away finds
/// its connections untried for longer.
const TRUSTED: Duration = Duration::from_millis(500);

/// Firewalls forget a connection on which nothing moves; the shortest that is common is 350 s.
const IDLE: Duration = Duration::from_secs(300);

/// For how long a migration may take, and wait for that of another process.
const MIGRATION: Duration = Duration::from_secs(600);

/// What a connection is told first.
const SETTINGS: &str = "
-- Guarded updates look at the row again once they hold it; a server may be set to another default.
SET default_transaction_isolation = 'read committed';
-- A runaway statement ends, and so does the wait for a row that someone holds.
SET statement_timeout = '8s';
-- A process that is stopped within a transaction gives its rows back.
SET idle_in_transaction_session_timeout = '10s';
-- So does one whose machine is gone: the server asks after 30 s, and gives up after 30 s more.
SET tcp_keepalives_idle = 30;
SET tcp_keepalives_interval = 10;
SET tcp_keepalives_count = 3;
SET tcp_user_timeout = 30000;
-- The list of a large fleet is joined and sorted in memory, not in files.
SET work_mem = '32MB';
-- Compiling a statement takes longer than running any of ours.
SET jit = off;
-- The registry of a large fleet is some 100 MB, and in memory: to look a row up is as cheap as to read the next one.
SET random_page_cost = 1.1;
-- What a list is filtered by decides how to read it: whether a label is rare, or half of the fleet has it.
SET plan_cache_mode = force_custom_plan";

/// What a connection that migrates is told first: it takes its time, and does not tell of each table that is there.
const MIGRATION_SETTINGS: &str = "SET statement_timeout = 0; SET client_min_messages = warning";

/// The PostgreSQL variant of [`Registry`](super::Registry).
#[derive(Clone)]
pub struct Postgres {
    pool: PgPool,
}

/// A setting that is not the URL of a PostgreSQL server. Its text never holds the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "not the URL of a PostgreSQL server: {0}; it reads postgres://user:password@host:5432/database?sslmode=require"
)]
pub struct BadUrl(String);

/// Where a PostgreSQL server is and who we are to it. Never prints: it may hold a password.
#[derive(Clone)]
pub struct PostgresUrl(PgConnectOptions);

/// One connection, held for one transaction or one statement.
pub(super) struct Session {
    connection: PoolConnection<sqlx::Postgres>,
}

impl FromStr for PostgresUrl {
    type Err = BadUrl;

    fn from_str(url: &str) -> Result<Self, BadUrl> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(BadUrl("its scheme is not postgres".to_owned()));
        }
        let mut options = PgConnectOptions::from_str(url).map_err(|error| BadUrl(error.to_string()))?;
        if options.get_application_name().is_none() {
            options = options.application_name("rollcall");
        }
        Ok(Self(options))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresUrl([redacted])")
    }
}

impl Postgres {
    pub(super) fn open(url: &PostgresUrl) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(IDLE)
            // A round trip for each call; `before_acquire` asks only those that may have broken meanwhile.
            .test_before_acquire(false)
            .before_acquire(|connection, seen| {
                Box::pin(async move { Ok(seen.idle_for < TRUSTED || is_good(connection).await) })
            })
            // The pool would ask too, but wait for ever: one stall, and it has lost its connections.
            .after_release(|connection, _| Box::pin(async move { Ok(is_good(connection).await) }))
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SETTINGS).await.map(drop) })
            })
            .connect_lazy_with(url.0.clone());
        Self { pool }
    }

    pub(super) async fn session(&self) -> Result<Session, RegistryError> {
        Ok(Session { connection: self.pool.acquire().await? })
    }

    /// A connection of its own, for a migration: the locks are its session's.
    pub(super) async fn migrate(&self) -> Result<(), RegistryError> {
        let options = self.pool.connect_options();
        let work = async {
            let mut connection = bounded(ACQUIRE, PgConnection::connect_with(&options)).await?;
            connection.execute(MIGRATION_SETTINGS).await?;
            let done = migrate::run(Dialect::Postgres, &mut connection).await;
            connection.close().await?;
            done
        };
        timeout(MIGRATION, work).await.map_err(|_| no_answer(MIGRATION))?
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

impl Session {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    pub(super) async fn begin(&mut self, mode: Mode) -> Result<PgTransaction<'_>, RegistryError> {
        let begin = match mode {
            Mode::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Mode::Write => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        Ok(self.connection.begin_with(begin).await?)
    }

    /// The answer, or an error if it took too long; the connection is then given up.
    pub(super) fn settle<T, E: From<RegistryError>>(self, answer: Option<Result<T, E>>) -> Result<T, E> {
        answer.unwrap_or_else(|| {
            self.give_up();
            Err(unanswered().into())
        })
    }

    /// Closes the connection instead of using it again: an answer may still come.
    pub(super) fn give_up(mut self) {
        self.connection.close_on_drop();
    }
}

/// What a caller is told whose answer took too long.
pub(super) fn unanswered() -> RegistryError {
    no_answer(ANSWER).into()
}

/// `None` when it takes too long.
pub(super) async fn answer<T, E>(work: impl Future<Output = Result<T, E>>) -> Option<Result<T, E>> {
    timeout(ANSWER, work).await.ok()
}

async fn is_good(connection: &mut PgConnection) -> bool {
    bounded(PROBE, connection.ping()).await.is_ok()
}

async fn bounded<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(patience, work).await.unwrap_or_else(|_| Err(no_answer(patience)))
}

fn no_answer(patience: Duration) -> sqlx::Error {
    let seconds = patience.as_secs();
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {seconds} s")).into()
}
