//! What crosses a process boundary, by version. Shapes only grow: a field is added, never changed.

mod bounded;
mod object;
pub mod v1;
