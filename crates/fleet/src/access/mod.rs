//! Who may do what: the credential that names a server, and the scopes of people.

mod conflict;
mod credential;
mod scope;

/// The reason for which a worker refuses the snapshots of a server that its registry never knew, since a restored backup is
/// older than the server; and the code by which a gate tells its agent.
pub const UNKNOWN_SERVER: &str = "unknown_server";

pub use conflict::{Alternation, SAME_BOOT};
pub use credential::{AgentKey, Credential, Keyring, MIN_KEY_BYTES, ShortKey, next_generation};
pub use scope::{BadScope, Scope};
