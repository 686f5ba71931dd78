//! What waits to be sent.

pub(crate) mod delivery;
