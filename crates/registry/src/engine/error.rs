//! What goes wrong with an engine.

use sqlx::{error::DatabaseError, sqlite::SqliteError};

use super::advice::Advice;

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

impl RegistryError {
    /// Whether a row of the same key was there before. The transaction in which it happens is over on PostgreSQL.
    pub(crate) fn is_taken(&self) -> bool {
        match self {
            Self::Unavailable(error) => {
                error.as_database_error().is_some_and(DatabaseError::is_unique_violation)
            }
            Self::Damaged(_) | Self::Schema(_) | Self::Corrupt { .. } => false,
        }
    }
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
