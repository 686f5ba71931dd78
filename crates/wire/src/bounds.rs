//! How much one report may hold. An agent cuts to these, a gate refuses what is beyond.

use crate::Millis;

/// Most snapshots in one report.
pub const MAX_SNAPSHOTS: usize = 240;
/// Most disks in one snapshot.
pub const MAX_DISKS: usize = 64;
/// Most network interfaces in one snapshot.
pub const MAX_NETWORKS: usize = 64;
/// Most cores in one snapshot.
pub const MAX_CORES: usize = 1_024;
/// Most temperatures in one snapshot.
pub const MAX_TEMPERATURES: usize = 128;
/// Most rows of processes in one snapshot.
pub const MAX_ROWS: usize = 64;
/// Most patterns of processes in one snapshot.
pub const MAX_PINNED: usize = 16;
/// Most users of processes in one snapshot.
pub const MAX_USERS: usize = 32;
/// Most log-ins in one snapshot.
pub const MAX_SESSIONS: usize = 64;
/// Most units of the init system in one snapshot.
pub const MAX_UNITS: usize = 64;
/// Most command lines in one snapshot.
pub const MAX_COMMANDS: usize = 64;
/// Longest command line, in bytes.
pub const MAX_COMMAND_BYTES: usize = 1_024;
/// Most signatures of one order.
pub const MAX_SIGNATURES: usize = 8;
/// Most orders that one bulletin brings.
pub const MAX_ORDERS: usize = 16;
/// Most results of orders in one request.
pub const MAX_RESULTS: usize = 64;
/// Most kinds of orders that a host takes.
pub const MAX_ORDER_KINDS: usize = 8;
/// Most bytes of JSON that the processes of one snapshot take.
pub const MAX_PROCESSES_BYTES: usize = 48 * 1_024;
/// Longest string of a snapshot but for command lines, in bytes.
pub const MAX_TEXT_BYTES: usize = 256;
/// Shortest time between two reports of one server.
pub const MIN_INTERVAL: Millis = 1_000;
/// Longest time between two reports of one server.
pub const MAX_INTERVAL: Millis = 3_600_000;
