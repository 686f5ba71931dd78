//! Transactions on either engine, and statements that need none.

use futures_util::TryStreamExt;
use sqlx::{FromRow, postgres::PgRow, query_with, sqlite::SqliteRow};
use tracing::{Instrument, Span, debug_span};

use super::{
    Dialect, Query, Registry, RegistryError,
    session::{Connection, Running, answer},
    statement::Mode,
};
use crate::refusal::Refusal;

/// What runs statements: a transaction of [`Registry::read`], [`Registry::write`] or [`Registry::change`], the same on
/// both engines.
pub(crate) struct Tx<'c> {
    connection: Connection<'c>,
    rolls_back: bool,
}

/// Why a transaction ends without a commit.
#[derive(Debug)]
pub(crate) enum Stop {
    /// What was asked for is not done.
    Refused(Refusal),
    /// The engine failed.
    Failed(RegistryError),
}

/// Statements that run alone, without a transaction around them: a round trip less on PostgreSQL.
#[derive(Clone, Copy)]
pub(crate) struct Alone<'r> {
    registry: &'r Registry,
    mode: Mode,
}

/// A row that is read alike from both engines. A name for the bounds, to be implemented by [`row!`](super::row!).
pub(crate) trait Readable:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<R> Readable for R where R: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What becomes of each row.
type Take<'t> = dyn FnMut(Row) -> Result<(), RegistryError> + Send + 't;

impl Registry {
    /// A transaction that reads: all statements of `work` see the same state.
    pub(crate) async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&mut Tx<'_>) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        self.transact(Mode::Read, work).await
    }

    /// A transaction that writes. It is committed when `work` is `Ok`. When `work` fails, or [`Tx::roll_back`] was
    /// called, nothing of it is done.
    pub(crate) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut Tx<'_>) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        self.transact(Mode::Write, work).await
    }

    /// A [`write`](Self::write) that may be refused. Nothing is done of one that is, whatever it had done before it was.
    pub(crate) async fn change<T>(
        &self,
        work: impl AsyncFnOnce(&mut Tx<'_>) -> Result<T, Stop>,
    ) -> Result<Result<T, Refusal>, RegistryError> {
        match self.transact(Mode::Write, work).await {
            Ok(done) => Ok(Ok(done)),
            Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// For single statements that only read.
    pub(crate) fn reader(&self) -> Alone<'_> {
        Alone { registry: self, mode: Mode::Read }
    }

    /// For single statements that write. On SQLite the one writer runs them.
    pub(crate) fn writer(&self) -> Alone<'_> {
        Alone { registry: self, mode: Mode::Write }
    }

    /// Compiled for each `work`, so all that it does itself is to wait for what is not.
    async fn transact<T, E: From<RegistryError>>(
        &self,
        mode: Mode,
        work: impl AsyncFnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction = async {
            let mut session = self.session(mode).await?;
            let may_stall = session.may_stall();
            let answer = answer(may_stall, async {
                let mut begun = session.begin(mode).await?;
                let mut tx = Tx::on(begun.connection());
                let done = work(&mut tx).await?;
                if !tx.rolls_back {
                    begun.commit().await?;
                }
                Ok(done)
            });
            let answer = answer.await;
            session.settle(answer)
        };
        transaction.instrument(step(mode)).await
    }
}

/// A step of what the caller does, for the log.
fn step(mode: Mode) -> Span {
    match mode {
        Mode::Read => debug_span!(target: "steps", "registry.read"),
        Mode::Write => debug_span!(target: "steps", "registry.write"),
    }
}

impl<'c> Tx<'c> {
    fn on(connection: Connection<'c>) -> Self {
        Self { connection, rolls_back: false }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.connection {
            Connection::Sqlite(_) => Dialect::Sqlite,
            Connection::Postgres(_) => Dialect::Postgres,
        }
    }

    /// When the transaction ends, nothing of it is done, though it answers `Ok`.
    pub(crate) fn roll_back(&mut self) {
        self.rolls_back = true;
    }

    /// The one row that the statement answers.
    pub(crate) async fn one<R: Readable>(&mut self, query: impl Into<Query>) -> Result<R, RegistryError> {
        the_one(self.first(query.into()).await?)
    }

    /// The row that the statement answers, if it does.
    pub(crate) async fn maybe<R: Readable>(
        &mut self,
        query: impl Into<Query>,
    ) -> Result<Option<R>, RegistryError> {
        self.first(query.into()).await?.map(Row::read).transpose()
    }

    /// Every row that the statement answers.
    pub(crate) async fn all<R: Readable>(
        &mut self,
        query: impl Into<Query>,
    ) -> Result<Vec<R>, RegistryError> {
        let mut rows = Vec::new();
        self.each(query.into(), &mut |row| Ok(rows.push(row.read()?))).await?;
        Ok(rows)
    }

    /// Whether the statement answers a row, whatever is in it.
    pub(crate) async fn any(&mut self, query: impl Into<Query>) -> Result<bool, RegistryError> {
        Ok(self.first(query.into()).await?.is_some())
    }

    /// Runs the statement and says how many rows it wrote.
    pub(crate) async fn run(&mut self, query: impl Into<Query>) -> Result<u64, RegistryError> {
        self.execute(query.into()).await
    }

    fn first(&mut self, query: Query) -> Running<'_, Option<Row>> {
        Box::pin(async move {
            Ok(match &mut self.connection {
                Connection::Sqlite(connection) => {
                    let (text, values) = query.for_sqlite()?;
                    query_with(text, values).fetch_optional(&mut **connection).await?.map(Row::Sqlite)
                }
                Connection::Postgres(connection) => {
                    let (text, values) = query.for_postgres()?;
                    query_with(text, values).fetch_optional(&mut **connection).await?.map(Row::Postgres)
                }
            })
        })
    }

    fn each<'t>(&'t mut self, query: Query, take: &'t mut Take<'_>) -> Running<'t, ()> {
        Box::pin(async move {
            match &mut self.connection {
                Connection::Sqlite(connection) => {
                    let (text, values) = query.for_sqlite()?;
                    let mut rows = query_with(text, values).fetch(&mut **connection);
                    while let Some(row) = rows.try_next().await? {
                        take(Row::Sqlite(row))?;
                    }
                }
                Connection::Postgres(connection) => {
                    let (text, values) = query.for_postgres()?;
                    let mut rows = query_with(text, values).fetch(&mut **connection);
                    while let Some(row) = rows.try_next().await? {
                        take(Row::Postgres(row))?;
                    }
                }
            }
            Ok(())
        })
    }

    fn execute(&mut self, query: Query) -> Running<'_, u64> {
        Box::pin(async move {
            Ok(match &mut self.connection {
                Connection::Sqlite(connection) => {
                    let (text, values) = query.for_sqlite()?;
                    query_with(text, values).execute(&mut **connection).await?.rows_affected()
                }
                Connection::Postgres(connection) => {
                    let (text, values) = query.for_postgres()?;
                    query_with(text, values).execute(&mut **connection).await?.rows_affected()
                }
            })
        })
    }
}

impl Row {
    fn read<R: Readable>(self) -> Result<R, RegistryError> {
        Ok(match self {
            Self::Sqlite(row) => R::from_row(&row)?,
            Self::Postgres(row) => R::from_row(&row)?,
        })
    }
}

fn the_one<R: Readable>(row: Option<Row>) -> Result<R, RegistryError> {
    row.ok_or(RegistryError::Unavailable(sqlx::Error::RowNotFound))?.read()
}

impl<'r> Alone<'r> {
    /// See [`Tx::one`].
    pub(crate) async fn one<R: Readable>(self, query: impl Into<Query>) -> Result<R, RegistryError> {
        the_one(self.first(query.into()).await?)
    }

    /// See [`Tx::maybe`].
    pub(crate) async fn maybe<R: Readable>(
        self,
        query: impl Into<Query>,
    ) -> Result<Option<R>, RegistryError> {
        self.first(query.into()).await?.map(Row::read).transpose()
    }

    /// See [`Tx::all`].
    pub(crate) async fn all<R: Readable>(self, query: impl Into<Query>) -> Result<Vec<R>, RegistryError> {
        let mut rows = Vec::new();
        self.each(query.into(), &mut |row| Ok(rows.push(row.read()?))).await?;
        Ok(rows)
    }

    /// See [`Tx::any`].
    pub(crate) async fn any(self, query: impl Into<Query>) -> Result<bool, RegistryError> {
        Ok(self.first(query.into()).await?.is_some())
    }

    /// See [`Tx::run`].
    pub(crate) async fn run(self, query: impl Into<Query>) -> Result<u64, RegistryError> {
        self.execute(query.into()).await
    }

    fn first(self, query: Query) -> Running<'r, Option<Row>> {
        Box::pin(self.statement(async move |tx| tx.first(query).await))
    }

    fn each<'t>(self, query: Query, take: &'t mut Take<'_>) -> Running<'t, ()>
    where
        'r: 't,
    {
        Box::pin(self.statement(async move |tx| tx.each(query, take).await))
    }

    fn execute(self, query: Query) -> Running<'r, u64> {
        Box::pin(self.statement(async move |tx| tx.execute(query).await))
    }

    #[tracing::instrument(target = "steps", level = "debug", name = "registry.statement", skip_all)]
    async fn statement<T>(
        self,
        statement: impl AsyncFnOnce(&mut Tx<'_>) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut session = self.registry.session(self.mode).await?;
        let may_stall = session.may_stall();
        let answer = answer(may_stall, statement(&mut Tx::on(session.connection()))).await;
        session.settle(answer)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<RegistryError> for Stop {
    fn from(error: RegistryError) -> Self {
        Self::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::query;

    const ADD: &str = "INSERT INTO versions (name, version) VALUES ($1, -7)";

    async fn registry() -> (testkit::TempDir, Registry) {
        let folder = testkit::tempdir().unwrap();
        let registry = Registry::open_sqlite(&folder.path().join("registry.db")).await.unwrap();
        registry.migrate().await.unwrap();
        (folder, registry)
    }

    /// Those that a test added.
    async fn names(registry: &Registry) -> Vec<String> {
        let names = registry.reader().all("SELECT name FROM versions WHERE version = -7").await.unwrap();
        names.into_iter().map(|(name,): (String,)| name).collect()
    }

    #[tokio::test]
    async fn what_is_ok_is_done_and_what_is_refused_or_fails_or_is_rolled_back_is_not() {
        let (_folder, registry) = registry().await;
        let done = registry.change(async |tx| Ok(tx.run(query(ADD).bind("done")).await?)).await;
        assert_eq!(done.unwrap(), Ok(1));
        let refused: Result<Result<(), Refusal>, _> = registry
            .change(async |tx| {
                tx.run(query(ADD).bind("refused")).await?;
                Err(Refusal::NotFound.into())
            })
            .await;
        assert_eq!(refused.unwrap(), Err(Refusal::NotFound));
        let failed = registry
            .write(async |tx| {
                tx.run(query(ADD).bind("failed")).await?;
                tx.run(query(ADD).bind("done")).await
            })
            .await;
        assert!(failed.unwrap_err().is_taken());
        let rolled_back = registry
            .write(async |tx| {
                tx.roll_back();
                tx.run(query(ADD).bind("rolled back")).await
            })
            .await;
        assert_eq!(rolled_back.unwrap(), 1);
        assert_eq!(names(&registry).await, ["done"]);
    }

    #[tokio::test]
    async fn who_only_reads_cannot_write() {
        let (_folder, registry) = registry().await;
        registry.read(async |tx| tx.run(query(ADD).bind("read")).await).await.unwrap_err();
        registry.reader().run(query(ADD).bind("alone")).await.unwrap_err();
        assert_eq!(names(&registry).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_null_is_stored_whatever_its_type() {
        let (_folder, registry) = registry().await;
        let read = "SELECT $1, $2";
        let nulls = query(read).bind(None::<String>).bind(None::<i64>);
        let row: (Option<String>, Option<i64>) = registry.reader().one(nulls).await.unwrap();
        assert_eq!(row, (None, None));
        let array = query(read).bind(vec![1]).bind(1);
        assert!(registry.reader().any(array).await.is_err(), "SQLite has no arrays");
    }
}
