//! Giving the password of an open session again. Who found a session open, or stole it, has not got that.

use actix_web::{
    http::StatusCode,
    web::{Data, Json},
};
use chassis::Problem;
use fleet::Millis;
use registry::{Action, Change};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        body::{Body, bounded},
        failure::{Failure, unauthorized},
        throttle::{self, Limit},
    },
    people::{
        guard::{Caller, Session},
        password::{self, MAX_PASSWORD_BYTES},
    },
};

/// For how long the password counts as given just now.
const ELEVATED: Millis = 5 * 60_000;

/// Wrong passwords given in one session, within 15 minutes. Counted by session, so that who stole one does not keep the
/// owner, who has another, from making it useless.
const MOST_WRONG: usize = 10;

/// The password of who is logged in.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Elevate {
    #[schema(format = "password", min_length = 1, max_length = 1024, example = "correct horse battery")]
    password: String,
}

/// Until when the session may do what needs the password.
#[derive(Serialize, ToSchema)]
pub(crate) struct ElevatedUntil {
    /// Unix ms.
    elevated_until: i64,
}

/// Give the password of who is logged in again.
///
/// For five minutes this session may do what answers `elevation_required` otherwise: make API tokens, and order something
/// of hosts. A log-in alone does not count, nor does it carry over to another session of the same user. After 10 wrong ones
/// in this session within 15 minutes it is 429. An API token is not enough for this.
#[utoipa::path(
    post, path = "/sessions/elevate", operation_id = "elevate_session", tag = "sessions", request_body = Elevate,
    responses((status = 200, description = "It counts until then", body = ElevatedUntil)),
    security(("token" = []))
)]
pub(crate) async fn elevate(
    app: Data<App>,
    caller: Caller,
    session: Session,
    body: Body<Elevate>,
) -> Result<Json<ElevatedUntil>, Failure> {
    let Elevate { password } = body.0;
    bounded("password", &password, 1..=MAX_PASSWORD_BYTES)?;
    prove(&app, &caller, session, "password", password).await?;
    let now = app.clock.now();
    let elevated_until = now + ELEVATED;
    if !app.registry.elevate_session(session.0, elevated_until, &caller.actor, now).await? {
        return Err(unauthorized("the session has ended; log in").into());
    }
    Ok(Json(ElevatedUntil { elevated_until }))
}

/// Proves by the password in force, the body's `field`, that an open session is not used by somebody who found it. The
/// password may be another one by the time that this returns; then the session has ended.
pub(super) async fn prove(
    app: &App,
    caller: &Caller,
    session: Session,
    field: &str,
    given: String,
) -> Result<(), Failure> {
    let turn = app.turn_to_hash().await?;
    let key = format!("password:session:{}", session.0);
    let limits = [Limit { key, most: MOST_WRONG, what: "wrong passwords in this session" }];
    throttle::check(app, &limits).await?;
    let right = password::verify(given, Some(caller.user.password_hash.clone())).await;
    if !right {
        throttle::fail(app, &limits).await;
        note_refusal(app, caller).await?;
        return Err(wrong_password(field).into());
    }
    drop(turn);
    Ok(())
}

/// Throttling bounds how many there are, as of refused log-ins.
async fn note_refusal(app: &App, caller: &Caller) -> Result<(), Failure> {
    let change = Change {
        actor: &caller.actor,
        at: app.clock.now(),
        action: Action::SessionRefuse,
        id: Some(caller.user.id.to_string()),
        before: None,
        after: Some(json!({"username": caller.user.username, "disabled": caller.user.disabled})),
    };
    Ok(app.registry.note(&change).await?)
}

fn wrong_password(field: &str) -> Problem {
    let detail = format!("{field} is not the one in force");
    Problem::new(StatusCode::FORBIDDEN, "wrong_password", detail)
}
