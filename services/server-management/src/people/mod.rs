//! Who may do what. [`guard`] is the only way to a handler; the other modules are what it and the log-in need.

pub(crate) mod access_tokens;
pub(crate) mod api_tokens;
pub(crate) mod audit;
pub(crate) mod first_admin;
pub(crate) mod guard;
pub(crate) mod password;
pub(crate) mod policy;
pub(crate) mod roles;
pub(crate) mod sessions;
pub(crate) mod users;
