//! The worker between a real queue and real stores; a test publishes as the gate does. `storing` and `faults` have all of
//! them in process, the others have the servers of a fleet.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod app;
mod faults;
mod fleet;
mod gathering;
mod orders;
mod outages;
mod poison;
mod process;
mod sharing;
mod storing;
