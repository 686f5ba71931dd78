//! How secrets of channels are kept: sealed by a key that no store has, and bound to their channel, so that one that is
//! moved to another channel opens nothing.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    Key, XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use sha2::{Digest, Sha256};

use super::channel::{Kind, Secret};
use crate::id::ChannelId;

/// Bytes of a nonce. They are random, and long enough for it.
pub const NONCE_BYTES: usize = 24;

/// The key that seals the secrets of channels: 32 bytes. Management and the notifier hold it.
#[derive(Clone)]
pub struct ChannelKey {
    name: String,
    cipher: XChaCha20Poly1305,
}

/// A text that is no such key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 32 bytes as 64 hex digits; make one with `openssl rand -hex 32`")]
pub struct BadChannelKey;

/// The key in force and, while a key is replaced, the one before it.
#[derive(Debug, Clone)]
pub struct ChannelKeys {
    current: ChannelKey,
    previous: Option<ChannelKey>,
}

/// A secret as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which key it is sealed with: a name, which tells nothing of the key.
    pub key: String,
    /// Nonce and ciphertext, in base64url.
    pub text: String,
}

/// Why a secret cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// It is sealed with a key that is not held here.
    #[error(
        "its secret is sealed with another CHANNEL_KEY; set it again, or bring the key back as CHANNEL_KEY_PREVIOUS"
    )]
    OtherKey,
    /// It is not what was sealed for this channel.
    #[error("its secret is damaged; set it again")]
    Damaged,
}

impl FromStr for ChannelKey {
    type Err = BadChannelKey;

    fn from_str(text: &str) -> Result<Self, BadChannelKey> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        if text.len() != 64 {
            return Err(BadChannelKey);
        }
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks_exact(2).map(pair).collect();
        let bytes: [u8; 32] = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(BadChannelKey)?;
        let name = Sha256::digest(bytes)[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { name, cipher: XChaCha20Poly1305::new(&Key::from(bytes)) })
    }
}

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelKey({})", self.name)
    }
}

impl ChannelKeys {
    /// These keys.
    pub fn new(current: ChannelKey, previous: Option<ChannelKey>) -> Self {
        Self { current, previous }
    }

    /// The name of the key in force.
    pub fn current(&self) -> &str {
        &self.current.name
    }

    /// The name of the key that is being replaced.
    pub fn previous(&self) -> Option<&str> {
        self.previous.as_ref().map(|key| key.name.as_str())
    }

    /// Seals a secret of this channel with the key in force. The nonce is random.
    ///
    /// # Errors
    /// Of a secret that is longer than any can be.
    pub fn seal(
        &self,
        channel: ChannelId,
        kind: Kind,
        secret: &Secret,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Sealed, CannotOpen> {
        let (text, bound) = (secret.write().to_string(), bound(channel, kind));
        let payload = Payload { msg: text.as_bytes(), aad: bound.as_bytes() };
        let sealed =
            self.current.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| CannotOpen::Damaged)?;
        let bytes = [nonce.as_slice(), &sealed].concat();
        Ok(Sealed { key: self.current.name.clone(), text: URL_SAFE_NO_PAD.encode(bytes) })
    }

    /// Opens what was sealed for this channel.
    pub fn open(&self, channel: ChannelId, kind: Kind, sealed: &Sealed) -> Result<Secret, CannotOpen> {
        let keys = [Some(&self.current), self.previous.as_ref()];
        let key =
            keys.into_iter().flatten().find(|key| key.name == sealed.key).ok_or(CannotOpen::OtherKey)?;
        let bytes = URL_SAFE_NO_PAD.decode(&sealed.text).map_err(|_| CannotOpen::Damaged)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(CannotOpen::Damaged)?;
        let bound = bound(channel, kind);
        let payload = Payload { msg: sealed, aad: bound.as_bytes() };
        let text = key.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| CannotOpen::Damaged)?;
        let value = serde_json::from_slice(&text).map_err(|_| CannotOpen::Damaged)?;
        Secret::read(kind, &value).map_err(|_| CannotOpen::Damaged)
    }
}

/// What a secret is bound to.
fn bound(channel: ChannelId, kind: Kind) -> String {
    format!("{channel}{kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: char) -> ChannelKey {
        digit.to_string().repeat(64).parse().unwrap()
    }

    fn channel(number: u8) -> ChannelId {
        ChannelId::new(1, [number; 10])
    }

    fn secret() -> Secret {
        Secret::Wecom { key: "hunter2".to_owned() }
    }

    #[test]
    fn a_sealed_secret_tells_nothing_and_opens_for_its_own_channel_alone() {
        let keys = ChannelKeys::new(key('1'), None);
        let sealed = keys.seal(channel(1), Kind::Wecom, &secret(), [9; 24]).unwrap();
        assert!(!format!("{sealed:?} {keys:?}").contains("hunter2") && !format!("{keys:?}").contains("1111"));
        assert_eq!(keys.open(channel(1), Kind::Wecom, &sealed), Ok(secret()));
        assert_eq!(keys.open(channel(2), Kind::Wecom, &sealed), Err(CannotOpen::Damaged));
        assert_eq!(keys.open(channel(1), Kind::Telegram, &sealed), Err(CannotOpen::Damaged));
        for index in 0..sealed.text.len() {
            let mut text = sealed.text.clone().into_bytes();
            text[index] = if text[index] == b'A' { b'B' } else { b'A' };
            let moved = Sealed { text: String::from_utf8(text).unwrap(), ..sealed.clone() };
            assert_eq!(keys.open(channel(1), Kind::Wecom, &moved), Err(CannotOpen::Damaged), "{index}");
        }
    }

    #[test]
    fn while_a_key_is_replaced_both_open_and_the_new_one_seals() {
        let old = ChannelKeys::new(key('1'), None).seal(channel(1), Kind::Wecom, &secret(), [9; 24]).unwrap();
        let both = ChannelKeys::new(key('2'), Some(key('1')));
        assert_eq!(both.open(channel(1), Kind::Wecom, &old), Ok(secret()));
        let new = both.seal(channel(1), Kind::Wecom, &secret(), [8; 24]).unwrap();
        assert_eq!((new.key.as_str(), both.previous()), (both.current(), Some(old.key.as_str())));
        let after = ChannelKeys::new(key('2'), None);
        assert_eq!(after.open(channel(1), Kind::Wecom, &new), Ok(secret()));
        assert_eq!(after.open(channel(1), Kind::Wecom, &old), Err(CannotOpen::OtherKey));
    }

    #[test]
    fn a_key_is_32_bytes_in_hex() {
        for bad in ["", "11", &"1".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(bad.parse::<ChannelKey>().err(), Some(BadChannelKey), "{bad}");
        }
        assert!("aF".repeat(32).parse::<ChannelKey>().is_ok());
    }
}
