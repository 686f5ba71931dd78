//! The data folder: one process at a time, and files that only its owner reads.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use chassis::{Secret, settings::read_secret};

/// A data folder. As long as the value lives, no other process can take the same folder.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
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
        if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            tracing::warn!("others may look into {shown}: chmod 700 it");
        }
        let mut lock =
            private(OpenOptions::new().create(true).truncate(false).read(true), &path.join("lock"))
                .with_context(|| format!("cannot write to {shown}"))?;
        match lock.try_lock() {
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
        Ok(Self { path: path.to_owned(), _lock: lock })
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
