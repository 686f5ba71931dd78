//! Users as people manage them.

use fleet::{Millis, Scope, id::UserId};
use serde_json::{Value, json};

use super::{api_token, role};
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Page, Registry, RegistryError, Statement, Stop, Tx, count, fold, id, query, row},
    refusal::Refusal,
};

/// A user as people manage it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: UserId,
    /// As it was given; no other user has it, regardless of case.
    pub username: String,
    /// For people; nothing is sent there unasked.
    pub email: Option<String>,
    /// Name of its role.
    pub role: String,
    /// Since when nobody logs in as this user, in Unix ms.
    pub disabled_at: Option<Millis>,
    /// Unix ms.
    pub created_at: Millis,
    /// When it was changed last, in Unix ms.
    pub updated_at: Millis,
    /// Rises with every change, a new password too.
    pub version: i64,
}

/// A user to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewAccount<'a> {
    /// Its id.
    pub id: UserId,
    /// Blanks around it are dropped.
    pub username: &'a str,
    /// For people.
    pub email: Option<&'a str>,
    /// A PHC string.
    pub password_hash: &'a str,
    /// Name of its role, regardless of case.
    pub role: &'a str,
}

/// What is to change of a user; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct AccountChange<'a> {
    /// Blanks around it are dropped.
    pub username: Option<&'a str>,
    /// `Some(None)` takes it away.
    pub email: Option<Option<&'a str>>,
    /// Name of the role, regardless of case.
    pub role: Option<&'a str>,
    /// Whether nobody may log in. Disabling ends every session.
    pub disabled: Option<bool>,
}

/// A password to set.
#[derive(Debug, Clone, Copy)]
pub struct PasswordChange<'a> {
    /// A PHC string.
    pub hash: &'a str,
    /// What the actor read together with the password that it proved: it is refused when something ended the sessions
    /// meanwhile. `None`: the actor proved none.
    pub epoch: Option<i64>,
    /// Whether the user's API tokens are deleted too. Whoever stole a session may have made one.
    pub ends_tokens: bool,
}

/// Which users to list; all that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct AccountFilter {
    /// Name or e-mail address contains this, regardless of case.
    pub q: Option<String>,
    /// Name of the role, regardless of case.
    pub role: Option<String>,
    /// Disabled, or not.
    pub disabled: Option<bool>,
}

row! {
    pub(super) struct Row {
        id: String,
        username: String,
        email: Option<String>,
        role_id: String,
        role: String,
        epoch: i64,
        disabled_at: Option<Millis>,
        created_at: Millis,
        updated_at: Millis,
        version: i64,
    }
}

const COLUMNS: &str = "SELECT u.id, u.username, u.email, u.role_id, r.name AS role, u.epoch, u.disabled_at, u.created_at, \
                       u.updated_at, u.version FROM users u JOIN roles r ON r.id = u.role_id";
const ONE: &str =
    "SELECT u.id, u.username, u.email, u.role_id, r.name AS role, u.epoch, u.disabled_at, u.created_at,
u.updated_at, u.version FROM users u JOIN roles r ON r.id = u.role_id WHERE u.id = $1";
const ROLE: &str =
    "SELECT r.id, p.scope FROM roles r LEFT JOIN role_scopes p ON p.role_id = r.id WHERE r.name_folded = $1";
const SCOPES: &str = "SELECT scope FROM role_scopes WHERE role_id = $1";
const ADD: &str = "INSERT INTO users
(id, username, username_folded, email, password_hash, role_id, epoch, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, 1, 1, $7, $7) ON CONFLICT (username_folded) DO NOTHING";
const TAKEN: &str = "SELECT id FROM users WHERE username_folded = $1 AND id <> $2";
const CHANGE: &str =
    "UPDATE users SET username = $2, username_folded = $3, email = $4, role_id = $5, disabled_at = $6,
epoch = $7, version = version + 1, updated_at = $8 WHERE id = $1";
const SET_PASSWORD: &str =
    "UPDATE users SET password_hash = $2, epoch = epoch + 1, version = version + 1, updated_at = $3
WHERE id = $1";
const DELETE: &str = "DELETE FROM users WHERE id = $1";
const HOLD: &str = "UPDATE users SET epoch = epoch WHERE id = $1 RETURNING id";
const ADMIN: &str = "SELECT id FROM users WHERE role_id = 'admin' AND disabled_at IS NULL LIMIT 1";

async fn find(tx: &mut Tx<'_>, user: &str) -> Result<Option<Row>, RegistryError> {
    tx.maybe(query(ONE).bind(user)).await
}

async fn existing(tx: &mut Tx<'_>, user: &str) -> Result<Row, Stop> {
    Ok(find(tx, user).await?.ok_or(Refusal::NotFound)?)
}

/// Makes whoever else does this wait until the transaction ends, so that what a user has can be counted, and no more be
/// made than there may be. False: there is no such user.
pub(crate) async fn hold_user(tx: &mut Tx<'_>, user: &str) -> Result<bool, RegistryError> {
    tx.any(query(HOLD).bind(user)).await
}

/// A user whose role is within reach, to be changed. Nobody else changes users or roles until the transaction ends.
pub(super) async fn hold(tx: &mut Tx<'_>, user: &str, reach: &[Scope]) -> Result<Row, Stop> {
    role::hold_admin(tx).await?;
    let row = existing(tx, user).await?;
    let scopes: Vec<(String,)> = tx.all(query(SCOPES).bind(&row.role_id)).await?;
    let scopes: Vec<Scope> = scopes.iter().filter_map(|(scope,)| scope.parse().ok()).collect();
    Refusal::unless_within(reach, &scopes)?;
    Ok(row)
}

/// The id of the role of this name, which is to be within reach.
async fn role_within(tx: &mut Tx<'_>, name: &str, reach: &[Scope]) -> Result<String, Stop> {
    let rows: Vec<(String, Option<String>)> = tx.all(query(ROLE).bind(fold::fold_name(name))).await?;
    let scopes: Vec<Scope> = rows.iter().filter_map(|(_, scope)| scope.as_ref()?.parse().ok()).collect();
    let (role, _) = rows.into_iter().next().ok_or(Refusal::NoSuchRole)?;
    Refusal::unless_within(reach, &scopes)?;
    Ok(role)
}

/// Refuses what the transaction has done if it left no enabled admin.
async fn keep_an_admin(tx: &mut Tx<'_>) -> Result<(), Stop> {
    if tx.any(ADMIN).await? { Ok(()) } else { Err(Refusal::LastAdmin.into()) }
}

impl Registry {
    /// One page of the users, by name; and the total.
    #[crate::engine::boxed]
    pub async fn accounts(
        &self,
        filter: &AccountFilter,
        page: Page,
    ) -> Result<(Vec<Account>, u64), RegistryError> {
        let mut rows = Statement::new(self.dialect());
        rows.push(COLUMNS);
        push_filter(&mut rows, filter);
        rows.push(" ORDER BY u.username_folded LIMIT ")
            .bind(page.limit())
            .push(" OFFSET ")
            .bind(page.offset());
        let mut total = Statement::new(self.dialect());
        total.push("SELECT COUNT(*) FROM users u JOIN roles r ON r.id = u.role_id");
        push_filter(&mut total, filter);
        let (rows, (total,)) =
            self.read(async |tx| Ok((tx.all::<Row>(rows).await?, tx.one::<(i64,)>(total).await?))).await?;
        let accounts = rows.into_iter().map(Row::account).collect::<Result<_, _>>()?;
        Ok((accounts, count("users", "total", "", total)?))
    }

    /// One user.
    #[crate::engine::boxed]
    pub async fn account(&self, user: UserId) -> Result<Option<Account>, RegistryError> {
        let row: Option<Row> = self.reader().maybe(query(ONE).bind(user.to_string())).await?;
        row.map(Row::account).transpose()
    }

    /// Makes a user. `reach` is what the actor may do: nobody gives away more.
    pub async fn make_account(
        &self,
        new: NewAccount<'_>,
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<Account, Refusal>, RegistryError> {
        let user = new.id.to_string();
        self.change(async |tx| {
            role::hold_admin(tx).await?;
            let role = role_within(tx, new.role, reach).await?;
            let add = query(ADD)
                .bind(&user)
                .bind(new.username.trim())
                .bind(fold::fold_name(new.username))
                .bind(new.email)
                .bind(new.password_hash)
                .bind(role)
                .bind(now);
            if tx.run(add).await? == 0 {
                return Err(Refusal::NameTaken.into());
            }
            let row = existing(tx, &user).await?;
            let change = Change::new(by, now, Action::UserCreate, &user).after(row.told());
            audit::record(tx, &[change]).await?;
            Ok(row.account()?)
        })
        .await
    }

    /// Changes a user; it counts with the user's next request. With `expected`, only if its version is one of these. `reach` is what the actor may do: nobody touches a user
    /// who may do more, nor makes one so.
    pub async fn change_account(
        &self,
        user: UserId,
        expected: Option<&[i64]>,
        change: AccountChange<'_>,
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<Account, Refusal>, RegistryError> {
        let user = user.to_string();
        self.change(async |tx| {
            let before = hold(tx, &user, reach).await?;
            Refusal::unless_expected(expected, before.version)?;
            let role = match change.role {
                Some(name) => role_within(tx, name, reach).await?,
                None => before.role_id.clone(),
            };
            let username = change.username.map_or(before.username.as_str(), str::trim);
            let folded = fold::fold_name(username);
            if tx.any(query(TAKEN).bind(&folded).bind(&user)).await? {
                return Err(Refusal::NameTaken.into());
            }
            let (disabled_at, epoch) = before.switched(change.disabled, now);
            let update = query(CHANGE)
                .bind(&user)
                .bind(username)
                .bind(folded)
                .bind(change.email.unwrap_or(before.email.as_deref()))
                .bind(role)
                .bind(disabled_at)
                .bind(epoch)
                .bind(now);
            tx.run(update).await?;
            keep_an_admin(tx).await?;
            let after = existing(tx, &user).await?;
            let change =
                Change::new(by, now, Action::UserChange, &user).before(before.told()).after(after.told());
            audit::record(tx, &[change]).await?;
            Ok(after.account()?)
        })
        .await
    }

    /// Sets a password and ends every session of the user. `reach` is what the actor may do: nobody takes over a user
    /// who may do more.
    pub async fn set_password(
        &self,
        user: UserId,
        change: PasswordChange<'_>,
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let user = user.to_string();
        self.change(async |tx| {
            let before = hold(tx, &user, reach).await?;
            if change.epoch.is_some_and(|epoch| epoch != before.epoch) {
                return Err(Refusal::Changed.into());
            }
            tx.run(query(SET_PASSWORD).bind(&user).bind(change.hash).bind(now)).await?;
            if change.ends_tokens {
                api_token::delete_all(tx, &user, &before.username, by, now).await?;
            }
            let change = Change::new(by, now, Action::UserPassword, &user).after(before.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }

    /// Deletes a user with its sessions and API tokens; what it did stays in the audit log. With `expected`, only if its
    /// version is one of these.
    #[crate::engine::boxed]
    pub async fn delete_account(
        &self,
        user: UserId,
        expected: Option<&[i64]>,
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let user = user.to_string();
        self.change(async |tx| {
            let before = hold(tx, &user, reach).await?;
            Refusal::unless_expected(expected, before.version)?;
            tx.run(query(DELETE).bind(&user)).await?;
            keep_an_admin(tx).await?;
            let change = Change::new(by, now, Action::UserDelete, &user).before(before.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }
}

fn push_filter(statement: &mut Statement, filter: &AccountFilter) {
    statement.push(" WHERE 1 = 1");
    if let Some(q) = &filter.q {
        // What is compared of an e-mail address is ASCII, and both engines fold ASCII alike.
        match fold::pattern(q) {
            Some(pattern) => statement
                .push(" AND (u.username_folded LIKE ")
                .bind(pattern.clone())
                .push(" ESCAPE '\\' OR LOWER(u.email) LIKE ")
                .bind(pattern)
                .push(" ESCAPE '\\')"),
            None => statement.push(" AND 1 = 0"),
        };
    }
    if let Some(role) = filter.role.as_deref().map(fold::fold_name) {
        match fold::is_storable(&role) {
            true => statement.push(" AND r.name_folded = ").bind(role),
            false => statement.push(" AND 1 = 0"),
        };
    }
    match filter.disabled {
        Some(true) => drop(statement.push(" AND u.disabled_at IS NOT NULL")),
        Some(false) => drop(statement.push(" AND u.disabled_at IS NULL")),
        None => {}
    }
}

impl Row {
    fn account(self) -> Result<Account, RegistryError> {
        Ok(Account {
            id: id("users", "id", &self.id)?,
            username: self.username,
            email: self.email,
            role: self.role,
            disabled_at: self.disabled_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
            version: self.version,
        })
    }

    /// Since when it is disabled and its epoch, once it is `disabled` or not.
    fn switched(&self, disabled: Option<bool>, now: Millis) -> (Option<Millis>, i64) {
        match disabled {
            Some(true) if self.disabled_at.is_none() => (Some(now), self.epoch + 1),
            Some(false) => (None, self.epoch),
            Some(true) | None => (self.disabled_at, self.epoch),
        }
    }

    fn told(&self) -> Value {
        let Self { username, email, role, disabled_at, .. } = self;
        json!({"username": username, "email": email, "role": role, "disabled": disabled_at.is_some()})
    }
}
