//! Extractors for bodies and for the `{id}` of a path.

use std::{future::Future, pin::Pin, str::FromStr};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    error::PayloadError,
    http::StatusCode,
    web::{Bytes, PayloadConfig},
};
use chassis::Problem;
use fleet::text;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use tokio::time::{Duration, timeout};

use crate::failure::{Failure, invalid_body};

/// Largest body.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body. Unknown fields are ignored; so is the content type, since no cookie carries rights here.
pub(crate) struct Body<T>(pub(crate) T);

/// The `{id}` of the path; whatever is no id names nothing, hence 404.
pub(crate) struct Id<T>(pub(crate) T);

/// Limits what [`Body`] reads; to be put into the application's data.
pub(crate) fn limit() -> PayloadConfig {
    PayloadConfig::new(MAX_BODY_BYTES)
}

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Failure>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = Bytes::from_request(request, payload);
        Box::pin(async move {
            let Ok(bytes) = timeout(BODY_TIMEOUT, bytes).await else {
                let detail = "the body did not arrive in time";
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail).into());
            };
            Ok(Self(parse(&bytes.map_err(|error| unread(&error))?)?))
        })
    }
}

impl<T: FromStr> FromRequest for Id<T> {
    type Error = Failure;
    type Future = std::future::Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = request.match_info().get("id").and_then(|text| text.parse().ok());
        std::future::ready(id.map(Self).ok_or_else(|| Problem::not_found().into()))
    }
}

fn unread(error: &actix_web::Error) -> Problem {
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => {
            let detail = format!("the body must be at most {MAX_BODY_BYTES} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
        }
        _ => Problem::new(StatusCode::BAD_REQUEST, "invalid_json", "the body could not be read"),
    }
}

/// JSON of another shape is told from what is not JSON at all, wherever in it the first fault is.
fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| match serde_json::from_slice::<IgnoredAny>(bytes) {
        Ok(_) => invalid_body(error.to_string()),
        Err(error) => Problem::new(StatusCode::BAD_REQUEST, "invalid_json", error.to_string()),
    })
}

/// Text that people will see: trimmed, not empty, at most 256 bytes, made printable.
pub(crate) fn label(field: &str, text: String) -> Result<String, Problem> {
    let mut text = text.trim().to_owned();
    text::clean(&mut text).map_err(|bad| invalid_body(format!("{field} {bad}")))?;
    // Cleaning may have cut it just behind a space.
    let text = text.trim_end();
    if text.is_empty() { Err(invalid_body(format!("{field} is empty"))) } else { Ok(text.to_owned()) }
}

/// Text that is a secret or a key: compared, never shown.
pub(crate) fn bounded(
    field: &str,
    text: &str,
    bytes: std::ops::RangeInclusive<usize>,
) -> Result<(), Problem> {
    if bytes.contains(&text.len()) && !text.contains('\0') {
        return Ok(());
    }
    Err(invalid_body(format!("{field} must have {} to {} bytes and no NUL", bytes.start(), bytes.end())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_json_is_told_from_what_is_another_shape() {
        let code = |text: &str| parse::<Vec<u8>>(text.as_bytes()).unwrap_err().code();
        assert_eq!(code("[1, -1"), "invalid_json");
        assert_eq!(code("[1, -1]"), "invalid_body");
        assert_eq!(code("[1] 2"), "invalid_json");
        assert_eq!(code(&"[".repeat(100_000)), "invalid_json");
        assert_eq!(code(""), "invalid_json");
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            if let Err(problem) = parse::<Vec<String>>(&bytes) {
                prop_assert!(problem.status().is_client_error());
            }
        }

        #[test]
        fn a_label_stays_what_it_became(text in "(\\PC|[\u{1}-\u{1f}]){0,300}") {
            if let Ok(once) = label("name", text) {
                prop_assert!(!once.is_empty() && once.len() <= text::MAX_TEXT_BYTES);
                prop_assert_eq!(label("name", once.clone()).unwrap(), once);
            }
        }
    }
}
