//! Servers: what people say of them, what workers saw of them, and the list of them.

pub(crate) mod enrolment;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod profile;
pub(crate) mod revocation;
pub(crate) mod server;
pub(crate) mod sighting;
