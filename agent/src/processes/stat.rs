//! What Linux tells of processes in /proc, taken apart. All of it may be hostile: a process chooses its own name.

use std::os::fd::BorrowedFd;

/// `f_type` of a file system whose inodes tell one process from all others.
const PIDFS: u64 = 0x5049_4446;

/// `/proc/<pid>/stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    pub name: String,
    pub state: char,
    pub ppid: u32,
    /// Processor time of its own, in ticks.
    pub own: u64,
    /// That of its children that ended and were waited for, and of theirs.
    pub ended: u64,
    pub threads: u32,
    /// When it started, in ticks after the boot.
    pub start: u64,
    /// Resident memory in pages.
    pub pages: u64,
}

impl Stat {
    /// `None` when this is no such file. The name is in brackets and may hold any byte, brackets too.
    pub fn read(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let name = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
        let rest = str::from_utf8(text.get(close + 1..)?).ok()?;
        // proc(5): the state is the third field.
        let fields: Vec<&str> = rest.split_ascii_whitespace().take(22).collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        // Processor time of children is written as a signed number.
        let ticks = |field: usize| Some(fields.get(field - 3)?.parse::<i64>().ok()?.max(0).unsigned_abs());
        Some(Self {
            name,
            state: fields.first()?.chars().next()?,
            ppid: u32::try_from(number(4)?).ok()?,
            own: number(14)?.saturating_add(number(15)?),
            ended: ticks(16)?.saturating_add(ticks(17)?),
            threads: u32::try_from(number(20)?).unwrap_or(u32::MAX),
            start: number(22)?,
            pages: ticks(24)?,
        })
    }
}

/// A time in ticks after the boot, in ms.
pub fn start_ms(ticks: u64) -> i64 {
    let second = rustix::param::clock_ticks_per_second().max(1);
    i64::try_from(u128::from(ticks) * 1_000 / u128::from(second)).unwrap_or(i64::MAX)
}

/// The inode of this pidfd, where no other process ever has the same (Linux 6.9 and later).
pub fn pin_of(pidfd: BorrowedFd<'_>) -> Option<u64> {
    let on = rustix::fs::fstatfs(pidfd).ok()?;
    if on.f_type as u64 != PIDFS {
        return None;
    }
    Some(rustix::fs::fstat(pidfd).ok()?.st_ino)
}

/// The first line of `/proc/stat`: ticks in which any processor did something for processes of this host.
pub fn busy(text: &str) -> Option<u64> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?;
    let mut ticks = [0_u64; 7];
    for (tick, field) in ticks.iter_mut().zip(fields.split_ascii_whitespace()) {
        *tick = field.parse().ok()?;
    }
    // user nice system idle iowait irq softirq
    let [user, nice, system, _, _, irq, softirq] = ticks;
    [nice, system, irq, softirq].into_iter().try_fold(user, u64::checked_add)
}

/// The flags of a `/proc/<pid>/stat`.
pub fn flags(text: &[u8]) -> Option<u64> {
    let close = text.iter().rposition(|byte| *byte == b')')?;
    // proc(5): the state is the third field, the flags are the ninth.
    str::from_utf8(text.get(close + 1..)?).ok()?.split_ascii_whitespace().nth(6)?.parse().ok()
}

/// The users of a `/proc/<pid>/status`: real, effective, saved, and of the file system.
pub fn users_of(status: &[u8]) -> Option<[u32; 4]> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    let mut users = str::from_utf8(line).ok()?.split_ascii_whitespace().map(|user| user.parse().ok());
    Some([users.next()??, users.next()??, users.next()??, users.next()??])
}

/// The effective user of a `/proc/<pid>/status`.
pub fn user(status: &[u8]) -> Option<u32> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The unit of a `/proc/<pid>/cgroup`: the last service or scope of its path, but none inside another.
pub fn unit(cgroup: &str) -> Option<&str> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.split('/').find(|part| is_unit(part))
}

/// Whether a control group of this name is a unit with processes.
pub fn is_unit(name: &str) -> bool {
    name.ends_with(".service") || name.ends_with(".scope")
}

/// The number of this name in a file such as `cpu.stat`: `usage_usec 1234`.
pub fn named(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The names of users in a passwd(5).
pub fn users(passwd: &[u8]) -> impl Iterator<Item = (u32, String)> {
    passwd.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        let id = str::from_utf8(id).ok()?.parse().ok()?;
        (!name.is_empty()).then(|| (id, String::from_utf8_lossy(name).into_owned()))
    })
}

/// One log-in of a utmp(5): user, terminal, host, and since when in Unix seconds.
pub type LogIn = (String, String, String, i64);

/// How long a record of utmp is, and where in it the time is: glibc has the 32 bits of old on some machines.
const RECORD: (usize, usize, bool) =
    if cfg!(target_arch = "aarch64") { (400, 344, true) } else { (384, 340, false) };
/// The type of a log-in.
const USER_PROCESS: u16 = 7;

/// The log-ins of a utmp(5), as far as it is whole.
pub fn log_ins(utmp: &[u8]) -> impl Iterator<Item = LogIn> {
    let (length, time, wide) = RECORD;
    utmp.chunks_exact(length).filter_map(move |record| {
        let kind = u16::from_ne_bytes(record.first_chunk().copied()?);
        let seconds = match wide {
            true => i64::from_ne_bytes(record.get(time..)?.first_chunk().copied()?),
            false => i64::from(u32::from_ne_bytes(record.get(time..)?.first_chunk().copied()?)),
        };
        let text = |from: usize, length: usize| -> Option<String> {
            let field = record.get(from..from + length)?;
            let text = field.split(|byte| *byte == 0).next()?;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let log_in = (text(44, 32)?, text(8, 32)?, text(76, 256)?, seconds);
        (kind == USER_PROCESS && !log_in.0.is_empty()).then_some(log_in)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAT: &str = "42 (a) (b) S 1 42 42 0 -1 4194560 100 200 0 0 30 12 7 -1 20 0 3 0 5000 1000000 250 18446744073709551615 1 1";

    #[test]
    fn a_process_is_read_whatever_it_calls_itself() {
        let stat = Stat::read(STAT.as_bytes()).unwrap();
        let expected = Stat {
            name: "a) (b".to_owned(),
            state: 'S',
            ppid: 1,
            own: 42,
            ended: 7,
            threads: 3,
            start: 5_000,
            pages: 250,
        };
        assert_eq!(stat, expected);
        for name in ["\n1 (x) R 9 9 9", ")", "", "\u{1b}[31m"] {
            let text = STAT.replace("a) (b", name);
            assert_eq!(
                Stat::read(text.as_bytes()).unwrap(),
                Stat { name: name.to_owned(), ..expected.clone() }
            );
        }
        assert_eq!(Stat::read(b"42 (a) S 1"), None);
    }

    #[test]
    fn the_small_files_are_read() {
        assert_eq!(busy("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1"), Some(1 + 2 + 3 + 6 + 7));
        assert_eq!(busy("garbage"), None);
        assert_eq!(user(b"Name:\tx\nUid:\t1\t33\t1\t1\n"), Some(33));
        assert_eq!(unit("0::/system.slice/nginx.service\n"), Some("nginx.service"));
        assert_eq!(unit("0::/user.slice/user@1.service/app.slice/x.scope\n"), Some("user@1.service"));
        assert_eq!(unit("0::/\n"), None);
        assert_eq!(named("usage_usec 77\nuser_usec 5\n", "usage_usec"), Some(77));
        let names: Vec<_> =
            users(b"root:x:0:0::/root:/bin/sh\nbroken\nann:x:1000:1000::/:/bin/sh\n").collect();
        assert_eq!(names, [(0, "root".to_owned()), (1000, "ann".to_owned())]);
    }

    #[test]
    fn a_log_in_is_read_from_its_record() {
        let (length, time, _) = RECORD;
        let mut record = vec![0; length];
        record[..2].copy_from_slice(&USER_PROCESS.to_ne_bytes());
        record[8..13].copy_from_slice(b"pts/0");
        record[44..47].copy_from_slice(b"ann");
        record[76..84].copy_from_slice(b"10.0.0.9");
        record[time..time + 4].copy_from_slice(&1_790_000_000_u32.to_ne_bytes());
        let mut utmp = record.clone();
        utmp.extend(vec![0; length]);
        utmp.extend(&record[..length - 1]);
        let expected = ("ann".to_owned(), "pts/0".to_owned(), "10.0.0.9".to_owned(), 1_790_000_000);
        assert_eq!(log_ins(&utmp).collect::<Vec<_>>(), [expected]);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..900), cut in 0..200_usize) {
            let text = String::from_utf8_lossy(&bytes);
            let _ = (Stat::read(&bytes), user(&bytes), users(&bytes).count(), log_ins(&bytes).count());
            let _ = (busy(&text), unit(&text), named(&text, "usage_usec"));
            let _ = Stat::read(&STAT.as_bytes()[..cut.min(STAT.len())]);
            let mixed = [&STAT.as_bytes()[..cut.min(STAT.len())], &bytes].concat();
            let _ = (Stat::read(&mixed), user(&[b"Uid:", &bytes[..]].concat()));
        }
    }
}
