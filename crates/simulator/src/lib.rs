//! A fleet in one process: simulated servers that report to a suite, a journal of what they were told, and the oracle
//! that compares the journal with what is stored. And the suite itself, as processes that can be killed, stopped and woken.
//!
//! Tests that break the suite under load use it (`tests/it/faults` above all), and so does `bench`:
//!
//! ```ignore
//! let suite = Suite::start(binary, data, free_address()?).await?;
//! let mut servers = enrol(&suite.url, &suite.admin_password()?, 50).await?;
//! let load = Load { connections: 16, lasting: Duration::from_secs(20), ..Load::default() };
//! let journal = drive(&[&suite.url], &mut servers, &load, &stop).await?; // survives what breaks meanwhile
//! let found = oracle(&journal, &suite.history_db()).await?;
//! assert!(found.clean(), "{found}");
//! ```
#![warn(missing_docs)]

pub mod http;
pub mod indexed;
pub mod journal;
pub mod operator;
pub mod oracle;
pub mod process;
pub mod services;
pub mod simulated;
pub mod snapshot;
pub mod stored;

pub use journal::{Entry, Journal};
pub use operator::Operator;
pub use oracle::{Reconciliation, oracle, reconcile};
pub use process::Suite;
pub use services::{Fleet, Kind, Service, Urls};
pub use simulated::{Load, Simulated, drive, enrol};
