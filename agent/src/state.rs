//! What an agent must not forget, in one file that is replaced whole.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use fleet::Millis;
use serde::{Deserialize, Serialize};

use wire::v1;

use crate::{
    AgentError,
    clock::{Anchor, Reading},
    covers::Taken,
    files,
    settings::Secret,
    spool::Spool,
    watch::{Lease, Outage},
};

const STATE: &str = "state.json";
const GARBAGE: &str = "state.garbage";
const LOCK: &str = "lock";

/// The state file. What is missing was never there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// Stored before it is sent, so that a lost reply burns no token. Gone once there is a credential.
    pub enrolment_key: Option<Secret>,
    pub server_id: Option<String>,
    /// The name under which it enrolled.
    pub name: Option<String>,
    /// The credential that gates are known to take.
    pub credential: Option<Secret>,
    /// The credential of a bulletin, until a gate took a report with it.
    pub offered: Option<Secret>,
    /// The offered credential was refused last, so the other one is sent.
    #[serde(skip)]
    pub back: bool,
    /// Greatest `sampled_at` that a gate took, or may have taken before the sample was dropped from a full spool.
    pub highest: Option<Millis>,
    /// Stretches that gates may have taken without our hearing of it; empty when nothing is held.
    pub doubtful: Taken,
    /// When the newest sample was taken of which a gate said something.
    pub last: Option<Moment>,
    pub anchor: Option<Anchor>,
    /// Counters since the agent was installed.
    pub dropped: u64,
    pub set_aside: u64,
    pub cut: u64,
    /// How often samples are sent; it and the next two are for `healthcheck`.
    pub interval_ms: Millis,
    /// When a report was accepted last.
    pub succeeded: Option<Moment>,
    /// What was wrong with the attempts after that.
    pub failure: Option<String>,
    /// Until when it is this agent that tells when no gate answers.
    pub lease: Option<Lease>,
    /// The outage of the suite that this agent tells of.
    pub outage: Option<Outage>,
}

/// A moment by both clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    pub boot: String,
    /// Time since that boot.
    pub up: Millis,
    /// Unix ms.
    pub at: Millis,
}

/// The state, and the folder that is locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    _lock: File,
    unwritable: bool,
    pub state: State,
}

impl Store {
    /// Makes the folder if need be and locks it. A state file that is garbage is moved aside.
    pub fn open(dir: &Path) -> Result<Self, AgentError> {
        let failed = |source| AgentError::StateDir { dir: dir.to_owned(), source };
        files::make_dir(dir).map_err(failed)?;
        let lock = files::private(OpenOptions::new().create(true).write(true).truncate(false))
            .open(dir.join(LOCK))
            .map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => AgentError::Locked(dir.to_owned()),
            TryLockError::Error(source) => failed(source),
        })?;
        let path = dir.join(STATE);
        let state = match load(&path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                fs::rename(&path, dir.join(GARBAGE)).map_err(failed)?;
                tracing::error!(
                    %error, moved_to = GARBAGE,
                    "the state file is garbage: this agent has to enrol again, which takes a fresh token"
                );
                State::default()
            }
            state => state.map_err(failed)?,
        };
        Ok(Self { path, _lock: lock, unwritable: false, state })
    }

    /// Writes the state, for whoever cannot go on without.
    pub fn must_save(&mut self) -> Result<(), AgentError> {
        self.write().map_err(|source| AgentError::StateDir { dir: self.path.clone(), source })
    }

    /// Writes the state. A disk that takes nothing is told once; what is in memory goes on.
    pub fn save(&mut self) {
        match self.write() {
            Ok(()) => self.unwritable = false,
            Err(error) if !self.unwritable => {
                self.unwritable = true;
                tracing::error!(%error, path = %self.path.display(), "cannot write the state: make room on this disk");
            }
            Err(_) => {}
        }
    }

    fn write(&self) -> io::Result<()> {
        files::replace(&self.path, &serde_json::to_vec(&self.state)?)
    }
}

/// The state of the agent that owns `dir`, without its lock.
pub(crate) fn peek(dir: &Path) -> io::Result<State> {
    load(&dir.join(STATE))
}

fn load(path: &Path) -> io::Result<State> {
    match fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
        Err(error) => Err(error),
    }
}

/// What the agent says of itself, if there is anything to say.
pub(crate) fn about(
    state: &State,
    spool: &Spool,
    reading: Reading,
    orders: Option<(String, Vec<String>)>,
) -> Option<v1::Agent> {
    let count = |count: u64| Some(count).filter(|count| *count > 0);
    let (boot, hand) = orders.unzip();
    let about = v1::Agent {
        skew_ms: reading.skew,
        spooled: count(spool.len()),
        dropped: count(state.dropped),
        set_aside: count(state.set_aside),
        cut: count(state.cut),
        boot,
        hand: hand.unwrap_or_default(),
        ..v1::Agent::default()
    };
    (about != v1::Agent::default()).then_some(about)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_there_again_and_for_its_owner_alone() {
        let dir = testkit::tempdir().unwrap();
        let home = dir.path().join("agent");
        let state = State { credential: Some(Secret::new("c")), highest: Some(7), ..State::default() };
        let mut store = Store::open(&home).unwrap();
        store.state = state.clone();
        store.save();
        drop(store);
        assert_eq!(Store::open(&home).unwrap().state, state);
        #[cfg(unix)]
        for (path, mode) in [(home.clone(), 0o700), (home.join(STATE), 0o600), (home.join(LOCK), 0o600)] {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn garbage_is_moved_aside() {
        let dir = testkit::tempdir().unwrap();
        for garbage in ["", "{\"highest\":", "7", "\0\0\0"] {
            fs::write(dir.path().join(STATE), garbage).unwrap();
            assert_eq!(Store::open(dir.path()).unwrap().state, State::default());
            assert_eq!(fs::read_to_string(dir.path().join(GARBAGE)).unwrap(), garbage);
        }
    }

    #[test]
    fn a_newer_state_is_understood() {
        let dir = testkit::tempdir().unwrap();
        fs::write(dir.path().join(STATE), r#"{"highest":7,"wings":2}"#).unwrap();
        assert_eq!(Store::open(dir.path()).unwrap().state.highest, Some(7));
    }

    #[test]
    fn two_agents_never_share_a_folder() {
        let dir = testkit::tempdir().unwrap();
        let first = Store::open(dir.path()).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(AgentError::Locked(_))));
        drop(first);
        assert!(Store::open(dir.path()).is_ok());
    }
}
