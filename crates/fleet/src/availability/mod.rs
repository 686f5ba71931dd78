//! Whether a server is there, for how much of a time it was, and how long we remember.

pub mod hours;
pub mod liveness;
pub mod retention;
pub mod rollup;
pub mod uptime;

pub use liveness::{BadStatus, Pipeline, Progress, Status, silent_at};
