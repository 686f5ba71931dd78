//! Access tokens: JWT, HS256 and nothing else.

use std::{fmt, str::FromStr, sync::Arc};

use chassis::Secret;
use fleet::{
    Millis,
    id::{SessionId, UserId},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

/// How long an access token serves.
pub(crate) const ACCESS_LIFE: Millis = 15 * 60_000;

/// How far the clocks of two replicas may be apart.
const LEEWAY: Millis = 10_000;

/// Shortest key, in bytes: the output length of SHA-256 (RFC 7518, 3.2).
const MIN_KEY_BYTES: usize = 32;
const ISSUER: &str = "rollcall";
const AUDIENCE: &str = "server-management";

/// The key that signs access tokens. It never prints.
#[derive(Clone)]
pub struct TokenKey(Arc<Keys>);

/// A key of fewer than 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a token key needs at least {MIN_KEY_BYTES} bytes; make one with `openssl rand -hex 32`")]
pub struct ShortTokenKey;

struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// What a valid token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AccessToken {
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
}

/// Times in seconds, as RFC 7519 has them.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    iat: i64,
    exp: i64,
}

impl FromStr for TokenKey {
    type Err = ShortTokenKey;

    fn from_str(text: &str) -> Result<Self, ShortTokenKey> {
        Self::new(&Secret::new(text))
    }
}

impl TokenKey {
    /// Takes the key's bytes as they are.
    pub fn new(key: &Secret) -> Result<Self, ShortTokenKey> {
        let key = key.expose().as_bytes();
        if key.len() < MIN_KEY_BYTES {
            return Err(ShortTokenKey);
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        // The library would compare with the system's clock. `exp` stays required, and `verify` compares it with ours.
        validation.validate_exp = false;
        let (encoding, decoding) = (EncodingKey::from_secret(key), DecodingKey::from_secret(key));
        Ok(Self(Arc::new(Keys { encoding, decoding, validation })))
    }

    /// A token that serves for [`ACCESS_LIFE`] from `now`; `None` if it cannot be signed, which is a bug.
    pub(crate) fn issue(&self, token: AccessToken, now: Millis) -> Option<String> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: token.user,
            sid: token.session,
            iat: now / 1_000,
            exp: (now + ACCESS_LIFE) / 1_000,
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.0.encoding).ok()
    }

    /// What the token says; `None` for everything that this key did not sign for us, or that has expired.
    pub(crate) fn verify(&self, token: &str, now: Millis) -> Option<AccessToken> {
        let claims = decode::<Claims>(token, &self.0.decoding, &self.0.validation).ok()?.claims;
        let expires = claims.exp.checked_mul(1_000)?.checked_add(LEEWAY)?;
        (now < expires).then_some(AccessToken { user: claims.sub, session: claims.sid })
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: Millis = 1_790_000_000_000;

    fn key() -> TokenKey {
        TokenKey::new(&Secret::new("k".repeat(32))).unwrap()
    }

    fn access() -> AccessToken {
        AccessToken { user: UserId::new(NOW, [1; 10]), session: SessionId::new(NOW, [2; 10]) }
    }

    /// A token signed with the right key over claims that differ from the right ones.
    fn forged(change: impl FnOnce(&mut Value), algorithm: Algorithm) -> String {
        let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": access().user, "sid": access().session,
            "iat": NOW / 1_000, "exp": NOW / 1_000 + 60});
        change(&mut claims);
        encode(&Header::new(algorithm), &claims, &key().0.encoding).unwrap()
    }

    #[test]
    fn a_token_serves_for_a_quarter_of_an_hour() {
        let token = key().issue(access(), NOW).unwrap();
        assert_eq!(key().verify(&token, NOW), Some(access()));
        assert_eq!(key().verify(&token, NOW + ACCESS_LIFE + LEEWAY - 1), Some(access()));
        assert_eq!(key().verify(&token, NOW + ACCESS_LIFE + LEEWAY), None);
    }

    #[test]
    fn a_claim_that_is_missing_or_another_is_refused() {
        assert_eq!(key().verify(&forged(|_| (), Algorithm::HS256), NOW), Some(access()));
        for claim in ["exp", "iss", "aud", "sub", "sid"] {
            let without =
                forged(|claims| drop(claims.as_object_mut().unwrap().remove(claim)), Algorithm::HS256);
            assert_eq!(key().verify(&without, NOW), None, "without {claim}");
            let other = forged(|claims| claims[claim] = json!("other"), Algorithm::HS256);
            assert_eq!(key().verify(&other, NOW), None, "another {claim}");
        }
        for exp in [json!("1790000060"), json!(1.8e18), json!(i64::MAX), json!(null), json!([1_790_000_060])]
        {
            let token = forged(|claims| claims["exp"] = exp.clone(), Algorithm::HS256);
            assert_eq!(key().verify(&token, NOW), None, "{exp}");
        }
    }

    #[test]
    fn another_algorithm_or_key_is_refused() {
        assert_eq!(key().verify(&forged(|_| (), Algorithm::HS512), NOW), None);
        let good = forged(|_| (), Algorithm::HS256);
        let (_, rest) = good.split_once('.').unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert_eq!(key().verify(&format!("{none}.{rest}"), NOW), None);
        let unsigned = rest.split_once('.').unwrap().0;
        assert_eq!(key().verify(&format!("{none}.{unsigned}."), NOW), None);
        let other = TokenKey::new(&Secret::new("o".repeat(32))).unwrap();
        assert_eq!(other.verify(&good, NOW), None);
    }

    #[test]
    fn a_short_key_is_refused_and_a_key_never_prints() {
        assert!(TokenKey::new(&Secret::new("")).is_err());
        assert!(TokenKey::new(&Secret::new("k".repeat(31))).is_err());
        assert_eq!(format!("{:?}", key()), "TokenKey(redacted)");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,200}|[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}") {
            prop_assert_eq!(key().verify(&text, NOW), None);
        }
    }
}
