//! The cookie in which a browser keeps the refresh token of a session: no script can read it, and no foreign page can have it
//! sent. What is done by its right is done only for our own pages.

use actix_web::{
    HttpRequest,
    http::{
        StatusCode,
        header::{COOKIE, HOST, HeaderMap, HeaderValue, ORIGIN},
    },
};
use chassis::Problem;
use fleet::Millis;

use crate::http::PREFIX;

const NAME: &str = "rollcall_session";

/// The `Set-Cookie` that keeps `token` for so long. 403 unless one of our own pages asks.
pub(super) fn keep(request: &HttpRequest, token: &str, life: Millis) -> Result<HeaderValue, Problem> {
    let origin = own_origin(request)?;
    set(origin, token, life / 1_000)
}

/// The `Set-Cookie` that forgets it.
pub(super) fn forget(request: &HttpRequest) -> Result<HeaderValue, Problem> {
    set(only(request.headers(), ORIGIN.as_str()).unwrap_or_default(), "", 0)
}

/// The token of the request's cookie, if there is one. 403 unless one of our own pages asks.
pub(super) fn token(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let token = kept(request.headers()).map(str::to_owned);
    if token.is_some() {
        own_origin(request)?;
    }
    Ok(token)
}

/// A browser tells by `Origin` how it reached the page, whatever proxies are between, so that tells whether there is TLS.
fn set(origin: &str, token: &str, seconds: i64) -> Result<HeaderValue, Problem> {
    let secure = if origin.starts_with("https://") { "; Secure" } else { "" };
    let text = format!(
        "{NAME}={token}; Path={PREFIX}/sessions; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    );
    HeaderValue::try_from(text).map_err(|_| Problem::internal())
}

fn kept(headers: &HeaderMap) -> Option<&str> {
    let texts = headers.get_all(COOKIE).filter_map(|header| header.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, value)| *name == NAME && !value.is_empty()).map(|(_, value)| value)
}

/// The `Origin`, if it is the one of our own pages: a browser says so itself (`Sec-Fetch-Site`, which it does over TLS and on its
/// own host), or it is the host that is asked.
fn own_origin(request: &HttpRequest) -> Result<&str, Problem> {
    let headers = request.headers();
    let foreign = || {
        let detail = "a cookie serves the suite's own pages; let the proxy pass Host on as it came";
        Problem::new(StatusCode::FORBIDDEN, "foreign_origin", detail)
    };
    let origin = only(headers, ORIGIN.as_str()).ok_or_else(foreign)?;
    let said = only(headers, "sec-fetch-site");
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let same = match said {
        Some(said) => said == "same-origin",
        None => authority
            .zip(only(headers, HOST.as_str()))
            .is_some_and(|(ours, host)| ours.eq_ignore_ascii_case(host)),
    };
    if same { Ok(origin) } else { Err(foreign()) }
}

/// The header, if there is exactly one and it can be read.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name);
    let first = all.next()?.to_str().ok()?;
    if all.next().is_some() { None } else { Some(first) }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn request(headers: &[(&'static str, &'static str)]) -> HttpRequest {
        let mut request = TestRequest::default();
        for header in headers {
            request = request.append_header(*header);
        }
        request.to_http_request()
    }

    #[test]
    fn a_cookie_is_kept_for_our_own_pages_alone() {
        for (headers, own) in [
            (&[("origin", "https://a.example"), ("host", "A.example")][..], true),
            (&[("origin", "http://a.example:81"), ("host", "a.example:81")], true),
            (&[("origin", "http://a.example:81"), ("host", "a.example")], false),
            (&[("origin", "https://evil.example"), ("host", "a.example")], false),
            (&[("origin", "null"), ("host", "a.example")], false),
            (&[("host", "a.example")], false),
            (
                &[("origin", "https://a.example"), ("origin", "https://b.example"), ("host", "a.example")],
                false,
            ),
            (
                &[("origin", "https://a.example"), ("host", "inner:8080"), ("sec-fetch-site", "same-origin")],
                true,
            ),
            (
                &[("origin", "https://a.example"), ("host", "a.example"), ("sec-fetch-site", "same-site")],
                false,
            ),
        ] {
            assert_eq!(keep(&request(headers), "t", 1_000).is_ok(), own, "{headers:?}");
        }
    }

    #[test]
    fn it_is_secure_where_the_page_came_by_tls() {
        let of =
            |origin: &'static str| keep(&request(&[("origin", origin), ("host", "a.example")]), "t", 60_000);
        let clear =
            "rollcall_session=t; Path=/server-management/v1/sessions; Max-Age=60; HttpOnly; SameSite=Strict";
        assert_eq!(of("http://a.example").unwrap(), clear);
        assert_eq!(of("https://a.example").unwrap(), format!("{clear}; Secure"));
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        for (header, found) in [
            ("rollcall_session=abc", Some("abc")),
            ("a=b; rollcall_session=abc; c", Some("abc")),
            ("xrollcall_session=abc", None),
            ("rollcall_session=", None),
            ("", None),
        ] {
            assert_eq!(kept(request(&[("cookie", header)]).headers()), found, "{header}");
        }
    }
}
