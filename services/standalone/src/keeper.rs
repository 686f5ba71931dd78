//! Looks after the data folder while the suite runs: that its files stay where they are, and how much room its disk has.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow};
use chassis::{Room, Trouble};
use history::History;
use tokio::time::{MissedTickBehavior, interval};

use crate::data::DataDir;

/// How often it looks. A host may write some 10 MB a second, so the reserve has to be many times that.
const EVERY: Duration = Duration::from_secs(1);

/// The reserve unless it is set: enough for people's changes of years, and little beside a month of snapshots.
const RESERVE: u64 = 256 * 1024 * 1024;

/// What is written to while the suite runs. The logs are there too: what is committed stands in them alone at first.
const FILES: [&str; 5] = ["registry.db", "registry.db-wal", "history.db", "history.db-wal", "lock"];

/// See the module.
pub struct Keeper {
    folder: PathBuf,
    files: Vec<(PathBuf, Inode)>,
    room: Room,
    history: History,
    /// The disk does not say how much room it has.
    trouble: Trouble,
}

/// Device and number of a file, which it keeps as long as it is the same file.
#[derive(Debug, PartialEq, Eq)]
struct Inode(u64, u64);

impl Keeper {
    /// Of a folder whose databases are open.
    pub fn of(data: &DataDir, reserve: Option<u64>, history: History) -> anyhow::Result<Self> {
        let folder = data.path().to_owned();
        let mut files = Vec::new();
        for name in FILES {
            let path = data.join(name);
            match inode(&path) {
                Ok(inode) => files.push((path, inode)),
                // A log is made with the first write.
                Err(error) if error.kind() == io::ErrorKind::NotFound && name.ends_with("-wal") => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot look at {}", path.display()));
                }
            }
        }
        let (free, size) = space(&folder).context("cannot tell how much room the data folder has")?;
        let room = Room::new(reserve.unwrap_or(RESERVE.min(size / 10)), free);
        let trouble = Trouble::new("measuring the room on the disk");
        Ok(Self { folder, files, room, history, trouble })
    }

    /// The room on its disk.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Looks until a file is gone, and returns what to say of it.
    pub async fn run(self) -> anyhow::Error {
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if let Some(lost) = self.lost() {
                return lost;
            }
            self.measure().await;
        }
    }

    /// The databases stay open when their files are removed or replaced, and all that is written to them then is lost
    /// with the process.
    fn lost(&self) -> Option<anyhow::Error> {
        for (path, was) in &self.files {
            let shown = path.display();
            match inode(path) {
                Ok(inode) if inode == *was => {}
                Ok(_) => {
                    return Some(anyhow!("{shown} is another file than the one that is in use; stopping"));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Some(anyhow!("{shown} vanished while it was in use; stopping"));
                }
                // A disk that does not answer may do so again.
                Err(_) => {}
            }
        }
        None
    }

    async fn measure(&self) {
        let Some((free, _)) = self.trouble.watch(space(&self.folder)) else { return };
        // A history that does not answer says so elsewhere.
        self.room.measured(free, self.history.spare_bytes().await.unwrap_or(0));
    }
}

fn inode(path: &Path) -> io::Result<Inode> {
    let metadata = fs::metadata(path)?;
    Ok(Inode(metadata.dev(), metadata.ino()))
}

/// Bytes that we may still use of the folder's file system, and its size.
fn space(folder: &Path) -> io::Result<(u64, u64)> {
    let told = rustix::fs::statvfs(folder)?;
    Ok((told.f_bavail.saturating_mul(told.f_frsize), told.f_blocks.saturating_mul(told.f_frsize)))
}
