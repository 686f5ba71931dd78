//! What waits to be sent: each mail of a report to one recipient, until it is known what became of it.

mod delivery;

pub(crate) use delivery::{add, doubt, fail, of, send};

pub use delivery::{Attempt, Delivery, DeliveryState};
