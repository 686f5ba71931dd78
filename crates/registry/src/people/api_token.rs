//! Tokens with which programs use the interface in the name of their maker.

use fleet::{
    Millis, Scope,
    id::{ApiTokenId, UserId},
};
use serde_json::json;

use super::{
    User,
    login::{UserRow, one_user},
    role::spelt,
};
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Page, PerEngine, Registry, RegistryError, Tx, count, hex, id, json, one_of, query},
    refusal::Refusal,
};

/// An API token; of its text the registry knows only a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// Its id, which is no secret.
    pub id: ApiTokenId,
    /// Who made it. It is worth no more than what this user may do.
    pub user: UserId,
    /// For people.
    pub name: String,
    /// In the order of [`Scope::ALL`]. A scope that this release does not know is left out.
    pub scopes: Vec<Scope>,
    /// From when on it is refused, in Unix ms; `None`: it does not expire.
    pub expires_at: Option<Millis>,
    /// Unix ms.
    pub created_at: Millis,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    expires_at: Option<Millis>,
    created_at: Millis,
}

#[derive(sqlx::FromRow)]
struct Bearer {
    token: String,
    #[sqlx(flatten)]
    user: UserRow,
}

const ADD: &str = "INSERT INTO api_tokens (id, user_id, name, hash, expires_at, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
const ADD_SCOPES: PerEngine = PerEngine {
    sqlite: "INSERT INTO api_token_scopes (token_id, scope) SELECT $1, value FROM json_each($2)",
    postgres: "INSERT INTO api_token_scopes (token_id, scope)
        SELECT $1, jsonb_array_elements_text(CAST($2 AS JSONB))",
};
const LIST: &str = "SELECT id, name, expires_at, created_at FROM api_tokens WHERE user_id = $1
ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3";
const TOTAL: &str = "SELECT COUNT(*) FROM api_tokens WHERE user_id = $1";
const SCOPES_OF: PerEngine = one_of!("SELECT token_id, scope FROM api_token_scopes WHERE token_id", "");
const DELETE: &str =
    "DELETE FROM api_tokens WHERE id = $1 AND user_id = $2 RETURNING id, name, expires_at, created_at";
const DELETE_ALL: &str =
    "DELETE FROM api_tokens WHERE user_id = $1 RETURNING id, name, expires_at, created_at";
const DELETE_EVERY: &str = "DELETE FROM api_tokens RETURNING id, name, expires_at, created_at";
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
    by: &Actor,
    now: Millis,
) -> Result<(), RegistryError> {
    let gone: Vec<Row> = tx.all(query(DELETE_ALL).bind(user)).await?;
    let changes: Vec<_> = gone.iter().map(|token| token.deleted(by, now)).collect();
    audit::record(tx, &changes).await
}

/// Takes every token of everybody away, with a row in the audit log for each. Answers how many there were.
pub(crate) async fn delete_every_token(
    tx: &mut Tx<'_>,
    by: &Actor,
    now: Millis,
) -> Result<u64, RegistryError> {
    let gone: Vec<Row> = tx.all(query(DELETE_EVERY)).await?;
    let changes: Vec<_> = gone.iter().map(|token| token.deleted(by, now)).collect();
    audit::record(tx, &changes).await?;
    Ok(gone.len() as u64)
}

impl Row {
    /// What the audit log tells of one that is gone.
    fn deleted<'a>(&self, by: &'a Actor, now: Millis) -> Change<'a> {
        let before = json!({"name": self.name, "expires_at": self.expires_at});
        Change::new(by, now, Action::TokenDelete, &self.id).before(before)
    }
}

impl Registry {
    /// Makes a token. Its hash is SHA-256 of its text. Its scopes may be any: each use of it compares them with what its
    /// maker may do then.
    pub async fn make_api_token(
        &self,
        token: &ApiToken,
        hash: [u8; 32],
        by: &Actor,
    ) -> Result<(), RegistryError> {
        let id = token.id.to_string();
        let scopes = spelt(&token.scopes);
        let after = json!({"name": token.name, "scopes": scopes, "expires_at": token.expires_at});
        let change = Change::new(by, token.created_at, Action::TokenCreate, &id).after(after);
        self.write(async |tx| {
            let add = query(ADD)
                .bind(&id)
                .bind(token.user.to_string())
                .bind(&token.name)
                .bind(hex(&hash))
                .bind(token.expires_at)
                .bind(token.created_at);
            tx.run(add).await?;
            tx.run(query(ADD_SCOPES).bind(&id).bind(json(&scopes)?)).await?;
            audit::record(tx, &[change]).await
        })
        .await
    }

    /// One page of the tokens of this user, the newest first, and the total.
    pub async fn api_tokens(&self, user: UserId, page: Page) -> Result<(Vec<ApiToken>, u64), RegistryError> {
        let owner = user.to_string();
        let (rows, scopes, (total,)) = self
            .read(async |tx| {
                let page = query(LIST).bind(&owner).bind(page.limit()).bind(page.offset());
                let rows: Vec<Row> = tx.all(page).await?;
                let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
                let scopes: Vec<(String, String)> = tx.all(query(SCOPES_OF).bind(json(&ids)?)).await?;
                let total: (i64,) = tx.one(query(TOTAL).bind(&owner)).await?;
                Ok((rows, scopes, total))
            })
            .await?;
        let mut tokens = Vec::with_capacity(rows.len());
        for row in rows {
            let own = scopes.iter().filter(|(token, _)| *token == row.id);
            let mut scopes: Vec<Scope> = own.filter_map(|(_, scope)| scope.parse().ok()).collect();
            scopes.sort_unstable();
            tokens.push(ApiToken {
                id: id("api_tokens", "id", &row.id)?,
                user,
                name: row.name,
                scopes,
                expires_at: row.expires_at,
                created_at: row.created_at,
            });
        }
        Ok((tokens, count("api_tokens", "total", "", total)?))
    }

    /// Takes a token of this user away.
    pub async fn delete_api_token(
        &self,
        token: ApiTokenId,
        user: UserId,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let token = token.to_string();
        self.change(async |tx| {
            let gone: Option<Row> = tx.maybe(query(DELETE).bind(&token).bind(user.to_string())).await?;
            let gone = gone.ok_or(Refusal::NotFound)?;
            Ok(audit::record(tx, &[gone.deleted(by, now)]).await?)
        })
        .await
    }

    /// The token of this hash and its user, with the scopes that both have. `None`: there is no such token, it has
    /// expired, or its user is disabled.
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
        Ok(user.map(|user| (token, user)))
    }
}
