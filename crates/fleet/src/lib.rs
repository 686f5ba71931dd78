//! The domain of Rollcall: servers, snapshots, credentials, and the rules for status and uptime.
//!
//! Pure: no I/O, no clock, no randomness. Whoever calls passes the time and the random bytes. Times are Unix
//! milliseconds, durations milliseconds, sizes bytes, rates bytes per second, shares percent.
#![warn(missing_docs)]

pub mod credential;
pub mod id;
pub mod job;
pub mod liveness;
pub mod message;
pub mod recipient;
pub mod retention;
pub mod schedule;
pub mod scope;
pub mod series;
pub mod snapshot;
pub mod text;
pub mod uptime;
pub mod window;
pub mod wire;

pub use credential::{AgentKey, Credential, Keyring};
pub use id::ServerId;
pub use job::MailJob;
pub use liveness::{Pipeline, Status};
pub use message::{Message, Record, Tick};
pub use recipient::{AllowedDomains, Recipient};
pub use schedule::{Cron, Zone};
pub use scope::Scope;
pub use snapshot::{Fault, Interval, Snapshot};
pub use window::Window;

/// A point in time, or a length of it, in milliseconds. Points count from the Unix epoch.
pub type Millis = i64;
