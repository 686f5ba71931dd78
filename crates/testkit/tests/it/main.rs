#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dependencies;
mod proxy;
mod rooms;
mod servers;
mod setup;
