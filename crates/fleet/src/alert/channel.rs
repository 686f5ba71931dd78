//! Where alerts are told: the kinds of channel, what each of them needs to know, and its secret.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

pub use super::fields::BadChannel;
use super::fields::{Fields, bad};
use crate::{id::ChannelId, messages::Recipient};

/// Most addresses of a channel of the kind `mail`.
pub const MAX_RECIPIENTS: usize = 50;

/// Bytes of a webhook's key (Standard Webhooks: 24 to 64).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What a channel is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A bot of a group of WeCom.
    Wecom,
    /// A bot of Telegram, and a chat.
    Telegram,
    /// An incoming webhook of Slack, or of what understands the same.
    Slack,
    /// A webhook of Discord.
    Discord,
    /// Any program, by Standard Webhooks.
    Webhook,
    /// Mail, by the suite's own.
    Mail,
}

/// What a webhook is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Each incident with its fields.
    Standard,
    /// A user and a message, which many programs take.
    Plain,
}

/// What a channel needs to know beside its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// Nothing.
    Wecom,
    /// Which chat: a number, or the `@name` of a public one.
    Telegram {
        /// The chat.
        chat_id: String,
    },
    /// Nothing.
    Slack,
    /// Nothing.
    Discord,
    /// What the receiver understands.
    Webhook {
        /// The form of the body.
        form: Form,
    },
    /// Who gets the mails.
    Mail {
        /// 1 to [`MAX_RECIPIENTS`].
        recipients: Vec<Recipient>,
    },
}

/// What nobody may read again. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The key of the bot.
    Wecom {
        /// As it stands in its URL.
        key: String,
    },
    /// The token of the bot.
    Telegram {
        /// As BotFather tells it.
        token: String,
    },
    /// The URL is the secret.
    Slack {
        /// Where it posts to.
        url: Url,
    },
    /// The URL is the secret.
    Discord {
        /// Where it posts to.
        url: Url,
    },
    /// The URL, and what the messages are signed with.
    Webhook {
        /// Where it posts to.
        url: Url,
        /// Without one the messages are not signed.
        key: Option<SigningKey>,
    },
}

/// What a webhook's messages are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

/// A text that names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be wecom, telegram, slack, discord, webhook or mail")]
pub struct BadKind;

impl Kind {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Wecom, Self::Telegram, Self::Slack, Self::Discord, Self::Webhook, Self::Mail];

    /// As the interface spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wecom => "wecom",
            Self::Telegram => "telegram",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Webhook => "webhook",
            Self::Mail => "mail",
        }
    }

    /// Whether it has a secret. Mail has none.
    pub const fn has_secret(self) -> bool {
        !matches!(self, Self::Mail)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = BadKind;

    fn from_str(text: &str) -> Result<Self, BadKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(BadKind)
    }
}

impl Config {
    /// Reads what the interface or the registry has of a channel of this kind.
    pub fn read(kind: Kind, value: &Value) -> Result<Self, BadChannel> {
        let known: &[&'static str] = match kind {
            Kind::Wecom | Kind::Slack | Kind::Discord => &[],
            Kind::Telegram => &["chat_id"],
            Kind::Webhook => &["form"],
            Kind::Mail => &["recipients"],
        };
        let fields = Fields::of("config", value, known)?;
        Ok(match kind {
            Kind::Wecom => Self::Wecom,
            Kind::Slack => Self::Slack,
            Kind::Discord => Self::Discord,
            Kind::Telegram => Self::Telegram { chat_id: chat(&fields)? },
            Kind::Webhook => Self::Webhook {
                form: match fields.maybe_text("form")?.as_deref() {
                    None | Some("standard") => Form::Standard,
                    Some("plain") => Form::Plain,
                    Some(_) => return bad("config.form", "must be standard or plain"),
                },
            },
            Kind::Mail => Self::Mail { recipients: recipients(&fields)? },
        })
    }

    /// Of which kind it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Wecom => Kind::Wecom,
            Self::Telegram { .. } => Kind::Telegram,
            Self::Slack => Kind::Slack,
            Self::Discord => Kind::Discord,
            Self::Webhook { .. } => Kind::Webhook,
            Self::Mail { .. } => Kind::Mail,
        }
    }

    /// As [`read`](Self::read) takes it.
    pub fn write(&self) -> Value {
        match self {
            Self::Wecom | Self::Slack | Self::Discord => json!({}),
            Self::Telegram { chat_id } => json!({"chat_id": chat_id}),
            Self::Webhook { form: Form::Standard } => json!({"form": "standard"}),
            Self::Webhook { form: Form::Plain } => json!({"form": "plain"}),
            Self::Mail { recipients } => {
                json!({"recipients": recipients.iter().map(Recipient::as_str).collect::<Vec<_>>()})
            }
        }
    }
}

fn chat(fields: &Fields<'_>) -> Result<String, BadChannel> {
    if let Some(Value::Number(number)) = fields.left.get("chat_id")
        && let Some(number) = number.as_i64()
    {
        return Ok(number.to_string());
    }
    let text = fields.text("chat_id")?;
    let name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let public = text.strip_prefix('@').is_some_and(|rest| (4..=64).contains(&rest.len()) && name(rest));
    match text.parse::<i64>() {
        Ok(number) => Ok(number.to_string()),
        Err(_) if public => Ok(text),
        Err(_) => {
            bad("config.chat_id", "must be a number such as -1001234567890, or a name such as @ops_alerts")
        }
    }
}

fn recipients(fields: &Fields<'_>) -> Result<Vec<Recipient>, BadChannel> {
    let Some(Value::Array(listed)) = fields.left.get("recipients") else {
        return bad("config.recipients", "must be a list of addresses");
    };
    if !(1..=MAX_RECIPIENTS).contains(&listed.len()) {
        return bad("config.recipients", "must be 1 to 50 addresses");
    }
    let mut found: Vec<Recipient> = Vec::with_capacity(listed.len());
    for one in listed {
        let Some(Ok(one)) = one.as_str().map(str::parse::<Recipient>) else {
            return bad("config.recipients", "must be addresses such as ops@example.org");
        };
        if !found.contains(&one) {
            found.push(one);
        }
    }
    Ok(found)
}

impl Secret {
    /// Reads what a person gives of a channel of this kind.
    pub fn read(kind: Kind, value: &Value) -> Result<Self, BadChannel> {
        let known: &[&'static str] = match kind {
            Kind::Wecom => &["key"],
            Kind::Telegram => &["token"],
            Kind::Slack | Kind::Discord => &["url"],
            Kind::Webhook => &["url", "key"],
            Kind::Mail => return bad("secret", "must be left out: a channel of the kind mail has none"),
        };
        let fields = Fields::of("secret", value, known)?;
        Ok(match kind {
            Kind::Wecom => Self::Wecom { key: fields.token("key", "-_")? },
            Kind::Telegram => Self::Telegram { token: fields.token("token", ":-_")? },
            Kind::Slack => Self::Slack { url: fields.url("url")? },
            Kind::Discord => Self::Discord { url: fields.url("url")? },
            Kind::Webhook | Kind::Mail => {
                let key = fields.maybe_text("key")?.map(|text| text.parse()).transpose();
                let Ok(key) = key else {
                    return bad("secret.key", "must be whsec_ and 24 to 64 bytes in base64");
                };
                Self::Webhook { url: fields.url("url")?, key }
            }
        })
    }

    /// As [`read`](Self::read) takes it: to be sealed, and shown to nobody.
    pub fn write(&self) -> Value {
        match self {
            Self::Wecom { key } => json!({"key": key}),
            Self::Telegram { token } => json!({"token": token}),
            Self::Slack { url } | Self::Discord { url } | Self::Webhook { url, key: None } => {
                json!({"url": url.as_str()})
            }
            Self::Webhook { url, key: Some(key) } => json!({"url": url.as_str(), "key": key.text()}),
        }
    }

    /// The URL of a hook. WeCom and Telegram have a place of their own.
    pub const fn url(&self) -> Option<&Url> {
        match self {
            Self::Wecom { .. } | Self::Telegram { .. } => None,
            Self::Slack { url } | Self::Discord { url } | Self::Webhook { url, .. } => Some(url),
        }
    }

    /// All of a hook's URL that may be shown: scheme, host and port.
    pub fn origin(&self) -> Option<String> {
        self.url().map(|url| url.origin().ascii_serialization())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl SigningKey {
    const PREFIX: &str = "whsec_";

    /// The key itself.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn text(&self) -> String {
        format!("{}{}", Self::PREFIX, STANDARD.encode(&self.0))
    }
}

impl FromStr for SigningKey {
    type Err = BadKind;

    fn from_str(text: &str) -> Result<Self, BadKind> {
        let encoded = text.strip_prefix(Self::PREFIX).ok_or(BadKind)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| BadKind)?;
        if KEY_BYTES.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(BadKind) }
    }
}

/// Where a channel leads, as a name that tells nothing of it: channels of one name share a budget. A mail goes wherever its
/// recipients are, so each channel of the kind mail is a target of its own.
pub fn target_key(channel: ChannelId, config: &Config, secret: Option<&Secret>) -> String {
    let place = match (config, secret) {
        (Config::Telegram { chat_id }, Some(Secret::Telegram { token })) => {
            format!("telegram {token} {chat_id}")
        }
        (_, Some(Secret::Wecom { key })) => format!("wecom {key}"),
        (config, Some(secret)) => match secret.url() {
            Some(url) => format!("{} {url}", config.kind()),
            None => format!("channel {channel}"),
        },
        (_, None) => format!("channel {channel}"),
    };
    Sha256::digest(place).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A step of a route: on which channels, and how long after the incident was opened unless somebody acknowledged it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Milliseconds since the incident was opened.
    pub after_ms: i64,
    /// On which channels.
    pub channels: Vec<ChannelId>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> ChannelId {
        ChannelId::new(1, [number; 10])
    }

    #[test]
    fn each_kind_has_its_own_config_and_secret() {
        let key = format!("whsec_{}", STANDARD.encode([7; 32]));
        for (kind, config, secret) in [
            (Kind::Wecom, json!({}), json!({"key": "693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa"})),
            (
                Kind::Telegram,
                json!({"chat_id": "-1001234"}),
                json!({"token": "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"}),
            ),
            (Kind::Slack, json!({}), json!({"url": "https://hooks.slack.com/services/T0/B0/x"})),
            (Kind::Discord, json!({}), json!({"url": "https://discord.com/api/webhooks/1/x"})),
            (
                Kind::Webhook,
                json!({"form": "standard"}),
                json!({"url": "https://example.org/hook", "key": key}),
            ),
            (Kind::Webhook, json!({"form": "plain"}), json!({"url": "https://example.org/hook"})),
        ] {
            let read = Config::read(kind, &config).unwrap();
            assert_eq!((read.kind(), read.write()), (kind, config));
            let sealed = Secret::read(kind, &secret).unwrap();
            assert_eq!(sealed.write(), secret);
            let text = secret.to_string();
            assert!(!text.contains(&format!("{sealed:?}")) && format!("{sealed:?}") == "[redacted]");
        }
        let mail = json!({"recipients": ["ops@example.org"]});
        assert_eq!(Config::read(Kind::Mail, &mail).unwrap().write(), mail);
        assert!(Secret::read(Kind::Mail, &json!({})).is_err());
        assert_eq!(
            Config::read(Kind::Telegram, &json!({"chat_id": -5})).unwrap().write(),
            json!({"chat_id": "-5"})
        );
        assert_eq!(
            Config::read(Kind::Webhook, &json!({})).unwrap(),
            Config::Webhook { form: Form::Standard }
        );
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_field() {
        for (kind, config, field) in [
            (Kind::Wecom, json!({"url": "https://x"}), "config"),
            (Kind::Telegram, json!({}), "config.chat_id"),
            (Kind::Telegram, json!({"chat_id": "ops chat"}), "config.chat_id"),
            (Kind::Telegram, json!({"chat_id": 1.5}), "config.chat_id"),
            (Kind::Webhook, json!({"form": "xml"}), "config.form"),
            (Kind::Mail, json!({"recipients": []}), "config.recipients"),
            (Kind::Mail, json!({"recipients": ["nobody"]}), "config.recipients"),
            (Kind::Slack, json!([]), "config"),
        ] {
            assert_eq!(Config::read(kind, &config).unwrap_err().field, field, "{config}");
        }
        for (kind, secret, field) in [
            (Kind::Wecom, json!({}), "secret.key"),
            (Kind::Wecom, json!({"key": "a&b"}), "secret.key"),
            (Kind::Telegram, json!({"token": "a/b"}), "secret.token"),
            (Kind::Slack, json!({"url": "hooks.slack.com"}), "secret.url"),
            (Kind::Slack, json!({"url": "ftp://example.org/"}), "secret.url"),
            (Kind::Discord, json!({"url": "https://u:p@example.org/"}), "secret.url"),
            (Kind::Webhook, json!({"url": "https://example.org/#x"}), "secret.url"),
            (Kind::Webhook, json!({"url": "https://example.org/", "key": "whsec_AA=="}), "secret.key"),
            (Kind::Webhook, json!({"url": "https://example.org/", "kee": "x"}), "secret"),
        ] {
            assert_eq!(Secret::read(kind, &secret).unwrap_err().field, field, "{secret}");
        }
    }

    #[test]
    fn of_a_hook_its_origin_alone_may_be_shown() {
        let secret =
            Secret::read(Kind::Slack, &json!({"url": "https://hooks.slack.com/services/T0/B0/x?y=z"}))
                .unwrap();
        assert_eq!(secret.origin().as_deref(), Some("https://hooks.slack.com"));
        assert_eq!(Secret::Wecom { key: "k".to_owned() }.origin(), None);
    }

    #[test]
    fn channels_that_lead_to_one_place_share_its_budget_and_no_others() {
        let wecom = |key: &str| Secret::Wecom { key: key.to_owned() };
        let key = |number, secret: &Secret| target_key(id(number), &Config::Wecom, Some(secret));
        assert_eq!(key(1, &wecom("a")), key(2, &wecom("a")));
        assert_ne!(key(1, &wecom("a")), key(1, &wecom("b")));
        let mail = Config::Mail { recipients: vec!["ops@example.org".parse().unwrap()] };
        assert_ne!(target_key(id(1), &mail, None), target_key(id(2), &mail, None));
        assert!(!key(1, &wecom("secret")).contains("secret"));
    }

    proptest! {
        #[test]
        fn a_secret_that_is_read_is_written_as_it_was(text in "\\PC{0,40}") {
            for kind in Kind::ALL {
                for name in ["key", "token", "url"] {
                    if let Ok(secret) = Secret::read(kind, &json!({name: text})) {
                        prop_assert_eq!(Secret::read(kind, &secret.write()).unwrap(), secret);
                    }
                }
            }
        }
    }
}
