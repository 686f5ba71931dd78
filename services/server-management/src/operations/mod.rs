//! How the suite itself is.

pub(crate) mod dashboard;
pub(crate) mod dead_letters;
pub(crate) mod status;
