//! Secrets of channels: sealed when they come in, opened by nobody here but to see where a channel leads.

use chassis::{Problem, random};
use fleet::alert::{
    channel::{BadChannel, Secret, target_key},
    guard::Allowed,
    seal::ChannelKeys,
};
use registry::{Channel, RegistryError};
use serde_json::Value;

use super::channels::field;
use crate::{app::App, http::failure::conflict};

/// What seals secrets, and where messages may go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sealing {
    /// Without any no channel with a secret can be made.
    pub(crate) keys: Option<ChannelKeys>,
    pub(crate) allowed: Allowed,
}

impl Sealing {
    /// Gives the channel this secret, and leads it where that says.
    pub(super) fn set(&self, channel: &mut Channel, secret: &Value, now: i64) -> Result<(), Problem> {
        let (kind, keys) = (channel.kind(), self.keys()?);
        let secret = Secret::read(kind, secret).map_err(|error| refused(&error))?;
        if let Some(url) = secret.url() {
            self.allowed.judge_unresolved(url).map_err(|error| field("secret.url", error))?;
        }
        let sealed = keys.seal(channel.id, kind, &secret, random()).map_err(|_| Problem::internal())?;
        channel.target_key = target_key(channel.id, &channel.config, Some(&secret));
        channel.secret_origin = secret.origin();
        channel.secret = Some(sealed);
        channel.secret_set_at = Some(now);
        channel.disabled = None;
        Ok(())
    }

    /// Where a channel leads depends on its config too.
    pub(super) fn lead_anew(&self, channel: &mut Channel) -> Result<(), Problem> {
        let secret = match &channel.secret {
            Some(sealed) => {
                let opened = self.keys()?.open(channel.id, channel.kind(), sealed);
                Some(opened.map_err(|error| conflict("no_channel_key", &error.to_string()))?)
            }
            None => None,
        };
        channel.target_key = target_key(channel.id, &channel.config, secret.as_ref());
        channel.disabled = None;
        Ok(())
    }

    fn keys(&self) -> Result<&ChannelKeys, Problem> {
        let detail = "secrets of channels cannot be kept here: CHANNEL_KEY is not set";
        self.keys.as_ref().ok_or_else(|| conflict("no_channel_key", detail))
    }
}

/// While a key is replaced: what is sealed with the one before is sealed anew.
pub(super) async fn reseal(app: &App, sealing: &Sealing) -> Result<(), RegistryError> {
    let Some(keys) = &sealing.keys else { return Ok(()) };
    let (mut anew, mut left) = (0, 0);
    for channel in app.registry.channels_of_another_key(keys.current()).await? {
        let Some(sealed) = &channel.secret else { continue };
        let opened = keys.open(channel.id, channel.kind(), sealed);
        let sealed = opened.and_then(|secret| keys.seal(channel.id, channel.kind(), &secret, random()));
        match sealed {
            Ok(sealed) => anew += u32::from(app.registry.reseal_channel(&channel, &sealed).await?),
            Err(error) => {
                left += 1;
                tracing::error!(channel = channel.name, %error, "a channel cannot be used");
            }
        }
    }
    if keys.previous().is_some() || anew > 0 {
        if left == 0 {
            tracing::info!(
                anew,
                "no secret of a channel is sealed with CHANNEL_KEY_PREVIOUS any more; it can be removed"
            );
        } else {
            tracing::warn!(anew, left, "some channels have a secret that no key here opens");
        }
    }
    Ok(())
}

pub(super) fn refused(error: &BadChannel) -> Problem {
    field(&error.field, &error.reason)
}
