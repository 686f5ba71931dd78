//! What runs on a host: the bounds of what is sent of it, and what readers make of several samples.

mod check;
mod reading;
mod usage;

pub(super) use check::{check, weight};
pub use check::{hash, without};
pub use reading::{LOOK_BACK, Sampled, filled};
pub use usage::{Commands, MAX_USAGES, Sort, Usage, Usages};
