//! Passwords: argon2id, on a thread of its own, since one hash takes tens of milliseconds.

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chassis::{Secret, random};
use tokio::task::spawn_blocking;

/// Longest password, in bytes, wherever one is given.
pub(crate) const MAX_PASSWORD_BYTES: usize = 1_024;

/// The hash that an unknown user is compared with, so that it takes the time that a known one takes. It has the
/// parameters of [`hash`], and nobody knows a password for it.
const DUMMY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The password could not be hashed: there is no memory for it.
#[derive(Debug, thiserror::Error)]
#[error("the password cannot be hashed: {0}")]
pub struct HashError(String);

/// A password that nobody can guess, of 24 characters.
pub(crate) fn generate() -> Secret {
    Secret::new(URL_SAFE_NO_PAD.encode(random::<18>()))
}

/// The PHC string of `password`.
pub(crate) async fn hash(password: String, salt: [u8; 16]) -> Result<String, HashError> {
    let hashed = spawn_blocking(move || {
        let hashed = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
        hashed.map(|phc| phc.to_string()).map_err(|error| HashError(error.to_string()))
    });
    hashed.await.map_err(|error| HashError(error.to_string()))?
}

/// Whether `password` is the one of `phc`; never for an unknown user, `None`.
pub(crate) async fn verify(password: String, phc: Option<String>) -> bool {
    let verified = spawn_blocking(move || {
        let known = phc.is_some();
        let phc = phc.as_deref().unwrap_or(DUMMY);
        Argon2::default().verify_password(password.as_bytes(), phc).is_ok() && known
    });
    verified.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn only_the_right_password_verifies() {
        let phc = hash("correct horse".to_owned(), [7; 16]).await.unwrap();
        assert!(verify("correct horse".to_owned(), Some(phc.clone())).await);
        assert!(!verify("correct horsf".to_owned(), Some(phc)).await);
        assert!(!verify("correct horse".to_owned(), None).await);
        assert!(!verify("correct horse".to_owned(), Some("garbage".to_owned())).await);
    }

    #[actix_web::test]
    async fn an_unknown_user_costs_what_a_known_one_costs() {
        let phc = hash("x".to_owned(), [7; 16]).await.unwrap();
        let parameters = |phc: &str| phc.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parameters(&phc), parameters(DUMMY));
        assert_eq!(phc.len(), DUMMY.len());
        assert!(argon2::PasswordHash::new(DUMMY).is_ok());
    }
}
