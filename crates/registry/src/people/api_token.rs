//! Tokens with which programs use the interface in the name of their maker.

use fleet::{
    Millis, Scope,
    id::{ApiTokenId, UserId},
};
use serde_json::{Value, json};

use super::{
    User, account,
    login::{UserRow, one_user},
    role::spelt,
};
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{
        Page, PerEngine, Registry, RegistryError, Statement, Stop, Tx, count, hex, id, json, one_of, query,
        row,
    },
    refusal::Refusal,
};

/// An API token; of its text the registry knows only a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Its id, which is no secret.
    pub id: ApiTokenId,
    /// Who made it. It is worth no more than what this user may do.
    pub user: UserId,
    /// Name of that user.
    pub username: String,
    /// For people.
    pub name: String,
    /// In the order of [`Scope::ALL`]. A scope that this release does not know is left out.
    pub scopes: Vec<Scope>,
    /// From when on it is refused, in Unix ms; `None`: it is of a release whose tokens did not expire, and gets an end by
    /// [`Registry::end_endless_api_tokens`].
    pub expires_at: Option<Millis>,
    /// Unix ms.
    pub created_at: Millis,
}

row! {
    struct Row {
        id: String,
        user_id: String,
        username: String,
        name: String,
        expires_at: Option<Millis>,
        created_at: Millis,
    }
}

row! {
    /// One that is deleted with all others of its user.
    struct Gone {
        id: String,
        name: String,
        expires_at: Option<Millis>,
    }
}

row! {
    struct Bearer {
        token: String,
        ..user: UserRow,
    }
}

/// Most tokens of a user, those that expired lately included.
const MOST_API_TOKENS: i64 = 100;

const ADD: &str = "INSERT INTO api_tokens (id, user_id, name, hash, expires_at, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
const ADD_SCOPES: PerEngine = PerEngine {
    sqlite: "INSERT INTO api_token_scopes (token_id, scope) SELECT $1, value FROM json_each($2)",
    postgres: "INSERT INTO api_token_scopes (token_id, scope)
        SELECT $1, jsonb_array_elements_text(CAST($2 AS JSONB))",
};
const COLUMNS: &str = "SELECT t.id, t.user_id, u.username, t.name, t.expires_at, t.created_at
FROM api_tokens t JOIN users u ON u.id = t.user_id";
const ONE: &str = "SELECT t.id, t.user_id, u.username, t.name, t.expires_at, t.created_at
FROM api_tokens t JOIN users u ON u.id = t.user_id WHERE t.id = $1";
const TOTAL_OF: &str = "SELECT COUNT(*) FROM api_tokens WHERE user_id = $1";
const SCOPES_OF: PerEngine = one_of!("SELECT token_id, scope FROM api_token_scopes WHERE token_id", "");
const DELETE: &str = "DELETE FROM api_tokens WHERE id = $1 RETURNING id";
const DELETE_ALL: &str = "DELETE FROM api_tokens WHERE user_id = $1 RETURNING id, name, expires_at";
const END_ENDLESS: &str = "UPDATE api_tokens SET expires_at = $1 WHERE expires_at IS NULL";
/// Past those that somebody is about to delete: two that want the same rows in different orders would wait for each other.
const FORGET: PerEngine = PerEngine {
    sqlite: "DELETE FROM api_tokens WHERE expires_at <= $1",
    postgres: "DELETE FROM api_tokens WHERE id IN
        (SELECT id FROM api_tokens WHERE expires_at <= $1 FOR UPDATE SKIP LOCKED)",
};
const FORGET_OF: &str = "DELETE FROM api_tokens WHERE user_id = $1 AND expires_at <= $2";
/// Of everybody, with what the audit log tells of each.
const DELETE_EVERY: &str = "DELETE FROM api_tokens RETURNING id, user_id,
(SELECT username FROM users WHERE users.id = api_tokens.user_id) AS username, name, expires_at, created_at";
/// The scopes that the token and the role have in common.
const BEARER: &str =
    "SELECT t.id AS token, u.id, u.username, u.password_hash, u.disabled_at, u.epoch, p.scope
FROM api_tokens t JOIN users u ON u.id = t.user_id LEFT JOIN api_token_scopes s ON s.token_id = t.id
LEFT JOIN role_scopes p ON p.role_id = u.role_id AND p.scope = s.scope
WHERE t.hash = $1 AND u.disabled_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $2)";

/// Takes every token of this user away, with a row in the audit log for each.
pub(super) async fn delete_all(
    tx: &mut Tx<'_>,
    user: &str,
    username: &str,
    by: &Actor,
    now: Millis,
) -> Result<(), RegistryError> {
    let gone: Vec<Gone> = tx.all(query(DELETE_ALL).bind(user)).await?;
    let change = |token: &Gone| {
        let before = told(&token.name, token.expires_at, user, username);
        Change::new(by, now, Action::TokenDelete, &token.id).before(before)
    };
    audit::record(tx, &gone.iter().map(change).collect::<Vec<_>>()).await
}

/// What the audit log tells of one.
fn told(name: &str, expires_at: Option<Millis>, user: &str, username: &str) -> Value {
    json!({"name": name, "expires_at": expires_at, "user_id": user, "username": username})
}

/// Refuses one more than [`MOST_API_TOKENS`]; expired ones make room. Nobody else makes one for this user until the
/// transaction ends.
async fn keep_few(tx: &mut Tx<'_>, user: &str, now: Millis) -> Result<(), Stop> {
    if !account::hold_user(tx, user).await? {
        return Err(Refusal::NotFound.into());
    }
    let (tokens,): (i64,) = tx.one(query(TOTAL_OF).bind(user)).await?;
    if tokens < MOST_API_TOKENS || tx.run(query(FORGET_OF).bind(user).bind(now)).await? > 0 {
        return Ok(());
    }
    Err(Refusal::TooMany.into())
}

/// Takes every token of everybody away, with a row in the audit log for each. Answers how many there were.
pub(crate) async fn delete_every_token(
    tx: &mut Tx<'_>,
    by: &Actor,
    now: Millis,
) -> Result<u64, RegistryError> {
    let gone: Vec<Row> = tx.all(query(DELETE_EVERY)).await?;
    let change = |token: &Row| {
        let before = told(&token.name, token.expires_at, &token.user_id, &token.username);
        Change::new(by, now, Action::TokenDelete, &token.id).before(before)
    };
    audit::record(tx, &gone.iter().map(change).collect::<Vec<_>>()).await?;
    Ok(gone.len() as u64)
}

impl Row {
    fn token(self, scopes: &[(String, String)]) -> Result<ApiToken, RegistryError> {
        let own = scopes.iter().filter(|(token, _)| *token == self.id);
        let mut scopes: Vec<Scope> = own.filter_map(|(_, scope)| scope.parse().ok()).collect();
        scopes.sort_unstable();
        Ok(ApiToken {
            id: id("api_tokens", "id", &self.id)?,
            user: id("api_tokens", "user_id", &self.user_id)?,
            username: self.username,
            name: self.name,
            scopes,
            expires_at: self.expires_at,
            created_at: self.created_at,
        })
    }
}

impl Registry {
    /// Makes a token. Its hash is SHA-256 of its text. Its scopes may be any: each use of it compares them with what its
    /// maker may do then. A user has at most 100.
    #[crate::engine::boxed]
    pub async fn make_api_token(
        &self,
        token: &ApiToken,
        hash: [u8; 32],
        by: &Actor,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let (id, user) = (token.id.to_string(), token.user.to_string());
        let scopes = spelt(&token.scopes);
        let mut after = told(&token.name, token.expires_at, &user, &token.username);
        after["scopes"] = json!(scopes);
        self.change(async |tx| {
            keep_few(tx, &user, token.created_at).await?;
            let add = query(ADD)
                .bind(&id)
                .bind(&user)
                .bind(&token.name)
                .bind(hex(&hash))
                .bind(token.expires_at)
                .bind(token.created_at);
            tx.run(add).await?;
            tx.run(query(ADD_SCOPES).bind(&id).bind(json(&scopes)?)).await?;
            let change = Change::new(by, token.created_at, Action::TokenCreate, &id).after(after);
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }

    /// One page of the tokens of this user, or of everybody, the newest first, and the total. Those that have expired
    /// are there until they are [forgotten](Self::forget_api_tokens).
    #[crate::engine::boxed]
    pub async fn api_tokens(
        &self,
        user: Option<UserId>,
        page: Page,
    ) -> Result<(Vec<ApiToken>, u64), RegistryError> {
        let owner = user.map(|user| user.to_string());
        let mut list = Statement::new(self.dialect());
        list.push(COLUMNS);
        let mut total = Statement::new(self.dialect());
        total.push("SELECT COUNT(*) FROM api_tokens t");
        if let Some(owner) = &owner {
            list.push(" WHERE t.user_id = ").bind(owner.clone());
            total.push(" WHERE t.user_id = ").bind(owner.clone());
        }
        list.push(" ORDER BY t.created_at DESC, t.id DESC LIMIT ").bind(page.limit());
        list.push(" OFFSET ").bind(page.offset());
        let (rows, scopes, (total,)) = self
            .read(async |tx| {
                let rows: Vec<Row> = tx.all(list).await?;
                let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
                let scopes: Vec<(String, String)> = tx.all(query(SCOPES_OF).bind(json(&ids)?)).await?;
                let total: (i64,) = tx.one(total).await?;
                Ok((rows, scopes, total))
            })
            .await?;
        let tokens = rows.into_iter().map(|row| row.token(&scopes)).collect::<Result<_, _>>()?;
        Ok((tokens, count("api_tokens", "total", "", total)?))
    }

    /// Takes a token away: one of `user`, or, with a `reach`, one of anybody whose role is within it.
    #[crate::engine::boxed]
    pub async fn delete_api_token(
        &self,
        token: ApiTokenId,
        user: UserId,
        reach: Option<&[Scope]>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let (token, user) = (token.to_string(), user.to_string());
        self.change(async |tx| {
            let found: Option<Row> = tx.maybe(query(ONE).bind(&token)).await?;
            let found = found.ok_or(Refusal::NotFound)?;
            if found.user_id != user {
                account::hold(tx, &found.user_id, reach.ok_or(Refusal::NotFound)?).await?;
            }
            if !tx.any(query(DELETE).bind(&token)).await? {
                return Err(Refusal::NotFound.into());
            }
            let before = told(&found.name, found.expires_at, &found.user_id, &found.username);
            let change = Change::new(by, now, Action::TokenDelete, &token).before(before);
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }

    /// Gives those tokens an end, in Unix ms, that a release made whose tokens did not expire; says how many.
    #[crate::engine::boxed]
    pub async fn end_endless_api_tokens(&self, expires_at: Millis) -> Result<u64, RegistryError> {
        self.writer().run(query(END_ENDLESS).bind(expires_at)).await
    }

    /// Forgets the tokens that expired at `expired_at`, in Unix ms, or before.
    #[crate::engine::boxed]
    pub async fn forget_api_tokens(&self, expired_at: Millis) -> Result<u64, RegistryError> {
        self.writer().run(query(FORGET).bind(expired_at)).await
    }

    /// The token of this hash and its user, with the scopes that both have, but for those that
    /// [act on hosts](Scope::acts). `None`: there is no such token, it has
    /// expired, or its user is disabled.
    #[crate::engine::boxed]
    pub async fn api_token_user(
        &self,
        hash: [u8; 32],
        now: Millis,
    ) -> Result<Option<(ApiTokenId, User)>, RegistryError> {
        let rows: Vec<Bearer> = self.reader().all(query(BEARER).bind(hex(&hash)).bind(now)).await?;
        let Some(token) = rows.first().map(|row| id("api_tokens", "id", &row.token)).transpose()? else {
            return Ok(None);
        };
        let user = one_user(rows.into_iter().map(|row| row.user).collect())?;
        Ok(user.map(|mut user| {
            user.scopes.retain(|scope| !scope.acts());
            (token, user)
        }))
    }
}
