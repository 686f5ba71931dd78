//! Why what people ask for is not done.

use fleet::Scope;

/// Why a change to users, roles or tokens is refused. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such thing.
    NotFound,
    /// Another has this name, regardless of case.
    NameTaken,
    /// No role has this name.
    NoSuchRole,
    /// Nobody would be left who could let people in.
    LastAdmin,
    /// The role is there from the first minute, and stays as it is.
    BuiltIn,
    /// Users have the role.
    RoleInUse,
    /// It concerns more than the actor itself may do: this scope, for one.
    Beyond(Scope),
    /// It was changed meanwhile; look at it again.
    Changed,
}

/// The refusal if `scopes` are not all within `reach`.
pub(crate) fn beyond(scopes: &[Scope], reach: &[Scope]) -> Option<Refusal> {
    scopes.iter().find(|scope| !reach.contains(scope)).copied().map(Refusal::Beyond)
}
