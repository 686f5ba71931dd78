//! Extractors for bodies and for the `{id}` of a path.

use std::{future::Future, pin::Pin, str::FromStr};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    error::PayloadError,
    http::{StatusCode, header::CONTENT_ENCODING},
    web::{Bytes, PayloadConfig},
};
use chassis::{Problem, http::made_room};
use fleet::text;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};
use tokio::time::{Duration, timeout};

use crate::http::failure::{Failure, invalid_body, unknown_field, unsupported_encoding};

/// Largest body.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body. A field that is not asked for is refused by its name, at any depth: it is a misspelt one, or one of a
/// later release, and whoever sent it believes that it counts. The content type is ignored: it guards against forms of
/// foreign pages, which could only use the rights of a cookie, and the one cookie that there is looks at `Origin`.
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body from an agent. Unknown fields are ignored, so that an older suite serves a newer agent.
pub(crate) struct AgentBody<T>(pub(crate) T);

/// The `{id}` of the path. A text that is no id is the id of nothing: 404.
pub(crate) struct Id<T>(pub(crate) T);

/// Limits what [`Body`] reads; to be put into the application's data.
pub(crate) fn limit() -> PayloadConfig {
    PayloadConfig::new(MAX_BODY_BYTES)
}

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Failure>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = read(request, payload);
        Box::pin(async move { Ok(Self(parse(&bytes.await?)?)) })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for AgentBody<T> {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Failure>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = read(request, payload);
        Box::pin(async move { Ok(Self(parse_with(&bytes.await?, &mut |_| {})?)) })
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

/// The whole body, as it is.
fn read(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<Bytes, Problem>> + 'static {
    let bytes = match encoded(request) {
        true => Err(unsupported_encoding()),
        false => Ok(Bytes::from_request(request, payload)),
    };
    async move {
        let Ok(bytes) = timeout(BODY_TIMEOUT, bytes?).await else {
            let detail = "the body did not arrive in time";
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail));
        };
        bytes.map_err(|error| unread(&error))
    }
}

/// Whether the body is compressed or otherwise encoded. A header that cannot be read counts as if it were.
fn encoded(request: &HttpRequest) -> bool {
    let as_it_is =
        |coding: &str| matches!(coding.trim(), "") || coding.trim().eq_ignore_ascii_case("identity");
    let mut headers = request.headers().get_all(CONTENT_ENCODING);
    headers.any(|header| !header.to_str().is_ok_and(|codings| codings.split(',').all(as_it_is)))
}

fn unread(error: &actix_web::Error) -> Problem {
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => {
            let detail = format!("the body must be at most {MAX_BODY_BYTES} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
        }
        Some(error) if made_room(error) => Problem::no_room(),
        _ => Problem::new(StatusCode::BAD_REQUEST, "invalid_json", "the body could not be read"),
    }
}

/// Tells JSON of another shape (`invalid_body`) from what is not JSON at all (`invalid_json`), even if the shape is
/// wrong before the JSON is. An array is another shape, though serde would take its items for the fields in their
/// order. The first field that `T` does not know is refused.
fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    let mut unknown = None;
    let parsed = parse_with(bytes, &mut |field| {
        unknown.get_or_insert_with(|| told(&field));
    })?;
    unknown.map_or(Ok(parsed), |field| Err(unknown_field(&field)))
}

/// Gets the path of each field that is not known. Of one type for all bodies: what reads a field of a common type is then
/// compiled once, and not for each body that has one.
type Ignored<'i> = &'i mut dyn FnMut(serde_ignored::Path<'_>);

/// The same; `ignored` is told what `T` does not know.
fn parse_with<'a, T: Deserialize<'a>>(bytes: &'a [u8], ignored: Ignored<'_>) -> Result<T, Problem> {
    let parsed = if bytes.trim_ascii_start().starts_with(b"{") {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let body = serde_ignored::deserialize(&mut json, ignored);
        body.and_then(|body| json.end().map(|()| body)).map_err(|error| error.to_string())
    } else {
        Err("the body must be a JSON object".to_owned())
    };
    parsed.map_err(|reason| not_a_body(bytes, reason))
}

fn not_a_body(bytes: &[u8], reason: String) -> Problem {
    match serde_json::from_slice::<IgnoredAny>(bytes) {
        Ok(_) => invalid_body(reason),
        Err(error) => Problem::new(StatusCode::BAD_REQUEST, "invalid_json", error.to_string()),
    }
}

/// Where a field stands, with dots, as people write it.
fn told(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    let below = |parent: &Path<'_>, name: &dyn std::fmt::Display| match told(parent) {
        parent if parent.is_empty() => name.to_string(),
        parent => format!("{parent}.{name}"),
    };
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => below(parent, index),
        Path::Map { parent, key } => below(parent, key),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            told(parent)
        }
    }
}

/// Text that people will see: trimmed, at most 256 bytes, made printable. It has to have a visible character.
pub(crate) fn label(field: &str, text: String) -> Result<String, Problem> {
    let mut text = text.trim().to_owned();
    let seen = |text: &str| !text.chars().all(unseen);
    // A sheet cannot hold these two, and an import of an export has to change nothing.
    text = text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
    let seen_before = seen(&text);
    text::clean(&mut text).map_err(|bad| invalid_body(format!("{field} {bad}")))?;
    // Cleaning may have cut it just behind a space.
    let text = text.trim_end();
    // Something has to be visible before cleaning, which replaces control characters by visible ones, and after it,
    // since it may have cut off the only visible part.
    if seen_before && seen(text) {
        return Ok(text.to_owned());
    }
    Err(invalid_body(format!("{field} has nothing that can be seen")))
}

/// Blanks, control and format characters (category Cf), what is ignored by default, and the two blanks that count as
/// letter and symbol.
fn unseen(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
            | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Of a field that may be left out, tells `null` (`Some(None)`, where `T` is an `Option`) from one that is left out.
/// For `#[serde(default, deserialize_with = "given")]`.
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Checks a text that is a secret or a key: it is compared and never shown.
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
    use std::collections::HashMap;

    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_json_is_told_from_what_is_another_shape() {
        let code = |text: &str| parse::<HashMap<String, u8>>(text.as_bytes()).unwrap_err().code();
        assert_eq!(code(r#"{"a": -1"#), "invalid_json");
        assert_eq!(code(r#" {"a": -1}"#), "invalid_body");
        assert_eq!(code(r#"{"a": 1} 2"#), "invalid_json");
        assert_eq!(code(&"[".repeat(100_000)), "invalid_json");
        assert_eq!(code(&r#"{"a":"#.repeat(100_000)), "invalid_json");
        assert_eq!(code(""), "invalid_json");
    }

    #[test]
    fn an_array_is_no_object() {
        #[derive(Deserialize)]
        struct Pair {
            _one: u8,
            _two: u8,
        }
        assert!(parse::<Pair>(br#" {"_one": 1, "_two": 2}"#).is_ok());
        assert_eq!(parse::<Pair>(b"[1, 2]").err().map(|problem| problem.code()), Some("invalid_body"));
    }

    #[test]
    fn a_field_that_is_not_asked_for_is_named_at_any_depth() {
        #[derive(Deserialize)]
        struct Inner {
            _q: Option<String>,
        }
        #[derive(Deserialize)]
        struct Outer {
            _filter: Option<Inner>,
            _several: Option<Vec<Inner>>,
            _labels: Option<HashMap<String, String>>,
        }
        for (text, field) in [
            (r#"{"lables": {}}"#, "lables"),
            (r#"{"_filter": {"_q": "a", "state": 1}}"#, "_filter.state"),
            (r#"{"_several": [{}, {"x": [{}]}]}"#, "_several.1.x"),
        ] {
            let problem = parse::<Outer>(text.as_bytes()).err().unwrap();
            assert_eq!(problem.code(), "invalid_body", "{text}");
            assert!(problem.to_string().contains(&format!("{field:?}")), "{text}: {problem}");
            assert!(parse_with::<Outer>(text.as_bytes(), &mut |_| {}).is_ok(), "{text}");
        }
        assert!(parse::<Outer>(br#"{"_labels": {"any": "key"}}"#).is_ok());
        let long = format!("{{\"{}\": 1}}", "x".repeat(1_000));
        let problem = parse::<Outer>(long.as_bytes()).err().unwrap();
        assert!(problem.to_string().len() < 200, "{problem}");
    }

    #[test]
    fn what_cannot_be_seen_is_no_label() {
        // The last is visible until cleaning makes what is before it longer, and cuts it off.
        let cut = format!("{}  \u{1}a", "\u{200b}".repeat(84));
        for text in
            ["", " ", "\u{200b}", "\u{202e}", "\u{7}", "\u{ad} \u{feff}", "\u{2800}\u{3164}", cut.as_str()]
        {
            assert!(label("name", text.to_owned()).is_err(), "{text:?}");
        }
        for text in ["a\u{200b}", "\u{202e}a", "👩\u{200d}💻"] {
            assert!(label("name", text.to_owned()).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn only_a_body_as_it_is_is_read() {
        for (header, expected) in
            [("", false), ("identity", false), ("Identity ", false), ("gzip", true), ("identity, br", true)]
        {
            let request = TestRequest::default().insert_header((CONTENT_ENCODING, header)).to_http_request();
            assert_eq!(encoded(&request), expected, "{header}");
        }
    }

    #[test]
    fn null_is_told_from_what_is_left_out() {
        #[derive(Deserialize)]
        struct Change {
            #[serde(default, deserialize_with = "given")]
            address: Option<Option<String>>,
        }
        let address = |text: &str| parse::<Change>(text.as_bytes()).unwrap().address;
        assert_eq!(address("{}"), None);
        assert_eq!(address(r#"{"address": null}"#), Some(None));
        assert_eq!(address(r#"{"address": "a"}"#), Some(Some("a".to_owned())));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            if let Err(problem) = parse::<HashMap<String, String>>(&bytes) {
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
