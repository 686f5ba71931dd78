//! Orders that are looked at: by people, and by whoever brings them to hosts.

use fleet::{Millis, ServerId, id::OrderId};

use super::order::{COLUMNS, OrderState, Row, StoredOrder, find};
use crate::engine::{Page, Registry, RegistryError, Statement, count, query};

/// Which orders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Of this server.
    pub server: Option<ServerId>,
    /// In this state.
    pub state: Option<OrderState>,
}

/// How many orders are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OrderCounts {
    /// Those that wait for approval.
    pub awaiting: u64,
    /// Those of which nothing has become yet.
    pub pending: u64,
}

/// Most that are brought to hosts at once; beyond that the newest wait.
const MOST: i64 = 10_000;

/// Of servers that stand.
const PENDING: &str = "SELECT o.id, o.server, o.server_name, o.state, o.content, o.payload, o.signatures, o.signed_at,
o.approvals_needed, o.approvals, o.asked_by, o.cancelled_by, o.not_after, o.result, o.version, o.created_at, o.updated_at
FROM orders o JOIN servers s ON s.id = o.server
WHERE o.state = 'pending' AND o.not_after > $1 ORDER BY o.created_at, o.id LIMIT $2";
const COUNTS: &str =
    "SELECT state, COUNT(*) FROM orders WHERE state IN ('awaiting', 'pending') GROUP BY state";

fn narrowed(statement: &mut Statement, filter: &OrderFilter) {
    let OrderFilter { server, state } = filter;
    statement.push(" WHERE true");
    if let Some(server) = server {
        statement.push(" AND server = ").bind(server.to_string());
    }
    if let Some(state) = state {
        statement.push(" AND state = ").bind(state.as_str());
    }
}

impl Registry {
    /// One page of the orders, newest first, and the total.
    #[crate::engine::boxed]
    pub async fn orders(
        &self,
        filter: &OrderFilter,
        page: Page,
    ) -> Result<(Vec<StoredOrder>, u64), RegistryError> {
        let dialect = self.dialect();
        let mut list = Statement::new(dialect);
        narrowed(list.push(COLUMNS), filter);
        list.push(" ORDER BY created_at DESC, id");
        let mut total = Statement::new(dialect);
        narrowed(total.push("SELECT COUNT(*) FROM orders"), filter);
        let (rows, total): (Vec<Row>, _) = self.page_of_some(list, total, page).await?;
        let orders = rows.into_iter().map(Row::order).collect::<Result<_, _>>()?;
        Ok((orders, count("orders", "total", "", total)?))
    }

    /// One order.
    #[crate::engine::boxed]
    pub async fn order(&self, id: OrderId) -> Result<Option<StoredOrder>, RegistryError> {
        self.read(async |tx| find(tx, id).await).await
    }

    /// Those that their hosts should have, the oldest first.
    #[crate::engine::boxed]
    pub async fn pending_orders(&self, now: Millis) -> Result<Vec<StoredOrder>, RegistryError> {
        let rows: Vec<Row> = self.reader().all(query(PENDING).bind(now).bind(MOST)).await?;
        rows.into_iter().map(Row::order).collect()
    }

    /// How many are open.
    #[crate::engine::boxed]
    pub async fn order_counts(&self) -> Result<OrderCounts, RegistryError> {
        let rows: Vec<(String, i64)> = self.reader().all(COUNTS).await?;
        let of = |state: OrderState| {
            rows.iter().find(|(of, _)| of == state.as_str()).map_or(0, |(_, count)| count.unsigned_abs())
        };
        Ok(OrderCounts { awaiting: of(OrderState::Awaiting), pending: of(OrderState::Pending) })
    }
}
