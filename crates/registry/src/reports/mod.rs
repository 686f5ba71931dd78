//! Reports, and the schedules that make them.

pub(crate) mod report;
pub(crate) mod schedule;
