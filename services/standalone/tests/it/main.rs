#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod binary;
mod disk;
mod documented;
mod doors;
#[path = "../../../../crates/sheets/tests/it/forge.rs"]
mod forge;
mod hostile;
mod install;
mod kill;
mod metrics;
mod reports;
mod restart;
mod restore;
mod steps;
mod suite;
mod writers;
