//! The data folder: one process at a time, and files that only its owner reads.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use chassis::{Secret, settings::read_secret};

/// What names in the folder begin with.
const OURS: [&str; 10] = [
    "registry.db",
    "history.db",
    "lock",
    "agent",
    "token-key",
    "channel-key",
    "order-key",
    "admin-password",
    "outbox",
    // At the root of a file system of its own.
    "lost+found",
];

/// A data folder. As long as the value lives, no other process can take the same folder.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// On the folder's own inode, which nobody can remove under it, and on the file that earlier releases lock.
    _locks: [File; 2],
}

impl DataDir {
    /// Makes the folder if it is missing, and locks it. The lock ends with the process, however that ends.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make {shown}"))?;
        let folder = File::open(path).with_context(|| format!("cannot open {shown}"))?;
        let mut lock =
            private(OpenOptions::new().create(true).truncate(false).read(true), &path.join("lock"))
                .with_context(|| format!("cannot write to {shown}"))?;
        match folder.try_lock().and_then(|()| lock.try_lock()) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                lock.read_to_string(&mut owner).unwrap_or_default();
                bail!(
                    "rollcall already runs on {shown} (pid {}); stop it, or choose another --data",
                    owner.trim()
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).context(format!("cannot lock {shown}")),
        }
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())?;
        let data = Self { path: path.to_owned(), _locks: [folder, lock] };
        data.keep_to_its_owner().with_context(|| format!("cannot keep {shown} to its owner"))?;
        Ok(data)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes from everyone else what they may do with our files, and with the folder. A folder that holds other things
    /// too may be somebody's home: that is left as it is, and said.
    fn keep_to_its_owner(&self) -> io::Result<()> {
        let mut alone = true;
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let ours = OURS.iter().any(|ours| name.as_encoded_bytes().starts_with(ours.as_bytes()));
            alone &= ours;
            // Not what a link leads to.
            let metadata = entry.metadata()?;
            if ours && metadata.is_file() && open_to_others(&metadata) {
                fs::set_permissions(entry.path(), Permissions::from_mode(0o600))?;
            }
        }
        if open_to_others(&fs::metadata(&self.path)?) {
            match alone {
                true => fs::set_permissions(&self.path, Permissions::from_mode(0o700))?,
                false => tracing::warn!("others may look into {}: chmod 700 it", self.path.display()),
            }
        }
        Ok(())
    }

    /// Whether the file `name` is missing although the folder has been used.
    pub fn lacks_key_of_its_registry(&self, name: &str) -> bool {
        let used = fs::metadata(self.join("registry.db")).is_ok_and(|registry| registry.len() > 0);
        used && !self.join(name).exists()
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Refuses a registry without a byte beside what only comes after one. A copy or a restore has failed there; filled
    /// anew it would look well, and every host and user would be unknown.
    pub fn check_registry(&self) -> anyhow::Result<()> {
        let registry = self.join("registry.db");
        let empty = fs::metadata(&registry).is_ok_and(|file| file.len() == 0);
        let beside = ["history.db", "agent-key"].into_iter().find(|name| self.join(name).exists());
        if let (true, Some(beside)) = (empty, beside) {
            bail!(
                "{} is empty, and {beside} is beside it: a copy or a restore has failed. Put the registry's backup in its \
                 place; or remove it, to begin anew without any server or user",
                registry.display()
            );
        }
        Ok(())
    }

    /// The key in the file `name`, made at first use.
    pub fn key(&self, name: &str) -> anyhow::Result<Secret> {
        let path = self.join(name);
        if path.exists() {
            fs::set_permissions(&path, Permissions::from_mode(0o600))
                .with_context(|| format!("cannot keep {} to its owner", path.display()))?;
            return read_secret(&path).map_err(anyhow::Error::msg);
        }
        let key: String = chassis::random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        self.write_secret(name, &key)?;
        Ok(Secret::new(key))
    }

    /// Writes `text` to the file `name`, whole or not at all.
    pub fn write_secret(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let (path, part) = (self.join(name), self.join(&format!("{name}.part")));
        let write = || -> io::Result<()> {
            // A file that a crash left behind may have any mode.
            fs::remove_file(&part).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            let mut file = private(OpenOptions::new().create_new(true), &part)?;
            writeln!(file, "{text}")?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

fn open_to_others(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}

fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.write(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let dir = testkit::tempdir().unwrap();
        let taken = DataDir::take(dir.path()).unwrap();
        let refused = DataDir::take(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
        drop(taken);
        assert!(DataDir::take(dir.path()).is_ok());
    }

    #[test]
    fn a_lock_file_that_was_removed_lets_nobody_in_and_nor_does_one_that_an_earlier_release_holds() {
        let dir = testkit::tempdir().unwrap();
        let taken = DataDir::take(dir.path()).unwrap();
        fs::remove_file(taken.join("lock")).unwrap();
        assert!(DataDir::take(dir.path()).is_err());
        drop(taken);
        let earlier = File::open(dir.path().join("lock")).unwrap();
        earlier.lock().unwrap();
        assert!(DataDir::take(dir.path()).is_err());
        drop(earlier);
        assert!(DataDir::take(dir.path()).is_ok());
    }

    #[test]
    fn what_others_may_read_is_taken_from_them_but_a_home_stays_as_it_is() {
        let dir = testkit::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        let set = |name: &str, mode: u32| {
            fs::set_permissions(dir.path().join(name), Permissions::from_mode(mode)).unwrap();
        };
        for name in ["history.db", "registry.db-wal", "admin-password", "theirs"] {
            fs::write(dir.path().join(name), "").unwrap();
            set(name, 0o644);
        }
        set("", 0o755);
        drop(DataDir::take(dir.path()).unwrap());
        let modes = ["history.db", "registry.db-wal", "admin-password", "theirs", ""].map(mode);
        assert_eq!(modes, [0o600, 0o600, 0o600, 0o644, 0o755]);
        fs::remove_file(dir.path().join("theirs")).unwrap();
        drop(DataDir::take(dir.path()).unwrap());
        assert_eq!(mode(""), 0o700);
    }

    #[test]
    fn an_empty_registry_is_refused_beside_a_history_or_a_key_and_is_not_filled() {
        let dir = testkit::tempdir().unwrap();
        let data = DataDir::take(dir.path()).unwrap();
        data.check_registry().unwrap();
        fs::write(data.join("registry.db"), "").unwrap();
        // A first start that was killed leaves such a file alone.
        data.check_registry().unwrap();
        for beside in ["history.db", "agent-key"] {
            fs::write(data.join(beside), "something").unwrap();
            let refused = data.check_registry().unwrap_err().to_string();
            assert!(refused.contains("registry.db is empty") && refused.contains(beside), "{refused}");
            fs::remove_file(data.join(beside)).unwrap();
        }
        fs::write(data.join("agent-key"), "something").unwrap();
        fs::write(data.join("registry.db"), "something").unwrap();
        data.check_registry().unwrap();
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let dir = testkit::tempdir().unwrap();
        let data = DataDir::take(dir.path()).unwrap();
        let key = data.key("agent-key").unwrap();
        assert_eq!(key.expose().len(), 64);
        assert_eq!(data.key("agent-key").unwrap(), key);
        let mode = || fs::metadata(data.join("agent-key")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(data.join("agent-key"), Permissions::from_mode(0o644)).unwrap();
        assert_eq!(data.key("agent-key").unwrap(), key);
        assert_eq!(mode(), 0o600);
    }
}
