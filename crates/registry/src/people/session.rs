//! Sessions: a log-in and the refresh tokens that came of it.

use fleet::{
    Millis,
    id::{SessionId, UserId},
};

use super::{
    User,
    login::{UserRow, one_user},
};
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Registry, RegistryError, Tx, hex, id, query},
};

/// A session that is open.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// Whose it is.
    pub user: User,
    /// Until when the password counts as given just now, in Unix ms; `None`: it was not given since the log-in.
    pub elevated_until: Option<Millis>,
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
    /// The token was used before, so two have it: its session has ended.
    Reused,
    /// No such token; or it expired, or its session has ended.
    Unknown,
}

/// A refresh token and all that decides whether it still holds.
#[derive(sqlx::FromRow)]
struct TokenRow {
    session_id: String,
    user_id: String,
    used_at: Option<Millis>,
    expires_at: Millis,
}

/// There is such a row for each scope, as of a [`UserRow`].
#[derive(sqlx::FromRow)]
struct OpenRow {
    elevated_until: Option<Millis>,
    #[sqlx(flatten)]
    user: UserRow,
}

const OPEN: &str =
    "SELECT s.elevated_until, u.id, u.username, u.password_hash, u.disabled_at, u.epoch, p.scope
FROM sessions s JOIN users u ON u.id = s.user_id LEFT JOIN role_scopes p ON p.role_id = u.role_id
WHERE s.id = $1 AND s.revoked_at IS NULL AND s.epoch = u.epoch AND u.disabled_at IS NULL";
const FORGET: &str = "DELETE FROM sessions WHERE expires_at <= $1";
const BEGIN: &str =
    "INSERT INTO sessions (id, user_id, epoch, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
const ADD_TOKEN: &str = "INSERT INTO refresh_tokens (hash, session_id, expires_at) VALUES ($1, $2, $3)";
/// Finds no token whose session has ended.
const FIND: &str = "SELECT t.session_id, s.user_id, t.used_at, t.expires_at
FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
WHERE t.hash = $1 AND s.revoked_at IS NULL AND s.epoch = u.epoch AND u.disabled_at IS NULL";
/// A token that would be exchanged now.
const HOLDER: &str = "SELECT t.session_id, s.user_id
FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
WHERE t.hash = $1 AND t.used_at IS NULL AND t.expires_at > $2
AND s.revoked_at IS NULL AND s.epoch = u.epoch AND u.disabled_at IS NULL";
const USE: &str = "UPDATE refresh_tokens SET used_at = $2 WHERE hash = $1 AND used_at IS NULL RETURNING hash";
/// The session's row is held before the token's, because whoever deletes expired sessions holds the session's row first
/// too. The other way round, the two could wait for each other for ever.
const PROLONG: &str = "UPDATE sessions SET expires_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING id";
const ELEVATE: &str =
    "UPDATE sessions SET elevated_until = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING id";
const END: &str = "UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
const END_EVERY: &str = "UPDATE sessions SET revoked_at = $1 WHERE revoked_at IS NULL";

/// Ends every session of everybody. Answers how many there were.
pub(crate) async fn end_every_session(tx: &mut Tx<'_>, now: Millis) -> Result<u64, RegistryError> {
    tx.run(query(END_EVERY).bind(now)).await
}

impl Registry {
    /// An open session and its user. `None` when there is no such session, it was revoked, or its user was disabled or had
    /// every session ended since it began.
    pub async fn open_session(&self, session: SessionId) -> Result<Option<OpenSession>, RegistryError> {
        let rows: Vec<OpenRow> = self.reader().all(query(OPEN).bind(session.to_string())).await?;
        let elevated_until = rows.first().and_then(|row| row.elevated_until);
        let user = one_user(rows.into_iter().map(|row| row.user).collect())?;
        Ok(user.map(|user| OpenSession { user, elevated_until }))
    }

    /// The password of this session's user was given again: it counts until then, in Unix ms. False: the session has
    /// ended, and nothing was done.
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

    /// Begins a session of this user with its first refresh token, of which SHA-256 is given. It is void at once if the
    /// user's epoch has counted up since it was read. Sessions that expired are forgotten on the way.
    pub async fn begin_session(
        &self,
        session: SessionId,
        user: &User,
        refresh_hash: [u8; 32],
        by: &Actor,
        now: Millis,
        expires_at: Millis,
    ) -> Result<(), RegistryError> {
        let session = session.to_string();
        self.write(async |tx| {
            tx.run(query(FORGET).bind(now)).await?;
            let begin = query(BEGIN)
                .bind(&session)
                .bind(user.id.to_string())
                .bind(user.epoch)
                .bind(now)
                .bind(expires_at);
            tx.run(begin).await?;
            tx.run(query(ADD_TOKEN).bind(hex(&refresh_hash)).bind(&session).bind(expires_at)).await?;
            audit::record(tx, &[Change::new(by, now, Action::SessionBegin, &session)]).await
        })
        .await
    }

    /// Exchanges a refresh token for the next one, which holds until `expires_at`; both are given as SHA-256. `from` is
    /// the address of whoever presents it.
    ///
    /// A token works once. When one comes again, the user or a thief holds a copy, and nobody can tell which: the whole
    /// session ends.
    pub async fn refresh(
        &self,
        hash: [u8; 32],
        next: [u8; 32],
        from: Option<String>,
        now: Millis,
        expires_at: Millis,
    ) -> Result<Refresh, RegistryError> {
        let (hash, next) = (hex(&hash), hex(&next));
        // Nobody can tell whether it was the user or a thief.
        let stranger = Actor::stranger(from);
        self.write(async |tx| {
            let found: Option<TokenRow> = tx.maybe(query(FIND).bind(&hash)).await?;
            let Some(token) = found else { return Ok(Refresh::Unknown) };
            if token.used_at.is_none() && token.expires_at <= now {
                return Ok(Refresh::Unknown);
            }
            let key = &token.session_id;
            if !tx.any(query(PROLONG).bind(key).bind(expires_at)).await? {
                return Ok(Refresh::Unknown);
            }
            if !tx.any(query(USE).bind(&hash).bind(now)).await? {
                tx.run(query(END).bind(key).bind(now)).await?;
                audit::record(tx, &[Change::new(&stranger, now, Action::SessionReuse, key)]).await?;
                return Ok(Refresh::Reused);
            }
            tx.run(query(ADD_TOKEN).bind(next).bind(key).bind(expires_at)).await?;
            Ok(Refresh::Rotated {
                user: id("sessions", "user_id", &token.user_id)?,
                session: id("sessions", "id", key)?,
            })
        })
        .await
    }

    /// Whose refresh token this is, of which SHA-256 is given, and in which session. `None` unless it could be exchanged
    /// now. It is not used up.
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
    pub async fn end_session(
        &self,
        session: SessionId,
        by: &Actor,
        now: Millis,
    ) -> Result<(), RegistryError> {
        let session = session.to_string();
        self.write(async |tx| {
            if tx.run(query(END).bind(&session).bind(now)).await? > 0 {
                audit::record(tx, &[Change::new(by, now, Action::SessionEnd, &session)]).await?;
            }
            Ok(())
        })
        .await
    }
}
