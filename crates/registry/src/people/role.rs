//! Roles: named sets of scopes.

use std::{fmt, str::FromStr};

use fleet::{
    Millis, Scope,
    id::{BadId, UserId},
};
use serde_json::{Value, json};

use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Page, PerEngine, Registry, RegistryError, Stop, Tx, count, fold, json, one_of, query, row},
    refusal::Refusal,
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
    /// Rises with every change.
    pub version: i64,
}

/// What is to change of a role; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoleChange<'a> {
    /// Blanks around it are dropped.
    pub name: Option<&'a str>,
    /// The scopes that it then has, and no others.
    pub scopes: Option<&'a [Scope]>,
}

row! {
    struct Row {
        id: String,
        name: String,
        built_in: i64,
        created_at: Millis,
        updated_at: Millis,
        version: i64,
    }
}

const LIST: &str = "SELECT id, name, built_in, created_at, updated_at, version FROM roles
ORDER BY built_in DESC, name_folded LIMIT $1 OFFSET $2";
const TOTAL: &str = "SELECT COUNT(*) FROM roles";
const ONE: &str = "SELECT id, name, built_in, created_at, updated_at, version FROM roles WHERE id = $1";
const SCOPES: &str = "SELECT role_id, scope FROM role_scopes WHERE role_id = $1";
const SCOPES_OF: PerEngine = one_of!("SELECT role_id, scope FROM role_scopes WHERE role_id", "");
const ADD: &str = "INSERT INTO roles (id, name, name_folded, built_in, created_at, updated_at)
VALUES ($1, $2, $3, 0, $4, $4) ON CONFLICT (name_folded) DO NOTHING";
const TAKEN: &str = "SELECT id FROM roles WHERE name_folded = $1 AND id <> $2";
const CHANGE: &str =
    "UPDATE roles SET name = $2, name_folded = $3, updated_at = $4, version = version + 1 WHERE id = $1";
const CLEAR: &str = "DELETE FROM role_scopes WHERE role_id = $1";
const ADD_SCOPES: PerEngine = PerEngine {
    sqlite: "INSERT INTO role_scopes (role_id, scope) SELECT $1, value FROM json_each($2)",
    postgres: "INSERT INTO role_scopes (role_id, scope) SELECT $1, jsonb_array_elements_text(CAST($2 AS JSONB))",
};
const IN_USE: &str = "SELECT id FROM users WHERE role_id = $1 LIMIT 1";
const DELETE: &str = "DELETE FROM roles WHERE id = $1";

/// Changes nothing, and holds the row of the role `admin`.
const HOLD_ADMIN: &str = "UPDATE roles SET built_in = 1 WHERE id = 'admin'";

/// Holds the row of the role `admin` to the end of the transaction. Everybody who changes users or roles does so first:
/// so they do it one after the other, and of two who remove the last two admins at once the second finds just one left.
pub(super) async fn hold_admin(tx: &mut Tx<'_>) -> Result<(), RegistryError> {
    tx.run(HOLD_ADMIN).await.map(drop)
}

async fn find(tx: &mut Tx<'_>, id: &RoleId) -> Result<Option<Role>, RegistryError> {
    let Some(row) = tx.maybe::<Row>(query(ONE).bind(&id.0)).await? else { return Ok(None) };
    let scopes: Vec<(String, String)> = tx.all(query(SCOPES).bind(&id.0)).await?;
    Ok(Some(row.role(&scopes)))
}

async fn existing(tx: &mut Tx<'_>, id: &RoleId) -> Result<Role, Stop> {
    Ok(find(tx, id).await?.ok_or(Refusal::NotFound)?)
}

async fn add_scopes(tx: &mut Tx<'_>, id: &RoleId, scopes: &[Scope]) -> Result<(), RegistryError> {
    tx.run(query(ADD_SCOPES).bind(&id.0).bind(json(&spelt(scopes))?)).await.map(drop)
}

impl Registry {
    /// One page of the roles, those that are built in first, then by name; and the total.
    #[crate::engine::boxed]
    pub async fn roles(&self, page: Page) -> Result<(Vec<Role>, u64), RegistryError> {
        let (rows, scopes, (total,)) = self
            .read(async |tx| {
                let rows: Vec<Row> = tx.all(query(LIST).bind(page.limit()).bind(page.offset())).await?;
                let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
                let scopes: Vec<(String, String)> = tx.all(query(SCOPES_OF).bind(json(&ids)?)).await?;
                let total: (i64,) = tx.one(TOTAL).await?;
                Ok((rows, scopes, total))
            })
            .await?;
        let roles = rows.into_iter().map(|row| row.role(&scopes)).collect();
        Ok((roles, count("roles", "total", "", total)?))
    }

    /// One role.
    #[crate::engine::boxed]
    pub async fn role(&self, id: &RoleId) -> Result<Option<Role>, RegistryError> {
        self.read(async |tx| find(tx, id).await).await
    }

    /// Makes a role. `reach` is what the actor may do: nobody gives away more.
    #[crate::engine::boxed]
    pub async fn make_role(
        &self,
        new: &RoleId,
        name: &str,
        scopes: &[Scope],
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<Role, Refusal>, RegistryError> {
        let name = name.trim();
        if let Err(refusal) = Refusal::unless_within(reach, scopes) {
            return Ok(Err(refusal));
        }
        self.change(async |tx| {
            let add = query(ADD).bind(&new.0).bind(name).bind(fold::fold_name(name)).bind(now);
            if tx.run(add).await? == 0 {
                return Err(Refusal::NameTaken.into());
            }
            add_scopes(tx, new, scopes).await?;
            let role = existing(tx, new).await?;
            let change = Change::new(by, now, Action::RoleCreate, new).after(role.told());
            audit::record(tx, &[change]).await?;
            Ok(role)
        })
        .await
    }

    /// Changes a role; its users have the new scopes with their next request. With `expected`, only if its version is one of
    /// these. `reach` is what the actor may do: nobody
    /// touches a role that is worth more, nor makes one so.
    pub async fn change_role(
        &self,
        id: &RoleId,
        expected: Option<&[i64]>,
        change: RoleChange<'_>,
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<Role, Refusal>, RegistryError> {
        self.change(async |tx| {
            hold_admin(tx).await?;
            let before = existing(tx, id).await?;
            let name = change.name.map_or(before.name.as_str(), str::trim);
            let scopes = change.scopes.unwrap_or(&before.scopes);
            before.check_changeable(reach)?;
            Refusal::unless_within(reach, scopes)?;
            Refusal::unless_expected(expected, before.version)?;
            let folded = fold::fold_name(name);
            if tx.any(query(TAKEN).bind(&folded).bind(&id.0)).await? {
                return Err(Refusal::NameTaken.into());
            }
            tx.run(query(CHANGE).bind(&id.0).bind(name).bind(folded).bind(now)).await?;
            if change.scopes.is_some() {
                tx.run(query(CLEAR).bind(&id.0)).await?;
                add_scopes(tx, id, scopes).await?;
            }
            let after = existing(tx, id).await?;
            let change =
                Change::new(by, now, Action::RoleChange, id).before(before.told()).after(after.told());
            audit::record(tx, &[change]).await?;
            Ok(after)
        })
        .await
    }

    /// Deletes a role that no user has. With `expected`, only if its version is one of these.
    #[crate::engine::boxed]
    pub async fn delete_role(
        &self,
        id: &RoleId,
        expected: Option<&[i64]>,
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        self.change(async |tx| {
            hold_admin(tx).await?;
            let before = existing(tx, id).await?;
            before.check_changeable(reach)?;
            Refusal::unless_expected(expected, before.version)?;
            if tx.any(query(IN_USE).bind(&id.0)).await? {
                return Err(Refusal::RoleInUse.into());
            }
            tx.run(query(DELETE).bind(&id.0)).await?;
            let change = Change::new(by, now, Action::RoleDelete, id).before(before.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }
}

impl Role {
    /// Whether an actor of this reach may change or delete it.
    fn check_changeable(&self, reach: &[Scope]) -> Result<(), Refusal> {
        if self.built_in {
            return Err(Refusal::BuiltIn);
        }
        Refusal::unless_within(reach, &self.scopes)
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
            version: self.version,
        }
    }
}

/// Scopes as texts, each once.
pub(super) fn spelt(scopes: &[Scope]) -> Vec<&'static str> {
    Scope::ALL.into_iter().filter(|scope| scopes.contains(scope)).map(Scope::as_str).collect()
}

impl From<UserId> for RoleId {
    /// The id of a role to be made: ids of users and of roles are the same kind of UUID.
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
