//! The notifier: tells alerts in chats and to webhooks. It asks the registry what there is to tell, and not the broker: that
//! the broker is down has to get out.
//!
//! Any number of them share the work. Messages are claimed before a socket is opened, and settled once it is known what became
//! of them. If the process ends in between, they stay claimed; after a minute they are `unknown`: shown to a person, and never
//! sent again by themselves.

mod heartbeat;
mod instruments;
mod sender;
mod sending;
mod service;
#[expect(missing_docs, reason = "clap makes the help of them; the rest is named by its variables")]
pub mod settings;

use chassis::{Clock, Running};
use fleet::alert::seal::ChannelKeys;
use registry::Registry;
use tokio_util::sync::CancellationToken;

pub use heartbeat::{BadHeartbeatUrl, HeartbeatUrl};
pub use sender::{BadAuthorities, Sender};
pub use service::{StartError, run};

/// What every notifier needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Open the secrets of channels.
    pub keys: ChannelKeys,
    /// Where people look at incidents, without a slash at the end; without it messages have no links.
    pub url: Option<String>,
    /// What is called every minute while all is well; whoever is called tells somebody when it is not.
    pub heartbeat: Option<HeartbeatUrl>,
    /// All times are so many times shorter. 1, but for tests.
    pub scale: u32,
}

/// The part that tells. Any number of them may share a registry.
pub struct Notifier(sending::Post);

impl Notifier {
    /// One that sends by `sender`.
    pub fn new(registry: Registry, sender: Sender, settings: Settings, clock: Clock) -> Self {
        instruments::describe();
        Self(sending::Post::new(registry, sender, settings, clock))
    }

    /// Sends until `shutdown`. Then messages on their way have their time to end.
    pub fn run(self, shutdown: CancellationToken) -> Running<()> {
        Box::pin(sending::run(self.0, shutdown))
    }
}
