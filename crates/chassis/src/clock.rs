//! The one place that reads the time of day.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// What time it is, in Unix milliseconds. Clones of a fixed clock share its time.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The system's.
    System,
    /// One that stands still until it is told.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::System
    }

    /// A clock that stands at `at`.
    pub fn fixed(at: i64) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(at)))
    }

    /// Unix milliseconds.
    pub fn now(&self) -> i64 {
        match self {
            Self::System => system_now(),
            Self::Fixed(at) => at.load(Ordering::SeqCst),
        }
    }

    /// Puts a fixed clock to `at`; the system's clock does not listen.
    pub fn set(&self, at: i64) {
        if let Self::Fixed(time) = self {
            time.store(at, Ordering::SeqCst);
        }
    }

    /// Moves a fixed clock by `by` milliseconds; the system's clock does not listen.
    pub fn advance(&self, by: i64) {
        if let Self::Fixed(time) = self {
            time.fetch_add(by, Ordering::SeqCst);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place")]
fn system_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
