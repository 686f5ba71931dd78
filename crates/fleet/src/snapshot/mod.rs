//! One sample of one server, checked, and the figures of it that charts show.

mod check;
mod interval;
pub mod processes;
pub mod series;

pub use check::{Fault, MAX_TIME, Snapshot};
pub use interval::{BadInterval, Interval};
pub use series::{COUNT, Figures, Summary};
pub use wire::bounds::{MAX_CORES, MAX_DISKS, MAX_NETWORKS, MAX_SNAPSHOTS, MAX_TEMPERATURES};
