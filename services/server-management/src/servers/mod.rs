//! Servers: how they come in, what they are, how they are.

pub(crate) mod enrolment;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod install;
pub(crate) mod labels;
pub(crate) mod outages;
pub(crate) mod server;
pub(crate) mod snapshots;
pub(crate) mod uptime;
