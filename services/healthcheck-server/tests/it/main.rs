//! The gate over HTTP: with the in-process queue and a consumer that the test drives, and between real servers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod app;
mod binary;
mod hostile;
mod packing;
mod place;
mod polls;
mod process;
mod servers;
mod taking;
mod ticks;
