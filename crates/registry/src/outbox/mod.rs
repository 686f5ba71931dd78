//! What waits to be sent: each mail to one recipient, whatever it is about, until it is known what became of it.

mod delivery;

pub(crate) use delivery::{add, counts, doubt, fail, forget, hold, of, send};

pub use delivery::{Attempt, Delivery, DeliveryState};
