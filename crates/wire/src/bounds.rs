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
/// Longest string of a snapshot, in bytes.
pub const MAX_TEXT_BYTES: usize = 256;
/// Shortest time between two reports of one server.
pub const MIN_INTERVAL: Millis = 1_000;
/// Longest time between two reports of one server.
pub const MAX_INTERVAL: Millis = 3_600_000;
