//! Roles: named sets of scopes.

use std::{fmt, str::FromStr};

use fleet::{
    Millis, Scope,
    id::{BadId, UserId},
};
use serde_json::{Value, json};

use crate::{
    Actor, Change, Page, Refusal, Registry, RegistryError, audit, count, on,
    people::login::HOLD_ROLE,
    refusal::beyond,
    statement::{Text, one_of},
    text,
};

/// Id of a role: a UUID, or the name of one that is built in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleId(String);

/// A named set of scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its id.
    pub id: RoleId,
    /// As it was given; no other role has it, regardless of case.
    pub name: String,
    /// There from the first minute, and never changed.
    pub built_in: bool,
    /// In the order of [`Scope::ALL`]. A scope that this release does not know is left out.
    pub scopes: Vec<Scope>,
    /// Unix ms; 0 of one that is built in.
    pub created_at: Millis,
    /// When a person changed it last, in Unix ms; 0 of one that is built in.
    pub updated_at: Millis,
}

/// What is to change of a role; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoleChange<'a> {
    /// Blanks around it are dropped.
    pub name: Option<&'a str>,
    /// All of them.
    pub scopes: Option<&'a [Scope]>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    built_in: i64,
    created_at: Millis,
    updated_at: Millis,
}

const LIST: &str = "SELECT id, name, built_in, created_at, updated_at FROM roles
ORDER BY built_in DESC, name_folded LIMIT $1 OFFSET $2";
const TOTAL: &str = "SELECT COUNT(*) FROM roles";
const ONE: &str = "SELECT id, name, built_in, created_at, updated_at FROM roles WHERE id = $1";
const SCOPES: &str = "SELECT role_id, scope FROM role_scopes WHERE role_id = $1";
const SCOPES_OF: Text = one_of!("SELECT role_id, scope FROM role_scopes WHERE role_id", "$1", "");
const ADD: &str = "INSERT INTO roles (id, name, name_folded, built_in, created_at, updated_at)
VALUES ($1, $2, $3, 0, $4, $4) ON CONFLICT (name_folded) DO NOTHING";
const TAKEN: &str = "SELECT id FROM roles WHERE name_folded = $1 AND id <> $2";
const CHANGE: &str = "UPDATE roles SET name = $2, name_folded = $3, updated_at = $4 WHERE id = $1";
const CLEAR: &str = "DELETE FROM role_scopes WHERE role_id = $1";
const ADD_SCOPES: Text = Text {
    sqlite: "INSERT INTO role_scopes (role_id, scope) SELECT $1, value FROM json_each($2)",
    postgres: "INSERT INTO role_scopes (role_id, scope) SELECT $1, jsonb_array_elements_text(CAST($2 AS JSONB))",
};
const IN_USE: &str = "SELECT id FROM users WHERE role_id = $1 LIMIT 1";
const DELETE: &str = "DELETE FROM roles WHERE id = $1";

/// A role within a transaction.
macro_rules! role {
    ($tx:expr, $id:expr) => {{
        let row: Option<Row> = sqlx::query_as(ONE).bind(&$id.0).fetch_optional(&mut *$tx).await?;
        match row {
            Some(row) => {
                let scopes: Vec<(String, String)> =
                    sqlx::query_as(SCOPES).bind(&$id.0).fetch_all(&mut *$tx).await?;
                Some(row.role(&scopes))
            }
            None => None,
        }
    }};
}

impl Registry {
    /// One page of the roles, those that are built in first, then by name; and the total.
    pub async fn roles(&self, page: Page) -> Result<(Vec<Role>, u64), RegistryError> {
        let (rows, scopes, total): (Vec<Row>, Vec<(String, String)>, i64) = on!(self, db => {
            let mut tx = db.begin_read().await?;
            let rows: Vec<Row> =
                sqlx::query_as(LIST).bind(page.limit()).bind(page.offset()).fetch_all(&mut *tx).await?;
            let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
            let ids = crate::json(&ids)?;
            let scopes = sqlx::query_as(SCOPES_OF.on(self.dialect())).bind(ids).fetch_all(&mut *tx).await?;
            let total = sqlx::query_scalar(TOTAL).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            (rows, scopes, total)
        });
        let roles = rows.into_iter().map(|row| row.role(&scopes)).collect();
        Ok((roles, count("roles", "total", "", total)?))
    }

    /// One role.
    pub async fn role(&self, id: &RoleId) -> Result<Option<Role>, RegistryError> {
        Ok(on!(self, db => {
            let mut tx = db.begin_read().await?;
            let role = role!(tx, id);
            tx.commit().await?;
            role
        }))
    }

    /// Makes a role. `reach` is what the actor may do: nobody gives away more.
    pub async fn make_role(
        &self,
        new: &RoleId,
        name: &str,
        scopes: &[Scope],
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<Role, Refusal>, RegistryError> {
        if let Some(beyond) = beyond(scopes, reach) {
            return Ok(Err(beyond));
        }
        let name = name.trim();
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let made = sqlx::query(ADD)
                .bind(&new.0)
                .bind(name)
                .bind(text::fold_name(name))
                .bind(now)
                .execute(&mut *tx)
                .await?;
            if made.rows_affected() == 0 {
                return Ok(Err(Refusal::NameTaken));
            }
            let rows = crate::json(&spelt(scopes))?;
            sqlx::query(ADD_SCOPES.on(self.dialect())).bind(&new.0).bind(rows).execute(&mut *tx).await?;
            let Some(role) = role!(tx, new) else { return Ok(Err(Refusal::NotFound)) };
            let change = of(by, now, "role.create", new, None, Some(&role));
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(role)
        }))
    }

    /// Changes a role; its users have the new scopes with their next request. `reach` is what the actor may do: nobody
    /// touches a role that is worth more, nor makes one so.
    pub async fn change_role(
        &self,
        id: &RoleId,
        change: RoleChange<'_>,
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<Role, Refusal>, RegistryError> {
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            sqlx::query(HOLD_ROLE).execute(&mut *tx).await?;
            let Some(before) = role!(tx, id) else { return Ok(Err(Refusal::NotFound)) };
            let name = change.name.map_or(before.name.as_str(), str::trim);
            let scopes = change.scopes.unwrap_or(&before.scopes);
            if let Some(refusal) = before.guard().or(beyond(&before.scopes, reach)).or(beyond(scopes, reach)) {
                return Ok(Err(refusal));
            }
            let folded = text::fold_name(name);
            let taken: Option<(String,)> =
                sqlx::query_as(TAKEN).bind(&folded).bind(&id.0).fetch_optional(&mut *tx).await?;
            if taken.is_some() {
                return Ok(Err(Refusal::NameTaken));
            }
            sqlx::query(CHANGE).bind(&id.0).bind(name).bind(folded).bind(now).execute(&mut *tx).await?;
            if change.scopes.is_some() {
                let rows = crate::json(&spelt(scopes))?;
                sqlx::query(CLEAR).bind(&id.0).execute(&mut *tx).await?;
                sqlx::query(ADD_SCOPES.on(self.dialect())).bind(&id.0).bind(rows).execute(&mut *tx).await?;
            }
            let Some(after) = role!(tx, id) else { return Ok(Err(Refusal::NotFound)) };
            let change = of(by, now, "role.change", id, Some(&before), Some(&after));
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(after)
        }))
    }

    /// Deletes a role that no user has.
    pub async fn delete_role(
        &self,
        id: &RoleId,
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            sqlx::query(HOLD_ROLE).execute(&mut *tx).await?;
            let Some(before) = role!(tx, id) else { return Ok(Err(Refusal::NotFound)) };
            if let Some(refusal) = before.guard().or(beyond(&before.scopes, reach)) {
                return Ok(Err(refusal));
            }
            let user: Option<(String,)> = sqlx::query_as(IN_USE).bind(&id.0).fetch_optional(&mut *tx).await?;
            if user.is_some() {
                return Ok(Err(Refusal::RoleInUse));
            }
            sqlx::query(DELETE).bind(&id.0).execute(&mut *tx).await?;
            let change = of(by, now, "role.delete", id, Some(&before), None);
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }))
    }
}

impl Role {
    fn guard(&self) -> Option<Refusal> {
        self.built_in.then_some(Refusal::BuiltIn)
    }

    fn told(&self) -> Value {
        json!({"name": self.name, "scopes": spelt(&self.scopes)})
    }
}

impl Row {
    fn role(self, scopes: &[(String, String)]) -> Role {
        let own = scopes.iter().filter(|(role, _)| *role == self.id);
        let mut scopes: Vec<Scope> = own.filter_map(|(_, scope)| scope.parse().ok()).collect();
        scopes.sort_unstable();
        Role {
            id: RoleId(self.id),
            name: self.name,
            built_in: self.built_in != 0,
            scopes,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

fn of<'a>(
    by: &'a Actor,
    now: Millis,
    action: &'static str,
    id: &RoleId,
    before: Option<&Role>,
    after: Option<&Role>,
) -> Change<'a> {
    Change {
        actor: by,
        at: now,
        action,
        kind: "role",
        id: Some(id.0.clone()),
        before: before.map(Role::told),
        after: after.map(Role::told),
    }
}

/// As texts, each once.
pub(crate) fn spelt(scopes: &[Scope]) -> Vec<&'static str> {
    Scope::ALL.into_iter().filter(|scope| scopes.contains(scope)).map(Scope::as_str).collect()
}

impl From<UserId> for RoleId {
    /// A new id; the kind of UUID is the same.
    fn from(id: UserId) -> Self {
        Self(id.to_string())
    }
}

impl FromStr for RoleId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        if !["admin", "viewer"].contains(&text) {
            let _: UserId = text.parse()?;
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_role_is_a_uuid_or_built_in() {
        for good in ["admin", "viewer", "0190a5c2-7b5e-7c3d-8e4f-0123456789ab"] {
            assert_eq!(good.parse::<RoleId>().unwrap().to_string(), good);
        }
        for bad in ["", "Admin", "root", "0190A5C2-7b5e-7c3d-8e4f-0123456789ab"] {
            assert!(bad.parse::<RoleId>().is_err(), "{bad}");
        }
    }
}
