//! Sending one request to Elasticsearch and reading its answer.

use std::{error::Error, fmt, str::FromStr, time::Duration};

use elasticsearch::{
    auth::Credentials,
    http::{
        Url,
        headers::HeaderMap,
        transport::{SingleNodeConnectionPool, Transport, TransportBuilder},
    },
};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use elasticsearch::http::Method;

use crate::HistoryError;

/// How long a question or an administrative call may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long a bulk request may take. The server gives up waiting for a shard that is away sooner.
pub const BULK_PATIENCE: Duration = Duration::from_secs(40);
/// How long it may take to find out whether the server answers.
pub const PING_PATIENCE: Duration = Duration::from_secs(5);
/// Longest reason that is passed on.
const MOST_TEXT: usize = 500;

/// Where the server is, and who we are to it. Has no `Debug`: it would show the password.
pub struct Client(Transport);

/// Where an Elasticsearch is and who we are to it: `http` or `https`, with user and password if it asks for them. Never
/// prints: it may hold a password.
#[derive(Clone)]
pub struct ElasticUrl {
    url: Url,
    account: Option<(String, String)>,
}

/// A text that is not the URL of an Elasticsearch. It is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("not the URL of an Elasticsearch: {0}; it reads https://user:password@host:9200")]
pub struct BadUrl(String);

impl FromStr for ElasticUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let mut url = Url::parse(text).map_err(|error| BadUrl(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadUrl("it must begin with http:// or https://".to_owned()));
        }
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (user, password) = (decode(url.username()), decode(url.password().unwrap_or_default()));
        // These two fail only for a URL without a host, which the schemes above do not admit.
        let _ = (url.set_username(""), url.set_password(None));
        Ok(Self { url, account: (!user.is_empty()).then_some((user, password)) })
    }
}

impl fmt::Debug for ElasticUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ElasticUrl([redacted])")
    }
}

/// A complete answer, whatever its status.
pub struct Answer {
    pub status: u16,
    body: String,
}

/// The server answered with an error.
#[derive(Debug, thiserror::Error)]
#[error("Elasticsearch answered {status}: {reason}")]
pub struct Refusal {
    pub status: u16,
    pub reason: String,
}

impl Client {
    /// Connects to nothing yet.
    pub fn new(url: &ElasticUrl) -> Result<Self, HistoryError> {
        // A proxy that the environment names is for connections to the outside, not for a store of ours.
        let mut builder =
            TransportBuilder::new(SingleNodeConnectionPool::new(url.url.clone())).disable_proxy();
        if let Some((user, password)) = url.account.clone() {
            builder = builder.auth(Credentials::Basic(user, password));
        }
        let built = builder.build();
        Ok(Self(
            built.map_err(|error| HistoryError::Schema(format!("no client for Elasticsearch: {error}")))?,
        ))
    }

    /// Sends, and reads the whole answer.
    ///
    /// # Errors
    /// `Unavailable` when there is none in time.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        patience: Duration,
    ) -> Result<Answer, HistoryError> {
        let sent = self.0.send(method, path, HeaderMap::new(), None::<&()>, body, Some(patience)).await;
        let answer = sent.map_err(unavailable)?;
        let status = answer.status_code().as_u16();
        Ok(Answer { status, body: answer.text().await.map_err(unavailable)? })
    }
}

impl Answer {
    /// Reads it, if it is a success.
    ///
    /// # Errors
    /// As [`refused`] for anything else.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, HistoryError> {
        if !(200..300).contains(&self.status) {
            return Err(self.refused());
        }
        serde_json::from_str(&self.body).map_err(unavailable)
    }

    /// Whether it is a success.
    ///
    /// # Errors
    /// As [`refused`] for anything else.
    pub fn succeeded(&self) -> Result<(), HistoryError> {
        if (200..300).contains(&self.status) { Ok(()) } else { Err(self.refused()) }
    }

    /// The kind of failure, such as `index_not_found_exception`; empty where it is not told.
    pub fn kind(&self) -> String {
        let kind = self.failure()["type"].as_str().map(str::to_owned);
        kind.unwrap_or_default()
    }

    fn refused(&self) -> HistoryError {
        refused(self.status, &self.failure())
    }

    fn failure(&self) -> Value {
        match serde_json::from_str::<Value>(&self.body) {
            Ok(mut value) => value["error"].take(),
            Err(_) => Value::String(self.body.clone()),
        }
    }
}

/// What a status and an `error` of the server mean. A request that the server can never take is `Schema`; everything
/// else is `Unavailable`, since it may work later.
pub fn refused(status: u16, failure: &Value) -> HistoryError {
    let reason = reason(failure);
    // Too many shards in the cluster are a 400 too. That ends when somebody makes room.
    if status == 400 && failure["type"] != "validation_exception" {
        return HistoryError::Schema(format!(
            "Elasticsearch refuses: {reason}. If these indices were made by hand or by another release, delete them or \
             choose another prefix"
        ));
    }
    unavailable(Refusal { status, reason })
}

/// The text of an `error` for people: `type: reason`, and its cause.
pub fn reason(failure: &Value) -> String {
    let one = |failure: &Value| match failure {
        Value::String(text) => text.clone(),
        failure => {
            let part = |name: &str| failure[name].as_str().unwrap_or("not told").to_owned();
            format!("{}: {}", part("type"), part("reason"))
        }
    };
    let mut text = one(failure);
    if failure["caused_by"].is_object() {
        text = format!("{text}, caused by {}", one(&failure["caused_by"]));
    }
    if let Some((end, _)) = text.char_indices().nth(MOST_TEXT) {
        text.truncate(end);
    }
    text
}

/// Try again later.
pub fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> HistoryError {
    HistoryError::Unavailable(error.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_url_is_told_without_its_text() {
        for url in ["", "localhost:9200", "ftp://user:hush@host", "http://user:hush@host:port"] {
            let error = url.parse::<ElasticUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
        }
    }

    #[test]
    fn only_what_can_never_pass_is_schema() {
        for status in [401, 403, 404, 408, 413, 429, 500, 502, 503, 504] {
            assert!(matches!(refused(status, &Value::Null), HistoryError::Unavailable(_)), "{status}");
        }
        assert!(matches!(refused(400, &Value::Null), HistoryError::Schema(_)));
        let no_room = json!({"type": "validation_exception", "reason": "maximum shards open"});
        assert!(matches!(refused(400, &no_room), HistoryError::Unavailable(_)));
    }

    #[test]
    fn a_reason_has_its_cause_and_an_end() {
        let failure = json!({"type": "a", "reason": "b", "caused_by": {"type": "c", "reason": "d"}});
        assert_eq!(reason(&failure), "a: b, caused by c: d");
        assert_eq!(reason(&json!("text")), "text");
        assert_eq!(reason(&json!({"type": "a", "reason": "ö".repeat(1_000)})).chars().count(), MOST_TEXT);
    }
}
