//! One process, held by its pidfd: whoever gets its number afterwards is another one, and gets no signal.

use std::{
    fs,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::policy::Seen;
use crate::processes::stat;

const PROC: &str = "/proc";
/// What the kernel puts behind the path of a file that is gone.
const DELETED: &str = " (deleted)";
/// The flag of threads of the kernel in `/proc/<pid>/stat` (PF_KTHREAD).
const OF_THE_KERNEL: u64 = 0x0020_0000;
/// More than any of the files that are read.
const MAX_BYTES: u64 = 64 * 1_024;

/// A process that is held.
#[derive(Debug)]
pub struct Held {
    pid: u32,
    pidfd: OwnedFd,
}

impl Held {
    /// Holds whoever has this number now; `None` when nobody has.
    ///
    /// # Errors
    /// Of the system: nothing is known of the process.
    pub fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Some(Self { pid, pidfd })),
            // The second: a thread, which is no process.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads who it is; `None` when it ended meanwhile. That it still runs after all was read makes what was read its own: until
    /// it ends, nobody else gets its number.
    pub fn look(&self) -> Option<Seen> {
        let seen = read(self.pid, &self.pidfd);
        match self.ended_within(Duration::ZERO) {
            true => None,
            false => seen,
        }
    }

    /// Sends it a signal, and nobody else.
    ///
    /// # Errors
    /// It ended, or this process may not.
    pub fn send(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(self.pidfd.as_fd(), signal)?)
    }

    /// Whether it ends within this time.
    pub fn ended_within(&self, time: Duration) -> bool {
        ends_within(&self.pidfd, time)
    }
}

/// Whether the process of this pidfd ends within this time.
pub fn ends_within(pidfd: &impl AsFd, time: Duration) -> bool {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(0) if left.is_zero() => return false,
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return true,
            Err(error) => {
                tracing::error!(%error, "cannot watch a process");
                return false;
            }
        }
    }
}

fn read(pid: u32, pidfd: &OwnedFd) -> Option<Seen> {
    let of = Path::new(PROC).join(pid.to_string());
    let text = bytes(&of.join("stat"))?;
    let told = stat::Stat::read(&text)?;
    let kernel = stat::flags(&text)? & OF_THE_KERNEL != 0;
    let users = stat::users_of(&bytes(&of.join("status"))?)?;
    let cgroup = bytes(&of.join("cgroup")).unwrap_or_default();
    let exe = of.join("exe");
    // Follows the link to the file itself, whatever its name leads to by now.
    let file = fs::metadata(&exe).ok();
    let own = fs::metadata("/proc/self/exe").ok();
    let same = |file: &fs::Metadata, own: &fs::Metadata| (file.dev(), file.ino()) == (own.dev(), own.ino());
    let gone = file.as_ref().is_some_and(|file| file.nlink() == 0);
    let executable = fs::read_link(&exe).ok().map(|path| name(path, gone));
    let own_name = std::env::current_exe().ok().map(|path| name(path, true));
    Some(Seen {
        pid,
        start_ms: stat::start_ms(told.start).unsigned_abs(),
        pin: stat::pin_of(pidfd.as_fd()),
        own: file.as_ref().zip(own.as_ref()).is_some_and(|(file, own)| same(file, own))
            // An agent that runs on while a newer one took the place of its file.
            || executable.is_some() && executable == own_name,
        owner: file.map(|file| file.uid()),
        executable,
        users,
        unit: stat::unit(&String::from_utf8_lossy(&cgroup)).map(str::to_owned),
        kernel,
    })
}

/// The path of a file; of one that is gone the one that it had.
fn name(path: PathBuf, gone: bool) -> String {
    let name = path.to_string_lossy().into_owned();
    match name.strip_suffix(DELETED).filter(|_| gone) {
        Some(name) => name.to_owned(),
        None => name,
    }
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_held_until_it_ends_and_gone_after() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let held = Held::open(child.id()).unwrap().unwrap();
        let seen = held.look().unwrap();
        let path = fs::canonicalize("/usr/bin/sleep").unwrap();
        assert_eq!(seen.executable.as_deref(), path.to_str());
        assert!(seen.start_ms > 0 && !seen.kernel && !seen.own, "{seen:?}");
        assert_eq!(seen.users, [rustix::process::getuid().as_raw(); 4]);
        assert!(!held.ended_within(Duration::from_millis(1)));
        held.send(Signal::TERM).unwrap();
        assert!(held.ended_within(Duration::from_secs(60)));
        // It is still to be waited for, and its number is still its own.
        assert_eq!(held.look(), None);
        child.wait().unwrap();
        assert!(held.send(Signal::TERM).is_err());
        assert!(Held::open(child.id()).unwrap().is_none_or(|other| other.look() != Some(seen)));
    }

    #[test]
    fn this_program_knows_itself() {
        let held = Held::open(std::process::id()).unwrap().unwrap();
        assert!(held.look().unwrap().own);
    }

    #[test]
    fn a_file_that_is_gone_keeps_its_name() {
        let path = || PathBuf::from("/srv/shop (deleted)");
        assert_eq!(name(path(), true), "/srv/shop");
        assert_eq!(name(path(), false), "/srv/shop (deleted)");
    }
}
