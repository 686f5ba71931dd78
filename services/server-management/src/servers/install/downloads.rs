//! The files that are offered: those of one folder that were there at the start, whatever a request asks for.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use actix_web::web::Bytes;
use futures_util::{Stream, stream::try_unfold};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

/// What a file's name begins with; the rest is the architecture.
const PREFIX: &str = "rollcall-agent-";
/// Longest name of an architecture, in bytes.
const MAX_ARCH_BYTES: usize = 32;
/// How much of a file is in memory at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The agents for hosts, one for each architecture. Clones share them.
#[derive(Debug, Clone)]
pub struct Downloads(Arc<[Agent]>);

/// One of them.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Agent)]
pub(crate) struct Download {
    /// As `uname -m` says it.
    pub(super) arch: String,
    bytes: u64,
    /// In hexadecimal digits.
    pub(super) sha256: String,
}

#[derive(Debug)]
struct Agent {
    arch: String,
    path: PathBuf,
    /// Held while the file is read, so that it is read once.
    known: Mutex<Option<Known>>,
}

/// The digest of a file as it was then.
#[derive(Debug)]
struct Known {
    modified: SystemTime,
    bytes: u64,
    sha256: String,
}

impl Downloads {
    /// Those in `folder`; none at all is a mistake.
    pub fn list(folder: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot list {}: {error}", folder.display());
        let mut agents = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(arch) = name.strip_prefix(PREFIX).filter(|arch| is_arch(arch))
                && path.is_file()
            {
                agents.push(Agent { arch: arch.to_owned(), path, known: Mutex::new(None) });
            }
        }
        if agents.is_empty() {
            return Err(format!("{} has no file named {PREFIX}<arch>, say {PREFIX}x86_64", folder.display()));
        }
        agents.sort_by(|one, other| one.arch.cmp(&other.arch));
        Ok(Self(agents.into()))
    }

    /// Those that can be read now. It blocks, and reads what it has not read since it changed.
    pub(super) fn look(&self) -> Vec<Download> {
        self.0.iter().filter_map(|agent| or_log(agent, agent.look())).collect()
    }

    /// The file for `arch`, and its length. It blocks.
    pub(super) fn open(&self, arch: &str) -> Option<(File, u64)> {
        let agent = self.0.iter().find(|agent| agent.arch == arch)?;
        or_log(agent, open(&agent.path)).map(|(file, about)| (file, about.len()))
    }
}

impl Agent {
    fn look(&self) -> io::Result<Download> {
        let (mut file, about) = open(&self.path)?;
        let (modified, bytes) = (about.modified()?, about.len());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let same = known.take().filter(|known| (known.modified, known.bytes) == (modified, bytes));
        let sha256 = match same {
            Some(known) => known.sha256,
            None => digest(&mut file)?,
        };
        *known = Some(Known { modified, bytes, sha256: sha256.clone() });
        Ok(Download { arch: self.arch.clone(), bytes, sha256 })
    }
}

/// The first `bytes` of a file, in pieces. One that has become shorter breaks off, so that nobody takes it for whole.
pub(super) fn stream(file: File, bytes: u64) -> impl Stream<Item = io::Result<Bytes>> {
    try_unfold((file, bytes), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = move || {
            let mut chunk = vec![0; usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES)];
            file.read_exact(&mut chunk).map(|()| (chunk, file))
        };
        let (chunk, file) = spawn_blocking(read).await.map_err(io::Error::other)??;
        let left = left - chunk.len() as u64;
        Ok(Some((Bytes::from(chunk), (file, left))))
    })
}

fn is_arch(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.len() <= MAX_ARCH_BYTES && text.bytes().all(plain)
}

fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    Ok((file, about))
}

fn digest(file: &mut File) -> io::Result<String> {
    let (mut digest, mut chunk) = (Sha256::new(), vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            read => digest.update(&chunk[..read]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A file that is gone or closed to us is not offered, and the log says so.
fn or_log<T>(agent: &Agent, result: io::Result<T>) -> Option<T> {
    let told =
        |error: &io::Error| tracing::warn!(%error, file = %agent.path.display(), "cannot offer this agent");
    result.inspect_err(told).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::TryStreamExt;
    use testkit::tempdir;

    use super::*;

    #[test]
    fn a_folder_offers_what_is_named_after_an_architecture() {
        let dir = tempdir().unwrap();
        let told = Downloads::list(&dir.path().join("nowhere")).unwrap_err();
        assert!(told.contains("cannot list") && told.contains("nowhere"), "{told}");
        for name in [
            "rollcall-agent",
            "rollcall-agent-",
            "rollcall-agent-x86_64.sha256",
            "rollcall-agent-a b",
            "x86_64",
        ] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("rollcall-agent-folder")).unwrap();
        assert!(Downloads::list(dir.path()).unwrap_err().contains("has no file named rollcall-agent-<arch>"));
        for name in ["rollcall-agent-x86_64", "rollcall-agent-aarch64"] {
            fs::write(dir.path().join(name), "abc").unwrap();
        }
        let downloads = Downloads::list(dir.path()).unwrap();
        let offered = downloads.look();
        assert_eq!(offered.iter().map(|one| one.arch.as_str()).collect::<Vec<_>>(), ["aarch64", "x86_64"]);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((offered[0].bytes, offered[0].sha256.as_str()), (3, abc));
        for stranger in ["", "folder", "../rollcall-agent-x86_64", "x86_64\0", "x86_64.sha256"] {
            assert!(downloads.open(stranger).is_none(), "{stranger:?}");
        }
    }

    #[test]
    fn a_file_is_read_again_once_it_has_changed_and_not_offered_while_it_is_gone() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("rollcall-agent-x86_64");
        fs::write(&path, "one").unwrap();
        let downloads = Downloads::list(dir.path()).unwrap();
        let sha256 = || downloads.look().pop().map(|one| one.sha256);
        let (one, then) = (sha256().unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
        // What looks the same is not read: the digest is that of before.
        fs::write(&path, "two").unwrap();
        let set = |time| File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        set(then);
        assert_eq!(sha256().unwrap(), one);
        set(then + Duration::from_secs(1));
        assert_ne!(sha256().unwrap(), one);
        fs::remove_file(&path).unwrap();
        assert_eq!(sha256(), None);
        assert!(downloads.open("x86_64").is_none());
        fs::write(&path, "one").unwrap();
        assert_eq!(sha256().unwrap(), one);
    }

    #[actix_web::test]
    async fn a_file_comes_whole_or_breaks_off() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("rollcall-agent-x86_64");
        let content: Vec<u8> = (0..CHUNK_BYTES * 2 + 7).map(|at| at as u8).collect();
        fs::write(&path, &content).unwrap();
        let (file, bytes) = Downloads::list(dir.path()).unwrap().open("x86_64").unwrap();
        let chunks: Vec<Bytes> = stream(file, bytes).try_collect().await.unwrap();
        assert_eq!((chunks.len(), chunks.concat()), (3, content));
        let (file, bytes) = (File::open(&path).unwrap(), bytes + 1);
        assert!(stream(file, bytes).try_collect::<Vec<_>>().await.is_err());
    }
}
