//! A fleet in one process: simulated servers that report to a suite, a journal of what they were told, and the oracle
//! that compares the journal with what is stored.
//!
//! The benchmarks of the binary `bench` use it, and so do tests that kill the suite under load.
#![warn(missing_docs)]

pub mod http;
pub mod indexed;
pub mod journal;
pub mod operator;
pub mod oracle;
pub mod process;
pub mod services;
pub mod simulator;
pub mod snapshot;
pub mod stored;

pub use journal::{Entry, Journal};
pub use operator::Operator;
pub use oracle::{Verdict, judge, oracle};
pub use process::Suite;
pub use services::{Fleet, Kind, Service, Urls};
pub use simulator::{Load, Simulated, drive, enrol};
