//! Who may log in, and what whoever did may do.

use fleet::{Millis, Scope, id::UserId};
use serde_json::json;

use super::role;
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Registry, RegistryError, fold, id, query, row},
};

/// A user as it is known by its log-in, one of its sessions or one of its API tokens.
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
    /// The scopes of its role. A scope that this release does not know is left out.
    pub scopes: Vec<Scope>,
}

row! {
    /// A user and one scope of its role: there is such a row for each scope, and one row without a scope if there is none.
    pub(super) struct UserRow {
        id: String,
        username: String,
        password_hash: String,
        disabled_at: Option<Millis>,
        epoch: i64,
        scope: Option<String>,
    }
}

const ANY: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM (SELECT id FROM users LIMIT 1) AS one";
const FIRST: &str = "INSERT INTO users
(id, username, username_folded, password_hash, role_id, epoch, version, created_at, updated_at)
SELECT $1, $2, $3, $4, 'admin', 1, 1, $5, $5 WHERE NOT EXISTS (SELECT id FROM users)";
const BY_NAME: &str = "SELECT u.id, u.username, u.password_hash, u.disabled_at, u.epoch, p.scope
FROM users u LEFT JOIN role_scopes p ON p.role_id = u.role_id WHERE u.username_folded = $1";

impl Registry {
    /// Makes the first user, with the built-in role `admin`; false if there is a user already.
    #[crate::engine::boxed]
    pub async fn make_first_admin(
        &self,
        id: UserId,
        username: &str,
        password_hash: &str,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let actor = Actor::system();
        let after = json!({"username": username.trim(), "role": "admin"});
        let change = Change::new(&actor, now, Action::UserCreate, id).after(after);
        self.write(async |tx| {
            role::hold_admin(tx).await?;
            let first = query(FIRST)
                .bind(id.to_string())
                .bind(username.trim())
                .bind(fold::fold_name(username))
                .bind(password_hash)
                .bind(now);
            let made = tx.run(first).await? > 0;
            if made {
                audit::record(tx, &[change]).await?;
            }
            Ok(made)
        })
        .await
    }

    /// Whether there is anyone who could log in.
    #[crate::engine::boxed]
    pub async fn has_users(&self) -> Result<bool, RegistryError> {
        let (users,): (i64,) = self.reader().one(ANY).await?;
        Ok(users > 0)
    }

    /// The user of this name, regardless of case; a disabled one too.
    #[crate::engine::boxed]
    pub async fn user_by_name(&self, username: &str) -> Result<Option<User>, RegistryError> {
        let name = fold::fold_name(username);
        if !fold::is_storable(&name) {
            return Ok(None);
        }
        one_user(self.reader().all(query(BY_NAME).bind(name)).await?)
    }
}

/// The user of these rows, which are all of the same one.
pub(super) fn one_user(rows: Vec<UserRow>) -> Result<Option<User>, RegistryError> {
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
