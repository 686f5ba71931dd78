//! What every domain needs to answer by HTTP: parsers of what comes in, problems, sheets, secrets. It knows no domain.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod compression;
pub(crate) mod document;
pub(crate) mod download;
pub(crate) mod failure;
pub(crate) mod instruments;
pub(crate) mod paging;
pub(crate) mod precondition;
pub(crate) mod query;
pub(crate) mod ranges;
pub(crate) mod secret;
pub(crate) mod throttle;
pub(crate) mod unchanged;

/// Before every path of the interface.
pub(crate) const PREFIX: &str = "/server-management/v1";
