//! The id of a request, by which it is followed from the proxy through the log to its answer.

use std::{
    fmt,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

/// The header that a proxy sends it in, and that the answer has it in.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest one that is believed.
const LONGEST: usize = 64;

/// Before the number of each one that is made here; no other process has the same.
static PROCESS: LazyLock<String> =
    LazyLock::new(|| format!("{:012x}", u64::from_le_bytes(crate::random()) >> 16));
static MADE: AtomicU64 = AtomicU64::new(0);

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of a request: up to 64 letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The one that the proxy, or the client, gave it; or a new one, if that is none, or no word that belongs into a log.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(X_REQUEST_ID).filter(|given| is_plain(given.as_bytes()));
        given.map_or_else(Self::make, |given| Self(given.clone()))
    }

    fn make() -> Self {
        let text = format!("{}-{:x}", *PROCESS, MADE.fetch_add(1, Relaxed));
        // Digits and a dash are a value of a header.
        Self(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown")))
    }

    /// That of the request which the current task answers, if it does.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Lets `work` know it as the current one.
    pub(super) async fn around<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl From<RequestId> for HeaderValue {
    fn from(RequestId(value): RequestId) -> Self {
        value
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_plain(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (1..=LONGEST).contains(&id.len()) && id.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[u8]) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(given).unwrap());
        RequestId::of(&headers)
    }

    #[test]
    fn an_id_is_taken_if_it_belongs_into_a_log_and_made_otherwise() {
        for good in ["a", "0190a5c2-7b5e-7c3d-8e4f-0123456789ab", &"x".repeat(64), "Az_9.-"] {
            assert_eq!(of(good.as_bytes()).as_str(), good);
        }
        for bad in ["", "a b", "a\tb", "<script>", "\u{202e}", &"x".repeat(65), "a\"b", "a=b"] {
            let made = of(bad.as_bytes());
            assert!(made.as_str() != bad && is_plain(made.as_str().as_bytes()), "{bad:?}: {made}");
        }
    }

    #[test]
    fn no_two_that_are_made_are_the_same() {
        assert_ne!(of(b""), of(b""));
    }

    #[tokio::test]
    async fn a_request_knows_its_own_and_nobody_elses() {
        assert_eq!(RequestId::current(), None);
        let (one, two) = (of(b"one"), of(b"two"));
        let both = async { tokio::join!(one.clone().around(later()), two.clone().around(later())) };
        assert_eq!(both.await, (Some(one), Some(two)));
    }

    async fn later() -> Option<RequestId> {
        tokio::task::yield_now().await;
        RequestId::current()
    }
}
