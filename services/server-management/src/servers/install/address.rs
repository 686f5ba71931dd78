//! The address under which hosts reach the suite. It goes into a shell script, and may come from a request's headers.

use std::{
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use actix_web::{
    HttpRequest,
    http::header::{HOST, HeaderMap},
};
use chassis::http::{is_forwarded, is_local};

/// Longest name of a host that DNS knows, in bytes.
const MAX_HOST_BYTES: usize = 253;
/// Longest path, in bytes.
const MAX_PATH_BYTES: usize = 256;

/// `http://` or `https://`, a host, maybe a port and a path; without a slash at the end. It has none of the characters
/// that mean something to a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

/// A text that is no [`PublicUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be like https://rollcall.example.org: http or https, a host, maybe a port and a path")]
pub struct BadPublicUrl;

impl PublicUrl {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicUrl {
    type Err = BadPublicUrl;

    fn from_str(text: &str) -> Result<Self, BadPublicUrl> {
        let text = text.trim_end_matches('/');
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let (authority, path) =
            rest.map(|rest| rest.split_once('/').unwrap_or((rest, ""))).ok_or(BadPublicUrl)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        if !is_authority(authority) || path.len() > MAX_PATH_BYTES || !path.bytes().all(plain) {
            return Err(BadPublicUrl);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Why a request does not tell the suite's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAddress {
    /// Its `Host` names no host.
    Host,
    /// It came over the network in clear, and so would the token that its sender enrols with.
    Clear,
}

/// The `Host` of the request, by https. By http only where it is this very host, so that nothing leaves it. A proxy that was
/// not trusted makes no difference: what it says is no reason to send a token in clear.
pub(super) fn of(request: &HttpRequest, proxies: usize) -> Result<PublicUrl, NoAddress> {
    let headers = request.headers();
    let host = only(headers, HOST.as_str()).filter(|host| is_authority(host)).ok_or(NoAddress::Host)?;
    let by_tls = only(headers, "x-forwarded-proto") == Some("https");
    // Whatever came to loopback for another name was handed on by a proxy, if by a silent one.
    let handed_on = || proxies > 0 || is_forwarded(headers) || is_local(request.peer_addr());
    let scheme = match by_tls || !is_loopback(host) {
        false => "http",
        true if by_tls || handed_on() => "https",
        true => return Err(NoAddress::Clear),
    };
    format!("{scheme}://{host}").parse().map_err(|_| NoAddress::Host)
}

/// Whether an authority is this host itself.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        Some(_) | None => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name);
    all.next().filter(|_| all.next().is_none())?.to_str().ok()
}

/// A name, an IPv4 address or an IPv6 address in brackets, and maybe a port.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if !port.is_none_or(|port| digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return false;
    }
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !host.is_empty() && host.len() <= MAX_HOST_BYTES && host.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_hosts_are_reached_by_is_taken() {
        for (text, taken) in [
            ("https://rollcall.example.org", "https://rollcall.example.org"),
            ("http://10.0.0.7:8080/", "http://10.0.0.7:8080"),
            ("https://[2001:db8::1]:8443/suite//", "https://[2001:db8::1]:8443/suite"),
            ("http://[::1]", "http://[::1]"),
            ("https://stack_traefik", "https://stack_traefik"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().as_str(), taken);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "rollcall",
            "ftp://a",
            "https://",
            "https:///x",
            "https://a b",
            "https://a'b",
            "https://$(id)",
            "https://me:secret@a",
            "https://a:0",
            "https://a:+80",
            "https://a:65536",
            "https://a:",
            "https://[::1",
            "https://[a]",
            "https://a?x",
            "https://a/?x",
            "https://a/#x",
            "https://a/'",
            "https://ä",
            "https://a\n",
            "https://[::1%25eth0]",
            "HTTPS://a",
        ] {
            assert_eq!(text.parse::<PublicUrl>(), Err(BadPublicUrl), "{text:?}");
        }
        assert!(format!("https://{}", "a".repeat(254)).parse::<PublicUrl>().is_err());
    }

    #[test]
    fn no_token_is_sent_in_clear_because_a_header_was_not_trusted() {
        let told = |peer: &str, headers: &[(&str, &str)], proxies| {
            let request = TestRequest::default().peer_addr(format!("{peer}:4711").parse().unwrap());
            let request = headers.iter().fold(request, |request, header| request.append_header(*header));
            of(&request.to_http_request(), proxies).map(|url| url.0)
        };
        let (name, proto, http) =
            (("host", "a.example"), ("x-forwarded-proto", "https"), ("x-forwarded-proto", "http"));
        let from = ("x-forwarded-for", "203.0.113.7");
        let https = Ok("https://a.example".to_owned());
        for (peer, headers, proxies) in [
            // A proxy that says it, one that says another thing or nothing, and one that nobody has told us of.
            ("10.0.0.2", &[name, proto][..], 1),
            ("10.0.0.2", &[name, http], 1),
            ("10.0.0.2", &[name, ("x-forwarded-proto", "https'")], 1),
            ("10.0.0.2", &[name], 1),
            ("127.0.0.1", &[name, proto], 0),
            ("127.0.0.1", &[name, http], 0),
            ("127.0.0.1", &[name, from], 0),
            ("127.0.0.1", &[name], 0),
            ("10.0.0.2", &[name, from], 0),
            ("10.0.0.2", &[name, proto], 0),
        ] {
            assert_eq!(told(peer, headers, proxies), https, "{peer} {headers:?} {proxies}");
        }
        for host in ["127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "[::1]", "localhost:8080", "LocalHost"] {
            assert_eq!(told("127.0.0.1", &[("host", host)], 0), Ok(format!("http://{host}")));
            assert_eq!(told("127.0.0.1", &[("host", host), proto], 1), Ok(format!("https://{host}")));
        }
        // Asked in clear over a network, for what is not this host, whatever it is called.
        for host in
            ["a.example", "10.0.0.7:8080", "localhost.a.example", "127.0.0.1.a.example", "[2001:db8::1]:8080"]
        {
            assert_eq!(told("10.0.0.2", &[("host", host)], 0), Err(NoAddress::Clear), "{host}");
        }
        for bad in [&[][..], &[("host", "a/b")], &[("host", "a';id;'")], &[("host", "a"), ("host", "b")]] {
            assert_eq!(told("127.0.0.1", bad, 0), Err(NoAddress::Host), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_means_nothing_to_a_shell(text in "(https?://)?[ -~ä\n]{0,24}", host in "[ -~]{0,12}") {
            for text in [text, format!("https://{host}"), format!("https://a/{host}")] {
                if let Ok(url) = text.parse::<PublicUrl>() {
                    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:[]".contains(&byte);
                    prop_assert!(url.as_str().bytes().all(plain), "{url:?}");
                    prop_assert_eq!(url.as_str().parse(), Ok(url.clone()));
                }
            }
        }
    }
}
