//! How much a user asks for: each report with its mails counts for something, for a while.

use fleet::{
    Millis,
    id::{ReportId, UserId},
};

use crate::{
    engine::{RegistryError, Tx, query},
    people,
};

/// For whom a request for a report counts, and for how much.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// The user, also of an API token.
    pub user: UserId,
    /// What the report's mails count for.
    pub weight: i64,
    /// The request is refused once this user's requests within `within` count for so much without it.
    pub most: i64,
    /// For how long a request counts, in ms.
    pub within: Millis,
}

/// What became of a request for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It is made.
    Made,
    /// The user asked for too much lately; nothing was done.
    TooMuch {
        /// When to come back, in Unix ms.
        again_at: Millis,
    },
}

const ASKED_BY: &str = "UPDATE reports SET asked_by = $2, weight = $3 WHERE id = $1";
const ASKED_LATELY: &str =
    "SELECT created_at, weight FROM reports WHERE asked_by = $1 AND created_at > $2 ORDER BY created_at";

/// When this user may ask again; `None`: now. Nobody else asks for this user until the transaction ends.
pub(super) async fn asked_too_much(
    tx: &mut Tx<'_>,
    ask: &Ask,
    now: Millis,
) -> Result<Option<Millis>, RegistryError> {
    let user = ask.user.to_string();
    people::hold_user(tx, &user).await?;
    let lately: Vec<(Millis, i64)> = tx.all(query(ASKED_LATELY).bind(user).bind(now - ask.within)).await?;
    Ok(again_at(&lately, ask))
}

/// When what was asked for `lately`, the oldest first, has become less than the most there may be.
fn again_at(lately: &[(Millis, i64)], ask: &Ask) -> Option<Millis> {
    let mut weight: i64 = lately.iter().map(|(_, weight)| weight).sum();
    let mut again_at = None;
    for (at, less) in lately {
        if weight < ask.most {
            break;
        }
        weight -= less;
        again_at = Some(at + ask.within);
    }
    again_at
}

/// Lets a report that was made count for who asked for it.
pub(super) async fn note(tx: &mut Tx<'_>, report: ReportId, ask: &Ask) -> Result<(), RegistryError> {
    let note = query(ASKED_BY).bind(report.to_string()).bind(ask.user.to_string()).bind(ask.weight);
    tx.run(note).await.map(drop)
}
