//! What every process of the suite needs: settings, telemetry, a clock, health, errors on the wire, start and stop.
//!
//! It knows nothing of servers and snapshots.
#![warn(missing_docs)]

pub mod allocator;
pub mod clock;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod problem;
mod process;
mod reach;
mod room;
pub mod service;
pub mod settings;
mod steps;
pub mod telemetry;
pub mod trouble;

pub use clock::Clock;
pub use health::Health;
pub use lifecycle::Running;
pub use problem::Problem;
pub use reach::reach;
pub use room::Room;
pub use settings::{Mistakes, Secret};
pub use trouble::Trouble;

/// Random bytes from the operating system, which aborts the process if it has none to give: nothing safe could go on.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        tracing::error!("the operating system gives no random bytes");
        std::process::abort();
    }
    bytes
}
