//! What every domain needs of HTTP.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod download;
pub(crate) mod failure;
pub(crate) mod instruments;
pub(crate) mod precondition;
pub(crate) mod query;
pub(crate) mod throttle;
