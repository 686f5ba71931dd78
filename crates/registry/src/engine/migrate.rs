//! The schema, embedded from `migrations/`.
//!
//! To change it, add a file with the next number, and its line here; never edit one that was released, the stores remember its
//! checksum. PostgreSQL gets the same files with three words changed, so that the two schemas cannot drift apart; the checksum
//! is the file's on both. Where the engines cannot do the same, PostgreSQL has a file of this name in `migrations/postgres/`.
//! A release may add tables, and columns with a default; it removes only what the release before it no longer used.

use std::{ops::Deref, pin::Pin};

use sqlx::{
    Acquire, AssertSqlSafe, SqlSafeStr,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
};

use super::{Dialect, RegistryError};

/// Each with its number and what it is about: `migrations/0001_registry.sql` is the first. (`sqlx::migrate!` would list them,
/// and have both drivers built a second time; see [`row!`](super::row!).)
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "registry", include_str!("../../migrations/0001_registry.sql")),
    (2, "people", include_str!("../../migrations/0002_people.sql")),
    (3, "servers", include_str!("../../migrations/0003_servers.sql")),
    (4, "reports", include_str!("../../migrations/0004_reports.sql")),
    (5, "sheet format", include_str!("../../migrations/0005_sheet_format.sql")),
    (6, "lists", include_str!("../../migrations/0006_lists.sql")),
    (7, "actions", include_str!("../../migrations/0007_actions.sql")),
    (8, "bounds", include_str!("../../migrations/0008_bounds.sql")),
    (9, "versions", include_str!("../../migrations/0009_versions.sql")),
    (11, "boots", include_str!("../../migrations/0011_boots.sql")),
    (12, "outbox", include_str!("../../migrations/0012_outbox.sql")),
    (13, "alerts", include_str!("../../migrations/0013_alerts.sql")),
    (14, "leases", include_str!("../../migrations/0014_leases.sql")),
    (15, "forgetting", include_str!("../../migrations/0015_forgetting.sql")),
    (16, "pause origins", include_str!("../../migrations/0016_pause_origins.sql")),
    (17, "telling", include_str!("../../migrations/0017_telling.sql")),
    (18, "report incidents", include_str!("../../migrations/0018_report_incidents.sql")),
    (19, "escalation", include_str!("../../migrations/0019_escalation.sql")),
    (20, "processes", include_str!("../../migrations/0020_processes.sql")),
    (21, "orders", include_str!("../../migrations/0021_orders.sql")),
    (22, "shipped rules", include_str!("../../migrations/0022_shipped_rules.sql")),
];

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
    MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or(0)
}

/// Whether nobody ever migrated.
pub(super) fn is_missing(error: &sqlx::Error) -> bool {
    let undefined = |code: &str| code == "42P01";
    error.as_database_error().is_some_and(|error| {
        error.code().is_some_and(|code| undefined(&code)) || error.message().starts_with("no such table")
    })
}

fn migrator(dialect: Dialect) -> Migrator {
    let migrations = MIGRATIONS.iter().map(|(version, about, sql)| {
        let sql = sql.into_sql_str();
        Migration::new(*version, (*about).into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(match dialect {
        Dialect::Sqlite => migrations.collect(),
        Dialect::Postgres => migrations.map(for_postgres).collect(),
    })
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    #[test]
    fn every_file_is_a_migration_under_its_own_number_and_name() {
        let names = |folder: &str| -> BTreeSet<String> {
            let folder = format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"));
            let entries =
                fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            entries.filter(|name| name.ends_with(".sql")).collect()
        };
        let name =
            |(version, about, _): &(i64, &str, &str)| format!("{version:04}_{}.sql", about.replace(' ', "_"));
        assert_eq!(MIGRATIONS.iter().map(name).collect::<BTreeSet<_>>(), names("migrations"));
        assert_eq!(OTHERWISE.len(), names("migrations/postgres").len());
        for (version, about, sql) in MIGRATIONS {
            let file = format!(
                "{}/migrations/{version:04}_{}.sql",
                env!("CARGO_MANIFEST_DIR"),
                about.replace(' ', "_")
            );
            assert_eq!(fs::read_to_string(&file).unwrap(), *sql, "{file}");
        }
    }
}
