//! What is answered when a request does not succeed. Every code there is stands in [`CODES`], and in `docs/api.md`.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ACCEPT_ENCODING, HeaderValue, WWW_AUTHENTICATE},
    },
};
use chassis::{Problem, trouble::causes};
use fleet::{Millis, Scope};
use history::HistoryError;
use registry::{Refusal, RegistryError};

use crate::app::RETRY_AFTER;

/// How often to log that requests fail because the same store is away.
const ONCE_IN: Duration = Duration::from_secs(60);

/// How much of a name that a client made up is repeated in the answer, in characters.
const MOST_TOLD: usize = 64;

/// The stable codes: code, status, meaning. The OpenAPI shows them with the schema `Problem`.
pub(crate) const CODES: &[(&str, u16, &str)] = &[
    ("invalid_json", 400, "The body is not JSON."),
    (
        "invalid_parameter",
        400,
        "A query parameter is unknown, given twice or out of bounds; `parameter` names it.",
    ),
    (
        "too_many_servers",
        400,
        "There are more servers than are shown at once, or sorted by what is measured: 50,000.",
    ),
    ("invalid_host", 400, "`Host` names no host; ask by the suite's address."),
    ("unauthorized", 401, "Log in, or use a token that is valid still."),
    ("insufficient_scope", 403, "The role lacks what `scope` names."),
    ("session_required", 403, "An API token is not enough; log in."),
    (
        "elevation_required",
        403,
        "Give the password again by `POST sessions/elevate`; it counts for five minutes.",
    ),
    ("https_required", 403, "The suite was asked without TLS, and the agent's token would go the same way."),
    ("foreign_origin", 403, "The session's cookie serves the suite's own pages, and `Origin` names another."),
    ("wrong_password", 403, "`password`, or `current_password`, is not the one in force."),
    ("not_found", 404, "There is no such resource."),
    ("no_downloads", 404, "No agents are offered here; `AGENT_DOWNLOADS` is not set."),
    ("method_not_allowed", 405, "The resource does not know the method; `Allow` lists those that it knows."),
    ("request_timeout", 408, "The body did not arrive in time."),
    ("name_taken", 409, "Another server, user or role has this name."),
    ("last_admin", 409, "Nobody would be left who is enabled and has the role `admin`."),
    ("built_in", 409, "The role is built in and stays as it is."),
    ("role_in_use", 409, "Users have this role."),
    (
        "no_channel_key",
        409,
        "Secrets of channels cannot be kept: `CHANNEL_KEY` is not set, or is not the one of the channel.",
    ),
    ("no_order_key", 409, "Orders cannot be signed: `ORDER_KEY` is not set."),
    (
        "no_hand",
        409,
        "The host takes no such orders, by its newest snapshot; its owner allows them in `hand.conf`.",
    ),
    ("own_order", 409, "Who asked for an order does not approve it; somebody else has to."),
    ("not_lost", 409, "The message neither failed nor may have been lost; only such a one is sent again."),
    ("no_channel", 409, "The channel of the message is deleted or disabled."),
    ("too_many", 409, "There are as many as there may be; delete one first."),
    ("rotated", 409, "The refresh token was exchanged less than 10 s ago; use the next one."),
    ("conflict", 409, "It was changed meanwhile; look at it again."),
    ("precondition_failed", 412, "It was changed since the version of `If-Match`; read it again."),
    ("too_large", 413, "The body is larger than is taken here; `detail` says how large it may be."),
    ("unsupported_encoding", 415, "The body is compressed; send it as it is."),
    (
        "invalid_body",
        422,
        "The body is JSON, but not what is asked for; `detail` says why, and `field` names the field where one is at fault.",
    ),
    ("invalid_sheet", 422, "The file is not a sheet that can be read; `detail` says why."),
    ("invalid_rows", 422, "Some rows of the sheet are wrong, and nothing was changed; `errors` names them."),
    ("precondition_required", 428, "Say by `If-Match` which version is changed."),
    (
        "rate_limited",
        429,
        "Too many failures, or too much asked for; `detail` says of what. Come back after `Retry-After` seconds.",
    ),
    ("internal", 500, "A bug or a damaged store; the log says which."),
    ("unavailable", 503, "A store does not answer; come back after `Retry-After` seconds."),
    ("not_ready", 503, "The process is starting or stopping."),
];

/// A problem as a handler answers it. An error of a store becomes one here, and is logged here: the answer says nothing
/// of it.
#[derive(Debug)]
pub(crate) struct Failure(Problem);

/// 400: `parameter` is not what it must be.
pub(crate) fn invalid_parameter(parameter: &str, reason: impl fmt::Display) -> Problem {
    let detail = format!("{parameter} {reason}");
    Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail).with("parameter", parameter)
}

/// 400: `parameter` cannot be taken. The client may have made up its name, so the answer has it once, and shortened.
pub(crate) fn foreign_parameter(parameter: &str, reason: impl fmt::Display) -> Problem {
    let name: String = parameter.chars().take(MOST_TOLD).collect();
    let detail = format!("a parameter {reason}");
    Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail).with("parameter", name)
}

/// 400: there are more servers than this can be done for.
pub(crate) fn too_many_servers(most: u32) -> Problem {
    let detail = format!("this is for at most {most} servers");
    Problem::new(StatusCode::BAD_REQUEST, "too_many_servers", detail)
}

/// 422: the body is not what is asked for.
pub(crate) fn invalid_body(reason: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", reason)
}

/// 422: the body has a field that is not asked for; `path` is where it stands, with dots. The client made up its name,
/// so the answer has it shortened.
pub(crate) fn unknown_field(path: &str) -> Problem {
    let name: String = path.chars().take(MOST_TOLD).collect();
    invalid_body(format!("there is no field {name:?} here")).with("field", name)
}

/// 415: the body is compressed, and could become any size.
pub(crate) fn unsupported_encoding() -> Problem {
    let detail = "send the body as it is, without Content-Encoding";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail)
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
}

/// 401: what the request holds as a proof of who sends it is none; `detail` says what to do.
pub(crate) fn unauthorized(detail: &str) -> Problem {
    let challenge = HeaderValue::from_static("Bearer");
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).header(WWW_AUTHENTICATE, challenge)
}

/// 403: the role lacks `scope`.
pub(crate) fn insufficient_scope(scope: Scope) -> Problem {
    let detail = format!("this needs the scope {scope}");
    Problem::new(StatusCode::FORBIDDEN, "insufficient_scope", detail)
        .with("scope", scope.as_str())
        .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"insufficient_scope\""))
}

/// 403: an API token is not enough.
pub(crate) fn session_required() -> Problem {
    let detail = "this needs a log-in; an API token is not enough";
    Problem::new(StatusCode::FORBIDDEN, "session_required", detail)
}

/// 403: the password has to be given again.
pub(crate) fn elevation_required() -> Problem {
    let detail = "give the password again by POST sessions/elevate";
    Problem::new(StatusCode::FORBIDDEN, "elevation_required", detail)
}

/// 409: `code` says what stands in the way.
pub(crate) fn conflict(code: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, detail)
}

/// 412: it was changed since.
fn precondition_failed() -> Problem {
    let detail = "it was changed since; read it again";
    Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail)
}

/// 428: nothing says which version is changed.
pub(crate) fn precondition_required() -> Problem {
    let detail = "say by If-Match which version is changed; its ETag tells";
    Problem::new(StatusCode::PRECONDITION_REQUIRED, "precondition_required", detail)
}

/// 429: too many of `what`; the oldest that counts is forgotten in `wait`.
pub(crate) fn rate_limited(what: &str, wait: Millis) -> Problem {
    let seconds = u64::try_from(wait).unwrap_or(0).div_ceil(1_000).max(1);
    let detail = format!("too many {what}; come back in {seconds} s");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(seconds)
}

impl Failure {
    /// Whether it is only that a store is away.
    pub(crate) fn may_pass(&self) -> bool {
        self.0.status() == StatusCode::SERVICE_UNAVAILABLE
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

/// Lets a line of the log through at most once in [`ONCE_IN`]: while a store is away, every open dashboard makes a
/// request fail every few seconds.
struct Seldom(Mutex<Option<Instant>>);

static REGISTRY: Seldom = Seldom(Mutex::new(None));
static HISTORY: Seldom = Seldom(Mutex::new(None));

impl Seldom {
    fn may_tell(&self) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = told.is_none_or(|told| told.elapsed() >= ONCE_IN);
        if may {
            *told = Some(Instant::now());
        }
        may
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        match &error {
            RegistryError::Unavailable(_) => {
                if REGISTRY.may_tell() {
                    tracing::warn!(error = causes(&error), "requests fail for want of the registry");
                }
                Self(Problem::unavailable(RETRY_AFTER))
            }
            RegistryError::Schema(_) | RegistryError::Damaged(_) | RegistryError::Corrupt { .. } => {
                tracing::error!(%error, "a request failed");
                Self(Problem::internal())
            }
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Problem::not_found(),
            Refusal::NameTaken => conflict("name_taken", "another one has this name; take another one"),
            Refusal::Stale => precondition_failed(),
            Refusal::Changed => conflict("conflict", "it was changed meanwhile; look at it again"),
            Refusal::NoSuchRole => invalid_body("role is not the name of a role"),
            Refusal::LastAdmin => {
                conflict("last_admin", "nobody would be left who is enabled and has the role admin")
            }
            Refusal::BuiltIn => conflict("built_in", "this role is built in and stays as it is"),
            Refusal::RoleInUse => {
                conflict("role_in_use", "users have this role; give them another one first")
            }
            Refusal::NotLost => conflict(
                "not_lost",
                "it neither failed nor may have been lost; only such a message is sent again",
            ),
            Refusal::NoChannel => conflict("no_channel", "its channel is deleted or disabled"),
            Refusal::TooMany => conflict("too_many", "there are as many as there may be; delete one first"),
            Refusal::TooOften => rate_limited("orders of one user", 60_000),
            Refusal::OwnOrder => conflict("own_order", "who asked for an order does not approve it"),
            Refusal::Beyond(scope) => insufficient_scope(scope),
            Refusal::BadToken => {
                unauthorized("the enrolment token is unknown, expired, revoked or used up; ask for a new one")
            }
        }
        .into()
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        match &error {
            HistoryError::Unavailable(_) => {
                if HISTORY.may_tell() {
                    tracing::warn!(error = causes(&error), "requests fail for want of history");
                }
                Self(Problem::unavailable(RETRY_AFTER))
            }
            HistoryError::Schema(_) | HistoryError::Damaged(_) | HistoryError::Corrupt { .. } => {
                tracing::error!(?error, "a request failed");
                Self(Problem::internal())
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.0.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.0.error_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_manual() {
        let manual = include_str!("../../../../docs/api.md");
        for (code, status, meaning) in CODES {
            assert!(manual.contains(&format!("| {status} `{code}` | {meaning} |")), "{status} {code}");
        }
    }
}
