//! What runs on a host, as agents send it: described like [`measured`](super::measured), and held against the same file.
#![expect(dead_code, reason = "the document alone tells of it")]

use utoipa::ToSchema;

/// What runs on a host. What is zero, one thread and the state `S` are left out.
#[derive(ToSchema)]
pub(crate) struct Processes {
    /// `full`, or `basic`: without bytes read and written, executables and network, which need rights on the host.
    #[schema(nullable = false, example = "basic")]
    level: Option<String>,
    /// Whether every row tells who it is.
    #[schema(nullable = false)]
    keyframe: Option<bool>,
    /// Processes.
    count: Option<u32>,
    /// Those that run or could run.
    running: Option<u32>,
    /// Those that wait for a disk.
    blocked: Option<u32>,
    /// Those that use most.
    #[schema(nullable = false, max_items = 64)]
    rows: Option<Vec<Process>>,
    /// What people asked to be told of.
    #[schema(nullable = false, max_items = 16)]
    pinned: Option<Vec<PinnedProcesses>>,
    /// All processes by their users.
    #[schema(nullable = false, max_items = 32)]
    users: Option<Vec<UserProcesses>>,
    /// The host's total less the rows.
    #[schema(nullable = false)]
    other: Option<OtherProcesses>,
    /// Who is logged in.
    #[schema(nullable = false, max_items = 64)]
    sessions: Option<Vec<LogIn>>,
    /// Services and scopes of the init system.
    #[schema(nullable = false, max_items = 64)]
    units: Option<Vec<Unit>>,
    /// Command lines that rows name by their hash: each when it is new, and once a day.
    #[schema(nullable = false, max_items = 64)]
    commands: Option<Vec<CommandLine>>,
}

/// One process. Who it is (`name`, `ppid`, `user`, `executable`, `command`, `unit`) goes with its first row, and with each
/// twentieth sample.
#[derive(ToSchema)]
pub(crate) struct Process {
    pid: Option<u32>,
    /// When it started, in ms after the boot.
    start_ms: Option<i64>,
    /// Inode of its pidfd, where the kernel makes that unique.
    pin: Option<u64>,
    /// Percent of one core.
    cpu: Option<f32>,
    /// The same of its children that ended.
    children: Option<f32>,
    /// Resident memory in bytes.
    rss: Option<u64>,
    /// Its share of that memory in bytes.
    pss: Option<u64>,
    /// Bytes per second from disks.
    read: Option<u64>,
    /// Bytes per second to disks.
    written: Option<u64>,
    /// Bytes per second by TCP.
    received: Option<u64>,
    /// Bytes per second by TCP.
    sent: Option<u64>,
    threads: Option<u32>,
    /// The kernel's letter.
    state: Option<String>,
    name: Option<String>,
    ppid: Option<u32>,
    /// A name, or the number of a user without one.
    user: Option<String>,
    executable: Option<String>,
    /// Hash of its command line.
    command: Option<String>,
    unit: Option<String>,
}

/// All processes that a pattern matches.
#[derive(ToSchema)]
pub(crate) struct PinnedProcesses {
    #[schema(nullable = false)]
    pattern: Option<String>,
    #[schema(nullable = false)]
    count: Option<u32>,
    /// Percent of one core; left out: none.
    #[schema(nullable = false)]
    cpu: Option<f32>,
    /// Resident memory in bytes; left out: none.
    #[schema(nullable = false)]
    rss: Option<u64>,
}

/// All processes of a user.
#[derive(ToSchema)]
pub(crate) struct UserProcesses {
    /// A name, or the number of a user without one.
    #[schema(nullable = false)]
    user: Option<String>,
    /// Percent of one core; left out: none.
    #[schema(nullable = false)]
    cpu: Option<f32>,
    /// Resident memory in bytes; left out: none.
    #[schema(nullable = false)]
    rss: Option<u64>,
    #[schema(nullable = false)]
    count: Option<u32>,
}

/// What the host used and no row has. What is zero is left out.
#[derive(ToSchema)]
pub(crate) struct OtherProcesses {
    /// Percent of one core.
    #[schema(nullable = false)]
    cpu: Option<f32>,
    /// Bytes per second from disks.
    #[schema(nullable = false)]
    read: Option<u64>,
    /// Bytes per second to disks.
    #[schema(nullable = false)]
    written: Option<u64>,
    /// Bytes per second by TCP.
    #[schema(nullable = false)]
    tcp_received: Option<u64>,
    /// Bytes per second by TCP.
    #[schema(nullable = false)]
    tcp_sent: Option<u64>,
}

/// One log-in on a host.
#[derive(ToSchema)]
pub(crate) struct LogIn {
    #[schema(nullable = false)]
    user: Option<String>,
    /// Its terminal.
    tty: Option<String>,
    /// From which host.
    from: Option<String>,
    /// In Unix ms.
    since: Option<i64>,
}

/// One service or scope of a host's init system.
#[derive(ToSchema)]
pub(crate) struct Unit {
    #[schema(nullable = false, example = "nginx.service")]
    name: Option<String>,
    /// Whether a process of it runs.
    #[schema(nullable = false)]
    running: Option<bool>,
    /// Percent of one core, short-lived processes included; left out: none.
    #[schema(nullable = false)]
    cpu: Option<f32>,
    /// Bytes, caches included.
    memory: Option<u64>,
    /// Processes and threads.
    pids: Option<u64>,
}

/// A command line. The agent has masked what looks like a secret.
#[derive(ToSchema)]
pub(crate) struct CommandLine {
    /// The first 12 bytes of the text's SHA-256, in base64url without padding. A gate refuses any other.
    #[schema(nullable = false, min_length = 16, max_length = 16)]
    hash: Option<String>,
    /// At most 1,024 bytes.
    #[schema(nullable = false)]
    text: Option<String>,
}
