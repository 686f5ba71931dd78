//! `ETag` and `If-Match` (RFC 9110, 13.1.1): whoever changes something says which version of it they have seen. Whoever
//! deletes it may say so.

use std::future::{Ready, ready};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, HttpResponseBuilder,
    dev::Payload,
    http::header::{ETAG, HeaderValue, IF_MATCH},
};
use serde::Serialize;

use crate::http::failure::{Failure, precondition_required};

/// One of these versions must be the present one; `None`: any version will do.
pub(crate) struct IfMatch(pub(crate) Option<Vec<i64>>);

/// The same of a request that may go without it: then any version will do.
pub(crate) struct IfMatchGiven(pub(crate) Option<Vec<i64>>);

/// An answer with one thing and its version.
pub(crate) fn tagged(mut answer: HttpResponseBuilder, version: i64, one: impl Serialize) -> HttpResponse {
    answer.insert_header((ETAG, etag(version))).json(one)
}

/// The `ETag` of a version.
fn etag(version: i64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

impl FromRequest for IfMatch {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        if !request.headers().contains_key(IF_MATCH) {
            return ready(Err(precondition_required().into()));
        }
        ready(Ok(Self(versions(request))))
    }
}

impl FromRequest for IfMatchGiven {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let given = request.headers().contains_key(IF_MATCH);
        ready(Ok(Self(given.then(|| versions(request)).flatten())))
    }
}

/// Those that the header names; `None` if any will do.
fn versions(request: &HttpRequest) -> Option<Vec<i64>> {
    let texts = request.headers().get_all(IF_MATCH).filter_map(|header| header.to_str().ok());
    let tags: Vec<&str> = texts.flat_map(|text| text.split(',')).map(str::trim).collect();
    if tags == ["*"] {
        return None;
    }
    // A tag that is not one of ours, or is weak, matches no version.
    Some(tags.iter().filter_map(|tag| version(tag)).collect())
}

fn version(tag: &str) -> Option<i64> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn read(header: &str) -> Option<Vec<i64>> {
        let request = TestRequest::default().insert_header((IF_MATCH, header)).to_http_request();
        IfMatch::from_request(&request, &mut Payload::None).into_inner().unwrap().0
    }

    #[test]
    fn only_a_strong_tag_of_ours_is_a_version() {
        assert_eq!(read("*"), None);
        assert_eq!(read("\"7\""), Some(vec![7]));
        assert_eq!(read("\"7\", \"x\", W/\"8\", \"9\""), Some(vec![7, 9]));
        for other in ["7", "\"+7\"", "\"\"", "", "\"", "*, \"7x\"", "\"99999999999999999999\""] {
            assert_eq!(read(other), Some(vec![]), "{other}");
        }
    }

    #[test]
    fn without_the_header_it_is_asked_for() {
        let request = TestRequest::default().to_http_request();
        let refused = IfMatch::from_request(&request, &mut Payload::None).into_inner().err().unwrap();
        assert_eq!(actix_web::ResponseError::status_code(&refused), 428);
        let any = IfMatchGiven::from_request(&request, &mut Payload::None).into_inner().unwrap();
        assert_eq!(any.0, None);
    }
}
