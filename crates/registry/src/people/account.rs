//! Users as people manage them.

use fleet::{Millis, Scope, id::UserId};
use serde_json::{Value, json};

use crate::{
    Actor, Change, Page, Refusal, Registry, RegistryError, audit, count, id, on,
    people::login::HOLD_ROLE,
    refusal::beyond,
    statement::{Statement, rows_of},
    text,
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

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    username: String,
    email: Option<String>,
    role_id: String,
    role: String,
    epoch: i64,
    disabled_at: Option<Millis>,
    created_at: Millis,
    updated_at: Millis,
}

const COLUMNS: &str = "SELECT u.id, u.username, u.email, u.role_id, r.name AS role, u.epoch, u.disabled_at, u.created_at, \
                       u.updated_at FROM users u JOIN roles r ON r.id = u.role_id";
const ONE: &str =
    "SELECT u.id, u.username, u.email, u.role_id, r.name AS role, u.epoch, u.disabled_at, u.created_at,
u.updated_at FROM users u JOIN roles r ON r.id = u.role_id WHERE u.id = $1";
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
const ADMIN: &str = "SELECT id FROM users WHERE role_id = 'admin' AND disabled_at IS NULL LIMIT 1";

/// A user within a transaction.
macro_rules! row {
    ($tx:expr, $id:expr) => {{
        let row: Option<Row> = sqlx::query_as(ONE).bind($id).fetch_optional(&mut *$tx).await?;
        row
    }};
}

/// Ends the expression unless the role of this name, of which it is the id, is within reach.
macro_rules! role_within {
    ($tx:expr, $name:expr, $reach:expr) => {{
        let rows: Vec<(String, Option<String>)> =
            sqlx::query_as(ROLE).bind(text::fold_name($name)).fetch_all(&mut *$tx).await?;
        let scopes =
            rows.iter().filter_map(|(_, scope)| scope.as_ref()?.parse().ok()).collect::<Vec<Scope>>();
        let Some((role, _)) = rows.into_iter().next() else { return Ok(Err(Refusal::NoSuchRole)) };
        if let Some(refusal) = beyond(&scopes, $reach) {
            return Ok(Err(refusal));
        }
        role
    }};
}

/// A user whose role is within reach, within a transaction; ends the expression if there is none. First everybody who
/// changes users or roles waits for the one before: so the last admin cannot be lost to two who do it at once.
macro_rules! hold {
    ($tx:expr, $id:expr, $reach:expr) => {{
        sqlx::query(HOLD_ROLE).execute(&mut *$tx).await?;
        let Some(row) = row!($tx, $id) else { return Ok(Err(Refusal::NotFound)) };
        let scopes: Vec<(String,)> = sqlx::query_as(SCOPES).bind(&row.role_id).fetch_all(&mut *$tx).await?;
        let scopes = scopes.iter().filter_map(|(scope,)| scope.parse().ok()).collect::<Vec<Scope>>();
        if let Some(refusal) = beyond(&scopes, $reach) {
            return Ok(Err(refusal));
        }
        row
    }};
}

/// Ends the expression, and with it the transaction, if no enabled admin is left.
macro_rules! keep_an_admin {
    ($tx:expr) => {{
        let admin: Option<(String,)> = sqlx::query_as(ADMIN).fetch_optional(&mut *$tx).await?;
        if admin.is_none() {
            return Ok(Err(Refusal::LastAdmin));
        }
    }};
}

impl Registry {
    /// One page of the users, by name; and the total.
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
        let (rows, total): (Vec<Row>, i64) = on!(self, db => {
            let mut tx = db.begin_read().await?;
            let rows = rows_of!(Row, rows).fetch_all(&mut *tx).await?;
            let total = rows_of!((i64,), total).fetch_one(&mut *tx).await?.0;
            tx.commit().await?;
            (rows, total)
        });
        let accounts = rows.into_iter().map(Row::account).collect::<Result<_, _>>()?;
        Ok((accounts, count("users", "total", "", total)?))
    }

    /// One user.
    pub async fn account(&self, user: UserId) -> Result<Option<Account>, RegistryError> {
        let user = user.to_string();
        let row: Option<Row> =
            on!(self, db => sqlx::query_as(ONE).bind(user).fetch_optional(db.reader()).await?);
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
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            sqlx::query(HOLD_ROLE).execute(&mut *tx).await?;
            let role = role_within!(tx, new.role, reach);
            let made = sqlx::query(ADD)
                .bind(&user)
                .bind(new.username.trim())
                .bind(text::fold_name(new.username))
                .bind(new.email)
                .bind(new.password_hash)
                .bind(role)
                .bind(now)
                .execute(&mut *tx)
                .await?;
            if made.rows_affected() == 0 {
                return Ok(Err(Refusal::NameTaken));
            }
            let Some(row) = row!(tx, &user) else { return Ok(Err(Refusal::NotFound)) };
            let change = of(by, now, "user.create", &user, None, Some(&row));
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(row.account()?)
        }))
    }

    /// Changes a user; it counts with the user's next request. `reach` is what the actor may do: nobody touches a user
    /// who may do more, nor makes one so.
    pub async fn change_account(
        &self,
        user: UserId,
        change: AccountChange<'_>,
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<Account, Refusal>, RegistryError> {
        let user = user.to_string();
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let before = hold!(tx, &user, reach);
            let role = match change.role {
                Some(name) => role_within!(tx, name, reach),
                None => before.role_id.clone(),
            };
            let username = change.username.map_or(before.username.as_str(), str::trim);
            let folded = text::fold_name(username);
            let taken: Option<(String,)> =
                sqlx::query_as(TAKEN).bind(&folded).bind(&user).fetch_optional(&mut *tx).await?;
            if taken.is_some() {
                return Ok(Err(Refusal::NameTaken));
            }
            let (disabled_at, epoch) = before.switched(change.disabled, now);
            sqlx::query(CHANGE)
                .bind(&user)
                .bind(username)
                .bind(folded)
                .bind(change.email.unwrap_or(before.email.as_deref()))
                .bind(role)
                .bind(disabled_at)
                .bind(epoch)
                .bind(now)
                .execute(&mut *tx)
                .await?;
            keep_an_admin!(tx);
            let Some(after) = row!(tx, &user) else { return Ok(Err(Refusal::NotFound)) };
            let change = of(by, now, "user.change", &user, Some(&before), Some(&after));
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(after.account()?)
        }))
    }

    /// Sets a password and ends every session of the user. With `epoch`, which the actor read together with the
    /// password that it proved, it is refused when something ended the sessions meanwhile. `reach` is what the actor
    /// may do: nobody takes over a user who may do more.
    pub async fn set_password(
        &self,
        user: UserId,
        password_hash: &str,
        epoch: Option<i64>,
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let user = user.to_string();
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let before = hold!(tx, &user, reach);
            if epoch.is_some_and(|epoch| epoch != before.epoch) {
                return Ok(Err(Refusal::Changed));
            }
            sqlx::query(SET_PASSWORD).bind(&user).bind(password_hash).bind(now).execute(&mut *tx).await?;
            let change = Change { before: None, ..of(by, now, "user.password", &user, None, Some(&before)) };
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }))
    }

    /// Deletes a user with its sessions and API tokens; what it did stays in the audit log.
    pub async fn delete_account(
        &self,
        user: UserId,
        reach: &[Scope],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let user = user.to_string();
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let before = hold!(tx, &user, reach);
            sqlx::query(DELETE).bind(&user).execute(&mut *tx).await?;
            keep_an_admin!(tx);
            let change = of(by, now, "user.delete", &user, Some(&before), None);
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }))
    }
}

fn push_filter(statement: &mut Statement, filter: &AccountFilter) {
    statement.push(" WHERE 1 = 1");
    if let Some(q) = &filter.q {
        // E-mail addresses are ASCII as far as they are compared: either engine folds those alike.
        match text::pattern(q) {
            Some(pattern) => statement
                .push(" AND (u.username_folded LIKE ")
                .bind(pattern.clone())
                .push(" ESCAPE '\\' OR LOWER(u.email) LIKE ")
                .bind(pattern)
                .push(" ESCAPE '\\')"),
            None => statement.push(" AND 1 = 0"),
        };
    }
    if let Some(role) = filter.role.as_deref().map(text::fold_name) {
        match text::is_storable(&role) {
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
        })
    }

    /// Since when it is disabled, and its epoch, if it is to be `disabled` or not.
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

fn of<'a>(
    by: &'a Actor,
    now: Millis,
    action: &'static str,
    user: &str,
    before: Option<&Row>,
    after: Option<&Row>,
) -> Change<'a> {
    Change {
        actor: by,
        at: now,
        action,
        kind: "user",
        id: Some(user.to_owned()),
        before: before.map(Row::told),
        after: after.map(Row::told),
    }
}
