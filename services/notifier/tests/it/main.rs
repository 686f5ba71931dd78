//! The notifier between a registry and stand-ins for chats and webhooks.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;
mod process;
mod rig;
mod storms;
mod telling;
