//! Sessions: a log-in and the refresh tokens that came of it.

use fleet::{
    Millis,
    id::{SessionId, UserId},
};

use crate::{Actor, Change, Registry, RegistryError, User, audit, id, on, people::login::one_user, text};

/// What a refresh token is exchanged for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refresh {
    /// The next token is in force: go on as this user, in this session.
    Rotated {
        /// Whose session it is.
        user: UserId,
        /// Which.
        session: SessionId,
    },
    /// The token was used before, so someone else has it: its session is revoked now.
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

const USER: &str = "SELECT u.id, u.username, u.password_hash, u.disabled_at, u.epoch, p.scope
FROM sessions s JOIN users u ON u.id = s.user_id LEFT JOIN role_scopes p ON p.role_id = u.role_id
WHERE s.id = $1 AND s.revoked_at IS NULL AND s.epoch = u.epoch AND u.disabled_at IS NULL";
const FORGET: &str = "DELETE FROM sessions WHERE expires_at <= $1";
const BEGIN: &str =
    "INSERT INTO sessions (id, user_id, epoch, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
const ADD_TOKEN: &str = "INSERT INTO refresh_tokens (hash, session_id, expires_at) VALUES ($1, $2, $3)";
/// A token of a session that has ended is as good as none.
const FIND: &str = "SELECT t.session_id, s.user_id, t.used_at, t.expires_at
FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
WHERE t.hash = $1 AND s.revoked_at IS NULL AND s.epoch = u.epoch AND u.disabled_at IS NULL";
const USE: &str = "UPDATE refresh_tokens SET used_at = $2 WHERE hash = $1 AND used_at IS NULL RETURNING hash";
/// First, for its row: whoever forgets expired sessions takes the session and then its tokens, so we do too.
const PROLONG: &str = "UPDATE sessions SET expires_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING id";
const END: &str = "UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";

impl Registry {
    /// The user of a session. `None` when there is no such session, it was revoked, or its user was disabled or had
    /// every session ended since it began.
    pub async fn session_user(&self, session: SessionId) -> Result<Option<User>, RegistryError> {
        let session = session.to_string();
        let rows = on!(self, db => sqlx::query_as(USER).bind(session).fetch_all(db.reader()).await?);
        one_user(rows)
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
        on!(self, db => {
            let mut tx = db.begin_write().await?;
            sqlx::query(FORGET).bind(now).execute(&mut *tx).await?;
            sqlx::query(BEGIN)
                .bind(&session)
                .bind(user.id.to_string())
                .bind(user.epoch)
                .bind(now)
                .bind(expires_at)
                .execute(&mut *tx)
                .await?;
            sqlx::query(ADD_TOKEN)
                .bind(text::hex(&refresh_hash))
                .bind(&session)
                .bind(expires_at)
                .execute(&mut *tx)
                .await?;
            let change = of(by, now, "session.begin", &session);
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
        });
        Ok(())
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
        let (hash, next) = (text::hex(&hash), text::hex(&next));
        // Nobody can tell whether it was the user or a thief.
        let stranger = Actor::stranger(from);
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let found: Option<TokenRow> = sqlx::query_as(FIND).bind(&hash).fetch_optional(&mut *tx).await?;
            let Some(token) = found else { return Ok(Refresh::Unknown) };
            if token.used_at.is_none() && token.expires_at <= now {
                return Ok(Refresh::Unknown);
            }
            let prolonged: Option<(String,)> =
                sqlx::query_as(PROLONG).bind(&token.session_id).bind(expires_at).fetch_optional(&mut *tx).await?;
            if prolonged.is_none() {
                return Ok(Refresh::Unknown);
            }
            let used: Option<(String,)> =
                sqlx::query_as(USE).bind(&hash).bind(now).fetch_optional(&mut *tx).await?;
            if used.is_none() {
                sqlx::query(END).bind(&token.session_id).bind(now).execute(&mut *tx).await?;
                let change = of(&stranger, now, "session.reuse", &token.session_id);
                audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
                tx.commit().await?;
                return Ok(Refresh::Reused);
            }
            sqlx::query(ADD_TOKEN).bind(next).bind(&token.session_id).bind(expires_at).execute(&mut *tx).await?;
            tx.commit().await?;
            Refresh::Rotated {
                user: id("sessions", "user_id", &token.user_id)?,
                session: id("sessions", "id", &token.session_id)?,
            }
        }))
    }

    /// Ends a session; one that has ended, or never was, is left as it is.
    pub async fn end_session(
        &self,
        session: SessionId,
        by: &Actor,
        now: Millis,
    ) -> Result<(), RegistryError> {
        let session = session.to_string();
        on!(self, db => {
            let mut tx = db.begin_write().await?;
            let ended = sqlx::query(END).bind(&session).bind(now).execute(&mut *tx).await?;
            if ended.rows_affected() > 0 {
                let change = of(by, now, "session.end", &session);
                audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            }
            tx.commit().await?;
        });
        Ok(())
    }
}

fn of<'a>(by: &'a Actor, now: Millis, action: &'static str, session: &str) -> Change<'a> {
    Change {
        actor: by,
        at: now,
        action,
        kind: "session",
        id: Some(session.to_owned()),
        before: None,
        after: None,
    }
}
