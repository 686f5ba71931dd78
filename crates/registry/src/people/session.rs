//! Sessions: a log-in and the refresh token that came of it last.

use fleet::{
    Millis,
    id::{SessionId, UserId},
};

use super::{
    User, account,
    login::{UserRow, one_user},
};
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{PerEngine, Registry, RegistryError, Tx, hex, id, query, row},
};

/// A session that is open.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// Whose it is.
    pub user: User,
    /// Until when the password counts as given just now, in Unix ms; `None`: it was not given since the log-in.
    pub elevated_until: Option<Millis>,
}

/// One of the sessions of a user. Times are Unix ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOf {
    /// Which.
    pub id: SessionId,
    /// When its user logged in.
    pub began_at: Millis,
    /// When it ends, unless it is refreshed before.
    pub expires_at: Millis,
}

/// A refresh token, of which the registry knows SHA-256 of two texts.
#[derive(Debug, Clone, Copy)]
pub struct RefreshToken {
    /// Of the token.
    pub hash: [u8; 32],
    /// Of what all tokens of one session begin with, a secret too. By it a token is known again that was exchanged before:
    /// of each session the registry keeps the hash of the newest token, and of those before for [`ROTATED_LATELY`].
    pub family: [u8; 32],
}

/// What a refresh token is exchanged for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refresh {
    /// The next token is in force: go on as this user, in this session.
    Rotated {
        /// Whose session it is.
        user: UserId,
        /// Which session.
        session: SessionId,
    },
    /// The token was exchanged within the last [`ROTATED_LATELY`], as when two tabs of one browser ask at once. Nothing was
    /// done: whoever asked holds the next token already, or waits a moment for it.
    JustRotated,
    /// The token was used before, so two have it: its session has ended.
    Reused,
    /// No such token; or it expired, or its session has ended.
    Unknown,
}

row! {
    /// A refresh token and all that decides whether it still holds.
    struct TokenRow {
        session_id: String,
        user_id: String,
        family: Option<String>,
        used_at: Option<Millis>,
        expires_at: Millis,
    }
}

row! {
    /// There is such a row for each scope, as of a [`UserRow`].
    struct OpenRow {
        elevated_until: Option<Millis>,
        ..user: UserRow,
    }
}

/// For so long after its exchange a token that comes again is no sign of a thief, in ms.
pub const ROTATED_LATELY: Millis = 10_000;

/// Most sessions of a user.
const MOST_SESSIONS: i64 = 50;

const OPEN: &str =
    "SELECT s.elevated_until, u.id, u.username, u.password_hash, u.disabled_at, u.epoch, p.scope
FROM sessions s JOIN users u ON u.id = s.user_id LEFT JOIN role_scopes p ON p.role_id = u.role_id
WHERE s.id = $1 AND s.revoked_at IS NULL AND s.epoch = u.epoch AND u.disabled_at IS NULL";
/// Sessions of this user that are over, those of an earlier release too, which marked what had ended.
const FORGET_OF: &str = "DELETE FROM sessions WHERE user_id = $1
AND (expires_at <= $2 OR revoked_at IS NOT NULL OR epoch <> (SELECT epoch FROM users WHERE id = $1))";
/// The more lately a session was refreshed, the later it expires.
const MAKE_ROOM: &str = "DELETE FROM sessions WHERE id IN
(SELECT id FROM sessions WHERE user_id = $1 ORDER BY expires_at DESC, id DESC LIMIT 1000 OFFSET $2) RETURNING id";
/// As of the audit log: a part at a time, and rows that no other process is about to forget.
const FORGET: PerEngine = PerEngine {
    sqlite: "DELETE FROM sessions WHERE id IN
        (SELECT id FROM sessions WHERE expires_at <= $1 ORDER BY expires_at, id LIMIT $2)",
    postgres: "DELETE FROM sessions WHERE id IN
        (SELECT id FROM sessions WHERE expires_at <= $1 ORDER BY expires_at, id LIMIT $2 FOR UPDATE SKIP LOCKED)",
};
const FORGET_USED: PerEngine = PerEngine {
    sqlite: "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM refresh_tokens
        WHERE expires_at <= $1 AND used_at IS NOT NULL ORDER BY expires_at, hash LIMIT $2)",
    postgres: "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM refresh_tokens
        WHERE expires_at <= $1 AND used_at IS NOT NULL ORDER BY expires_at, hash LIMIT $2 FOR UPDATE SKIP LOCKED)",
};
const BEGIN: &str = "INSERT INTO sessions (id, user_id, epoch, created_at, expires_at, family)
VALUES ($1, $2, $3, $4, $5, $6)";
const ADD_TOKEN: &str = "INSERT INTO refresh_tokens (hash, session_id, expires_at) VALUES ($1, $2, $3)";
/// Finds no token whose session has ended.
const FIND: &str = "SELECT t.session_id, s.user_id, s.family, t.used_at, t.expires_at
FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
WHERE t.hash = $1 AND s.revoked_at IS NULL AND s.epoch = u.epoch AND u.disabled_at IS NULL";
/// The open session of a token that is not its newest one.
const FIND_FAMILY: &str = "SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.family = $1 AND s.revoked_at IS NULL AND s.epoch = u.epoch AND u.disabled_at IS NULL";
/// A token that would be exchanged now.
const HOLDER: &str = "SELECT t.session_id, s.user_id
FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
WHERE t.hash = $1 AND t.used_at IS NULL AND t.expires_at > $2
AND s.revoked_at IS NULL AND s.epoch = u.epoch AND u.disabled_at IS NULL";
/// A token that is known again by its family: its row tells for a while that it was exchanged just now.
const RETIRE: &str = "UPDATE refresh_tokens SET used_at = $2, expires_at = $3 WHERE hash = $1 AND used_at IS NULL RETURNING hash";
/// The rows of a session that have told so for long enough.
const FORGET_RETIRED: &str =
    "DELETE FROM refresh_tokens WHERE session_id = $1 AND used_at IS NOT NULL AND expires_at <= $2";
/// Of a token whose family is unknown: it has to be known again by its own row.
const USE: &str = "UPDATE refresh_tokens SET used_at = $2 WHERE hash = $1 AND used_at IS NULL RETURNING hash";
/// The session's row is held before the token's, because whoever deletes sessions holds the session's row first too. The
/// other way round, the two could wait for each other for ever.
const PROLONG: &str =
    "UPDATE sessions SET expires_at = $2, family = $3 WHERE id = $1 AND revoked_at IS NULL RETURNING id";
const ELEVATE: &str =
    "UPDATE sessions SET elevated_until = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING id";
/// As [`OPEN`] has it, the one that was refreshed last first.
const OF_USER: &str =
    "SELECT s.id, s.created_at, s.expires_at FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.user_id = $1 AND s.expires_at > $2 AND s.revoked_at IS NULL AND s.epoch = u.epoch
ORDER BY s.expires_at DESC, s.id DESC";
const END_OF_USER: &str = "DELETE FROM sessions WHERE user_id = $1 AND revoked_at IS NULL RETURNING id";
const END_EVERY: &str = "DELETE FROM sessions WHERE revoked_at IS NULL";
const END: &str = "DELETE FROM sessions WHERE id = $1 AND revoked_at IS NULL";

/// Ends every session of everybody. Answers how many there were.
pub(crate) async fn end_every_session(tx: &mut Tx<'_>) -> Result<u64, RegistryError> {
    tx.run(query(END_EVERY)).await
}

/// The next token instead of this one. False: this one was used.
async fn exchange(
    tx: &mut Tx<'_>,
    hash: &str,
    next: String,
    session: &str,
    has_family: bool,
    (now, expires_at): (Millis, Millis),
) -> Result<bool, RegistryError> {
    let used = match has_family {
        true => query(RETIRE).bind(hash).bind(now).bind(now + ROTATED_LATELY),
        false => query(USE).bind(hash).bind(now),
    };
    let unused = tx.any(used).await?;
    if unused {
        tx.run(query(FORGET_RETIRED).bind(session).bind(now)).await?;
        tx.run(query(ADD_TOKEN).bind(next).bind(session).bind(expires_at)).await?;
    }
    Ok(unused)
}

/// Ends a session, with its refresh tokens. False: it had ended.
async fn end(
    tx: &mut Tx<'_>,
    session: &str,
    action: Action,
    by: &Actor,
    now: Millis,
) -> Result<bool, RegistryError> {
    let open = tx.run(query(END).bind(session)).await? > 0;
    if open {
        audit::record(tx, &[Change::new(by, now, action, session)]).await?;
    }
    Ok(open)
}

/// Forgets what is over of this user's sessions, and ends those that were refreshed longest ago, so that one more is at
/// most [`MOST_SESSIONS`].
async fn make_room(tx: &mut Tx<'_>, user: &str, by: &Actor, now: Millis) -> Result<(), RegistryError> {
    tx.run(query(FORGET_OF).bind(user).bind(now)).await?;
    let ended: Vec<(String,)> = tx.all(query(MAKE_ROOM).bind(user).bind(MOST_SESSIONS - 1)).await?;
    let changes: Vec<_> =
        ended.iter().map(|(session,)| Change::new(by, now, Action::SessionEnd, session)).collect();
    if changes.is_empty() { Ok(()) } else { audit::record(tx, &changes).await }
}

impl Registry {
    /// An open session and its user. `None` when there is no such session, it was revoked, or its user was disabled or had
    /// every session ended since it began.
    #[crate::engine::boxed]
    pub async fn open_session(&self, session: SessionId) -> Result<Option<OpenSession>, RegistryError> {
        let rows: Vec<OpenRow> = self.reader().all(query(OPEN).bind(session.to_string())).await?;
        let elevated_until = rows.first().and_then(|row| row.elevated_until);
        let user = one_user(rows.into_iter().map(|row| row.user).collect())?;
        Ok(user.map(|user| OpenSession { user, elevated_until }))
    }

    /// The password of this session's user was given again: it counts until then, in Unix ms. False: the session has
    /// ended, and nothing was done.
    #[crate::engine::boxed]
    pub async fn elevate_session(
        &self,
        session: SessionId,
        until: Millis,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let session = session.to_string();
        self.write(async |tx| {
            let open = tx.any(query(ELEVATE).bind(&session).bind(until)).await?;
            if open {
                audit::record(tx, &[Change::new(by, now, Action::SessionElevate, &session)]).await?;
            }
            Ok(open)
        })
        .await
    }

    /// Begins a session of this user with its first refresh token. It is void at once if the user is gone, or its epoch
    /// has counted up since it was read. A user has at most 50: for one more, the one ends that was refreshed longest ago.
    #[crate::engine::boxed]
    pub async fn begin_session(
        &self,
        session: SessionId,
        user: &User,
        refresh: RefreshToken,
        by: &Actor,
        now: Millis,
        expires_at: Millis,
    ) -> Result<(), RegistryError> {
        let (session, owner) = (session.to_string(), user.id.to_string());
        self.write(async |tx| {
            if !account::hold_user(tx, &owner).await? {
                return Ok(());
            }
            make_room(tx, &owner, by, now).await?;
            let begin = query(BEGIN)
                .bind(&session)
                .bind(&owner)
                .bind(user.epoch)
                .bind(now)
                .bind(expires_at)
                .bind(hex(&refresh.family));
            tx.run(begin).await?;
            tx.run(query(ADD_TOKEN).bind(hex(&refresh.hash)).bind(&session).bind(expires_at)).await?;
            audit::record(tx, &[Change::new(by, now, Action::SessionBegin, &session)]).await
        })
        .await
    }

    /// Exchanges a refresh token for the next one, which holds until `expires_at`. `from` is the address of whoever
    /// presents it.
    ///
    /// A token works once. When one comes again later than [`ROTATED_LATELY`], the user or a thief holds a copy, and nobody
    /// can tell which: the whole session ends.
    #[crate::engine::boxed]
    pub async fn refresh(
        &self,
        presented: RefreshToken,
        next: RefreshToken,
        from: Option<String>,
        now: Millis,
        expires_at: Millis,
    ) -> Result<Refresh, RegistryError> {
        let (hash, family) = (hex(&presented.hash), hex(&presented.family));
        // Nobody can tell whether it was the user or a thief.
        let stranger = Actor::stranger(from);
        let reused = async |tx: &mut Tx<'_>, session: &str| {
            let ended = end(tx, session, Action::SessionReuse, &stranger, now).await?;
            Ok(if ended { Refresh::Reused } else { Refresh::Unknown })
        };
        self.write(async |tx| {
            let found: Option<TokenRow> = tx.maybe(query(FIND).bind(&hash)).await?;
            let Some(token) = found else {
                let session: Option<(String,)> = tx.maybe(query(FIND_FAMILY).bind(&family)).await?;
                let Some((session,)) = session else { return Ok(Refresh::Unknown) };
                return reused(tx, &session).await;
            };
            let key = &token.session_id;
            match token.used_at {
                Some(used_at) if now - used_at < ROTATED_LATELY => return Ok(Refresh::JustRotated),
                Some(_) => return reused(tx, key).await,
                None if token.expires_at <= now => return Ok(Refresh::Unknown),
                None => {}
            }
            if !tx.any(query(PROLONG).bind(key).bind(expires_at).bind(hex(&next.family))).await? {
                return Ok(Refresh::Unknown);
            }
            let has_family = token.family.as_ref() == Some(&family) && presented.family == next.family;
            if !exchange(tx, &hash, hex(&next.hash), key, has_family, (now, expires_at)).await? {
                // Somebody exchanged it since it was found. Without a family the session has another one by now, in which
                // the next token of that somebody is not.
                return if has_family { Ok(Refresh::JustRotated) } else { reused(tx, key).await };
            }
            Ok(Refresh::Rotated {
                user: id("sessions", "user_id", &token.user_id)?,
                session: id("sessions", "id", key)?,
            })
        })
        .await
    }

    /// Whose refresh token this is, of which SHA-256 is given, and in which session. `None` unless it could be exchanged
    /// now. It is not used up.
    #[crate::engine::boxed]
    pub async fn refresh_token_holder(
        &self,
        hash: [u8; 32],
        now: Millis,
    ) -> Result<Option<(UserId, SessionId)>, RegistryError> {
        let found: Option<(String, String)> =
            self.reader().maybe(query(HOLDER).bind(hex(&hash)).bind(now)).await?;
        let Some((session, user)) = found else { return Ok(None) };
        Ok(Some((id("sessions", "user_id", &user)?, id("sessions", "id", &session)?)))
    }

    /// Ends a session; one that has ended, or never was, is left as it is.
    #[crate::engine::boxed]
    pub async fn end_session(
        &self,
        session: SessionId,
        by: &Actor,
        now: Millis,
    ) -> Result<(), RegistryError> {
        let session = session.to_string();
        self.write(async |tx| end(tx, &session, Action::SessionEnd, by, now).await.map(drop)).await
    }

    /// The open sessions of this user, at most 50, the one that was refreshed last first.
    #[crate::engine::boxed]
    pub async fn sessions_of(&self, user: UserId, now: Millis) -> Result<Vec<SessionOf>, RegistryError> {
        let rows: Vec<(String, Millis, Millis)> =
            self.reader().all(query(OF_USER).bind(user.to_string()).bind(now)).await?;
        let read = |(session, began_at, expires_at): (String, _, _)| {
            Ok(SessionOf { id: id("sessions", "id", &session)?, began_at, expires_at })
        };
        rows.into_iter().map(read).collect()
    }

    /// Ends this session, if it is one of this user. False: there is no such session.
    #[crate::engine::boxed]
    pub async fn end_session_of(
        &self,
        user: UserId,
        session: SessionId,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let own = self.sessions_of(user, now).await?.iter().any(|one| one.id == session);
        let session = session.to_string();
        if own {
            self.write(async |tx| end(tx, &session, Action::SessionEnd, by, now).await).await
        } else {
            Ok(false)
        }
    }

    /// Ends every session of this user.
    #[crate::engine::boxed]
    pub async fn end_sessions_of(&self, user: UserId, by: &Actor, now: Millis) -> Result<(), RegistryError> {
        let owner = user.to_string();
        self.write(async |tx| {
            // As a log-in does, so that the two come one after the other.
            account::hold_user(tx, &owner).await?;
            let ended: Vec<(String,)> = tx.all(query(END_OF_USER).bind(&owner)).await?;
            let changes: Vec<_> =
                ended.iter().map(|(session,)| Change::new(by, now, Action::SessionEnd, session)).collect();
            if changes.is_empty() { Ok(()) } else { audit::record(tx, &changes).await }
        })
        .await
    }

    /// Forgets at most `limit` of the sessions that expired by `now`; says how many it were.
    #[crate::engine::boxed]
    pub async fn forget_sessions(&self, now: Millis, limit: u32) -> Result<u64, RegistryError> {
        self.writer().run(query(FORGET).bind(now).bind(i64::from(limit))).await
    }

    /// Forgets at most `limit` of the used refresh tokens of an earlier release that expired by `now`, whose sessions may
    /// go on; says how many it were.
    #[crate::engine::boxed]
    pub async fn forget_refresh_tokens(&self, now: Millis, limit: u32) -> Result<u64, RegistryError> {
        self.writer().run(query(FORGET_USED).bind(now).bind(i64::from(limit))).await
    }
}
