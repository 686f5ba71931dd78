//! What goes through the queues, and whom mail may reach.

mod job;
mod message;
mod notice;
mod outcome;
mod recipient;

pub use job::{BadJob, MailJob, Subject};
pub use message::{BadMessage, Message, Record, Tick};
pub use notice::{DueOrder, Notice};
pub use outcome::{Ended, HostResult, Outcome};
pub use recipient::{AllowedDomains, BadDomains, BadRecipient, Recipient};
