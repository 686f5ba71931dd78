//! The variant for a broker: durable quorum queues of RabbitMQ, `<prefix>.<name>` and `<prefix>.<name>.dead`.
//!
//! [`publisher`] and [`consumer`] return at once and connect in the background, again and again until it works; so
//! processes start in any order. Publishing is done when the broker confirmed it; until a connection stands it is
//! [`Unavailable`](crate::PublishError::Unavailable) at once. Each side has a connection of its own, because a
//! broker that is short of memory or disk stops those that publish, and must not stop those that drain it.

mod confirming;
mod connection;
mod consuming;
mod dead;
mod publishing;
mod receipt;

use std::{fmt, str::FromStr};

use lapin::uri::{AMQPScheme, AMQPUri};
use serde::{Serialize, de::DeserializeOwned};

pub use self::dead::{BrokerAway, RedriveError, dead_letters, redrive};
pub(crate) use self::{
    consuming::{Consumer, Received},
    publishing::Publisher,
};

/// Largest message in bytes that a publisher hands to the broker; larger ones it refuses. Whoever packs, packs up
/// to this.
pub const LARGEST: usize = 100_000;

/// Which queue on which broker, and how to consume it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the broker is and who we are.
    pub url: Url,
    /// First part of the queues' names, so that several suites share a broker.
    pub prefix: String,
    /// Second part: what is in the queue.
    pub name: String,
    /// How many messages a consumer may hold unsettled; 0 would be without bound.
    pub prefetch: u16,
    /// How many messages may wait before publishing is unavailable. `None` leaves it to a policy of the broker. A
    /// queue keeps the bound with which it was first declared: a process with another bound cannot connect.
    pub max_length: Option<u32>,
}

impl Settings {
    /// With a prefetch of 100 and no bound on the length.
    ///
    /// The prefetch counts messages, each of which may hold dozens of snapshots: 100 to 300 keep a worker busy, more
    /// only keep work from its neighbours.
    pub fn new(url: Url, prefix: impl Into<String>, name: impl Into<String>) -> Self {
        Self { url, prefix: prefix.into(), name: name.into(), prefetch: 100, max_length: None }
    }
}

/// The URL of a broker, `amqp://user:password@host:port/vhost`, or `amqps` for TLS. Its password never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(AMQPUri);

/// A text that is not the URL of a broker. The error does not repeat the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the URL of a broker; write amqp://user:password@host:5672/%2f, or amqps for TLS, and a host by its name"
)]
pub struct UrlError;

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: AMQPUri = text.parse().map_err(|_| UrlError)?;
        // The parser reads an address in brackets as no host at all, and would connect to localhost.
        let (_, authority) = text.split_once("://").ok_or(UrlError)?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if host.starts_with(['[', '/', ':', '?']) || host.is_empty() {
            return Err(UrlError);
        }
        Ok(Self(uri))
    }
}

impl Url {
    /// Whether the connection is by TLS.
    pub fn is_tls(&self) -> bool {
        self.0.scheme == AMQPScheme::AMQPS
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.0;
        let user = &authority.userinfo.username;
        write!(formatter, "{scheme}://{user}:***@{}:{}/{vhost}", authority.host, authority.port)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Url({self})")
    }
}

/// Publishes to the queue. Messages are JSON. To be called within a runtime.
pub fn publisher<M: Serialize>(settings: &Settings) -> crate::Publisher<M> {
    crate::Publisher::RabbitMq(Publisher::open(settings))
}

/// Consumes the queue. To be called within a runtime.
///
/// A message that is not an `M` goes to the dead letters at the first try, with its reason; so do refused parts. A
/// delivery whose connection was lost meanwhile comes again, and settling it has no effect.
pub fn consumer<M: Serialize + DeserializeOwned + Send + 'static>(settings: &Settings) -> crate::Consumer<M> {
    crate::Consumer::RabbitMq(Consumer::open(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_broker_user_and_tls() {
        let plain: Url = "amqp://rollcall:s%40cret@broker.internal:5673/%2f".parse().unwrap();
        assert!(!plain.is_tls());
        assert_eq!(plain.0.authority.userinfo.password, "s@cret");
        assert_eq!((plain.0.authority.host.as_str(), plain.0.authority.port), ("broker.internal", 5673));
        assert_eq!(plain.0.vhost, "/");
        let tls: Url = "amqps://broker.internal/fleet".parse().unwrap();
        assert!(tls.is_tls());
        assert_eq!((tls.0.authority.port, tls.0.vhost.as_str()), (5671, "fleet"));
    }

    #[test]
    fn a_password_never_prints() {
        let url: Url = "amqps://rollcall:hunter2@broker/%2f".parse().unwrap();
        assert_eq!(url.to_string(), "amqps://rollcall:***@broker:5671//");
        let settings = Settings::new(url, "rollcall", "snapshots");
        assert!(!format!("{settings:?}").contains("hunter2"));
        let error = "rollcall:hunter2@broker".parse::<Url>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_no_url_of_a_broker_is_refused() {
        for text in ["", "broker", "http://broker", "amqp:broker", "amqp://", "amqp:///", "amqp://[::1]:5672"]
        {
            assert_eq!(text.parse::<Url>(), Err(UrlError), "{text}");
        }
    }
}
