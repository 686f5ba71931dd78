//! Users, their roles, and by what they prove who they are: sessions and API tokens.

pub(crate) mod account;
pub(crate) mod api_token;
pub(crate) mod login;
pub(crate) mod role;
pub(crate) mod session;
