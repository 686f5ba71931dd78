//! Users, roles, sessions and API tokens.

pub mod account;
pub mod session;
