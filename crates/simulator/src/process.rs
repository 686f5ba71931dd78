//! Processes that a measurement or a test starts, and what the kernel tells of them.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::http::{Connection, Target};

/// How long a process may take to become ready, or to end, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running `rollcall` without its own agent. Dropped, it is killed.
pub struct Suite {
    process: Started,
    data: PathBuf,
    /// Where it listens, as `http://127.0.0.1:port`.
    pub url: String,
}

/// A process that this one started. Dropped, it is killed; nothing else ever is.
pub struct Started {
    child: Child,
    pid: u32,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Proportional set size: shared pages count by their share.
    pub pss: u64,
    /// Resident set size.
    pub rss: u64,
}

impl Suite {
    /// Starts `binary` on the folder `data` and waits until it is ready. Its log goes to `rollcall.log` in that folder.
    pub async fn start(binary: &Path, data: &Path, listen: SocketAddr) -> Result<Self> {
        Self::start_with(binary, data, listen, &[]).await
    }

    /// The same, with these arguments too.
    pub async fn start_with(binary: &Path, data: &Path, listen: SocketAddr, more: &[String]) -> Result<Self> {
        fs::create_dir_all(data)?;
        let log = fs::File::options().create(true).append(true).open(data.join("rollcall.log"))?;
        let mut command = Command::new(binary);
        // Settings of whoever runs this must not reach what is measured.
        command.env_clear().arg("--data").arg(data).args(["--listen", &listen.to_string(), "--no-agent"]);
        command.args(more);
        command.stdout(log.try_clone()?).stderr(log);
        let process =
            Started::spawn(&mut command).with_context(|| format!("starting {}", binary.display()))?;
        let mut suite = Self { process, data: data.to_owned(), url: format!("http://{listen}") };
        suite.ready().await?;
        Ok(suite)
    }

    /// The first admin's password.
    pub fn admin_password(&self) -> Result<String> {
        let path = self.data.join("admin-password");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text.trim_end().to_owned())
    }

    /// The file that holds the snapshots.
    pub fn history_db(&self) -> PathBuf {
        self.data.join("history.db")
    }

    /// The file that holds servers and people.
    pub fn registry_db(&self) -> PathBuf {
        self.data.join("registry.db")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// kill -9, and waits until it is gone.
    pub async fn kill(self) -> Result<()> {
        self.process.kill().await
    }

    /// SIGTERM, and waits until it has ended.
    pub async fn stop(self) -> Result<()> {
        let status = self.process.stop().await?;
        ensure!(status.success(), "rollcall ended with {status}");
        Ok(())
    }

    async fn ready(&mut self) -> Result<()> {
        let target = Target::resolve(&self.url).await?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.process.child.try_wait()? {
                bail!("rollcall ended: {status}; see {}", self.data.join("rollcall.log").display());
            }
            if let Ok(mut connection) = Connection::open(&target).await
                && connection.call(&target, "GET", "/health/ready", None, None).await.is_ok()
            {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("rollcall is not ready after {PATIENCE:?}; see {}", self.data.join("rollcall.log").display())
    }
}

impl Started {
    /// Starts it.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn()?;
        let pid = child.id().context("the process ended at once")?;
        Ok(Self { child, pid })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it ended with, if it has.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends it a signal.
    pub fn signal(&self, what: Signal) -> Result<()> {
        signal(self.pid, what)
    }

    /// kill -9, and waits until it is gone.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("killing")
    }

    /// SIGTERM, and waits until it has ended.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        signal(self.pid, Signal::TERM)?;
        Ok(timeout(PATIENCE, self.child.wait()).await.context("it does not end")??)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It has no id any more once it was waited for: then the number may be somebody else's.
        if let Some(pid) = self.child.id() {
            for pid in family(pid).unwrap_or_default() {
                drop(signal(pid, Signal::KILL));
            }
        }
    }
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a pid")?;
    Ok(kill_process(pid, signal)?)
}

/// A loopback address that nobody listens on, for a moment at least.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// CPU time that these processes have used, user and system, to a hundredth of a second.
pub fn cpu(pids: &[u32]) -> Result<Duration> {
    let mut ticks = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The command's name may hold anything, a parenthesis too.
        let (_, fields) = stat.rsplit_once(')').context("no command in stat")?;
        let mut fields = fields.split_ascii_whitespace().skip(11);
        for _ in 0..2 {
            ticks += fields.next().context("stat is too short")?.parse::<u64>()?;
        }
    }
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Memory of these processes.
pub fn memory(pids: &[u32]) -> Result<Memory> {
    let mut memory = Memory::default();
    for pid in pids {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        memory.pss += kilobytes(&rollup, "Pss:")? * 1024;
        memory.rss += kilobytes(&rollup, "Rss:")? * 1024;
    }
    Ok(memory)
}

/// Makes [`peak`] begin anew, from what the process holds now.
pub fn forget_peak(pid: u32) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("forgetting the peak of memory")
}

/// The most resident memory in bytes that the process ever held, or since [`forget_peak`].
pub fn peak(pid: u32) -> Result<u64> {
    Ok(kilobytes(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmHWM:")? * 1024)
}

/// The process and all that descend from it.
pub fn family(pid: u32) -> Result<Vec<u32>> {
    let mut family = vec![pid];
    let mut seen = 0;
    while let Some(pid) = family.get(seen).copied() {
        seen += 1;
        // One that ended meanwhile has no tasks and no children.
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_ascii_whitespace() {
                family.push(child.parse()?);
            }
        }
    }
    Ok(family)
}

fn kilobytes(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        let own = family(std::process::id()).unwrap();
        let memory = memory(&own).unwrap();
        assert!(memory.rss >= memory.pss && memory.pss > 1 << 16);
        forget_peak(std::process::id()).unwrap();
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        drop(held);
        // The kernel counts pages in batches.
        assert!(peak(std::process::id()).unwrap() > 60 << 20);
        assert!(cpu(&own).is_ok());
    }
}
