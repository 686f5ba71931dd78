//! The interface over real embedded stores, by HTTP, with a clock that stands still.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authorisation;
mod enrolment;
mod first_admin;
mod hostile;
mod servers;
mod sessions;
mod snapshots;
mod status;
mod suite;
mod uptime;
