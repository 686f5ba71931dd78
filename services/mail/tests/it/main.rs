//! Mail between a queue, a registry and a real SMTP server that behaves as servers do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod authority;
mod post;
mod process;
mod sending;
mod server;
mod tls;
