//! The agent against a gate that misbehaves in every way that one can.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod binary;
mod clocks;
mod enrolling;
mod gate;
#[cfg(target_os = "linux")]
mod hand;
#[cfg(target_os = "linux")]
mod orders;
mod outages;
mod processes;
mod refusals;
mod rig;
mod tls;
mod watch;
