//! What was sent, when, and what the answer was.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use fleet::{Millis, ServerId};

/// One attempt to send one snapshot. A snapshot that was sent again has one entry for each attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Whose snapshot.
    pub server: ServerId,
    /// Its time; with the server, its identity.
    pub sampled_at: Millis,
    /// When it went out.
    pub sent: Millis,
    /// The status of the answer; `None` where none came.
    pub status: Option<u16>,
    /// How long the answer took, in microseconds; 0 where none came.
    pub took_us: u32,
}

/// Every attempt, written down before it is made.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    /// In no order across servers.
    pub entries: Vec<Entry>,
}

impl Entry {
    /// Whether the suite promised that this snapshot is safe.
    pub fn acknowledged(&self) -> bool {
        self.status == Some(202)
    }
}

impl Journal {
    /// How many attempts were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.entries.iter().filter(|entry| entry.acknowledged()).count()
    }

    /// How many were answered by something else than 202.
    pub fn refused(&self) -> usize {
        self.entries.iter().filter(|entry| entry.status.is_some_and(|status| status != 202)).count()
    }

    /// How many were not answered at all.
    pub fn unanswered(&self) -> usize {
        self.entries.iter().filter(|entry| entry.status.is_none()).count()
    }

    /// Adds what another drive wrote down.
    pub fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
    }

    /// The share `quantile` (0 to 1) of the answers took at most this many microseconds.
    pub fn took_us(&self, quantile: f64) -> u32 {
        let answered = self.entries.iter().filter(|entry| entry.status.is_some());
        let mut took: Vec<u32> = answered.map(|entry| entry.took_us).collect();
        took.sort_unstable();
        let at = (quantile * took.len() as f64) as usize;
        took.get(at.min(took.len().saturating_sub(1))).copied().unwrap_or(0)
    }

    /// Writes it as tab-separated lines (server, sampled_at, sent, status or `-`, microseconds) and fsyncs the file.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        for Entry { server, sampled_at, sent, status, took_us } in &self.entries {
            let status = status.map_or("-".to_owned(), |status| status.to_string());
            writeln!(out, "{server}\t{sampled_at}\t{sent}\t{status}\t{took_us}")?;
        }
        out.into_inner()?.sync_all()
    }
}
