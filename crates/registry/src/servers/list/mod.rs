//! The list of servers: what narrows it, what orders it, and how a page of it is reached.

mod condition;
mod filter;
mod listing;
mod roll;

pub(crate) use condition::push_labelled;
pub(crate) use listing::{Candidate, Listing};
pub(crate) use roll::status_of;

pub use filter::{ServerFilter, Sort, SortKey};
pub use roll::{Counts, Roll};
