//! The agent: samples this host, keeps each sample on disk until the suite has it, and sends it.
//!
//! ```text
//! sample ─▶ spool (on disk) ─▶ gate ─▶ class of the answer ─▶ state (highest) ─▶ out of the spool
//! ```
//!
//! Each sample is sent at once. What could not be sent is sent again while the next sample is not due, the newest
//! first: this is back-fill. All of it happens on one thread, one thing after the other, so nothing changes the spool
//! while an answer is awaited. [`run`] blocks that thread for a few milliseconds a sample (files, fsync): give it a
//! runtime of its own. What runs on the host is read by a thread beside it, which no sample waits for longer than 2 s. Orders
//! are waited for and handed on by tasks beside it, which no sample waits for at all.
#![warn(missing_docs)]

mod agent;
mod answer;
mod aside;
mod backoff;
mod clock;
mod covers;
mod credential;
mod enrol;
mod files;
mod gate;
#[cfg(target_os = "linux")]
pub mod hand;
mod health;
mod orders;
mod processes;
mod reach;
mod sample;
mod settings;
mod settle;
mod spool;
mod state;
mod watch;

use std::{io, path::PathBuf, time::Duration};

pub use agent::run;
pub use clock::Clock;
pub use health::{Unhealthy, healthcheck, is_enrolled};
pub use processes::Level;
pub use settings::{Args, BadSettings, HandPlace, HandSettings, Secret, Settings, Token, state_dir};
pub use watch::WatchChannel;

/// How long what is in hand may take after a shutdown was asked for.
const GRACE: Duration = Duration::from_secs(2);

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its folder cannot be used.
    #[error("cannot use the state folder {}: {source}; make it writable for this user, or set ROLLCALL_STATE_DIR", dir.display())]
    StateDir {
        /// Which one.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent uses the folder.
    #[error("another agent runs on {}: stop it, or set ROLLCALL_STATE_DIR to another folder", .0.display())]
    Locked(PathBuf),
    /// There is neither a credential nor a token.
    #[error(
        "this agent is not enrolled: make a token in the suite and set ROLLCALL_TOKEN_FILE or ROLLCALL_TOKEN"
    )]
    NoToken,
    /// There is no credential, and the token's file cannot be read.
    #[error("this agent is not enrolled, and its token in {} cannot be read: {source}; put a token there", path.display())]
    TokenFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTPS client: {0}; are the system's CA certificates installed?")]
    Client(reqwest::Error),
}

/// Random bits. A system that has none left gives zeros: jitter and keys are then worse, and nothing stops.
fn random() -> u32 {
    getrandom::u32().unwrap_or(0)
}
