//! How many dead letters there are. To count is to open a connection, so it is done beside the requests.

use std::sync::{Mutex, PoisonError};

use chassis::Trouble;
use fleet::Millis;

use crate::instruments;

/// An older figure is none.
const FRESH: Millis = 60_000;

pub(crate) struct DeadLetters {
    queue: queue::DeadLetters,
    /// The last figure, and when it was counted.
    last: Mutex<Option<(u32, Millis)>>,
    trouble: Trouble,
}

impl DeadLetters {
    pub(crate) fn new(queue: queue::DeadLetters) -> Self {
        Self { queue, last: Mutex::default(), trouble: Trouble::new("counting the dead letters") }
    }

    /// Counts; a broker that does not answer leaves the last figure to grow old.
    pub(crate) async fn count(&self, now: Millis) {
        if let Some(count) = self.trouble.watch(self.queue.count().await) {
            instruments::dead_letters(count);
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((count, now));
        }
    }

    /// The last figure, unless it is too old at `now`.
    pub(crate) fn known(&self, now: Millis) -> Option<u32> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(_, at)| now - at <= FRESH).map(|(count, _)| count)
    }
}
