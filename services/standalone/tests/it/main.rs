#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod binary;
mod install;
mod kill;
mod reports;
mod restart;
mod suite;
