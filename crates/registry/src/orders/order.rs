//! An order as a row.

use fleet::{
    Millis, ServerId,
    id::{OrderId, UserId},
    wire::v1::{Order, OrderResult, Signature, SignedOrder},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::engine::{RegistryError, Tx, corrupt, count, id, query, row};

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// Somebody else has to approve it.
    Awaiting,
    /// It is signed, and its host has not said what became of it.
    Pending,
    /// The host carried it out.
    Done,
    /// The host did nothing.
    Refused,
    /// The host tried.
    Failed,
    /// The host cannot tell whether it was done.
    Unknown,
    /// Its time was over before the host said anything.
    Expired,
    /// Somebody took it back before the host said anything.
    Cancelled,
}

/// That somebody approved an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub user: UserId,
    /// Their name then.
    pub name: String,
    /// Unix ms.
    pub at: Millis,
}

/// An order, with all that was said of it. Times are Unix ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOrder {
    /// Which.
    pub id: OrderId,
    /// The host that it is for.
    pub server: ServerId,
    /// Its name when the order was made.
    pub server_name: String,
    /// How far it is.
    pub state: OrderState,
    /// What it says.
    pub content: Order,
    /// Exactly that, as it is signed, and the signatures so far: all of them once `signed_at` is there.
    pub envelope: SignedOrder,
    /// When the suite signed it.
    pub signed_at: Option<Millis>,
    /// How many others have to approve it.
    pub approvals_needed: u32,
    /// Who did.
    pub approvals: Vec<Approval>,
    /// Who asked for it.
    pub asked_by: UserId,
    /// Name of who took it back.
    pub cancelled_by: Option<String>,
    /// When it ends.
    pub not_after: Millis,
    /// What the host said.
    pub result: Option<OrderResult>,
    /// Rises with every change.
    pub version: i64,
    /// When it was made.
    pub created_at: Millis,
    /// When it was changed last.
    pub updated_at: Millis,
}

row! {
    pub(super) struct Row {
        id: String,
        server: String,
        server_name: String,
        state: String,
        content: String,
        payload: String,
        signatures: String,
        signed_at: Option<Millis>,
        approvals_needed: i64,
        approvals: String,
        asked_by: String,
        cancelled_by: Option<String>,
        not_after: Millis,
        result: Option<String>,
        version: i64,
        created_at: Millis,
        updated_at: Millis,
    }
}

pub(super) const COLUMNS: &str = "SELECT id, server, server_name, state, content, payload, signatures, signed_at,
approvals_needed, approvals, asked_by, cancelled_by, not_after, result, version, created_at, updated_at FROM orders";
const ONE: &str = "SELECT id, server, server_name, state, content, payload, signatures, signed_at, approvals_needed, approvals,
asked_by, cancelled_by, not_after, result, version, created_at, updated_at FROM orders WHERE id = $1";
/// Changes nothing, and holds the row.
const HOLD: &str = "UPDATE orders SET version = version WHERE id = $1";

/// The order, if there is one.
pub(super) async fn find(tx: &mut Tx<'_>, id: OrderId) -> Result<Option<StoredOrder>, RegistryError> {
    let row: Option<Row> = tx.maybe(query(ONE).bind(id.to_string())).await?;
    row.map(Row::order).transpose()
}

/// The order, whose row is held to the end of the transaction.
pub(super) async fn hold(tx: &mut Tx<'_>, id: OrderId) -> Result<Option<StoredOrder>, RegistryError> {
    tx.run(query(HOLD).bind(id.to_string())).await?;
    find(tx, id).await
}

impl OrderState {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Awaiting,
        Self::Pending,
        Self::Done,
        Self::Refused,
        Self::Failed,
        Self::Unknown,
        Self::Expired,
        Self::Cancelled,
    ];

    /// As stores and the interface spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Awaiting => "awaiting",
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// The one of this name.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether anything may become of it yet, but for what a host says late.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Awaiting | Self::Pending)
    }
}

impl StoredOrder {
    /// As the audit log has it.
    pub(super) fn told(&self) -> Value {
        let Order { kind, process, unit, dry_run, not_after, reason, .. } = &self.content;
        json!({
            "server": self.server, "server_name": self.server_name, "state": self.state.as_str(), "kind": kind,
            "process": process, "unit": unit, "dry_run": dry_run, "not_after": not_after, "reason": reason,
            "approvals_needed": self.approvals_needed,
            "approvals": self.approvals.iter().map(|approval| &approval.name).collect::<Vec<_>>(),
            "keys": self.envelope.signatures.iter().map(|signature| &signature.key).collect::<Vec<_>>(),
        })
    }
}

impl Row {
    pub(super) fn order(self) -> Result<StoredOrder, RegistryError> {
        let signatures: Vec<Signature> = self.read("signatures", &self.signatures)?;
        let result = self.result.as_deref().map(|result| self.read("result", result)).transpose()?;
        Ok(StoredOrder {
            id: id("orders", "id", &self.id)?,
            server: id("orders", "server", &self.server)?,
            state: OrderState::of(&self.state).ok_or_else(|| corrupt("orders", "state", &self.id))?,
            content: self.read("content", &self.content)?,
            approvals: self.read("approvals", &self.approvals)?,
            approvals_needed: count("orders", "approvals_needed", &self.id, self.approvals_needed)?,
            asked_by: id("orders", "asked_by", &self.asked_by)?,
            result,
            envelope: SignedOrder { payload: self.payload, signatures },
            server_name: self.server_name,
            signed_at: self.signed_at,
            cancelled_by: self.cancelled_by,
            not_after: self.not_after,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }

    fn read<T: DeserializeOwned>(&self, column: &'static str, text: &str) -> Result<T, RegistryError> {
        serde_json::from_str(text).map_err(|_| corrupt("orders", column, &self.id))
    }
}
