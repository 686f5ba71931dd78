//! Who used how much over a range.

use std::collections::HashMap;

use fleet::{
    Millis, ServerId,
    processes::{self, Commands, LOOK_BACK, Sort},
};
use history::Order;
use serde::Serialize;
use utoipa::ToSchema;

use super::{asked::MOST, show::texts};
use crate::{
    app::App,
    http::{failure::Failure, ranges::Range},
};

/// So much time is read at once.
const STEP: Millis = 3_600_000;
/// More samples than an agent takes in that time.
const MOST_AT_ONCE: usize = 7_200;

/// Who used how much of a server over a range.
#[derive(Serialize, ToSchema)]
#[schema(as = ProcessUsages)]
pub(crate) struct Usages {
    from: i64,
    to: i64,
    /// How many samples of the range tell of processes.
    samples: u64,
    /// The greatest first; at most 50.
    rows: Vec<Usage>,
    /// All else: what has no row here, and what no row of a sample had.
    other: Rest,
}

/// What processes of one name, user and command line used together.
#[derive(Serialize, ToSchema)]
#[schema(as = ProcessUsage)]
struct Usage {
    /// Null where no sample told it.
    name: Option<String>,
    user: Option<String>,
    /// Their command line, what looks like a secret masked; needs the scope `process:command`.
    command: Option<String>,
    /// Processor time, that of children which ended included.
    cpu_ms: u64,
    /// Most resident memory of them together in one sample, in bytes.
    rss_max: u64,
    /// Bytes from disks.
    read: u64,
    /// Bytes to disks.
    written: u64,
    /// Bytes by TCP.
    received: u64,
    /// Bytes by TCP.
    sent: u64,
    /// In how many samples one of them was among those that used most.
    samples: u64,
}

/// What is left.
#[derive(Serialize, ToSchema)]
#[schema(as = OtherUsage)]
struct Rest {
    /// Processor time.
    cpu_ms: u64,
    /// Bytes from disks.
    read: u64,
    /// Bytes to disks.
    written: u64,
    /// Bytes by TCP.
    received: u64,
    /// Bytes by TCP.
    sent: u64,
}

impl Usages {
    pub(super) async fn of(
        app: &App,
        server: ServerId,
        Range { from, to }: Range,
        sort: Sort,
        commands: bool,
    ) -> Result<Self, Failure> {
        let apart = if commands { Commands::Apart } else { Commands::Together };
        let mut usages = processes::Usages::new(from, apart);
        // Who the first rows are is told before.
        let before = [(from - MOST).max(0), from];
        let told = app.history.processes(server, before, Order::Latest, LOOK_BACK).await?;
        told.into_iter().for_each(|sample| usages.add(sample));
        let mut begin = from;
        while begin < to {
            let end = (begin + STEP).min(to);
            let some = app.history.processes(server, [begin, end], Order::Earliest, MOST_AT_ONCE).await?;
            // Others can run in between.
            tokio::task::yield_now().await;
            some.into_iter().for_each(|sample| usages.add(sample));
            begin = end;
        }
        let (rows, rest) = usages.greatest(sort);
        let texts = texts(app, rows.iter().filter_map(|row| row.command.as_ref()), [from, to]).await?;
        let samples = rest.samples;
        let rows = rows.into_iter().map(|row| Usage::of(row, &texts)).collect();
        Ok(Self { from, to, samples, rows, other: Rest::of(&rest) })
    }
}

impl Usage {
    fn of(usage: processes::Usage, texts: &HashMap<String, String>) -> Self {
        let processes::Usage { name, user, command, cpu_ms, rss_max, samples, .. } = usage;
        Self {
            name,
            user,
            command: command.and_then(|hash| texts.get(&hash).cloned()),
            cpu_ms: whole(cpu_ms),
            rss_max,
            read: whole(usage.read),
            written: whole(usage.written),
            received: whole(usage.received),
            sent: whole(usage.sent),
            samples,
        }
    }
}

impl Rest {
    fn of(usage: &processes::Usage) -> Self {
        Self {
            cpu_ms: whole(usage.cpu_ms),
            read: whole(usage.read),
            written: whole(usage.written),
            received: whole(usage.received),
            sent: whole(usage.sent),
        }
    }
}

/// The cast saturates.
fn whole(amount: f64) -> u64 {
    amount.round() as u64
}
