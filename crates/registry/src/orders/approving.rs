//! What people do about orders that are there: approve them, and take them back.

use fleet::{
    Millis, Scope,
    id::OrderId,
    wire::{bounds::MAX_SIGNATURES, v1::Signature},
};

use super::order::{Approval, OrderState, StoredOrder, find, hold};
use crate::{
    audit::{self, Action, Actor, Change, Who},
    engine::{Registry, RegistryError, json, query},
    refusal::Refusal,
};

const HAS_SERVER: &str = "SELECT id FROM servers WHERE id = $1";
const MAY: &str = "SELECT u.id FROM users u JOIN role_scopes p ON p.role_id = u.role_id
WHERE u.id = $1 AND u.disabled_at IS NULL AND p.scope = $2";
const APPROVE: &str =
    "UPDATE orders SET state = $2, approvals = $3, signatures = $4, signed_at = $5, version = version + 1,
updated_at = $6 WHERE id = $1 AND state = 'awaiting'";
const CANCEL: &str =
    "UPDATE orders SET state = 'cancelled', cancelled_by = $2, version = version + 1, updated_at = $3
WHERE id = $1 AND state IN ('awaiting', 'pending')";

impl Registry {
    /// Approves an order, and answers it. With the last approval that it needs it is signed: `ours` is the suite's signature.
    /// `given` is one more, by a key that the suite does not have. Who asked for it has to have the scope `asked` still.
    ///
    /// Who approved it already has done so. [`Refusal::OwnOrder`] for who asked for it; [`Refusal::Changed`] of one that does
    /// not wait for approval (any more), or whose server or asker is gone.
    #[crate::engine::boxed]
    pub async fn approve_order(
        &self,
        id: OrderId,
        given: Option<&Signature>,
        ours: &Signature,
        asked: Scope,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<StoredOrder, Refusal>, RegistryError> {
        let Who::User(user) = by.who else { return Ok(Err(Refusal::NotFound)) };
        self.change(async |tx| {
            let before = hold(tx, id).await?.ok_or(Refusal::NotFound)?;
            if before.asked_by == user {
                return Err(Refusal::OwnOrder.into());
            }
            if before.approvals.iter().any(|approval| approval.user == user) {
                return Ok(before);
            }
            let stands = tx.any(query(HAS_SERVER).bind(before.server.to_string())).await?;
            let may = query(MAY).bind(before.asked_by.to_string()).bind(asked.as_str());
            let may = stands && tx.any(may).await?;
            if before.state != OrderState::Awaiting || before.not_after <= now || !may {
                return Err(Refusal::Changed.into());
            }
            let mut approvals = before.approvals.clone();
            approvals.push(Approval { user, name: by.name.clone().unwrap_or_default(), at: now });
            let mut signatures = before.envelope.signatures.clone();
            signatures.extend(given.filter(|given| is_another(&signatures, given)).cloned());
            let complete = approvals.len() >= usize::try_from(before.approvals_needed).unwrap_or(usize::MAX);
            if complete {
                signatures.insert(0, ours.clone());
            }
            let state = if complete { OrderState::Pending } else { OrderState::Awaiting };
            let approve = query(APPROVE)
                .bind(id.to_string())
                .bind(state.as_str())
                .bind(json(&approvals)?)
                .bind(json(&signatures)?)
                .bind(complete.then_some(now))
                .bind(now);
            tx.run(approve).await?;
            let after = find(tx, id).await?.ok_or(Refusal::NotFound)?;
            let change =
                Change::new(by, now, Action::OrderApprove, id).before(before.told()).after(after.told());
            audit::record(tx, &[change]).await?;
            Ok(after)
        })
        .await
    }

    /// Takes an order back, and answers it. What the host did already, it did: its result counts all the same.
    ///
    /// One that is taken back already is; [`Refusal::Changed`] of one that has ended in another way.
    #[crate::engine::boxed]
    pub async fn cancel_order(
        &self,
        id: OrderId,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<StoredOrder, Refusal>, RegistryError> {
        self.change(async |tx| {
            let before = hold(tx, id).await?.ok_or(Refusal::NotFound)?;
            if before.state == OrderState::Cancelled {
                return Ok(before);
            }
            if !before.state.is_open() {
                return Err(Refusal::Changed.into());
            }
            tx.run(query(CANCEL).bind(id.to_string()).bind(by.name.as_deref()).bind(now)).await?;
            let after = find(tx, id).await?.ok_or(Refusal::NotFound)?;
            let change =
                Change::new(by, now, Action::OrderCancel, id).before(before.told()).after(after.told());
            audit::record(tx, &[change]).await?;
            Ok(after)
        })
        .await
    }
}

/// Room is left for the suite's own.
fn is_another(signatures: &[Signature], given: &Signature) -> bool {
    signatures.len() + 1 < MAX_SIGNATURES && signatures.iter().all(|there| there.key != given.key)
}
