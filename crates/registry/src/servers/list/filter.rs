//! What a list of servers is asked by: what narrows it, and what orders it.

use fleet::{ServerId, Status};

/// Which servers. Every field that is given narrows the list.
#[derive(Debug, Clone, Default)]
pub struct ServerFilter {
    /// Of this status.
    pub status: Option<Status>,
    /// Of exactly this name, regardless of case.
    pub name: Option<String>,
    /// Of exactly this address.
    pub address: Option<String>,
    /// Name, address, hostname or a label's value contains this, regardless of case. Nothing in it is a wildcard.
    pub q: Option<String>,
    /// With all of these labels, as key and value.
    pub labels: Vec<(String, String)>,
    /// One of these. An empty list is met by no server.
    pub ids: Option<Vec<ServerId>>,
}

/// What to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// Regardless of case.
    Name,
    /// As text; servers without one come last in either direction.
    Address,
    /// By the word of the interface.
    Status,
    /// When it was heard last; servers that never were come last in either direction.
    LastSeenAt,
    /// When it enrolled.
    CreatedAt,
    /// When a person changed it last.
    UpdatedAt,
}

/// One sort key and its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// What to sort by.
    pub key: SortKey,
    /// Greatest first.
    pub descending: bool,
}

impl ServerFilter {
    /// Whether nothing narrows the list.
    pub fn is_everyone(&self) -> bool {
        self.status.is_none() && self.is_at_most_a_status()
    }

    /// Whether nothing narrows the list but a status at the most.
    pub(super) fn is_at_most_a_status(&self) -> bool {
        let Self { status: _, name, address, q, labels, ids } = self;
        name.is_none() && address.is_none() && q.is_none() && labels.is_empty() && ids.is_none()
    }

    /// The labels, if nothing else narrows the list.
    pub(super) fn labels_alone(&self) -> &[(String, String)] {
        let Self { status, name, address, q, labels, ids } = self;
        let others = status.is_some() || name.is_some() || address.is_some() || q.is_some() || ids.is_some();
        if others { &[] } else { labels }
    }
}

impl SortKey {
    /// Whether workers write it.
    pub(super) fn is_seen(self) -> bool {
        matches!(self, Self::Status | Self::LastSeenAt)
    }

    pub(super) fn is_nullable(self) -> bool {
        matches!(self, Self::Address | Self::LastSeenAt)
    }
}
