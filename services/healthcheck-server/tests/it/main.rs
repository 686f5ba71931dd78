//! The gate over HTTP, with the in-process queue and a consumer that the test drives.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod app;
mod hostile;
mod taking;
mod ticks;
