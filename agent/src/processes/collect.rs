//! Makes the section of a sample: whom it shows, and what it tells of each.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::Read,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use fleet::{processes::hash, text};
use wire::{
    bounds::{MAX_COMMAND_BYTES, MAX_COMMANDS, MAX_SESSIONS, MAX_TEXT_BYTES, MAX_USERS},
    v1,
};

use super::{
    mask::masked,
    stat::{self, busy, pin_of},
    table::{Seen, Table},
    units::Units,
};

/// So many processes are shown for each thing that they use.
const GREATEST: usize = 10;
/// Each such sample tells of every row who it is.
const KEYFRAME: u64 = 20;
/// A command line is told again after this time.
const AGAIN: Duration = Duration::from_secs(24 * 3_600);
/// Most command lines that are remembered as told.
const MOST_TOLD: usize = 4_096;
/// So much of a command line is looked at.
const COMMAND_LINE_BYTES: u64 = 16 * 1_024;

/// Where the system tells of itself.
#[derive(Debug, Clone)]
pub struct Places {
    pub proc: PathBuf,
    pub cgroup: PathBuf,
    pub utmp: PathBuf,
    pub passwd: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            cgroup: "/sys/fs/cgroup".into(),
            utmp: "/run/utmp".into(),
            passwd: "/etc/passwd".into(),
        }
    }
}

/// What is remembered from sample to sample.
pub struct Collector {
    places: Places,
    table: Table,
    units: Units,
    samples: u64,
    /// How often the table was looked at.
    looks: u64,
    before: Option<(Instant, u64)>,
    /// In which sample a process was told, by its number and start.
    told: HashMap<(u32, u64), u64>,
    told_commands: HashMap<String, Instant>,
    names: HashMap<u32, String>,
    names_of: Option<SystemTime>,
    tick: f64,
    page: u64,
}

impl Collector {
    pub fn new(places: Places) -> Self {
        let (table, units) = (Table::new(&places.proc), Units::new(&places.cgroup));
        Self {
            places,
            table,
            units,
            samples: 0,
            looks: 0,
            before: None,
            told: HashMap::new(),
            told_commands: HashMap::new(),
            names: HashMap::new(),
            names_of: None,
            tick: 1.0 / rustix::param::clock_ticks_per_second().max(1) as f64,
            page: rustix::param::page_size() as u64,
        }
    }

    /// What was told did not arrive: the next section tells all of it again.
    pub fn tell_again(&mut self) {
        self.samples = 0;
        self.told.clear();
        self.told_commands.clear();
    }

    /// These command lines did not fit: they are told with a later section.
    pub fn untold(&mut self, commands: &[v1::Command]) {
        for command in commands {
            self.told_commands.remove(&command.hash);
        }
    }

    /// The section of now; `None` where there is no process table.
    pub fn collect(&mut self) -> Option<v1::Processes> {
        let keyframe = self.samples.is_multiple_of(KEYFRAME);
        let now = Instant::now();
        let total = busy(&fs::read_to_string(self.places.proc.join("stat")).ok()?)?;
        // Not with every keyframe: while sections come too late each is one, and would come later still.
        let seen = self.table.look(self.looks.is_multiple_of(KEYFRAME));
        self.looks += 1;
        let before = self.before.replace((now, total));
        let passed = before.map(|(before, _)| now - before).filter(|passed| !passed.is_zero());
        self.refresh_names(keyframe);
        let tick = self.tick;
        let cpu = |ticks: u64| passed.map_or(0.0, |passed| share_of(ticks as f64 * tick, passed));
        let host = cpu(before.map_or(0, |(_, before)| total.saturating_sub(before)));
        let count = |state: char| seen.iter().filter(|one| one.stat.state == state).count() as u32;
        let mut section = v1::Processes {
            level: Some("basic".to_owned()),
            keyframe,
            count: seen.len() as u32,
            running: count('R'),
            blocked: count('D'),
            users: self.users(&seen, &cpu),
            sessions: self.sessions(),
            units: Vec::new(),
            ..v1::Processes::default()
        };
        let shown = greatest(&seen);
        let of_rows: u64 = shown.iter().map(|one| one.used.saturating_add(one.children)).sum();
        let other = (host - cpu(of_rows)).max(0.0);
        section.other =
            passed.map(|_| v1::OtherProcesses { cpu: rounded(other), ..v1::OtherProcesses::default() });
        for one in shown {
            let (used, children) = (cpu(one.used), cpu(one.children));
            let row = self.row(one, used, children, keyframe, now, &mut section.commands);
            section.rows.push(row);
        }
        section.units = self.units.look(passed);
        self.samples += 1;
        if keyframe {
            let samples = self.samples;
            self.told.retain(|_, told| samples - *told <= KEYFRAME);
            self.told_commands.retain(|_, at| now - *at < AGAIN);
        }
        Some(section)
    }

    fn row(
        &mut self,
        one: &Seen,
        cpu: f32,
        children: f32,
        keyframe: bool,
        now: Instant,
        commands: &mut Vec<v1::Command>,
    ) -> v1::Process {
        let (pid, stat) = (one.pid, &one.stat);
        let mut row = v1::Process {
            pid,
            start_ms: stat::start_ms(stat.start),
            pin: pin(pid),
            cpu,
            children,
            rss: stat.pages.saturating_mul(self.page),
            threads: Some(stat.threads).filter(|threads| *threads != 1),
            state: Some(stat.state.to_string()).filter(|state| state != "S"),
            ..v1::Process::default()
        };
        let key = (pid, stat.start);
        let told = self.told.get(&key).is_some_and(|told| self.samples - told < KEYFRAME - 1);
        if keyframe || !told {
            self.told.insert(key, self.samples);
            row.name = Some(clean(stat.name.clone(), MAX_TEXT_BYTES));
            row.ppid = Some(stat.ppid);
            row.user = one.user.map(|user| self.name_of(user));
            let cgroup =
                fs::read_to_string(self.places.proc.join(format!("{pid}/cgroup"))).unwrap_or_default();
            row.unit = stat::unit(&cgroup).map(|unit| clean(unit.to_owned(), MAX_TEXT_BYTES));
            row.command = self.command(pid, now, commands);
        }
        row
    }

    /// The hash of a process's command line, whose text goes to `commands` if it is due.
    fn command(&mut self, pid: u32, now: Instant, commands: &mut Vec<v1::Command>) -> Option<String> {
        let text = command_line(&self.places.proc.join(format!("{pid}/cmdline")))?;
        let hash = hash(&text);
        let told = self.told_commands.get(&hash).is_some_and(|at| now - *at < AGAIN);
        if !told && commands.len() < MAX_COMMANDS {
            if self.told_commands.len() >= MOST_TOLD {
                self.told_commands.clear();
            }
            self.told_commands.insert(hash.clone(), now);
            commands.push(v1::Command { hash: hash.clone(), text });
        }
        Some(hash)
    }

    fn users(&self, seen: &[Seen], cpu: &impl Fn(u64) -> f32) -> Vec<v1::UserTotal> {
        let mut totals: BTreeMap<u32, (u64, u64, u32)> = BTreeMap::new();
        for one in seen {
            let Some(user) = one.user else { continue };
            let (used, pages, count) = totals.entry(user).or_default();
            *used = used.saturating_add(one.used).saturating_add(one.children);
            *pages = pages.saturating_add(one.stat.pages);
            *count += 1;
        }
        let mut totals: Vec<_> = totals.into_iter().collect();
        totals.sort_by_key(|(_, (used, pages, _))| std::cmp::Reverse((*used, *pages)));
        totals.truncate(MAX_USERS);
        let total = |(user, (used, pages, count)): (u32, (u64, u64, u32))| v1::UserTotal {
            user: self.name_of(user),
            cpu: cpu(used),
            rss: pages.saturating_mul(self.page),
            count,
        };
        totals.into_iter().map(total).collect()
    }

    fn sessions(&self) -> Vec<v1::LoginSession> {
        let utmp = read_some(&self.places.utmp, 1 << 20).unwrap_or_default();
        let told = |text: String| Some(clean(text, MAX_TEXT_BYTES)).filter(|text| !text.is_empty());
        stat::log_ins(&utmp)
            .take(MAX_SESSIONS)
            .map(|(user, tty, from, since)| v1::LoginSession {
                user: clean(user, MAX_TEXT_BYTES),
                tty: told(tty),
                from: told(from),
                since: Some(since.saturating_mul(1_000))
                    .filter(|since| (0..=fleet::snapshot::MAX_TIME).contains(since)),
            })
            .collect()
    }

    /// Users come and go rarely: their file is looked at with each keyframe.
    fn refresh_names(&mut self, keyframe: bool) {
        if !keyframe {
            return;
        }
        let changed = fs::metadata(&self.places.passwd).and_then(|file| file.modified()).ok();
        if changed != self.names_of || self.names.is_empty() {
            let passwd = read_some(&self.places.passwd, 1 << 20).unwrap_or_default();
            self.names = stat::users(&passwd).map(|(id, name)| (id, clean(name, MAX_TEXT_BYTES))).collect();
            self.names_of = changed;
        }
    }

    fn name_of(&self, user: u32) -> String {
        self.names.get(&user).cloned().unwrap_or_else(|| user.to_string())
    }
}

/// The processes that used most of the processors, and those that have most memory.
fn greatest(seen: &[Seen]) -> Vec<&Seen> {
    let cpu = |one: &Seen| one.used.saturating_add(one.children);
    let mut by_cpu: Vec<&Seen> = seen.iter().filter(|one| cpu(one) > 0).collect();
    by_cpu.sort_by_key(|one| std::cmp::Reverse((cpu(one), one.stat.pages)));
    let mut by_memory: Vec<&Seen> = seen.iter().filter(|one| one.stat.pages > 0).collect();
    by_memory.sort_by_key(|one| std::cmp::Reverse((one.stat.pages, cpu(one))));
    let mut shown: Vec<&Seen> = Vec::with_capacity(2 * GREATEST);
    for one in by_cpu.into_iter().take(GREATEST).chain(by_memory.into_iter().take(GREATEST)) {
        if !shown.iter().any(|other| other.pid == one.pid) {
            shown.push(one);
        }
    }
    shown
}

/// The command line as it may be told; `None` for a thread of the kernel, which has none.
fn command_line(path: &Path) -> Option<String> {
    let bytes = read_some(path, COMMAND_LINE_BYTES + 1)?;
    let cut = bytes.len() as u64 > COMMAND_LINE_BYTES;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    let mut arguments: Vec<String> =
        bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    if cut {
        // Half an argument may be half a secret, which nothing would know as one.
        arguments.pop();
    }
    let text = masked(&arguments);
    (!text.is_empty()).then(|| clean(text, MAX_COMMAND_BYTES))
}

/// As the interface takes it: printable, and cut.
fn clean(mut text: String, most: usize) -> String {
    text.retain(|c| c != '\0');
    text.truncate(text.floor_char_boundary(most));
    // It is short and without NUL, which is all that is refused.
    let _ = text::clean_within(&mut text, most);
    text
}

fn read_some(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The inode of a process's pidfd, where that is unique.
fn pin(pid: u32) -> Option<u64> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
    pin_of(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?.as_fd())
}

/// Seconds of a processor within the time that passed, in percent of one core.
pub fn share_of(seconds: f64, passed: Duration) -> f32 {
    rounded((seconds * 100.0 / passed.as_secs_f64().max(1e-3)) as f32)
}

/// To the hundredth: more digits say nothing and cost bytes.
fn rounded(share: f32) -> f32 {
    if share.is_finite() { (share.clamp(0.0, 1e6) * 100.0).round() / 100.0 } else { 0.0 }
}
