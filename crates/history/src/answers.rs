//! What the store answers.

use fleet::{Millis, series::Point};

/// One record that the store will never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Position in the batch.
    pub index: usize,
    /// Why, for people.
    pub reason: String,
}

/// The ends of a server's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Start of the oldest snapshot: the least `sampled_at − covers`. A file remembers it beyond the days that are
    /// kept, as long as it knows the server; Elasticsearch tells that of the oldest snapshot that is kept.
    pub oldest_start: Millis,
    /// Newest `sampled_at`.
    pub newest: Millis,
}

/// For how much of its pieces a server is covered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Covered {
    /// So long.
    pub covered: Millis,
    /// Whether the figure is exact to the hour alone: a piece cuts an hour of which only a sum is kept.
    pub rounded: bool,
}

/// A chart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chart {
    /// In order, empty ones left out.
    pub points: Vec<Point>,
    /// Whether hours of which only rollups are kept lie in more than one bucket. Such an hour counts where it begins.
    pub rounded: bool,
}

/// What one step of [`History::roll_up`](crate::History::roll_up) did. Hours are counted for each server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RollUp {
    /// Hours that were made. None although some are left means that others were quicker.
    pub made: u64,
    /// Closed hours that are still to be made.
    pub left: u64,
}

/// What one step of packing did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packed {
    /// How many hours, counted for each server, are a block now.
    pub hours: u64,
    /// How many snapshots went into these blocks.
    pub snapshots: u64,
    /// Whether this round is not over.
    pub more: bool,
}
