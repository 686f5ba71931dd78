//! What crosses a process boundary, by version. Shapes only grow: a field is added, never changed.
//!
//! Agents, client libraries and the suite have these types in common, so they need serde and nothing else. A type here
//! says what may be written down, not whether it makes sense: the checks are in `fleet`. Times are Unix milliseconds,
//! durations milliseconds, sizes bytes, rates bytes per second, shares percent.
#![warn(missing_docs)]

mod bounded;
pub mod bounds;
mod object;
pub mod v1;

/// A point in time, or a length of it, in milliseconds. Points count from the Unix epoch.
pub type Millis = i64;
