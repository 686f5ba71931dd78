#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod binary;
mod browser;
mod conflict;
mod disk;
mod documented;
mod doors;
mod ended;
#[path = "../../../../crates/sheets/tests/it/forge.rs"]
mod forge;
mod generated;
mod hostile;
mod install;
mod kept;
mod kill;
mod metrics;
mod orders;
mod processes;
mod reporting;
mod reports;
mod restart;
mod restore;
mod soak;
mod steps;
mod suite;
mod told;
mod writers;
