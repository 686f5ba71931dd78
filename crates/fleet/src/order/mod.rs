//! Orders to hosts: what they may ask for, and how they are signed. What a host does about one is the agent's.
//!
//! An order travels as an *envelope*: its exact bytes, and signatures over them. Whoever checks it verifies these bytes first,
//! and reads them only then. Nothing here signs or verifies by itself: keys belong to whoever calls.

mod check;
mod envelope;
mod kind;

pub use check::{Invalid, MAX_AHEAD, Order, Unit, Wish};
pub use envelope::{
    KeyName, MAX_PAYLOAD, MAX_SIGNATURE_BYTES, check_signature, id_of, open, seal, sign, signers,
};
pub use kind::Kind;
