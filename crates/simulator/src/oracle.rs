//! The oracle: what was acknowledged against what is stored.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::Path,
};

use anyhow::Result;

use crate::{
    journal::Journal,
    stored::{Identity, stored_snapshots},
};

/// Most identities of each kind that are printed.
const SHOWN: usize = 3;

/// The journal reconciled with the store: in what the two differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// Distinct snapshots that are stored.
    pub stored: usize,
    /// Acknowledged, and not stored.
    pub lost: Vec<Identity>,
    /// Stored more than once.
    pub duplicated: Vec<Identity>,
    /// Stored, and never sent.
    pub unexpected: Vec<Identity>,
}

impl Reconciliation {
    /// Nothing lost, nothing doubled, nothing invented.
    pub fn clean(&self) -> bool {
        self.lost.is_empty() && self.duplicated.is_empty() && self.unexpected.is_empty()
    }
}

impl fmt::Display for Reconciliation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} stored", self.stored)?;
        let kinds =
            [("lost", &self.lost), ("duplicated", &self.duplicated), ("unexpected", &self.unexpected)];
        for (kind, found) in kinds {
            write!(f, ", {} {kind}", found.len())?;
            for (server, sampled_at) in found.iter().take(SHOWN) {
                write!(f, " [{server} {sampled_at}]")?;
            }
        }
        Ok(())
    }
}

/// Compares a journal of all that was ever sent with a history file. The suite may run, if it is quiet, or not.
pub async fn oracle(journal: &Journal, history_db: &Path) -> Result<Reconciliation> {
    Ok(reconcile(journal, &stored_snapshots(history_db).await?))
}

/// Compares a journal of all that was ever sent with all that is stored.
pub fn reconcile(journal: &Journal, found: &[Identity]) -> Reconciliation {
    let mut stored: HashMap<Identity, u32> = HashMap::with_capacity(journal.entries.len());
    for identity in found {
        *stored.entry(*identity).or_default() += 1;
    }
    let sent: HashSet<Identity> =
        journal.entries.iter().map(|entry| (entry.server, entry.sampled_at)).collect();
    let acknowledged = journal.entries.iter().filter(|entry| entry.acknowledged());
    let lost: HashSet<Identity> = acknowledged
        .map(|entry| (entry.server, entry.sampled_at))
        .filter(|identity| !stored.contains_key(identity))
        .collect();
    Reconciliation {
        stored: stored.len(),
        lost: lost.into_iter().collect(),
        duplicated: stored.iter().filter(|(_, count)| **count > 1).map(|(identity, _)| *identity).collect(),
        unexpected: stored.into_keys().filter(|identity| !sent.contains(identity)).collect(),
    }
}
