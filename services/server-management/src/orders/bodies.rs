//! What people send about orders.

use fleet::wire::v1::{ProcessTarget, Signature};
use serde::Deserialize;
use utoipa::ToSchema;

/// An order to make.
#[derive(Deserialize, ToSchema)]
#[schema(as = MakeOrder, example = json!({"kind": "process.terminate", "reason": "it fills the disk",
    "process": {"pid": 4711, "start_ms": 86400120}}))]
pub(crate) struct OrderToMake {
    /// `process.terminate` and `process.kill` need the scope `process:signal`, `unit.…` need `unit:control`.
    #[schema(pattern = "^(process\\.(terminate|kill)|unit\\.(start|stop|restart))$")]
    pub(super) kind: String,
    /// Which process, for `process.…`, as a sample told of it.
    pub(super) process: Option<ProcessToSignal>,
    /// Which unit, for `unit.…`: its full name.
    #[schema(max_length = 255, example = "shop.service")]
    pub(super) unit: Option<String>,
    /// Whether the host checks everything and does nothing.
    #[serde(default)]
    pub(super) dry_run: bool,
    /// For who approves it, the audit log, and the host's journal.
    #[schema(min_length = 1, max_length = 256, example = "it fills the disk")]
    pub(super) reason: String,
    /// When it ends, in Unix ms: in 5 minutes unless set, at most in 24 hours.
    pub(super) not_after: Option<i64>,
}

/// One process of the host's present boot.
#[derive(Deserialize, ToSchema)]
#[schema(as = ProcessToSignal)]
pub(crate) struct ProcessToSignal {
    #[schema(minimum = 1)]
    pid: u32,
    /// When it started, in ms after the boot.
    #[schema(minimum = 0)]
    start_ms: u64,
    /// Inode of its pidfd, where the sample told it: then no other process can be meant.
    pin: Option<u64>,
    /// The file that it runs, where the sample told it.
    #[schema(max_length = 256)]
    executable: Option<String>,
}

/// An approval.
#[derive(Deserialize, ToSchema)]
#[schema(as = ApproveOrder)]
pub(crate) struct Approve {
    /// Of a host whose `hand.conf` needs two signatures: the second one, made by `rollcall-agent sign`.
    pub(super) signature: Option<SignatureGiven>,
}

/// A signature by a key that the suite does not have.
#[derive(Deserialize, ToSchema)]
#[schema(as = OrderSignature)]
pub(crate) struct SignatureGiven {
    /// The name of the key in the host's `hand.conf`.
    #[schema(min_length = 1, max_length = 64)]
    key: String,
    /// Ed25519 over the order's payload, in base64url.
    #[schema(min_length = 86, max_length = 86)]
    sig: String,
}

impl From<ProcessToSignal> for ProcessTarget {
    fn from(process: ProcessToSignal) -> Self {
        let ProcessToSignal { pid, start_ms, pin, executable } = process;
        Self { pid, start_ms, pin, executable }
    }
}

impl From<SignatureGiven> for Signature {
    fn from(given: SignatureGiven) -> Self {
        let SignatureGiven { key, sig } = given;
        Self { key, sig }
    }
}
