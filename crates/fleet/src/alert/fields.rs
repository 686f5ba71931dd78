//! The fields of a body about a channel, and what is wrong with them.

use serde_json::{Map, Value};
use url::Url;

/// Longest URL of a hook, in bytes.
const MAX_URL_BYTES: usize = 2_048;

/// Longest key, token or chat, in bytes.
const MAX_TOKEN_BYTES: usize = 256;

/// Why something is no channel: which field, and what it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct BadChannel {
    /// Where it stands in the body, with dots.
    pub field: String,
    /// What it has to be.
    pub reason: String,
}

pub(super) fn bad<T>(field: impl Into<String>, reason: impl Into<String>) -> Result<T, BadChannel> {
    Err(BadChannel { field: field.into(), reason: reason.into() })
}

/// The fields of an object that nobody has taken yet. What is left over is refused by its name.
pub(super) struct Fields<'a> {
    place: &'static str,
    pub(super) left: Map<String, Value>,
    known: &'a [&'static str],
}

impl<'a> Fields<'a> {
    pub(super) fn of(
        place: &'static str,
        value: &Value,
        known: &'a [&'static str],
    ) -> Result<Self, BadChannel> {
        let Value::Object(left) = value else { return bad(place, "must be an object") };
        let left = left.clone();
        match left.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                bad(place, format!("has no field {name:?}; of this kind it has {known}"))
            }
            None => Ok(Self { place, left, known }),
        }
    }

    fn path(&self, name: &str) -> String {
        debug_assert!(self.known.contains(&name));
        format!("{}.{name}", self.place)
    }

    pub(super) fn maybe_text(&self, name: &str) -> Result<Option<String>, BadChannel> {
        match self.left.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => bad(self.path(name), "must be a text"),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<String, BadChannel> {
        match self.maybe_text(name)? {
            Some(text) => Ok(text),
            None => bad(self.path(name), "is missing"),
        }
    }

    /// A text of these characters.
    pub(super) fn token(&self, name: &str, also: &str) -> Result<String, BadChannel> {
        let text = self.text(name)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
        if text.is_empty() || text.len() > MAX_TOKEN_BYTES || !text.chars().all(plain) {
            return bad(self.path(name), format!("must be letters, digits and {also}"));
        }
        Ok(text)
    }

    pub(super) fn url(&self, name: &str) -> Result<Url, BadChannel> {
        let text = self.text(name)?;
        hook(&text).or_else(|reason| bad(self.path(name), reason))
    }
}

/// The URL of a hook. Whether it may be reached is for [the guard](super::guard) to say.
fn hook(text: &str) -> Result<Url, &'static str> {
    if text.len() > MAX_URL_BYTES {
        return Err("must have at most 2,048 bytes");
    }
    let url: Url = text.parse().map_err(|_| "must be a URL such as https://example.org/hook")?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("must be a URL such as https://example.org/hook");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not have a user or a password in it");
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (#…)");
    }
    Ok(url)
}
