//! The domain of Rollcall: servers, snapshots, credentials, and the rules for status and uptime.
//!
//! Pure: no I/O, no clock, no randomness. Whoever calls passes the time and the random bytes. Times are Unix
//! milliseconds, durations milliseconds, sizes bytes, rates bytes per second, shares percent.
//!
//! `id` and `text` are the ground, and know no domain. Each folder is a domain; of another domain it uses only what
//! that one's `mod.rs` offers. Everything here is read from the types of [`wire`] and written as them.
#![warn(missing_docs)]

pub mod access;
pub mod alert;
pub mod availability;
pub mod calendar;
pub mod id;
pub mod messages;
pub mod order;
pub mod snapshot;
pub mod text;
pub mod words;

pub use access::{AgentKey, Credential, Keyring, Scope};
pub use availability::{Pipeline, Status, hours, liveness, retention, rollup, uptime};
pub use calendar::{Cron, Window, Zone, schedule};
pub use id::ServerId;
pub use messages::{AllowedDomains, MailJob, Message, Outcome, Recipient, Record, Subject, Tick};
pub use snapshot::{Fault, Interval, Snapshot, processes, series};
pub use wire::{self, Millis};
