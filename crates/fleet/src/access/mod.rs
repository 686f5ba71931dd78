//! Who may do what: the credential that names a server, and the scopes of people.

mod credential;
mod scope;

pub use credential::{AgentKey, Credential, Keyring, MIN_KEY_BYTES, ShortKey, next_generation};
pub use scope::{BadScope, Scope};
