//! What ran on a server: a part of the port.

use std::collections::HashMap;

use fleet::{Millis, ServerId, processes::Sampled};

use crate::{History, HistoryError};

/// From which end of a range something is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From its start.
    Earliest,
    /// From its end.
    Latest,
}

impl History {
    /// What ran on a server in `[from, to)`, in order of time: the earliest or the latest `most` samples that tell of
    /// processes. To be asked for some hours, or for few samples: all of them are in memory.
    ///
    /// # Errors
    /// `Unavailable`, and `Corrupt` for what cannot be read.
    #[tracing::instrument(target = "steps", level = "debug", name = "history.processes", skip_all)]
    #[crate::boxed]
    pub async fn processes(
        &self,
        server: ServerId,
        range: [Millis; 2],
        order: Order,
        most: usize,
    ) -> Result<Vec<Sampled>, HistoryError> {
        match self {
            Self::Sqlite(store) => store.processes(server, range, order, most).await,
            Self::Elasticsearch(store) => store.processes(server, range, order, most).await,
        }
    }

    /// The command lines with these hashes that samples of `[from, to)` name. One that no host has sent within two
    /// days before may not be there.
    ///
    /// # Errors
    /// `Unavailable`.
    #[crate::boxed]
    pub async fn commands(
        &self,
        hashes: &[String],
        range: [Millis; 2],
    ) -> Result<HashMap<String, String>, HistoryError> {
        match self {
            Self::Sqlite(store) => store.commands(hashes).await,
            Self::Elasticsearch(store) => store.commands(hashes, range).await,
        }
    }
}
