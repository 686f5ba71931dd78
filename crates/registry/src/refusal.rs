//! Why what people ask for is not done.

use fleet::Scope;

/// Why what somebody asked for is not done. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("there is no such thing")]
    NotFound,
    /// Another has this name, regardless of case.
    #[error("another one has this name")]
    NameTaken,
    /// Its version is not one of those that were expected: somebody changed it since.
    #[error("its version is not the one that was expected")]
    Stale,
    /// It was changed while the request was under way; look at it again.
    #[error("it was changed meanwhile")]
    Changed,
    /// No role has this name.
    #[error("no role has this name")]
    NoSuchRole,
    /// Nobody would be left who could let people in.
    #[error("nobody would be left who is enabled and has the role admin")]
    LastAdmin,
    /// The role is there from the first minute, and stays as it is.
    #[error("the role is built in")]
    BuiltIn,
    /// Users have the role.
    #[error("users have the role")]
    RoleInUse,
    /// It concerns more than the actor itself may do: this scope, for one.
    #[error("the actor itself lacks the scope {0}")]
    Beyond(Scope),
    /// There are as many as there may be.
    #[error("there are as many as there may be")]
    TooMany,
    /// The message is not one that failed or may have been lost.
    #[error("it neither failed nor may have been lost")]
    NotLost,
    /// The channel is gone, or disabled.
    #[error("its channel is gone or disabled")]
    NoChannel,
    /// There were as many within the last minute as there may be.
    #[error("there were as many within a minute as there may be")]
    TooOften,
    /// Who asked for an order does not approve it.
    #[error("who asked for an order does not approve it")]
    OwnOrder,
    /// The enrolment token is unknown, expired, revoked or used up, or what it brought was revoked or deleted since.
    #[error("the enrolment token is no good")]
    BadToken,
}

impl Refusal {
    /// Refuses unless `version` is one of those that the actor has seen; `None`: any will do.
    pub fn unless_expected(expected: Option<&[i64]>, version: i64) -> Result<(), Self> {
        match expected {
            Some(expected) if !expected.contains(&version) => Err(Self::Stale),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses unless `reach`, which is what an actor may do, has all of `scopes`.
    pub(crate) fn unless_within(reach: &[Scope], scopes: &[Scope]) -> Result<(), Self> {
        match scopes.iter().find(|scope| !reach.contains(scope)) {
            Some(scope) => Err(Self::Beyond(*scope)),
            None => Ok(()),
        }
    }
}
