//! One's own sessions: which there are, and ending them, wherever they are open.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::SET_COOKIE,
    web::{Data, Json},
};
use chassis::Problem;
use fleet::id::SessionId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{body::Id, failure::Failure},
    people::{
        cookie,
        guard::{By, Caller, Session},
        sessions::REFRESH_LIFE,
    },
};

/// One's sessions, the one that was refreshed last first.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnSessions {
    items: Vec<OwnSession>,
}

/// Somewhere one is logged in. Times are Unix ms.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnSession {
    #[schema(value_type = String, format = "uuid")]
    id: SessionId,
    /// The one that asks.
    current: bool,
    began_at: i64,
    /// When it got its last refresh token.
    refreshed_at: i64,
    expires_at: i64,
}

/// List one's own sessions.
#[utoipa::path(
    get, path = "/sessions/own", operation_id = "list_own_sessions", tag = "sessions",
    responses((status = 200, description = "All of them, at most 50", body = OwnSessions)), security(("token" = []))
)]
pub(crate) async fn list(
    app: Data<App>,
    caller: Caller,
    session: Session,
) -> Result<Json<OwnSessions>, Failure> {
    let sessions = app.registry.sessions_of(caller.user.id, app.clock.now()).await?;
    let item = |one: registry::SessionOf| OwnSession {
        id: one.id,
        current: one.id == session.0,
        began_at: one.began_at,
        refreshed_at: one.expires_at - REFRESH_LIFE,
        expires_at: one.expires_at,
    };
    Ok(Json(OwnSessions { items: sessions.into_iter().map(item).collect() }))
}

/// End one of one's own sessions.
#[utoipa::path(
    delete, path = "/sessions/own/{id}", operation_id = "end_own_session", tag = "sessions",
    params(("id" = String, Path, description = "Id of the session")),
    responses((status = 204, description = "It has ended")), security(("token" = []))
)]
pub(crate) async fn end(
    app: Data<App>,
    caller: Caller,
    by: By,
    id: Id<SessionId>,
) -> Result<HttpResponse, Failure> {
    let ended = app.registry.end_session_of(caller.user.id, id.0, &by.0, app.clock.now()).await?;
    if ended { Ok(HttpResponse::NoContent().finish()) } else { Err(Problem::not_found().into()) }
}

/// Log out everywhere: end all of one's own sessions, this one too.
#[utoipa::path(
    delete, path = "/sessions/own", operation_id = "end_own_sessions", tag = "sessions",
    responses((status = 204, description = "All of them have ended",
        headers(("Set-Cookie" = Option<String>, description = "The end of the cookie")))), security(("token" = []))
)]
pub(crate) async fn end_all(
    app: Data<App>,
    caller: Caller,
    by: By,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    app.registry.end_sessions_of(caller.user.id, &by.0, app.clock.now()).await?;
    Ok(HttpResponse::NoContent().insert_header((SET_COOKIE, cookie::forget(&request)?)).finish())
}
