//! How many dead letters there are. Counting opens a connection to the broker, so it is done in the background, and
//! requests are answered with the last figures.

use std::sync::{Mutex, PoisonError};

use chassis::Trouble;
use fleet::Millis;
use metrics::{Unit, describe_gauge, gauge};

const GAUGE: &str = "rollcall_management_dead_letters";

/// Figures that are older are not told any more.
const FRESH: Millis = 60_000;

/// Where dead letters are.
#[derive(Debug, Clone)]
pub struct DeadLetterQueues {
    /// Of snapshots: what no worker can read, or no store takes.
    pub snapshots: queue::DeadLetters,
    /// Of mail: what is no job.
    pub mail: queue::DeadLetters,
}

/// How many there are of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dead {
    pub(crate) snapshots: u32,
    pub(crate) mail: u32,
}

pub(crate) struct DeadLetters {
    queues: DeadLetterQueues,
    /// The last figures, and when they were counted.
    last: Mutex<Option<(Dead, Millis)>>,
    trouble: Trouble,
}

/// Describes what `/metrics` tells of them.
pub(super) fn describe() {
    describe_gauge!(GAUGE, Unit::Count, "Dead letters that waited when they were last counted, by queue");
}

impl DeadLetters {
    pub(crate) fn new(queues: DeadLetterQueues) -> Self {
        Self { queues, last: Mutex::default(), trouble: Trouble::new("counting the dead letters") }
    }

    /// Counts; a broker that does not answer leaves the last figures to grow old.
    pub(crate) async fn count(&self, now: Millis) {
        let counted = tokio::try_join!(self.queues.snapshots.count(), self.queues.mail.count());
        if let Some((snapshots, mail)) = self.trouble.watch(counted) {
            gauge!(GAUGE, "queue" => "snapshots").set(f64::from(snapshots));
            gauge!(GAUGE, "queue" => "mail").set(f64::from(mail));
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Dead { snapshots, mail }, now));
        }
    }

    /// The last figures, unless they are too old at `now`.
    pub(crate) fn known(&self, now: Millis) -> Option<Dead> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(_, at)| now - at <= FRESH).map(|(dead, _)| dead)
    }
}
