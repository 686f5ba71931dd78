//! The agent against a gate that misbehaves in every way that one can.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod binary;
mod clocks;
mod enrolling;
mod gate;
mod outages;
mod processes;
mod refusals;
mod rig;
mod tls;
mod watch;
