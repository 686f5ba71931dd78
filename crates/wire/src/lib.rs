//! What crosses a process boundary, by version. Shapes only grow: a field is added, never changed.

mod bounded;
pub mod v1;
