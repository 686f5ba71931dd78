//! What the other services may do in a store that is shared. Management owns the schema; whoever takes over a worker or
//! mail reads no password, makes no user and changes no server.

use std::{fmt, str::FromStr};

use sqlx::{AssertSqlSafe, Executor};

use super::{Registry, RegistryError, postgres, statement::Mode};

/// A service that has an account of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// `healthcheck-worker`.
    Worker,
    /// `mail`.
    Mail,
    /// `notifier`.
    Notifier,
}

/// Name of a role in PostgreSQL: lower-case letters, digits and `_`, 63 at most, a letter first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseRole(String);

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a role: lower-case letters, digits and _, 63 at most, a letter first")]
pub struct BadDatabaseRole;

/// Rights, and the tables for which they are given.
type Grant = (&'static str, &'static [&'static str]);

const WORKER: &[Grant] = &[
    ("SELECT", &["_sqlx_migrations", "versions", "servers", "revocations", "labels"]),
    ("SELECT", &["alert_rules", "alert_rule_scope", "alert_rule_exclusions"]),
    ("SELECT, INSERT, UPDATE, DELETE", &["alert_states"]),
    ("SELECT, INSERT, UPDATE", &["sightings", "facts"]),
    ("SELECT, INSERT, UPDATE, DELETE", &["workers", "leases"]),
    // What hosts say of orders, which the audit log tells. No worker makes or signs one.
    ("SELECT (id, server, state, signed_at, version)", &["orders"]),
    ("UPDATE (state, result, version, updated_at)", &["orders"]),
    ("INSERT", &["audit"]),
];

const MAIL: &[Grant] = &[
    ("SELECT", &["_sqlx_migrations", "versions", "reports", "report_rows"]),
    ("SELECT, UPDATE", &["deliveries"]),
    // What a message says; of channels everything but their sealed secrets.
    ("SELECT", &["notifications", "notification_items", "incidents"]),
    (
        "SELECT (id, name, kind, target_key, language, time_zone, template, config, secret_set_at, disabled_at, \
         disabled_reason, version, created_at, updated_at)",
        &["channels"],
    ),
];

const NOTIFIER: &[Grant] = &[
    (
        "SELECT",
        &["_sqlx_migrations", "versions", "channels", "notification_items", "incidents", "told", "workers"],
    ),
    ("SELECT, UPDATE", &["targets", "notifications"]),
    // A channel that refuses for good is disabled, which the audit log tells.
    ("UPDATE (disabled_at, disabled_reason, updated_at)", &["channels"]),
    ("INSERT", &["audit"]),
    // What failed is looked at again by whoever tells.
    ("UPDATE (tell_at)", &["incidents"]),
];

/// Processes change rights one at a time: two that change the rights of one table at once fail.
const ALONE: &str = "SELECT pg_advisory_xact_lock(7310868735422738255)";

impl FromStr for DatabaseRole {
    type Err = BadDatabaseRole;

    fn from_str(text: &str) -> Result<Self, BadDatabaseRole> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let good = text.len() <= 63 && text.starts_with(|c: char| c.is_ascii_lowercase());
        if good && text.chars().all(plain) { Ok(Self(text.to_owned())) } else { Err(BadDatabaseRole) }
    }
}

impl fmt::Display for DatabaseRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Registry {
    /// Gives `role`, which has to be there, what `guest` needs in this schema, and takes all else in it away. To be
    /// called after [`migrate`](Self::migrate), since nobody has rights to a new table. A file has no roles.
    #[crate::engine::boxed]
    pub async fn admit(&self, guest: Guest, role: &DatabaseRole) -> Result<(), RegistryError> {
        let Self::Postgres(postgres) = self else { return Ok(()) };
        let mut session = postgres.session().await?;
        let work = async {
            let mut transaction = session.begin(Mode::Write).await?;
            transaction.execute(ALONE).await?;
            transaction.execute(AssertSqlSafe(statements(guest, role))).await?;
            Ok::<_, RegistryError>(transaction.commit().await?)
        };
        let done = postgres::answer(work).await;
        session.settle(done)
    }
}

/// The role is quoted, and [holds no quote](DatabaseRole).
fn statements(guest: Guest, role: &DatabaseRole) -> String {
    let grants = match guest {
        Guest::Worker => WORKER,
        Guest::Mail => MAIL,
        Guest::Notifier => NOTIFIER,
    };
    let mut statements = format!(
        "DO $$ BEGIN
             EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM \"{role}\"', current_schema());
             EXECUTE format('GRANT USAGE ON SCHEMA %I TO \"{role}\"', current_schema());
         END $$"
    );
    for (rights, tables) in grants {
        statements += &format!("; GRANT {rights} ON {} TO \"{role}\"", tables.join(", "));
    }
    statements
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_role_is_a_plain_name() {
        for good in ["worker", "rollcall_worker_2", &"r".repeat(63)] {
            assert_eq!(good.parse::<DatabaseRole>().map(|role| role.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "Worker", "2nd", "_worker", "a b", "a\"b", "a'; --", "ä", &"r".repeat(64)] {
            assert_eq!(bad.parse::<DatabaseRole>(), Err(BadDatabaseRole), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_gets_out_of_the_quotes(text in ".*") {
            if let Ok(role) = text.parse::<DatabaseRole>() {
                prop_assert!(!role.to_string().contains(['"', '\'', '$', '\\']));
            }
        }
    }
}
