//! What is sent to people.

pub(crate) mod background;
pub(crate) mod report;
pub(crate) mod schedule;
