//! Tokens with which programs use the interface in the name of their maker.

use fleet::{
    Millis, Scope,
    id::{ApiTokenId, UserId},
};
use serde_json::{Value, json};

use crate::{
    Actor, Change, Page, Registry, RegistryError, User, audit, count, id, on,
    people::login::{UserRow, one_user},
    people::role::spelt,
    statement::{Text, one_of},
    text,
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
const ADD_SCOPES: Text = Text {
    sqlite: "INSERT INTO api_token_scopes (token_id, scope) SELECT $1, value FROM json_each($2)",
    postgres: "INSERT INTO api_token_scopes (token_id, scope)
        SELECT $1, jsonb_array_elements_text(CAST($2 AS JSONB))",
};
const LIST: &str = "SELECT id, name, expires_at, created_at FROM api_tokens WHERE user_id = $1
ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3";
const TOTAL: &str = "SELECT COUNT(*) FROM api_tokens WHERE user_id = $1";
const SCOPES_OF: Text = one_of!("SELECT token_id, scope FROM api_token_scopes WHERE token_id", "$1", "");
const DELETE: &str =
    "DELETE FROM api_tokens WHERE id = $1 AND user_id = $2 RETURNING id, name, expires_at, created_at";
/// The scopes that the token and the role have in common.
const BEARER: &str =
    "SELECT t.id AS token, u.id, u.username, u.password_hash, u.disabled_at, u.epoch, p.scope
FROM api_tokens t JOIN users u ON u.id = t.user_id LEFT JOIN api_token_scopes s ON s.token_id = t.id
LEFT JOIN role_scopes p ON p.role_id = u.role_id AND p.scope = s.scope
WHERE t.hash = $1 AND u.disabled_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $2)";

impl Registry {
    /// Makes a token. Its hash is SHA-256 of its text. That it is worth no more than its maker is seen to whenever it
    /// is used.
    pub async fn make_api_token(
        &self,
        token: &ApiToken,
        hash: [u8; 32],
        by: &Actor,
    ) -> Result<(), RegistryError> {
        let id = token.id.to_string();
        let scopes = spelt(&token.scopes);
        let after = json!({"name": token.name, "scopes": scopes, "expires_at": token.expires_at});
        let change = of(by, token.created_at, "token.create", &id, None, Some(after));
        on!(self, db => {
            let mut tx = db.begin_write().await?;
            sqlx::query(ADD)
                .bind(&id)
                .bind(token.user.to_string())
                .bind(&token.name)
                .bind(text::hex(&hash))
                .bind(token.expires_at)
                .bind(token.created_at)
                .execute(&mut *tx)
                .await?;
            let scopes = crate::json(&scopes)?;
            sqlx::query(ADD_SCOPES.on(self.dialect())).bind(&id).bind(scopes).execute(&mut *tx).await?;
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
        });
        Ok(())
    }

    /// One page of the tokens of this user, the newest first, and the total.
    pub async fn api_tokens(&self, user: UserId, page: Page) -> Result<(Vec<ApiToken>, u64), RegistryError> {
        let owner = user.to_string();
        let (rows, scopes, total): (Vec<Row>, Vec<(String, String)>, i64) = on!(self, db => {
            let mut tx = db.begin_read().await?;
            let rows: Vec<Row> = sqlx::query_as(LIST)
                .bind(&owner)
                .bind(page.limit())
                .bind(page.offset())
                .fetch_all(&mut *tx)
                .await?;
            let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
            let ids = crate::json(&ids)?;
            let scopes = sqlx::query_as(SCOPES_OF.on(self.dialect())).bind(ids).fetch_all(&mut *tx).await?;
            let total = sqlx::query_scalar(TOTAL).bind(&owner).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            (rows, scopes, total)
        });
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

    /// Takes a token of this user away. False: it has no such token.
    pub async fn delete_api_token(
        &self,
        token: ApiTokenId,
        user: UserId,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let token = token.to_string();
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let gone: Option<Row> =
                sqlx::query_as(DELETE).bind(&token).bind(user.to_string()).fetch_optional(&mut *tx).await?;
            let Some(gone) = gone else { return Ok(false) };
            let before = json!({"name": gone.name, "expires_at": gone.expires_at});
            let change = of(by, now, "token.delete", &token, Some(before), None);
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            true
        }))
    }

    /// The token of this hash and its user, with the scopes that both have. `None`: there is no such token, it has
    /// expired, or its user is disabled.
    pub async fn api_token_user(
        &self,
        hash: [u8; 32],
        now: Millis,
    ) -> Result<Option<(ApiTokenId, User)>, RegistryError> {
        let hash = text::hex(&hash);
        let rows: Vec<Bearer> =
            on!(self, db => sqlx::query_as(BEARER).bind(hash).bind(now).fetch_all(db.reader()).await?);
        let Some(token) = rows.first().map(|row| id("api_tokens", "id", &row.token)).transpose()? else {
            return Ok(None);
        };
        let user = one_user(rows.into_iter().map(|row| row.user).collect())?;
        Ok(user.map(|user| (token, user)))
    }
}

fn of<'a>(
    by: &'a Actor,
    now: Millis,
    action: &'static str,
    token: &str,
    before: Option<Value>,
    after: Option<Value>,
) -> Change<'a> {
    Change { actor: by, at: now, action, kind: "token", id: Some(token.to_owned()), before, after }
}
