//! The schema, embedded from `migrations/`.
//!
//! To change it, add a file with the next number; never edit one that was released, the stores remember its checksum.
//! A release may add tables, and columns with a default; it removes only what the release before it no longer used.

use sqlx::{
    Acquire, Database,
    migrate::{Migrate, MigrateError},
};

use crate::RegistryError;

/// Applies what is missing.
pub(crate) async fn run<'a, DB, A>(store: A) -> Result<(), RegistryError>
where
    DB: Database<Connection: Migrate>,
    A: Acquire<'a, Database = DB>,
    A::Connection: std::ops::Deref<Target = DB::Connection>,
{
    let mut migrator = sqlx::migrate!();
    // Without it sqlx refuses a store that a later release migrated, and no rollback would start.
    migrator.set_ignore_missing(true);
    migrator.run(store).await.map_err(|error| match error {
        MigrateError::Execute(error) => RegistryError::Unavailable(error),
        MigrateError::ExecuteMigration(error, _) => RegistryError::Unavailable(error),
        other => RegistryError::Schema(other.to_string()),
    })
}
