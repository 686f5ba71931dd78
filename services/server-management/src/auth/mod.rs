//! Who may do what. [`guard`] is the only way to a handler; the other modules are what it and the log-in need.

pub(crate) mod client;
pub(crate) mod guard;
pub(crate) mod password;
pub(crate) mod policy;
pub(crate) mod throttle;
pub(crate) mod token;
