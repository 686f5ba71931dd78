//! What runs on this host: the section `processes` of a sample, at level `basic`.
//!
//! It is made by a thread of its own: reading a process may take the lock of that process, and then a beat would wait for
//! as long as that likes. A section that is not there in time is left out of its sample, and told whole in the next.

#[cfg(target_os = "linux")]
mod collect;
mod fit;
#[cfg(target_os = "linux")]
mod mask;
#[cfg(target_os = "linux")]
pub(crate) mod stat;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod units;

use std::time::Duration;

pub(crate) use fit::shortened;
use tokio::sync::{mpsc, oneshot};
use wire::v1;

/// How long a sample waits for its section.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the thread may have on its stack.
#[cfg(target_os = "linux")]
const STACK: usize = 256 * 1_024;
/// The inode of the namespace of processes that the system starts with.
#[cfg(target_os = "linux")]
const FIRST_NAMESPACE: u64 = 0xEFFF_FFFC;

/// How much is told of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// All that the rights admit.
    Full,
    /// What needs no rights.
    Basic,
    /// Nothing.
    Off,
}

/// What is asked of the thread.
struct Ask {
    /// What was told before did not arrive.
    again: bool,
    answer: oneshot::Sender<Option<v1::Processes>>,
}

/// The thread that makes sections; none where nothing is told.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    asks: Option<mpsc::UnboundedSender<Ask>>,
    /// The answer that did not come in time.
    late: Option<oneshot::Receiver<Option<v1::Processes>>>,
    again: bool,
    /// Whether the log says that sections are late.
    told_late: bool,
}

/// A section that was asked for.
pub(crate) struct Awaited(Option<oneshot::Receiver<Option<v1::Processes>>>);

impl Processes {
    /// Starts the thread. `None` for the level is the default: all, unless this process sees another process table than
    /// its host's, as in a container.
    pub fn start(level: Option<Level>) -> Self {
        if level == Some(Level::Off) {
            return Self::default();
        }
        #[cfg(target_os = "linux")]
        {
            if level.is_none() && in_a_namespace() {
                tracing::info!(
                    "what runs is not told: this agent sees the processes of its container, and not those of the host. \
                     ROLLCALL_PROCESSES=basic tells of them all the same"
                );
                return Self::default();
            }
            let (asks, asked) = mpsc::unbounded_channel();
            let thread = std::thread::Builder::new().name("processes".to_owned()).stack_size(STACK);
            match thread.spawn(|| answer(asked)) {
                Ok(_) => return Self { asks: Some(asks), ..Self::default() },
                Err(error) => tracing::warn!(%error, "what runs is not told: there is no thread for it"),
            }
        }
        Self::default()
    }

    /// Asks for the section of now. While one is late there is none.
    pub fn ask(&mut self) -> Awaited {
        if let Some(late) = &mut self.late {
            match late.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return Awaited(None),
                // It is of a sample that has gone without it.
                _ => (self.late, self.again) = (None, true),
            }
        }
        let Some(asks) = &self.asks else { return Awaited(None) };
        let (answer, awaited) = oneshot::channel();
        let asked = asks.send(Ask { again: std::mem::take(&mut self.again), answer });
        Awaited(asked.ok().map(|()| awaited))
    }

    /// The section, if it is there in time: within 2 s, and within a third of the interval.
    pub async fn wait(&mut self, awaited: Awaited, interval: Duration) -> Option<Box<v1::Processes>> {
        let mut awaited = awaited.0?;
        match tokio::time::timeout(PATIENCE.min(interval / 3), &mut awaited).await {
            Ok(answer) => {
                self.told_late = false;
                answer.ok().flatten().map(Box::new)
            }
            Err(_) => {
                if !std::mem::replace(&mut self.told_late, true) {
                    tracing::warn!("what runs is left out of samples: reading it takes too long");
                }
                self.late = Some(awaited);
                None
            }
        }
    }

    /// The section was left out: the next one tells all of it again.
    pub fn lost(&mut self) {
        self.again = true;
    }
}

#[cfg(target_os = "linux")]
fn answer(mut asked: mpsc::UnboundedReceiver<Ask>) {
    let mut collector = collect::Collector::new(collect::Places::default());
    while let Some(Ask { again, answer }) = asked.blocking_recv() {
        if again {
            collector.tell_again();
        }
        let section = collector.collect().map(|section| {
            let (section, left_out) = fit::within(section);
            collector.untold(&left_out);
            section
        });
        // Whoever asked may have given up.
        drop(answer.send(section));
    }
}

/// Whether this process sees the processes of a container.
#[cfg(target_os = "linux")]
fn in_a_namespace() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() != FIRST_NAMESPACE)
}
