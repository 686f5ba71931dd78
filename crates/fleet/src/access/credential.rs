//! The credential of a server: `kid.server_id.generation.mac`.
//!
//! `kid` is the first 8 hex digits of SHA-256(key); `mac` the unpadded base64url of HMAC-SHA256(key) over the text
//! before it, up to and without the last dot. A gate checks it without asking a store.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::{Millis, ServerId};

/// Shortest key that is accepted, in bytes: the output length of SHA-256 (RFC 2104, section 3).
pub const MIN_KEY_BYTES: usize = 32;

/// Longest text that can be a credential; what is longer is refused unread.
const MAX_CREDENTIAL_BYTES: usize = 128;

/// The key that credentials are made with. Only server-management and the gates hold it.
#[derive(Clone)]
pub struct AgentKey {
    kid: String,
    mac: Hmac<Sha256>,
}

/// A key of fewer than [`MIN_KEY_BYTES`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an agent key needs at least {MIN_KEY_BYTES} bytes; make one with `openssl rand -hex 32`")]
pub struct ShortKey;

/// A credential that some key of the ring made: who sends, and of which generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credential {
    /// The server that it identifies.
    pub server: ServerId,
    /// [When it was issued](next_generation). A revocation raises it.
    pub generation: u32,
    /// Made with the key that is being replaced: the bulletin should bring a new one.
    pub outdated: bool,
}

/// The key in force and, while a key is replaced, the one before it.
#[derive(Debug, Clone)]
pub struct Keyring {
    current: AgentKey,
    previous: Option<AgentKey>,
}

/// The generation after `before`, of what is issued or revoked at `now`: that time in Unix seconds, and at least one
/// more. So whatever a registry that was restored from a backup has forgotten, a later revocation is above it. 0 stands
/// for a server that never had a credential. A clock that tells a time which no generation can hold (before 1970, after
/// 2106) only counts on.
pub fn next_generation(before: u32, now: Millis) -> u32 {
    let after = before.saturating_add(1);
    u32::try_from(now.div_euclid(1_000)).map_or(after, |seconds| seconds.max(after))
}

impl AgentKey {
    /// Takes the key's bytes as they are.
    pub fn new(key: &[u8]) -> Result<Self, ShortKey> {
        if key.len() < MIN_KEY_BYTES {
            return Err(ShortKey);
        }
        let kid = Sha256::digest(key)[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        let mac = Hmac::new_from_slice(key).map_err(|_| ShortKey)?;
        Ok(Self { kid, mac })
    }

    fn issue(&self, server: ServerId, generation: u32) -> String {
        let text = format!("{}.{server}.{generation}", self.kid);
        let mac = self.mac.clone().chain_update(&text).finalize().into_bytes();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    fn made(&self, text: &str, mac: &[u8]) -> bool {
        self.mac.clone().chain_update(text).verify_slice(mac).is_ok()
    }
}

impl FromStr for AgentKey {
    type Err = ShortKey;

    fn from_str(text: &str) -> Result<Self, ShortKey> {
        Self::new(text.as_bytes())
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentKey({}, redacted)", self.kid)
    }
}

impl Keyring {
    /// The ring of these keys.
    pub fn new(current: AgentKey, previous: Option<AgentKey>) -> Self {
        Self { current, previous }
    }

    /// A credential made with the key in force.
    pub fn issue(&self, server: ServerId, generation: u32) -> String {
        self.current.issue(server, generation)
    }

    /// Whose credential this is; `None` for everything that no key of this ring made. The comparison takes the same
    /// time wherever the mac differs.
    pub fn verify(&self, text: &str) -> Option<Credential> {
        if text.len() > MAX_CREDENTIAL_BYTES {
            return None;
        }
        let (signed, mac) = text.rsplit_once('.')?;
        let mut parts = signed.split('.');
        let (kid, server, generation) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let outdated = kid != self.current.kid;
        let key = if outdated { self.previous.as_ref().filter(|key| key.kid == kid)? } else { &self.current };
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        if !key.made(signed, &mac) {
            return None;
        }
        Some(Credential { server: server.parse().ok()?, generation: generation.parse().ok()?, outdated })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(current: u8, previous: Option<u8>) -> Keyring {
        let key = |byte| AgentKey::new(&[byte; 32]).unwrap();
        Keyring::new(key(current), previous.map(key))
    }

    fn server() -> ServerId {
        ServerId::new(1_790_000_000_000, [3; 10])
    }

    #[test]
    fn a_known_credential_stays_what_it_is() {
        let text = ring(1, None).issue(server(), 7);
        assert_eq!(
            text,
            "72cd6e84.01a0c450-6c00-7303-8303-030303030303.7.N38iHUMZE23LZWfGSGx_GQH2weN7NckztiHMNTCdxas"
        );
    }

    #[test]
    fn a_generation_is_the_second_of_its_issue_and_above_the_one_before() {
        const NOW: Millis = 1_790_000_000_999;
        for (before, now, next) in [
            (0, NOW, 1_790_000_000),
            (2, NOW, 1_790_000_000),
            (1_790_000_000, NOW, 1_790_000_001),
            (1_790_000_500, NOW, 1_790_000_501),
            (0, -1, 1),
            (0, 0, 1),
            (7, (i64::from(u32::MAX) + 1) * 1_000, 8),
            (7, i64::from(u32::MAX) * 1_000, u32::MAX),
            (u32::MAX, NOW, u32::MAX),
        ] {
            assert_eq!(next_generation(before, now), next, "{before} at {now}");
        }
    }

    #[test]
    fn the_longest_credential_is_read() {
        let text = ring(1, None).issue(server(), u32::MAX);
        assert!(text.len() <= MAX_CREDENTIAL_BYTES, "{}", text.len());
        assert_eq!(ring(1, None).verify(&text).unwrap().generation, u32::MAX);
    }

    #[test]
    fn the_previous_key_still_serves_and_says_so() {
        let text = ring(1, None).issue(server(), 7);
        let credential = ring(2, Some(1)).verify(&text).unwrap();
        assert_eq!(credential, Credential { server: server(), generation: 7, outdated: true });
        assert_eq!(ring(2, None).verify(&text), None);
    }

    #[test]
    fn a_short_key_is_refused_and_a_key_never_prints() {
        assert!(AgentKey::new(&[1; 31]).is_err());
        assert!(!format!("{:?}", ring(1, None)).contains("1, 1"));
    }

    proptest! {
        #[test]
        fn what_is_issued_verifies(generation: u32, random: [u8; 10], now in 0i64..1 << 47) {
            let id = ServerId::new(now, random);
            let credential = ring(1, None).verify(&ring(1, None).issue(id, generation)).unwrap();
            prop_assert_eq!(credential, Credential { server: id, generation, outdated: false });
        }

        #[test]
        fn one_changed_byte_is_refused(at in 0usize..90, byte in 0x21u8..0x7f) {
            let text = ring(1, None).issue(server(), 7);
            let mut forged = text.clone().into_bytes();
            let at = at % forged.len();
            prop_assume!(forged[at] != byte);
            forged[at] = byte;
            prop_assert_eq!(ring(1, None).verify(std::str::from_utf8(&forged).unwrap()), None);
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,200}") {
            prop_assert_eq!(ring(1, None).verify(&text), None);
        }
    }
}
