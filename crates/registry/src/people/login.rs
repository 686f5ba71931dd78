//! People and what they may do.

use fleet::{Millis, Scope, id::UserId};

use serde_json::json;

use crate::{Actor, Change, Registry, RegistryError, audit, id, on, text};

/// A person, or a program with an account.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// As it was given; no other user has it, regardless of case.
    pub username: String,
    /// A PHC string.
    pub password_hash: String,
    /// Nobody logs in as this user.
    pub disabled: bool,
    /// Counts up when every session of this user must end; a session remembers the one it began with.
    pub epoch: i64,
    /// Of its role. A scope that this release does not know is left out.
    pub scopes: Vec<Scope>,
}

/// One row a scope of the user's role, or one without a scope.
#[derive(sqlx::FromRow)]
pub(crate) struct UserRow {
    id: String,
    username: String,
    password_hash: String,
    disabled_at: Option<Millis>,
    epoch: i64,
    scope: Option<String>,
}

const ANY: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM (SELECT id FROM users LIMIT 1) AS one";
/// Changes nothing, and holds the row of the role: whoever else changes users or roles waits, and then sees this change.
pub(crate) const HOLD_ROLE: &str = "UPDATE roles SET built_in = 1 WHERE id = 'admin'";
const FIRST: &str = "INSERT INTO users
(id, username, username_folded, password_hash, role_id, epoch, version, created_at, updated_at)
SELECT $1, $2, $3, $4, 'admin', 1, 1, $5, $5 WHERE NOT EXISTS (SELECT id FROM users)";
const BY_NAME: &str = "SELECT u.id, u.username, u.password_hash, u.disabled_at, u.epoch, p.scope
FROM users u LEFT JOIN role_scopes p ON p.role_id = u.role_id WHERE u.username_folded = $1";

impl Registry {
    /// Makes the first user, with the built-in role `admin`; false if there is a user already.
    pub async fn make_first_admin(
        &self,
        id: UserId,
        username: &str,
        password_hash: &str,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let actor = Actor::system();
        let change = Change {
            actor: &actor,
            at: now,
            action: "user.create",
            kind: "user",
            id: Some(id.to_string()),
            before: None,
            after: Some(json!({"username": username.trim(), "role": "admin"})),
        };
        let made = on!(self, db => {
            let mut tx = db.begin_write().await?;
            sqlx::query(HOLD_ROLE).execute(&mut *tx).await?;
            let made = sqlx::query(FIRST)
                .bind(id.to_string())
                .bind(username.trim())
                .bind(text::fold_name(username))
                .bind(password_hash)
                .bind(now)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if made > 0 {
                audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            }
            tx.commit().await?;
            made
        });
        Ok(made > 0)
    }

    /// Whether there is anyone who could log in.
    pub async fn has_users(&self) -> Result<bool, RegistryError> {
        let users: i64 = on!(self, db => sqlx::query_scalar(ANY).fetch_one(db.reader()).await?);
        Ok(users > 0)
    }

    /// The user of this name, regardless of case; a disabled one too.
    pub async fn user_by_name(&self, username: &str) -> Result<Option<User>, RegistryError> {
        let name = text::fold_name(username);
        if !text::is_storable(&name) {
            return Ok(None);
        }
        let rows = on!(self, db => sqlx::query_as(BY_NAME).bind(name).fetch_all(db.reader()).await?);
        one_user(rows)
    }
}

/// The user that these rows tell of, which are all of one.
pub(crate) fn one_user(rows: Vec<UserRow>) -> Result<Option<User>, RegistryError> {
    let mut user: Option<User> = None;
    for row in rows {
        let scope = row.scope.and_then(|scope| scope.parse().ok());
        match &mut user {
            Some(user) => user.scopes.extend(scope),
            None => {
                user = Some(User {
                    id: id("users", "id", &row.id)?,
                    username: row.username,
                    password_hash: row.password_hash,
                    disabled: row.disabled_at.is_some(),
                    epoch: row.epoch,
                    scopes: scope.into_iter().collect(),
                });
            }
        }
    }
    Ok(user)
}
