//! How orders come in.

use fleet::{
    Millis, ServerId,
    id::OrderId,
    wire::v1::{Order, SignedOrder},
};

use super::order::{OrderState, StoredOrder, find};
use crate::{
    audit::{self, Action, Actor, Change, Who},
    engine::{Registry, RegistryError, json, query},
    refusal::Refusal,
    servers,
};

/// Most that may be asked for.
const MOST_APPROVALS: u32 = 9;
/// Most orders of one user within a minute.
const MOST_A_MINUTE: i64 = 10;
const MINUTE: Millis = 60_000;
/// Most open orders of a server: as many as a bulletin has.
const MOST_OPEN: i64 = 16;

/// An order to make.
#[derive(Debug, Clone)]
pub struct NewOrder {
    /// Which.
    pub id: OrderId,
    /// The host that it is for.
    pub server: ServerId,
    /// What it says.
    pub content: Order,
    /// Exactly that, with the suite's signature.
    pub envelope: SignedOrder,
}

/// Changes nothing, and holds the row: two requests of one user are counted one after the other.
const HOLD_USER: &str = "UPDATE users SET epoch = epoch WHERE id = $1 AND disabled_at IS NULL RETURNING id";
const LATELY: &str = "SELECT COUNT(*) FROM orders WHERE asked_by = $1 AND created_at > $2";
const OPEN: &str =
    "SELECT COUNT(*) FROM orders WHERE server = $1 AND state IN ('awaiting', 'pending') AND not_after > $2";
const ADD: &str =
    "INSERT INTO orders (id, server, server_name, state, content, payload, signatures, signed_at, approvals_needed,
approvals, asked_by, not_after, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '[]', $10, $11, 1, $12, $12)";

impl Registry {
    /// Makes an order, and answers it: `pending` and signed, or `awaiting` and not where the server's label asks for approvals.
    ///
    /// [`Refusal::NotFound`] without its server, [`Refusal::TooOften`] for who made ten within a minute, and
    /// [`Refusal::TooMany`] where sixteen are open already.
    #[crate::engine::boxed]
    pub async fn make_order(
        &self,
        new: &NewOrder,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<StoredOrder, Refusal>, RegistryError> {
        let Who::User(user) = by.who else { return Ok(Err(Refusal::NotFound)) };
        let NewOrder { id, server, content, envelope } = new;
        let server_key = server.to_string();
        self.change(async |tx| {
            let held = servers::hold(tx, &server_key).await?;
            if !tx.any(query(HOLD_USER).bind(user.to_string())).await? {
                return Err(Refusal::NotFound.into());
            }
            let lately = query(LATELY).bind(user.to_string()).bind(now - MINUTE);
            if tx.one::<(i64,)>(lately).await?.0 >= MOST_A_MINUTE {
                return Err(Refusal::TooOften.into());
            }
            if tx.one::<(i64,)>(query(OPEN).bind(&server_key).bind(now)).await?.0 >= MOST_OPEN {
                return Err(Refusal::TooMany.into());
            }
            let needed = approvals_needed(held.labels.get(servers::APPROVALS).map(String::as_str));
            let (state, signatures, signed_at) = match needed {
                0 => (OrderState::Pending, json(&envelope.signatures)?, Some(now)),
                _ => (OrderState::Awaiting, "[]".to_owned(), None),
            };
            let add = query(ADD)
                .bind(id.to_string())
                .bind(&server_key)
                .bind(&held.name)
                .bind(state.as_str())
                .bind(json(content)?)
                .bind(&envelope.payload)
                .bind(signatures)
                .bind(signed_at)
                .bind(i64::from(needed))
                .bind(user.to_string())
                .bind(content.not_after)
                .bind(now);
            tx.run(add).await?;
            let made = find(tx, *id).await?.ok_or(Refusal::NotFound)?;
            let change = Change::new(by, now, Action::OrderCreate, id).after(made.told());
            audit::record(tx, &[change]).await?;
            Ok(made)
        })
        .await
    }
}

/// What is no number was meant to ask for approval.
fn approvals_needed(label: Option<&str>) -> u32 {
    label.map_or(0, |label| label.trim().parse().unwrap_or(1).min(MOST_APPROVALS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_no_number_asks_for_one_approval() {
        for (label, needed) in [(None, 0), (Some("0"), 0), (Some("1"), 1), (Some(" 2 "), 2), (Some("99"), 9)]
        {
            assert_eq!(approvals_needed(label), needed, "{label:?}");
        }
        for label in ["", "yes", "-1", "1.5", "99999999999"] {
            assert_eq!(approvals_needed(Some(label)), 1, "{label}");
        }
    }
}
