//! Orders to hosts: who asked for what, who approved it, and what became of it.

mod approving;
mod ending;
mod listing;
mod making;
mod order;

pub(crate) use ending::drop_open;

pub use ending::Taken;
pub use listing::{OrderCounts, OrderFilter};
pub use making::NewOrder;
pub use order::{Approval, OrderState, StoredOrder};
