//! Whom mail may go to: addresses of the plain kind, in domains that are allowed.

use std::{fmt, str::FromStr};

/// Of the local part, and of the whole (RFC 5321, 4.5.3.1).
const MAX_LOCAL_BYTES: usize = 64;
const MAX_BYTES: usize = 254;
const MAX_LABEL_BYTES: usize = 63;

/// What some relay reads as a way to somewhere else: `ops%evil.org@example.org` (the percent hack), `evil.org!ops@…` (a
/// path of UUCP), `/G=Ops/O=Evil/@…` (X.400), `|program@…`. To such a relay the domain behind the `@` is but the next stop.
const ROUTES: &[u8] = b"%!/|";

/// An address such as `ops@example.org`, its domain in lower case. The other forms of RFC 5322 (quotes, comments,
/// brackets, source routes, other scripts) are refused, so that nothing in an address can end a header or a command; and so
/// is what a relay may route on, so that mail goes to the domain that was allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient {
    text: String,
    /// Where the domain begins.
    at: usize,
}

/// A text that is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be an address such as ops@example.org")]
pub struct BadRecipient;

/// The domains that mail may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedDomains {
    /// Any domain.
    Any,
    /// These, but not the domains below them. An empty list allows none.
    Only(Vec<String>),
}

/// A text that is no list of domains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be domains separated by commas, such as example.org,example.com, or * for any")]
pub struct BadDomains;

impl Recipient {
    /// As it is written down.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is before the `@`.
    pub fn local(&self) -> &str {
        &self.text[..self.at - 1]
    }

    /// What is behind the `@`.
    pub fn domain(&self) -> &str {
        &self.text[self.at..]
    }
}

impl FromStr for Recipient {
    type Err = BadRecipient;

    fn from_str(text: &str) -> Result<Self, BadRecipient> {
        let (local, domain) = text.split_once('@').ok_or(BadRecipient)?;
        let atom = |atom: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
            !atom.is_empty() && atom.bytes().all(|byte| plain(byte) && !ROUTES.contains(&byte))
        };
        let known = local.len() <= MAX_LOCAL_BYTES && text.len() <= MAX_BYTES;
        if !known || !local.split('.').all(atom) || !is_domain(domain) {
            return Err(BadRecipient);
        }
        Ok(Self { text: format!("{local}@{}", domain.to_ascii_lowercase()), at: local.len() + 1 })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl AllowedDomains {
    /// Whether mail may go there.
    pub fn allow(&self, recipient: &Recipient) -> bool {
        match self {
            Self::Any => true,
            Self::Only(domains) => domains.iter().any(|domain| domain == recipient.domain()),
        }
    }
}

impl FromStr for AllowedDomains {
    type Err = BadDomains;

    fn from_str(text: &str) -> Result<Self, BadDomains> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let domains: Vec<&str> = text.split(',').map(str::trim).filter(|domain| !domain.is_empty()).collect();
        if !domains.iter().all(|domain| is_domain(domain)) {
            return Err(BadDomains);
        }
        Ok(Self::Only(domains.iter().map(|domain| domain.to_ascii_lowercase()).collect()))
    }
}

/// Labels of letters, digits and hyphens. The last one is no number, so that an IP address is not a domain.
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        plain
            && (1..=MAX_LABEL_BYTES).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or(text);
    text.split('.').all(label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_local_and_domain() {
        let recipient: Recipient = "Ops.Team+fleet@Example.ORG".parse().unwrap();
        assert_eq!((recipient.local(), recipient.domain()), ("Ops.Team+fleet", "example.org"));
        assert_eq!(recipient.to_string(), "Ops.Team+fleet@example.org");
    }

    #[test]
    fn what_could_be_read_as_anything_else_is_refused() {
        let long = format!("{}@example.org", "a".repeat(65));
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "a",
            "a@b@c",
            "a b@c",
            "a@b c",
            ".a@b",
            "a.@b",
            "a..b@c",
            "a@.b",
            "a@b.",
            "a@-b",
            "\"a\"@b",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "<a@b>",
            "a@b>",
            "a@b\r\nBcc: c@d",
            "a,b@c",
            "a@b,c@d",
            "ä@b",
            "a@ä",
            "a@b\0",
            "A <a@b>",
            "a(c)@b",
            "a;b@c",
            &long,
        ] {
            assert_eq!(text.parse::<Recipient>(), Err(BadRecipient), "{text:?}");
        }
    }

    #[test]
    fn what_a_relay_may_route_elsewhere_is_refused() {
        for text in [
            "ops%evil.org@example.org",
            "ops%evil.org%example.com@example.org",
            "evil.org!ops@example.org",
            "a!b!ops@example.org",
            "evil.org!ops%other.org@example.org",
            "@evil.org:ops@example.org",
            "@evil.org,@b.org:ops@example.org",
            "ops:evil.org@example.org",
            "node::ops@example.org",
            "\"ops@evil.org\"@example.org",
            "\"evil.org!ops\"@example.org",
            "\"ops%evil.org\"@example.org",
            "ops\\@evil.org@example.org",
            "ops@evil.org@example.org",
            "/G=Ops/O=Evil/@example.org",
            "|program@example.org",
        ] {
            assert_eq!(text.parse::<Recipient>(), Err(BadRecipient), "{text:?}");
        }
        // These go no further than the domain, whatever is in them.
        for text in
            ["o'neill@example.org", "r&d@example.org", "ops+fleet=eu@example.org", "{a}~b#c$d*e@example.org"]
        {
            assert!(text.parse::<Recipient>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn only_the_domains_themselves_are_allowed() {
        let to = |text: &str| text.parse::<Recipient>().unwrap();
        let some: AllowedDomains = " Example.org , example.com,".parse().unwrap();
        assert!(some.allow(&to("a@example.org")) && some.allow(&to("a@EXAMPLE.com")));
        for other in ["a@sub.example.org", "a@evilexample.org", "a@example.org.evil", "a@org"] {
            assert!(!some.allow(&to(other)), "{other}");
        }
        assert!(AllowedDomains::Any.allow(&to("a@b")));
        assert!(!"".parse::<AllowedDomains>().unwrap().allow(&to("a@b")));
        assert_eq!("*".parse(), Ok(AllowedDomains::Any));
        for bad in ["*.example.org", "a@b", "exam ple", "ä.org"] {
            assert_eq!(bad.parse::<AllowedDomains>(), Err(BadDomains), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn an_allowed_address_names_no_way_to_another_domain(
            before in "[a-z.+]{0,6}",
            route in "[%!/|@:,\"\\\\]",
            after in "[a-z.]{0,9}",
        ) {
            for text in [format!("{before}{route}{after}@example.org"), format!("\"{before}{route}{after}\"@example.org")] {
                prop_assert_eq!(text.parse::<Recipient>(), Err(BadRecipient), "{}", text);
            }
        }

        #[test]
        fn an_address_reads_back_and_has_nothing_that_ends_a_line(text in "\\PC{0,20}@\\PC{0,20}|[a-z.+]{1,9}@[A-Za-z.-]{1,9}") {
            if let Ok(recipient) = text.parse::<Recipient>() {
                prop_assert!(recipient.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(!recipient.as_str().contains(['<', '>', ',', '"', ' ']));
                prop_assert_eq!(recipient.to_string().parse::<Recipient>().unwrap(), recipient);
            }
        }
    }
}
