//! What management has gates tell one server.

use serde::{Deserialize, Serialize};

use wire::v1::SignedOrder;

use crate::{Millis, id::OrderId};

/// What gates tell one server, as management writes it to the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The oldest first.
    #[serde(default)]
    pub orders: Vec<DueOrder>,
}

/// An order of which its host has not said anything yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueOrder {
    /// Which.
    pub id: OrderId,
    /// From then on nobody hands it out.
    pub not_after: Millis,
    /// As the host gets it.
    pub order: SignedOrder,
}
