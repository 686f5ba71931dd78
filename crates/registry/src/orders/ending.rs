//! How orders end: by what their host says, by their time, or with the registry that they were made in.

use std::collections::BTreeMap;

use fleet::{Millis, ServerId, id::OrderId, messages::Outcome};
use serde_json::json as told;

use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Registry, RegistryError, Tx, json, query},
};

/// How long orders are kept after they were made.
const KEPT: Millis = 90 * 86_400_000;

/// What became of results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// They are what became of their orders.
    pub counted: usize,
    /// Their orders have a result already, are not of who sent them, or were never signed.
    pub left: usize,
}

/// The first result counts, and only from the host that the order is for.
const END: &str = "UPDATE orders SET state = $3, result = $4, version = version + 1, updated_at = $5
WHERE id = $1 AND server = $2 AND signed_at IS NOT NULL AND state IN ('pending', 'cancelled', 'expired') RETURNING id";
const DUE: &str = "SELECT id FROM orders WHERE state IN ('awaiting', 'pending') AND not_after <= $1 LIMIT 1";
const EXPIRE: &str = "UPDATE orders SET state = 'expired', version = version + 1, updated_at = $1
WHERE state IN ('awaiting', 'pending') AND not_after <= $1 RETURNING id, server";
const DROP_OPEN: &str = "UPDATE orders SET state = 'cancelled', version = version + 1, updated_at = $1
WHERE state IN ('awaiting', 'pending')";
const FORGET: &str = "DELETE FROM orders WHERE id IN (SELECT id FROM orders
WHERE created_at < $1 AND state NOT IN ('awaiting', 'pending') ORDER BY created_at LIMIT 1000)";

/// Takes back every open order. Answers how many there were.
pub(crate) async fn drop_open(tx: &mut Tx<'_>, now: Millis) -> Result<u64, RegistryError> {
    tx.run(query(DROP_OPEN).bind(now)).await
}

impl Registry {
    /// Takes what hosts say of their orders; a result beats that the order was taken back, or that its time is over. Doing so
    /// again changes nothing.
    #[crate::engine::boxed]
    pub async fn end_orders(&self, outcomes: &[&Outcome], now: Millis) -> Result<Taken, RegistryError> {
        if outcomes.is_empty() {
            return Ok(Taken::default());
        }
        // By order, so that those who write at once never wait for each other in a ring.
        let mut sorted: BTreeMap<(OrderId, ServerId), &Outcome> = BTreeMap::new();
        for outcome in outcomes {
            sorted.entry((outcome.result.order(), outcome.server)).or_insert(outcome);
        }
        let system = Actor::system();
        self.write(async |tx| {
            let mut changes = Vec::new();
            for ((order, server), outcome) in &sorted {
                let result = outcome.result.as_wire();
                let end = query(END)
                    .bind(order.to_string())
                    .bind(server.to_string())
                    .bind(outcome.result.ended().as_str())
                    .bind(json(result)?)
                    .bind(now);
                if tx.any(end).await? {
                    let after = told!({"server": server, "state": result.state, "code": result.code,
                        "detail": result.detail, "dry_run": result.dry_run, "unit": result.unit});
                    changes.push(Change::new(&system, now, Action::OrderEnd, order).after(after));
                }
            }
            if !changes.is_empty() {
                audit::record(tx, &changes).await?;
            }
            Ok(Taken { counted: changes.len(), left: outcomes.len() - changes.len() })
        })
        .await
    }

    /// Ends the orders whose time is over, and answers how many there were.
    #[crate::engine::boxed]
    pub async fn expire_orders(&self, now: Millis) -> Result<usize, RegistryError> {
        // Asked every second: nobody should have to write for it.
        if !self.reader().any(query(DUE).bind(now)).await? {
            return Ok(0);
        }
        let system = Actor::system();
        self.write(async |tx| {
            let expired: Vec<(String, String)> = tx.all(query(EXPIRE).bind(now)).await?;
            let change = |(order, server): &(String, String)| {
                Change::new(&system, now, Action::OrderExpire, order).after(told!({"server": server}))
            };
            let changes: Vec<_> = expired.iter().map(change).collect();
            if !changes.is_empty() {
                audit::record(tx, &changes).await?;
            }
            Ok(changes.len())
        })
        .await
    }

    /// Forgets some orders that are too old; true: there may be more.
    #[crate::engine::boxed]
    pub async fn forget_orders(&self, now: Millis) -> Result<bool, RegistryError> {
        Ok(self.writer().run(query(FORGET).bind(now - KEPT)).await? > 0)
    }
}
