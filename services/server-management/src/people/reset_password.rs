//! The way back for who has lost the password that lets people in: whoever runs a command on the machine, with the
//! rights of the suite, sets another one.

use chassis::{Clock, Secret, random};
use fleet::Scope;
use registry::{Actor, PasswordChange, Refusal, Registry, RegistryError};

use crate::people::{
    password::{self, HashError},
    policy::{self, BadPassword},
};

/// What [`reset_password`] did.
#[derive(Debug)]
pub struct ResetPassword {
    /// As the user is called.
    pub username: String,
    /// The password that was made, to be shown this once; `None`: it was given.
    pub made: Option<Secret>,
    /// Nobody logs in as this user, whatever its password.
    pub disabled: bool,
}

/// Why a password was not reset.
#[derive(Debug, thiserror::Error)]
pub enum ResetPasswordError {
    /// No user has this name.
    #[error("there is no user {0}")]
    NoSuchUser(String),
    /// The given password cannot be one.
    #[error("the new password {0}")]
    BadPassword(#[from] BadPassword),
    /// The password cannot be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// Somebody changed the user at the same time.
    #[error("not done: {0}")]
    Refused(#[from] Refusal),
    /// The registry did not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Sets the password of the user of this name, regardless of case: the one that is `given`, or one that it makes. It
/// ends all sessions of that user and, unless `keep_api_tokens`, deletes its API tokens: whoever had the password may
/// have made some. In the audit log the suite itself did so.
///
/// # Errors
/// Nothing is changed then.
pub async fn reset_password(
    registry: &Registry,
    username: &str,
    given: Option<Secret>,
    keep_api_tokens: bool,
    clock: &Clock,
) -> Result<ResetPassword, ResetPasswordError> {
    let nobody = || ResetPasswordError::NoSuchUser(username.to_owned());
    let user = registry.user_by_name(username).await?.ok_or_else(nobody)?;
    let account = registry.account(user.id).await?.ok_or_else(nobody)?;
    if let Some(given) = &given {
        let email = account.email.as_deref().unwrap_or_default();
        policy::judge(given.expose(), &[&account.username, email])?;
    }
    let (password, made) = match given {
        Some(given) => (given, None),
        None => {
            let made = password::generate();
            (made.clone(), Some(made))
        }
    };
    let hash = password::hash(password.expose().to_owned(), random()).await?;
    let change = PasswordChange { hash: &hash, epoch: None, ends_tokens: !keep_api_tokens };
    registry.set_password(user.id, change, &Scope::ALL, &Actor::system(), clock.now()).await??;
    Ok(ResetPassword { username: account.username, made, disabled: user.disabled })
}
