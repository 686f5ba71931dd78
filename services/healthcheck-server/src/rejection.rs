//! Why a request is not taken, and what its sender is told.

use actix_web::http::{
    StatusCode,
    header::{self, HeaderValue},
};
use chassis::Problem;
use fleet::{Interval, Millis, access::UNKNOWN_SERVER, wire::v1::Refusal};

use crate::rate::Excess;

/// How long an agent is asked to wait when the queue takes nothing, at most its interval.
const COME_BACK: Millis = 5_000;

/// How many seconds an agent is asked to wait until somebody has adopted its server: never more than an interval, which
/// is not known yet.
const COME_BACK_UNKNOWN: u64 = 1;

/// Why a request is not taken. Everything here is public.
#[derive(Debug)]
pub enum Rejection {
    /// No credential, or none that is in force.
    Unauthorized,
    /// Too much of one agent.
    RateLimited(Excess),
    /// Too many bodies are under way, and this one was waited for longest.
    NoRoom,
    /// The registry never knew the server: a restored backup is older. A person has to adopt it.
    UnknownServer,
    /// More bytes than the interface takes.
    TooLarge(&'static str),
    /// A content coding other than gzip.
    UnsupportedEncoding,
    /// The body did not come in time.
    TooSlow,
    /// Not JSON.
    Json(String),
    /// The request as a whole is at fault.
    Body(String),
    /// These snapshots are at fault; nothing of the request is taken.
    Snapshots(Vec<Refusal>),
    /// The queue did not confirm, or the disk is full.
    Unavailable(Interval),
}

impl Rejection {
    /// The answer, which tells the gate's clock in every case.
    pub fn problem(self, now: Millis) -> Problem {
        let problem = match self {
            Self::Unauthorized => Problem::unauthorized(),
            Self::RateLimited(Excess { detail, wait }) => {
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(seconds(wait))
            }
            Self::NoRoom => Problem::no_room(),
            Self::UnknownServer => {
                let detail = "the suite was restored from a backup that is older than this server: somebody has to adopt \
                              it; keep what you have";
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, UNKNOWN_SERVER, detail);
                problem.retry_after(COME_BACK_UNKNOWN)
            }
            Self::TooLarge(detail) => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail),
            Self::UnsupportedEncoding => {
                let detail = "the only content coding is gzip";
                Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail)
                    .header(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"))
            }
            Self::TooSlow => {
                let detail = "the body did not come in time; send it again";
                Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
            }
            Self::Json(detail) => Problem::new(StatusCode::BAD_REQUEST, "invalid_json", detail),
            Self::Body(detail) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", detail),
            Self::Snapshots(refused) => {
                let detail = format!("{} snapshots are at fault; send the others again", refused.len());
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", detail)
                    .with("refused", refused)
            }
            // Never more than the interval.
            Self::Unavailable(interval) => {
                Problem::unavailable(COME_BACK.min(interval.millis()).unsigned_abs() / 1_000)
            }
        };
        problem.with("now", now)
    }
}

/// Whole seconds, at least one.
fn seconds(millis: Millis) -> u64 {
    millis.unsigned_abs().div_ceil(1_000).max(1)
}
