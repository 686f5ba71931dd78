//! API tokens: programs act by them in the name of whoever made them.

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use chassis::random;
use fleet::{Scope, id::ApiTokenId};
use registry::ApiToken;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        body::{Body, Id, label},
        failure::{Failure, insufficient_scope, invalid_body},
        paging::{Listed, Paging},
        query::Parsed,
        secret::{digest, mint},
    },
    people::{
        guard::{API_TOKEN_PREFIX, Caller},
        roles::{ScopeName, scopes},
    },
};

/// For how many seconds a token may serve: a minute to ten years.
const EXPIRES_IN: std::ops::RangeInclusive<i64> = 60..=315_360_000;

/// An API token to make.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewApiToken {
    /// For people.
    #[schema(min_length = 1, max_length = 256, example = "deploy script")]
    name: String,
    /// At least one, and none that its maker has not.
    #[schema(value_type = Vec<ScopeName>, min_items = 1, example = json!(["server:read"]))]
    scopes: Vec<String>,
    /// For how many seconds it serves; left out: until it is deleted.
    #[schema(minimum = 60, maximum = 315_360_000)]
    expires_in: Option<i64>,
}

/// A new API token.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeApiToken {
    /// For `Authorization: Bearer …`. Shown this once.
    token: String,
    #[serde(flatten)]
    item: ApiTokenItem,
}

/// An API token; what it is itself, nobody knows but who got it.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiToken)]
pub(crate) struct ApiTokenItem {
    #[schema(value_type = String, format = "uuid")]
    id: ApiTokenId,
    name: String,
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Vec<&'static str>,
    /// Unix ms; null: it does not expire.
    expires_at: Option<i64>,
    /// Unix ms.
    created_at: i64,
}

/// Make an API token.
///
/// It is worth the scopes that it and the role of its maker have in common whenever it is used, and nothing while the
/// maker is disabled. It serves wherever an access token does, except for sessions, passwords and API tokens.
#[utoipa::path(
    post, path = "/tokens", operation_id = "make_api_token", tag = "tokens", request_body = NewApiToken,
    responses((status = 201, description = "The token, shown this once", body = MadeApiToken)),
    security(("token" = []))
)]
pub(crate) async fn make(
    app: Data<App>,
    caller: Caller,
    body: Body<NewApiToken>,
) -> Result<HttpResponse, Failure> {
    let NewApiToken { name, scopes: wanted, expires_in } = body.0;
    let name = label("name", name)?;
    let mut scopes = scopes(&wanted)?;
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(invalid_body("scopes must have at least one").into());
    }
    if expires_in.is_some_and(|seconds| !EXPIRES_IN.contains(&seconds)) {
        let bounds = format!("expires_in must be {} to {}", EXPIRES_IN.start(), EXPIRES_IN.end());
        return Err(invalid_body(bounds).into());
    }
    if let Some(lacking) = scopes.iter().find(|scope| !caller.user.scopes.contains(scope)) {
        return Err(insufficient_scope(*lacking).into());
    }
    let now = app.clock.now();
    let secret = format!("{API_TOKEN_PREFIX}{}", mint().text);
    let token = ApiToken {
        id: ApiTokenId::new(now, random()),
        user: caller.user.id,
        name,
        scopes,
        expires_at: expires_in.map(|seconds| now + seconds * 1_000),
        created_at: now,
    };
    app.registry.make_api_token(&token, digest(&secret), &caller.actor).await?;
    Ok(HttpResponse::Created().json(MadeApiToken { token: secret, item: token.into() }))
}

/// List one's own API tokens, the newest first; those that expired too.
#[utoipa::path(
    get, path = "/tokens", operation_id = "list_api_tokens", tag = "tokens", params(Paging),
    responses((status = 200, description = "A page of them", body = Listed<ApiTokenItem>)),
    security(("token" = []))
)]
pub(crate) async fn list(
    app: Data<App>,
    caller: Caller,
    paging: Parsed<Paging>,
) -> Result<Json<Listed<ApiTokenItem>>, Failure> {
    let page = paging.0.0;
    let (tokens, total) = app.registry.api_tokens(caller.user.id, page).await?;
    Ok(Json(Listed::new(tokens.into_iter().map(ApiTokenItem::from).collect(), total, page)))
}

/// Delete one of one's own API tokens: it is refused within 10 s.
#[utoipa::path(
    delete, path = "/tokens/{id}", operation_id = "delete_api_token", tag = "tokens",
    params(("id" = String, Path, description = "Id of the token")),
    responses((status = 204, description = "It serves no more")),
    security(("token" = []))
)]
pub(crate) async fn delete(
    app: Data<App>,
    caller: Caller,
    id: Id<ApiTokenId>,
) -> Result<HttpResponse, Failure> {
    let now = app.clock.now();
    app.registry.delete_api_token(id.0, caller.user.id, &caller.actor, now).await??;
    Ok(HttpResponse::NoContent().finish())
}

impl From<ApiToken> for ApiTokenItem {
    fn from(token: ApiToken) -> Self {
        let ApiToken { id, name, scopes, expires_at, created_at, .. } = token;
        let scopes = scopes.into_iter().map(Scope::as_str).collect();
        Self { id, name, scopes, expires_at, created_at }
    }
}
