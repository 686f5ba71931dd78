//! The worker between a real queue and real stores, all in process; a test publishes as the gate does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod app;
mod faults;
mod storing;
