//! Secrets of our making: refresh tokens, API tokens, enrolment tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chassis::random;
use sha2::{Digest, Sha256};

/// A secret as the client has it, and as we store it.
pub(crate) struct Minted {
    pub(crate) text: String,
    pub(crate) hash: [u8; 32],
}

/// A new secret of 32 random bytes. It cannot be guessed, so that a fast hash is enough.
pub(crate) fn mint() -> Minted {
    let text = URL_SAFE_NO_PAD.encode(random::<32>());
    let hash = digest(&text);
    Minted { text, hash }
}

/// How a secret that cannot be guessed is stored.
pub(crate) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
