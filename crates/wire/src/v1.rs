//! Version 1 of what agents send, what gates answer and what the queue carries.
//!
//! Everything that the system does not tell is left out. Unknown fields are ignored, so that an older gate serves a
//! newer agent.

mod orders;
mod processes;

use serde::{Deserialize, Serialize};

pub use self::orders::{
    ORDER_CONTEXT, Order, OrderResult, ProcessTarget, Results, Signature, SignedOrder, UnitState,
};
pub use self::processes::{
    Command, LoginSession, OtherProcesses, Pinned, Process, Processes, Unit, UserTotal,
};
use crate::{
    Millis,
    bounded::lists,
    bounds::{
        MAX_CORES, MAX_DISKS, MAX_NETWORKS, MAX_ORDER_KINDS, MAX_ORDERS, MAX_SNAPSHOTS, MAX_TEMPERATURES,
    },
    object::objects,
};

objects! { Report Snapshot Host Cpu Memory Disk Network Temperature Agent }

lists! {
    cores: f32, MAX_CORES;
    disks: Disk, MAX_DISKS;
    hand: String, MAX_ORDER_KINDS;
    orders: SignedOrder, MAX_ORDERS;
    snapshots: Snapshot, MAX_SNAPSHOTS;
    networks: Network, MAX_NETWORKS;
    temperatures: Temperature, MAX_TEMPERATURES;
}

/// The version of what the queue carries. A reader refuses every other.
pub const VERSION: u32 = 1;

/// The body of `POST /healthcheck/v1/snapshots`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Report {
    /// How often this server reports.
    pub interval_ms: Millis,
    /// 1 to 240 of them.
    #[serde(deserialize_with = "snapshots")]
    pub snapshots: Vec<Snapshot>,
}

/// One sample of one server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Snapshot {
    /// The agent's clock.
    pub sampled_at: Millis,
    /// How much time before `sampled_at` this sample vouches for.
    pub covers_ms: Millis,
    /// Facts about the host; sent when they change and from time to time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// Processor use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Load averages over 1, 5 and 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<[f32; 3]>,
    /// Memory and swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Mounted file systems, at most 64.
    #[serde(default, deserialize_with = "disks", skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    /// Network interfaces, at most 64.
    #[serde(default, deserialize_with = "networks", skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// Sensors, at most 128.
    #[serde(default, deserialize_with = "temperatures", skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<Temperature>,
    /// What the agent has to say about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// What runs on the host. It stays the last member: by that it is left out of the JSON where nobody asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<Box<Processes>>,
}

/// Facts about a host, which change rarely.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Host {
    /// The name that the host gives itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Operating system and its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Kernel version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Architecture, such as `x86_64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Model of the first processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// When the host started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_at: Option<Millis>,
    /// Version of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
}

/// Processor use since the sample before, in percent of all cores.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Cpu {
    /// Everything but idle and waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<f32>,
    /// In user space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<f32>,
    /// In the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<f32>,
    /// Idle while a disk was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iowait: Option<f32>,
    /// Taken by the hypervisor for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steal: Option<f32>,
    /// Use of each core, at most 1,024.
    #[serde(default, deserialize_with = "cores", skip_serializing_if = "Vec::is_empty")]
    pub cores: Vec<f32>,
}

/// Memory and swap in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Memory {
    /// Installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Total less available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// What programs can still have without swapping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// Swap space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_total: Option<u64>,
    /// Swap in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_used: Option<u64>,
}

/// One mounted file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Disk {
    /// Where it is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// The device behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Such as `ext4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<String>,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Bytes in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Bytes per second read from the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<u64>,
    /// Bytes per second written to the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<u64>,
}

/// One network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Network {
    /// Such as `eth0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Bytes per second received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Bytes per second sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
}

/// One sensor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Temperature {
    /// Which sensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Degrees Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub celsius: Option<f32>,
}

/// What the agent reports of its own work; counters run since it was installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Agent {
    /// Gate's clock less the agent's, while it stamps by the gate's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew_ms: Option<Millis>,
    /// Snapshots that wait on its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spooled: Option<u64>,
    /// Snapshots that the spool's bounds cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
    /// Snapshots that a gate will never take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<u64>,
    /// Disks, interfaces, cores, sensors and texts cut to the bounds of this interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// Whether it tells somebody itself when no gate answers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reporter: bool,
    /// The id that the kernel gave this boot; told by agents whose host takes orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Kinds of orders that the host's owner allows, such as `process.kill`; at most 8.
    #[serde(default, deserialize_with = "hand", skip_serializing_if = "Vec::is_empty")]
    pub hand: Vec<String>,
}

/// The body of 202.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// How many snapshots were stored or queued.
    pub accepted: usize,
    /// What the suite has to tell this agent.
    pub bulletin: Bulletin,
}

/// The part of an answer that tells this one agent something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulletin {
    /// The gate's clock.
    pub now: Millis,
    /// The credential to use from now on, while a key is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Present while this agent is the one that tells when no gate answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
    /// Orders without a result, at most 16.
    #[serde(default, deserialize_with = "orders", skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<SignedOrder>,
}

/// That an agent is the one that tells when no gate answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// For how long, counted from when the request was sent that this answers.
    pub lease_ms: Millis,
}

/// Why one snapshot of a request was refused; nothing of that request was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Position in the request, from 0.
    pub index: usize,
    /// `invalid_snapshot`, `clock_ahead` or `too_old`.
    pub code: String,
    /// What is wrong, for people.
    pub reason: String,
}

/// What an agent needs of a gate's problem+json.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateProblem {
    /// Stable code.
    #[serde(default)]
    pub code: String,
    /// What happened, for people.
    #[serde(default)]
    pub detail: Option<String>,
    /// The gate's clock; absent when something before the gate answered.
    #[serde(default)]
    pub now: Option<Millis>,
    /// Which snapshots are at fault; empty when the request as a whole is.
    #[serde(default)]
    pub refused: Vec<Refusal>,
}

/// What the queue carries from the gates to the workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Message {
    /// What agents sent.
    Snapshots {
        /// [`VERSION`].
        version: u32,
        /// In the order of arrival.
        records: Vec<Record>,
    },
    /// That a gate is open.
    Tick {
        /// [`VERSION`].
        version: u32,
        /// Which gate.
        gate: String,
        /// The gate's clock.
        at: Millis,
        /// Since when its ticks were confirmed without a gap.
        open_since: Millis,
    },
    /// What became of orders on their hosts. A release before this one does not know the kind, and refuses it.
    Results {
        /// [`VERSION`].
        version: u32,
        /// In the order of arrival.
        results: Vec<ResultRecord>,
    },
}

/// What became of one order, and what the gate knows about who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultRecord {
    /// Who sent it, by its credential.
    pub server_id: String,
    /// Generation of that credential.
    pub generation: u32,
    /// The gate's clock at arrival.
    pub received_at: Millis,
    /// What it sent, cleaned.
    pub result: OrderResult,
}

/// A snapshot and what the gate knows about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Who sent it, by its credential.
    pub server_id: String,
    /// Generation of that credential.
    pub generation: u32,
    /// The gate's clock at arrival.
    pub received_at: Millis,
    /// How often this server reports.
    pub interval_ms: Millis,
    /// What it sent, cleaned.
    pub snapshot: Snapshot,
}

/// What management hands to mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailJob {
    /// [`VERSION`].
    pub version: u32,
    /// Which delivery; the registry has the rest.
    pub delivery_id: String,
    /// What it is about; absent from jobs of before this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<MailSubject>,
}

/// What a mail is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailSubject {
    /// `report`, or what a later release sends.
    pub kind: String,
    /// Which of this kind.
    pub id: String,
}
