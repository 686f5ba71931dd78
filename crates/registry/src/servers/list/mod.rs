//! The list of servers: what narrows it, what orders it, and how a page of it is reached.

pub(crate) mod condition;
pub(crate) mod filter;
pub(crate) mod listing;
pub(crate) mod roll;
