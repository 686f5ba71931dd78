//! Logging in and out. An access token serves for a quarter of an hour; a refresh token is exchanged, once, for the
//! next pair, and one that is used twice ends its session.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderValue, SET_COOKIE},
    web::{Data, Json},
};
use chassis::{Problem, random};
use fleet::{
    Millis,
    id::{SessionId, UserId},
};
use registry::{Action, Actor, Change, Refresh, User, Who, fold_name};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        body::{Body, bounded, given},
        client,
        failure::{Failure, conflict, unauthorized},
        instruments,
        secret::digest,
        throttle::{self, Limit},
    },
    people::{
        access_tokens::{ACCESS_LIFE, AccessToken, TokenKey},
        cookie,
        guard::{By, Caller, Session},
        password::{self, MAX_PASSWORD_BYTES},
        refresh_tokens::{self, MintedRefresh},
        roles::ScopeName,
    },
};

/// A session that is not refreshed for this long has ended.
pub(super) const REFRESH_LIFE: Millis = 30 * 86_400_000;

/// Longest user name, in bytes.
const MAX_USERNAME_BYTES: usize = 256;

/// Failures within 15 minutes: of an account from one address, of an address over all accounts, and of an account from
/// everywhere. The last limit is high, since whoever reaches it shuts the account's owner out too.
const MOST_OF_BOTH: usize = 10;
const MOST_OF_ADDRESS: usize = 30;
const MOST_OF_ACCOUNT: usize = 100;
// The cache counts no further: a higher limit would never be reached.
const _: () = assert!(MOST_OF_ACCOUNT <= cache::MOST_COUNTED);

/// Who logs in.
#[derive(Deserialize, ToSchema)]
pub(crate) struct LogIn {
    /// Regardless of case.
    #[schema(example = "admin", min_length = 1, max_length = 256)]
    username: String,
    #[schema(format = "password", min_length = 1, max_length = 1024, example = "correct horse battery")]
    password: String,
    /// Of an earlier log-in of this user, valid still; it is not used up. Failures of strangers then count for nothing.
    refresh_token: Option<String>,
    /// For the pages of the suite itself: the refresh token is in a cookie that no script can read, and not in the answer.
    #[serde(default)]
    cookie: bool,
}

/// A refresh token to exchange.
#[derive(Deserialize, ToSchema)]
pub(crate) struct RefreshToken {
    /// Left out: the one of the cookie, and the next one is there too.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false)]
    refresh_token: Option<String>,
}

/// What a session is used with.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// For `Authorization: Bearer …`.
    access_token: String,
    /// Serves once. Left out where the cookie has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// For how many seconds the access token serves.
    expires_in: i64,
}

/// Whose session it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedInAs {
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
    username: String,
    /// Of its role, as it is now.
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Vec<&'static str>,
}

/// Log in.
///
/// A user has at most 50 sessions: for one more, the one ends that was refreshed longest ago. The answer is the same for an unknown user and a wrong password. Within 15 minutes 10 failures of an account from one
/// address, 30 from one address or 100 of one account are answered; then it is 429. Whoever shows a refresh token of that
/// user that is valid still has 10 failures of their own instead, and those of others do not count.
#[utoipa::path(
    post, path = "/sessions", tag = "sessions", request_body = LogIn,
    responses((status = 200, description = "A session has begun", body = Tokens,
        headers(("Set-Cookie" = Option<String>, description = "With `cookie`: the refresh token")))), security(())
)]
pub(crate) async fn log_in(
    app: Data<App>,
    key: Data<TokenKey>,
    request: HttpRequest,
    body: Body<LogIn>,
) -> Result<HttpResponse, Failure> {
    let LogIn { username, password, refresh_token, cookie } = body.0;
    bounded("username", &username, 1..=MAX_USERNAME_BYTES)?;
    bounded("password", &password, 1..=MAX_PASSWORD_BYTES)?;
    let refresh = refresh_tokens::first();
    let kept = if cookie { Some(cookie::keep(&request, &refresh.text, REFRESH_LIFE)?) } else { None };
    // Failures are read and counted within one turn, so that many attempts at once are throttled like one after the
    // other.
    let turn = app.turn_to_hash().await?;
    let user = app.registry.user_by_name(&username).await?;
    // All spellings of a name count as one, of an unknown user too: throttling must not tell which users there are.
    let limits = match known(&app, user.as_ref(), refresh_token.as_deref()).await? {
        Some(session) => vec![limit_of_session(session)],
        None => limits(&fold_name(&username), &client::address(&request)).into(),
    };
    throttle::check(&app, &limits).await?;
    let right = password::verify(password, user.as_ref().map(|user| user.password_hash.clone())).await;
    let from = client::exact(&request);
    if !right || user.as_ref().is_none_or(|user| user.disabled) {
        throttle::fail(&app, &limits).await;
        instruments::log_in_failed();
        note_refusal(&app, user.as_ref(), from).await?;
        return Err(unauthorized("unknown user or wrong password").into());
    }
    let user = user.ok_or_else(Problem::internal)?;
    drop(turn);
    let now = app.clock.now();
    let session = SessionId::new(now, random());
    let by = Actor { who: Who::User(user.id), name: Some(user.username.clone()), address: from };
    app.registry.begin_session(session, &user, refresh.token, &by, now, now + REFRESH_LIFE).await?;
    tokens(&key, now, AccessToken { user: user.id, session }, refresh, kept)
}

/// Exchange a refresh token for the next pair.
///
/// A refresh token that was used before ends the session: one of the two who used it had stolen it. Within 10 s of its
/// exchange it is 409 `rotated` instead, and nothing happens: two tabs of a browser, which share the cookie, asked at once.
#[utoipa::path(
    post, path = "/sessions/refresh", operation_id = "refresh_session", tag = "sessions", request_body = RefreshToken,
    responses((status = 200, description = "The next pair", body = Tokens,
        headers(("Set-Cookie" = Option<String>, description = "The next refresh token, where the last was in the cookie")))),
    security(())
)]
pub(crate) async fn refresh(
    app: Data<App>,
    key: Data<TokenKey>,
    request: HttpRequest,
    body: Body<RefreshToken>,
) -> Result<HttpResponse, Failure> {
    let now = app.clock.now();
    let (shown, by_cookie) = match body.0.refresh_token {
        Some(token) => (token, false),
        None => (cookie::token(&request)?.ok_or_else(ended)?, true),
    };
    let (presented, next) = (refresh_tokens::read(&shown), refresh_tokens::next(&shown));
    let kept = if by_cookie { Some(cookie::keep(&request, &next.text, REFRESH_LIFE)?) } else { None };
    let from = client::exact(&request);
    match app.registry.refresh(presented, next.token, from, now, now + REFRESH_LIFE).await? {
        Refresh::Rotated { user, session } => {
            let open = app.registry.open_session(session).await?;
            if open.is_none_or(|open| open.user.disabled) {
                return Err(ended().into());
            }
            tokens(&key, now, AccessToken { user, session }, next, kept)
        }
        Refresh::JustRotated => {
            let detail = "the refresh token was exchanged a moment ago; use the next one";
            Err(conflict("rotated", detail).into())
        }
        Refresh::Reused => {
            tracing::warn!("a refresh token was used twice; its session has ended");
            Err(ended().into())
        }
        Refresh::Unknown => Err(ended().into()),
    }
}

fn ended() -> Problem {
    unauthorized("the session has ended; log in")
}

/// Log out: end the session of the access token.
#[utoipa::path(
    delete, path = "/sessions", tag = "sessions",
    responses((status = 204, description = "The session has ended, and the cookie is gone",
        headers(("Set-Cookie" = Option<String>, description = "The end of the cookie")))), security(("token" = []))
)]
pub(crate) async fn log_out(
    app: Data<App>,
    session: Session,
    by: By,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    app.registry.end_session(session.0, &by.0, app.clock.now()).await?;
    Ok(HttpResponse::NoContent().insert_header((SET_COOKIE, cookie::forget(&request)?)).finish())
}

/// Tell who is logged in, and what they may do.
#[utoipa::path(
    get, path = "/sessions", operation_id = "show_session", tag = "sessions",
    responses((status = 200, description = "The user of the session", body = LoggedInAs)), security(("token" = []))
)]
pub(crate) async fn show(caller: Caller) -> Json<LoggedInAs> {
    let mut scopes: Vec<_> = caller.user.scopes.iter().map(|scope| scope.as_str()).collect();
    scopes.sort_unstable();
    Json(LoggedInAs { user_id: caller.user.id, username: caller.user.username.clone(), scopes })
}

/// Writes a refused log-in to the audit log. Throttling bounds how many there are, so that nobody can fill the log. A
/// name that no user has is left out: now and then it is a password, typed into the wrong field.
async fn note_refusal(app: &App, user: Option<&User>, from: Option<String>) -> Result<(), Failure> {
    let actor = Actor::stranger(from);
    let change = Change {
        actor: &actor,
        at: app.clock.now(),
        action: Action::SessionRefuse,
        id: user.map(|user| user.id.to_string()),
        before: None,
        after: user.map(|user| json!({"username": user.username, "disabled": user.disabled})),
    };
    Ok(app.registry.note(&change).await?)
}

/// The session of this user that the refresh token belongs to: whoever holds it has logged in before. Without this,
/// anybody who fails often enough at an account shuts its owner out.
async fn known(
    app: &App,
    user: Option<&User>,
    refresh_token: Option<&str>,
) -> Result<Option<SessionId>, Failure> {
    let (Some(user), Some(token)) = (user, refresh_token) else { return Ok(None) };
    let holder = app.registry.refresh_token_holder(digest(token), app.clock.now()).await?;
    Ok(holder.filter(|(owner, _)| *owner == user.id).map(|(_, session)| session))
}

/// A stolen refresh token buys no more guesses than an address does.
fn limit_of_session(session: SessionId) -> Limit {
    Limit {
        key: format!("log-in:session:{session}"),
        most: MOST_OF_BOTH,
        what: "failed log-ins with this refresh token",
    }
}

fn limits(account: &str, address: &str) -> [Limit; 3] {
    let limit = |key, most, what| Limit { key, most, what };
    [
        limit(
            format!("log-in:both:{address} {account}"),
            MOST_OF_BOTH,
            "failed log-ins to this account from this address",
        ),
        limit(format!("log-in:address:{address}"), MOST_OF_ADDRESS, "failed log-ins from this address"),
        limit(format!("log-in:account:{account}"), MOST_OF_ACCOUNT, "failed log-ins to this account"),
    ]
}

/// The answer with both tokens: the refresh token in the cookie, if there is to be one, and in the body otherwise.
fn tokens(
    key: &TokenKey,
    now: Millis,
    access: AccessToken,
    refresh: MintedRefresh,
    kept: Option<HeaderValue>,
) -> Result<HttpResponse, Failure> {
    let access_token = key.issue(access, now);
    let access_token = access_token.ok_or_else(Problem::internal)?;
    let mut answer = HttpResponse::Ok();
    let refresh_token = match kept {
        Some(cookie) => {
            answer.insert_header((SET_COOKIE, cookie));
            None
        }
        None => Some(refresh.text),
    };
    Ok(answer.json(Tokens { access_token, refresh_token, expires_in: ACCESS_LIFE / 1_000 }))
}
