//! The schema, embedded from `migrations/`.
//!
//! To change it, add a file with the next number; never edit one that was released, the stores remember its checksum.
//! PostgreSQL gets the same files with three words changed, so that the two schemas cannot drift apart; the checksum is the
//! file's on both. Where the engines cannot do the same, PostgreSQL has a file of this name in `migrations/postgres/`.
//! A release may add tables, and columns with a default; it removes only what the release before it no longer used.

use std::{ops::Deref, pin::Pin};

use sqlx::{
    Acquire, AssertSqlSafe, SqlSafeStr,
    migrate::{Migrate, MigrateError, Migration, Migrator},
};

use super::{Dialect, RegistryError};

/// Migrations that PostgreSQL does in another way.
const OTHERWISE: &[(i64, &str)] = &[
    (12, include_str!("../../migrations/postgres/0012_outbox.sql")),
    (16, include_str!("../../migrations/postgres/0016_pause_origins.sql")),
];

/// Applies the migrations that are missing. Boxed, because the compiler cannot tell that it may move between threads otherwise.
pub(super) fn run<'a, A>(
    dialect: Dialect,
    store: A,
) -> Pin<Box<dyn Future<Output = Result<(), RegistryError>> + Send + 'a>>
where
    A: Acquire<'a, Connection: Deref<Target: Migrate> + Send> + Send + 'a,
{
    Box::pin(async move {
        let mut migrator = migrator(dialect);
        // Without it sqlx refuses a store that a later release migrated, and no rollback would start.
        migrator.set_ignore_missing(true);
        // Under an advisory lock on PostgreSQL: of several processes one migrates, the others wait and find it done.
        migrator.run(store).await.map_err(|error| match error {
            MigrateError::Execute(error) => RegistryError::Unavailable(error),
            MigrateError::ExecuteMigration(error, _) => RegistryError::Unavailable(error),
            other => RegistryError::Schema(other.to_string()),
        })
    })
}

/// The version that this release brings the schema to.
pub(super) fn version() -> i64 {
    sqlx::migrate!().iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Whether nobody ever migrated.
pub(super) fn is_missing(error: &sqlx::Error) -> bool {
    let undefined = |code: &str| code == "42P01";
    error.as_database_error().is_some_and(|error| {
        error.code().is_some_and(|code| undefined(&code)) || error.message().starts_with("no such table")
    })
}

fn migrator(dialect: Dialect) -> Migrator {
    let migrator = sqlx::migrate!();
    match dialect {
        Dialect::Sqlite => migrator,
        Dialect::Postgres => Migrator::with_migrations(migrator.iter().cloned().map(for_postgres).collect()),
    }
}

/// `COLLATE "C"` because text then sorts by its bytes, as on SQLite, whatever the locale of the database.
fn for_postgres(migration: Migration) -> Migration {
    let otherwise = OTHERWISE.iter().find(|(version, _)| *version == migration.version);
    let sql = otherwise.map_or(migration.sql.as_str(), |(_, sql)| sql);
    let sql = sql.replace(" WITHOUT ROWID", "").replace(" TEXT", " TEXT COLLATE \"C\"");
    let sql = sql
        .replace("INTEGER NOT NULL PRIMARY KEY", "BIGINT NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY");
    Migration { sql: AssertSqlSafe(sql).into_sql_str(), ..migration }
}
