//! `If-None-Match` of lists (RFC 9110, 13.1.2): what did not change is not sent again.

use actix_web::{
    HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    http::{
        StatusCode,
        header::{ETAG, HeaderValue, IF_NONE_MATCH},
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// How much of the hash is in the tag: two bodies of one list have the same in none of our lifetimes.
const TAG_BYTES: usize = 16;

/// Gives a list the weak `ETag` of its body, and answers 304 to whoever has that body.
pub(crate) fn answer(request: &HttpRequest, list: HttpResponse) -> HttpResponse {
    if list.status() != StatusCode::OK {
        return list;
    }
    let (mut head, body) = list.into_parts();
    let bytes = match body.try_into_bytes() {
        Ok(bytes) => bytes,
        Err(body) => return head.set_body(body),
    };
    let hash = URL_SAFE_NO_PAD.encode(&Sha256::digest(&bytes)[..TAG_BYTES]);
    let Ok(tag) = HeaderValue::try_from(format!("W/\"{hash}\"")) else {
        return head.set_body(BoxBody::new(bytes));
    };
    if has(request, &hash) {
        return HttpResponse::NotModified().insert_header((ETAG, tag)).finish();
    }
    head.headers_mut().insert(ETAG, tag);
    head.set_body(BoxBody::new(bytes))
}

/// Whether the request names the hash in one of its tags. They are compared weakly: whether one says `W/` does not
/// matter.
fn has(request: &HttpRequest, hash: &str) -> bool {
    let texts = request.headers().get_all(IF_NONE_MATCH).filter_map(|header| header.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).any(|tag| {
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || opaque.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(hash)
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_tag_is_compared_weakly_and_as_a_whole() {
        for (header, expected) in [
            ("W/\"abc\"", true),
            ("\"abc\"", true),
            ("\"x\", W/\"abc\"", true),
            ("*", true),
            ("abc", false),
            ("\"ab\"", false),
            ("w/\"abc\"", false),
            ("", false),
        ] {
            let request = TestRequest::default().insert_header((IF_NONE_MATCH, header)).to_http_request();
            assert_eq!(has(&request, "abc"), expected, "{header}");
        }
    }
}
