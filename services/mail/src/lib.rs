//! Mail: takes the jobs that management published, and sends each delivery at most once.
//!
//! The delivery's row is claimed before a socket is opened, and the job is acked once the row holds the outcome. If
//! the process ends in between, the row stays claimed. After a while the delivery is `unknown`: it is shown to a
//! person and never sent again.

mod alert;
mod attempt;
mod authorities;
mod consuming;
mod escape;
mod filter;
mod instruments;
mod letter;
mod render;
mod sender;
mod service;
#[expect(missing_docs, reason = "clap makes the help of them; the rest is named by its variables")]
pub mod settings;
mod smtp;
mod summary;

use chassis::{Clock, Running};
use fleet::{AllowedDomains, MailJob, Recipient};
use queue::Consumer;
use registry::Registry;
use tokio_util::sync::CancellationToken;

pub use authorities::{Authorities, BadAuthorities};
pub use sender::Sender;
pub use service::{StartError, run};
pub use smtp::{BadSmtpUrl, SmtpUrl};

/// Mails that one process sends at once.
pub const AT_ONCE: u16 = 4;

/// What every mail has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letterhead {
    /// Who it is from.
    pub from: Recipient,
    /// Where it may go.
    pub allowed: AllowedDomains,
    /// Where people look at servers and incidents, without a slash at the end; without it there are no links.
    pub url: Option<String>,
}

/// The part that sends. Any number of them may share a queue.
pub struct Mail {
    consumer: Consumer<MailJob>,
    post: consuming::Post,
}

impl Mail {
    /// One that sends by `sender`.
    pub fn new(
        consumer: Consumer<MailJob>,
        registry: Registry,
        sender: Sender,
        letterhead: Letterhead,
        clock: Clock,
    ) -> Self {
        instruments::describe();
        Self { consumer, post: consuming::Post::new(registry, sender, letterhead, clock) }
    }

    /// Sends until every publisher is gone, or until `shutdown`. Then mails on their way have 15 s. A job that was
    /// not begun returns to the queue; a mail that was written and has no answer by then is `unknown`.
    pub fn run(self, shutdown: CancellationToken) -> Running<()> {
        let Self { consumer, post } = self;
        Box::pin(consuming::run(consumer, post, shutdown))
    }
}
