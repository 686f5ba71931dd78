//! How often a server reports.

use serde::{Deserialize, Serialize};
use wire::bounds::{MAX_INTERVAL, MIN_INTERVAL};

use crate::Millis;

/// How often a server reports: 1 s to 1 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Millis", into = "Millis")]
pub struct Interval(Millis);

/// An interval out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interval_ms must be {MIN_INTERVAL} to {MAX_INTERVAL}")]
pub struct BadInterval;

impl Interval {
    /// The shortest there is.
    pub const MIN: Self = Self(MIN_INTERVAL);
    /// 30 s, unless set.
    pub const DEFAULT: Self = Self(30_000);

    /// In milliseconds.
    pub const fn millis(self) -> Millis {
        self.0
    }
}

impl TryFrom<Millis> for Interval {
    type Error = BadInterval;

    fn try_from(millis: Millis) -> Result<Self, BadInterval> {
        if (MIN_INTERVAL..=MAX_INTERVAL).contains(&millis) { Ok(Self(millis)) } else { Err(BadInterval) }
    }
}

impl From<Interval> for Millis {
    fn from(interval: Interval) -> Self {
        interval.0
    }
}
