//! What a person can do about an engine's error.

use std::fmt;

/// Shows the error and what to do next. An engine's message may name a user or a table, never a password.
pub(super) struct Advice<'a>(pub(super) &'a sqlx::Error);

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            sqlx::Error::Database(error) => write!(f, "{}", error.message())?,
            sqlx::Error::PoolTimedOut => {
                f.write_str("no connection in time: the store is busy, or its server is away")?;
            }
            other => write!(f, "{other}")?,
        }
        match advice(self.0) {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

/// By the codes of PostgreSQL, of which SQLite has none; a full list is in its manual, appendix A.
fn advice(error: &sqlx::Error) -> Option<&'static str> {
    let database = match error {
        sqlx::Error::Tls(_) => return Some("correct sslmode and sslrootcert in its URL"),
        other => other.as_database_error()?,
    };
    match database.code()?.as_ref() {
        "28P01" | "28000" => Some("correct the user and the password in the database's URL"),
        "3D000" => Some("create this database, or correct the database's URL"),
        "3F000" | "42P01" | "42703" => Some("the process that migrates the schema has to start first"),
        "42501" => Some("grant the user of the database's URL what it lacks"),
        "25006" => Some("the database's URL has to lead to the primary, not to a standby"),
        "53300" => Some("raise max_connections of the database server"),
        _ => None,
    }
}
