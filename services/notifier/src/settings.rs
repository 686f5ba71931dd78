//! The settings of `notifier`: flags with environment variables of the same meaning, and secrets.

use std::{env, path::PathBuf, time::Duration};

use chassis::{
    Mistakes,
    http::Bounds,
    service::{Command, ServiceArguments},
    settings::BadSettings,
};
use clap::{Args, Parser};
use fleet::alert::{
    channel::Kind,
    guard::Allowed,
    request::Bases,
    seal::{ChannelKey, ChannelKeys},
};
use registry::PostgresUrl;
use reqwest::Url;

use crate::Sender;

/// Notifier: tells alerts in chats and to webhooks, each message at most once.
///
/// From the environment alone, each also as a file named by NAME_FILE: DATABASE_URL, CHANNEL_KEY, CHANNEL_KEY_PREVIOUS,
/// HEARTBEAT_URL.
#[derive(Debug, Parser)]
#[command(name = "notifier", version, about)]
pub struct Arguments {
    #[command(flatten)]
    pub service: ServiceArguments,
    #[command(flatten)]
    pub telling: TellingArguments,
    /// Address under which people reach the suite, for links in messages
    #[arg(long, env = "PUBLIC_URL", value_name = "URL", value_parser = public_url)]
    public_url: Option<String>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Where messages may go.
#[derive(Debug, Clone, Args)]
pub struct TellingArguments {
    /// Internal targets that messages may go to, hosts or networks with their ports, separated by commas; only these may be http
    #[arg(long, env = "NOTIFY_ALLOW", value_name = "HOST:PORT,…", default_value = "")]
    notify_allow: Allowed,
    /// PEM file of certificate authorities that may vouch for receivers, besides the usual ones
    #[arg(long, env = "NOTIFY_CA_FILE")]
    notify_ca_file: Option<PathBuf>,
}

/// Settings of the process that were checked.
#[derive(Debug)]
pub struct Settings {
    pub notifier: crate::Settings,
    pub sender: Sender,
    pub database_url: PostgresUrl,
    pub drain: Duration,
    pub bounds: Bounds,
}

impl Settings {
    /// Checks everything and tells all mistakes at once. Opens nothing but the files of secrets and authorities.
    pub fn check(arguments: &Arguments) -> Result<Self, BadSettings> {
        let mut mistakes = Mistakes::default();
        let (database_url, key) = (mistakes.required("DATABASE_URL"), mistakes.required("CHANNEL_KEY"));
        let previous: Option<ChannelKey> = mistakes.parsed("CHANNEL_KEY_PREVIOUS");
        let (sender, heartbeat) = (arguments.telling.sender(&mut mistakes), mistakes.parsed("HEARTBEAT_URL"));
        let (Some(database_url), Some(key), Some(sender)) = (database_url, key, sender) else {
            return Err(mistakes.into());
        };
        mistakes.check()?;
        let (keys, url, scale) = (ChannelKeys::new(key, previous), arguments.public_url.clone(), scale());
        let (drain, bounds) = (arguments.service.drain(), arguments.service.doors.bounds(0));
        Ok(Self {
            notifier: crate::Settings { keys, url, heartbeat, scale },
            sender,
            database_url,
            drain,
            bounds,
        })
    }
}

impl TellingArguments {
    /// The internal targets that messages may go to.
    pub fn allowed(&self) -> &Allowed {
        &self.notify_allow
    }

    /// What sends messages.
    pub fn sender(&self, mistakes: &mut Mistakes) -> Option<Sender> {
        let bases = bases(mistakes);
        let sender = Sender::new(self.notify_allow.clone(), bases, self.notify_ca_file.as_deref(), scale());
        mistakes.take("NOTIFY_CA_FILE", sender)
    }
}

/// Of tests alone: where a service is looked for instead of where it is.
fn bases(mistakes: &mut Mistakes) -> Bases {
    let base = |kind: Kind| {
        let name = format!("NOTIFY_BASE_{}", kind.as_str().to_uppercase());
        let text = env::var(&name).ok().filter(|text| !text.is_empty())?;
        Some((kind, mistakes.take(&name, text.parse::<Url>())?))
    };
    Bases::new(Kind::ALL.into_iter().filter_map(base).collect())
}

/// Of tests alone: how many times shorter all times are.
pub fn scale() -> u32 {
    env::var("NOTIFY_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

/// An address for links, without the slash at its end.
pub fn public_url(text: &str) -> Result<String, String> {
    let url: Url =
        text.parse().map_err(|_| "must be a URL such as https://rollcall.example.org".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err("must be a URL such as https://rollcall.example.org".to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_has_no_slash_at_its_end() {
        assert_eq!(
            public_url("https://rollcall.example.org/").as_deref(),
            Ok("https://rollcall.example.org")
        );
        assert_eq!(public_url("http://a/b/").as_deref(), Ok("http://a/b"));
        for bad in ["a", "ftp://a", "https://a/?b", "https://a/#b"] {
            assert!(public_url(bad).is_err(), "{bad}");
        }
    }
}
