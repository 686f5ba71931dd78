//! API tokens: programs act by them in the name of whoever made them.

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use chassis::{Problem, random};
use fleet::{
    Millis, Scope,
    id::{ApiTokenId, UserId},
};
use registry::{ApiToken, Page};
use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    app::App,
    http::{
        body::{Body, Id, label},
        document::{flag, parameter, text},
        failure::{Failure, insufficient_scope, invalid_body, invalid_parameter},
        paging::{Listed, Paging},
        query::{FromParameters, Parameters, Parsed},
        secret::{digest, mint},
    },
    people::{
        guard::{API_TOKEN_PREFIX, Caller},
        roles::{ScopeName, scopes},
    },
};

/// For how many seconds a token serves at least. The longest is a setting.
const SHORTEST: i64 = 60;

/// For how many days a token serves whose maker does not say otherwise, unless the longest age is less.
const DEFAULT_DAYS: u16 = 90;

const DAY_SECONDS: i64 = 86_400;

/// Which tokens, which page.
pub(crate) struct ApiTokens {
    user: Option<UserId>,
    all: bool,
    page: Page,
}

/// An API token to make.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewApiToken {
    /// For people.
    #[schema(min_length = 1, max_length = 256, example = "deploy script")]
    name: String,
    /// At least one, and none that its maker has not.
    #[schema(value_type = Vec<ScopeName>, min_items = 1, example = json!(["server:read"]))]
    scopes: Vec<String>,
    /// For how many seconds it serves: at most the days of API_TOKEN_MAX_DAYS, 365 unless set. Left out: 90 days, or those
    /// days if they are fewer.
    #[schema(minimum = 60, maximum = 315_360_000, example = 7_776_000)]
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
    /// Who made it.
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
    /// Name of who made it.
    username: String,
    name: String,
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Vec<&'static str>,
    /// Unix ms. Null only within seconds after the upgrade of a release whose tokens did not expire.
    expires_at: Option<i64>,
    /// It serves no more; it is listed for 30 days.
    expired: bool,
    /// Unix ms.
    created_at: i64,
}

/// Make an API token.
///
/// It is worth the scopes that it and the role of its maker have in common whenever it is used, and nothing while the
/// maker is disabled. It serves wherever an access token does, except for sessions, passwords and API tokens. A user has
/// at most 100 that serve. To make one asks for the password again: see `POST sessions/elevate`.
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
    if let Some(scope) = scopes.iter().find(|scope| scope.acts()) {
        let detail = format!("scopes cannot have {scope}: only who is logged in acts on hosts");
        return Err(invalid_body(detail).with("field", "scopes").into());
    }
    let life = life(&app, expires_in)?;
    if let Some(lacking) = scopes.iter().find(|scope| !caller.user.scopes.contains(scope)) {
        return Err(insufficient_scope(*lacking).into());
    }
    let now = app.clock.now();
    let secret = format!("{API_TOKEN_PREFIX}{}", mint().text);
    let token = ApiToken {
        id: ApiTokenId::new(now, random()),
        user: caller.user.id,
        username: caller.user.username.clone(),
        name,
        scopes,
        expires_at: Some(now + life),
        created_at: now,
    };
    app.registry.make_api_token(&token, digest(&secret), &caller.actor).await??;
    Ok(HttpResponse::Created().json(MadeApiToken { token: secret, item: item(token, now) }))
}

/// For how long a token serves whose maker does not say.
pub(super) fn default_life(app: &App) -> Millis {
    i64::from(DEFAULT_DAYS.min(app.settings.api_token_max_days)) * DAY_SECONDS * 1_000
}

/// For how long a token serves whose maker wants it for so many seconds.
fn life(app: &App, expires_in: Option<i64>) -> Result<Millis, Problem> {
    let Some(seconds) = expires_in else { return Ok(default_life(app)) };
    let days = app.settings.api_token_max_days;
    let longest = i64::from(days) * DAY_SECONDS;
    if !(SHORTEST..=longest).contains(&seconds) {
        let detail = format!(
            "expires_in must be {SHORTEST} to {longest}: API_TOKEN_MAX_DAYS lets tokens serve for {days} days"
        );
        return Err(invalid_body(detail).with("field", "expires_in"));
    }
    Ok(seconds * 1_000)
}

/// List one's own API tokens, the newest first; with the scope `user:write` also another's, or everybody's.
///
/// Those that have expired are there for 30 days more.
#[utoipa::path(
    get, path = "/tokens", operation_id = "list_api_tokens", tag = "tokens", params(ApiTokens),
    responses((status = 200, description = "A page of them", body = Listed<ApiTokenItem>)),
    security(("token" = []))
)]
pub(crate) async fn list(
    app: Data<App>,
    caller: Caller,
    tokens: Parsed<ApiTokens>,
) -> Result<Json<Listed<ApiTokenItem>>, Failure> {
    let ApiTokens { user, all, page } = tokens.0;
    let owner = if all { None } else { Some(user.unwrap_or(caller.user.id)) };
    if owner != Some(caller.user.id) && !caller.user.scopes.contains(&Scope::UserWrite) {
        return Err(insufficient_scope(Scope::UserWrite).into());
    }
    let (tokens, total) = app.registry.api_tokens(owner, page).await?;
    let now = app.clock.now();
    Ok(Json(Listed::new(tokens.into_iter().map(|token| item(token, now)).collect(), total, page)))
}

/// Delete one of one's own API tokens, or with the scope `user:write` anybody's: it is refused within 10 s.
///
/// Another's only if the role of its maker has no scope that one has not oneself.
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
    let reach = Some(caller.user.scopes.as_slice()).filter(|scopes| scopes.contains(&Scope::UserWrite));
    app.registry.delete_api_token(id.0, caller.user.id, reach, &caller.actor, now).await??;
    Ok(HttpResponse::NoContent().finish())
}

fn item(token: ApiToken, now: Millis) -> ApiTokenItem {
    let ApiToken { id, user, username, name, scopes, expires_at, created_at } = token;
    let scopes = scopes.into_iter().map(Scope::as_str).collect();
    let expired = expires_at.is_some_and(|at| at <= now);
    ApiTokenItem { id, user_id: user, username, name, scopes, expires_at, expired, created_at }
}

impl FromParameters for ApiTokens {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let user = parameters.parsed("user", |text| text.parse().map_err(|_| "must be the id of a user"))?;
        let all = parameters.flag("all")?.unwrap_or(false);
        if all && user.is_some() {
            return Err(invalid_parameter("all", "cannot be true beside user"));
        }
        let Paging(page) = Paging::take(parameters, now)?;
        Ok(Self { user, all, page })
    }
}

impl utoipa::IntoParams for ApiTokens {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = vec![
            parameter("user", "Those of the user with this id", text()),
            parameter("all", "Those of everybody", flag()),
        ];
        parameters.extend(Paging::into_params(place));
        parameters
    }
}
