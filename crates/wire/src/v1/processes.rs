//! What runs on a host: the section `processes` of a snapshot.
//!
//! What is zero, one thread and the state `S` are left out, as most processes sleep.

use serde::{Deserialize, Serialize};

use crate::{
    Millis,
    bounded::lists,
    bounds::{MAX_COMMANDS, MAX_PINNED, MAX_ROWS, MAX_SESSIONS, MAX_UNITS, MAX_USERS},
    object::objects,
};

objects! { Processes Process Pinned UserTotal OtherProcesses LoginSession Unit Command }

lists! {
    rows: Process, MAX_ROWS;
    pinned: Pinned, MAX_PINNED;
    users: UserTotal, MAX_USERS;
    sessions: LoginSession, MAX_SESSIONS;
    units: Unit, MAX_UNITS;
    commands: Command, MAX_COMMANDS;
}

/// What runs on a host, since the sample before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Processes {
    /// `full`, or `basic`: without what needs rights (bytes read and written, executables, network).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Whether every row tells who it is.
    #[serde(skip_serializing_if = "is_zero")]
    pub keyframe: bool,
    /// Processes.
    pub count: u32,
    /// Those that run or could run.
    pub running: u32,
    /// Those that wait for a disk.
    pub blocked: u32,
    /// Those that use most, at most 64.
    #[serde(deserialize_with = "rows", skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Process>,
    /// What people asked to be told of, also where nothing matches; at most 16.
    #[serde(deserialize_with = "pinned", skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<Pinned>,
    /// All processes by their users, at most 32.
    #[serde(deserialize_with = "users", skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserTotal>,
    /// The host's total less the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<OtherProcesses>,
    /// Who is logged in, at most 64.
    #[serde(deserialize_with = "sessions", skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<LoginSession>,
    /// Services and scopes of the init system, at most 64.
    #[serde(deserialize_with = "units", skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<Unit>,
    /// The command lines that rows name by their hash; each when it is new and once a day. At most 64.
    #[serde(deserialize_with = "commands", skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
}

/// One process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Process {
    /// Its number, which another process may have later.
    pub pid: u32,
    /// When it started, in ms after the boot. With the number it says which process it is.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_ms: Millis,
    /// Inode of its pidfd, where the kernel makes that unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<u64>,
    /// Processor use in percent of one core.
    #[serde(skip_serializing_if = "is_zero")]
    pub cpu: f32,
    /// The same of its children that ended, as far as they had no row.
    #[serde(skip_serializing_if = "is_zero")]
    pub children: f32,
    /// Resident memory in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub rss: u64,
    /// Its share of that memory in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub pss: u64,
    /// Bytes per second read from disks.
    #[serde(skip_serializing_if = "is_zero")]
    pub read: u64,
    /// Bytes per second written to disks.
    #[serde(skip_serializing_if = "is_zero")]
    pub written: u64,
    /// Bytes per second received by TCP.
    #[serde(skip_serializing_if = "is_zero")]
    pub received: u64,
    /// Bytes per second sent by TCP.
    #[serde(skip_serializing_if = "is_zero")]
    pub sent: u64,
    /// Its threads; left out: one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// The kernel's letter for its state; left out: `S`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The name that it gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its parent's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppid: Option<u32>,
    /// Whose it is: a name, or the number of a user without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file that it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// Hash of its command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The unit of the init system that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// All processes that a pattern matches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Pinned {
    /// The pattern.
    pub pattern: String,
    /// How many match.
    pub count: u32,
    /// Processor use in percent of one core.
    #[serde(skip_serializing_if = "is_zero")]
    pub cpu: f32,
    /// Resident memory in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub rss: u64,
}

/// All processes of one user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct UserTotal {
    /// A name, or the number of a user without one.
    pub user: String,
    /// Processor use in percent of one core.
    #[serde(skip_serializing_if = "is_zero")]
    pub cpu: f32,
    /// Resident memory in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub rss: u64,
    /// How many processes.
    pub count: u32,
}

/// What the host used and no row has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct OtherProcesses {
    /// Processor use in percent of one core.
    #[serde(skip_serializing_if = "is_zero")]
    pub cpu: f32,
    /// Bytes per second read from disks.
    #[serde(skip_serializing_if = "is_zero")]
    pub read: u64,
    /// Bytes per second written to disks.
    #[serde(skip_serializing_if = "is_zero")]
    pub written: u64,
    /// Bytes per second received by TCP.
    #[serde(skip_serializing_if = "is_zero")]
    pub tcp_received: u64,
    /// Bytes per second sent by TCP.
    #[serde(skip_serializing_if = "is_zero")]
    pub tcp_sent: u64,
}

/// One log-in on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct LoginSession {
    /// Who.
    pub user: String,
    /// On which terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<String>,
    /// From which host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Millis>,
}

/// One service or scope of the init system.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Unit {
    /// Such as `nginx.service`.
    pub name: String,
    /// Whether a process of it runs.
    pub running: bool,
    /// Processor use in percent of one core, short-lived processes included.
    #[serde(skip_serializing_if = "is_zero")]
    pub cpu: f32,
    /// Memory in bytes, caches included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
}

/// A command line, secrets masked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default)]
pub struct Command {
    /// The first 12 bytes of the text's SHA-256, in base64url without padding.
    pub hash: String,
    /// The text, at most 1,024 bytes.
    pub text: String,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
