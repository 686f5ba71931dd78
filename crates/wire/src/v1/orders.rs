//! Orders to hosts: how they are signed and sent, and what a host tells of them.

use serde::{Deserialize, Serialize};

use crate::{
    Millis,
    bounded::lists,
    bounds::{MAX_RESULTS, MAX_SIGNATURES},
    object::objects,
};

objects! { SignedOrder Signature Order ProcessTarget Results OrderResult UnitState }

lists! {
    signatures: Signature, MAX_SIGNATURES;
    results: OrderResult, MAX_RESULTS;
}

/// What is signed before the bytes of a payload, so that no signature of an order is one of anything else.
pub const ORDER_CONTEXT: &[u8] = b"rollcall order v1\n";

/// An order as it travels. The signatures are over [`ORDER_CONTEXT`] and exactly these bytes, so nobody writes them anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct SignedOrder {
    /// An [`Order`] as JSON, in base64url without padding; at most 2,048 bytes before that.
    pub payload: String,
    /// At most 8.
    #[serde(deserialize_with = "signatures")]
    pub signatures: Vec<Signature>,
}

/// A signature by one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Signature {
    /// The name that the host's `hand.conf` gives the key.
    pub key: String,
    /// Ed25519 (RFC 8032), in base64url without padding.
    pub sig: String,
}

/// A wish to act on one host, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Order {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// Its id.
    pub order: String,
    /// The server that it is for.
    pub server: String,
    /// The boot that it is for, as [`Agent::boot`](super::Agent::boot) told it.
    pub boot: String,
    /// `process.terminate`, `process.kill`, `unit.start`, `unit.stop` or `unit.restart`.
    pub kind: String,
    /// Which process, for `process.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessTarget>,
    /// Which unit, for `unit.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Whether all is checked and nothing is done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// When it ends; the clocks of the host and of the gate must both be before.
    pub not_after: Millis,
    /// Who asks, for the host's journal.
    pub by: String,
    /// Why, for the host's journal.
    pub reason: String,
}

/// One process of one boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct ProcessTarget {
    /// Its number.
    pub pid: u32,
    /// When it began, in ms after the boot.
    pub start_ms: u64,
    /// The inode of its pidfd, where the kernel makes it unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<u64>,
    /// The file that it runs, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
}

/// The body of `POST /healthcheck/v1/results`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Results {
    /// 1 to 64 of them.
    #[serde(deserialize_with = "results")]
    pub results: Vec<OrderResult>,
}

/// What became of an order on its host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct OrderResult {
    /// Which order.
    pub order: String,
    /// `done`, `refused`, `failed` or `unknown`.
    pub state: String,
    /// Why it is not `done`: `bad_signature`, `too_few_signatures`, `wrong_server`, `wrong_boot`, `expired`, `host_clock`,
    /// `rate`, `no_journal`, `gone`, `mismatch`, `not_allowed`, `denied`, `still_running`, `no_hand` or `invalid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What happened, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The host's clock when it was decided.
    pub at: Millis,
    /// Whether it was a trial.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// With `host_clock`: the host's clock less the gate's, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ahead_ms: Option<Millis>,
    /// With `unit.*`: the unit afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitState>,
}

/// A unit as `systemctl show` tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct UnitState {
    /// `ActiveState`, such as `active`.
    pub active: String,
    /// `SubState`, such as `running`.
    pub sub: String,
    /// `Result`, such as `success`.
    pub result: String,
    /// `MainPID`; 0 where none runs.
    pub main_pid: u32,
}
