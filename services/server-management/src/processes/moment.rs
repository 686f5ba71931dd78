//! What ran at a moment.

use fleet::{
    Millis, ServerId,
    processes::{LOOK_BACK, Sampled, filled},
    wire::v1,
};
use history::Order;
use serde::Serialize;
use utoipa::ToSchema;

use super::{asked::MOST, show::texts};
use crate::{
    app::App,
    http::failure::Failure,
    servers::{LogIn, OtherProcesses, PinnedProcesses, Unit, UserProcesses},
};

/// What ran on a server at the sample nearest to the moment that was asked for. Without one within a day there are no rows,
/// and `sampled_at` is null.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = ProcessesAt)]
pub(crate) struct Moment {
    /// In Unix ms.
    sampled_at: Option<i64>,
    /// `full` or `basic`.
    level: Option<String>,
    /// Processes.
    count: u32,
    /// Those that run or could run.
    running: u32,
    /// Those that wait for a disk.
    blocked: u32,
    /// Those that used most.
    rows: Vec<Row>,
    /// What people asked to be told of.
    #[schema(value_type = Vec<PinnedProcesses>)]
    pinned: Vec<v1::Pinned>,
    /// All processes by their users.
    #[schema(value_type = Vec<UserProcesses>)]
    users: Vec<v1::UserTotal>,
    /// The host's total less the rows.
    #[schema(value_type = Option<OtherProcesses>)]
    other: Option<v1::OtherProcesses>,
    /// Who was logged in.
    #[schema(value_type = Vec<LogIn>)]
    sessions: Vec<v1::LoginSession>,
    /// Services and scopes of the init system.
    #[schema(value_type = Vec<Unit>)]
    units: Vec<v1::Unit>,
}

/// One process at a moment. What no sample told of it is null.
#[derive(Serialize, ToSchema)]
#[schema(as = ProcessAt)]
struct Row {
    pid: u32,
    /// When it started, in ms after the boot.
    start_ms: i64,
    /// Inode of its pidfd, where the kernel makes that unique.
    pin: Option<u64>,
    /// Percent of one core.
    cpu: f32,
    /// The same of its children that ended and have no row.
    children: f32,
    /// Resident memory in bytes.
    rss: u64,
    /// Its share of that memory in bytes, where it was looked at.
    pss: Option<u64>,
    /// Bytes per second from disks; with level `full`.
    read: Option<u64>,
    /// Bytes per second to disks; with level `full`.
    written: Option<u64>,
    /// Bytes per second by TCP; with level `full`.
    received: Option<u64>,
    /// Bytes per second by TCP; with level `full`.
    sent: Option<u64>,
    threads: u32,
    /// The kernel's letter: `R` runs, `S` sleeps, `D` waits for a disk, `Z` has ended.
    state: String,
    /// The name that it gives itself.
    name: Option<String>,
    ppid: Option<u32>,
    /// A name, or the number of a user without one.
    user: Option<String>,
    /// With level `full`.
    executable: Option<String>,
    /// Its command line, what looks like a secret masked; needs the scope `process:command`.
    command: Option<String>,
    unit: Option<String>,
}

impl Moment {
    pub(super) async fn of(app: &App, server: ServerId, at: Millis, commands: bool) -> Result<Self, Failure> {
        let Some(Sampled { at, processes, .. }) = nearest(app, server, at).await? else {
            return Ok(Self::default());
        };
        let v1::Processes { level, rows, .. } = *processes;
        let hashes = rows.iter().filter_map(|row| row.command.as_ref()).filter(|_| commands);
        let texts = texts(app, hashes, [at, at + 1]).await?;
        let full = level.as_deref() == Some("full");
        let rows = rows.into_iter().map(|row| {
            // Two processes may have one command line.
            let command = row.command.as_ref().and_then(|hash| texts.get(hash).cloned());
            Row::of(row, full, command)
        });
        let rows = rows.collect();
        let v1::Processes { count, running, blocked, pinned, users, other, sessions, units, .. } = *processes;
        let sampled_at = Some(at);
        Ok(Self { sampled_at, level, count, running, blocked, rows, pinned, users, other, sessions, units })
    }
}

/// The sample nearest to `at`, with who its rows are.
async fn nearest(app: &App, server: ServerId, at: Millis) -> Result<Option<Sampled>, Failure> {
    let range = [(at - MOST).max(0), at + 1];
    let mut samples = app.history.processes(server, range, Order::Latest, LOOK_BACK + 1).await?;
    let behind = samples.last().map(|sample| at - sample.at);
    if behind != Some(0) {
        let later = app.history.processes(server, [at + 1, at + MOST], Order::Earliest, 1).await?;
        samples.extend(later.into_iter().filter(|later| behind.is_none_or(|behind| later.at - at < behind)));
    }
    Ok(filled(samples))
}

impl Row {
    fn of(row: v1::Process, full: bool, command: Option<String>) -> Self {
        let v1::Process {
            pid, start_ms, pin, cpu, children, rss, pss, read, written, received, sent, ..
        } = row;
        let told = |bytes: u64| full.then_some(bytes);
        Self {
            pid,
            start_ms,
            pin,
            cpu,
            children,
            rss,
            pss: Some(pss).filter(|pss| *pss > 0),
            read: told(read),
            written: told(written),
            received: told(received),
            sent: told(sent),
            threads: row.threads.unwrap_or(1),
            state: row.state.unwrap_or_else(|| "S".to_owned()),
            name: row.name,
            ppid: row.ppid,
            user: row.user,
            executable: row.executable,
            command,
            unit: row.unit,
        }
    }
}
