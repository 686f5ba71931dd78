//! When servers are not expected to report.

use std::collections::HashMap;

use fleet::{Millis, ServerId};
use serde_json::{Value, json};

use crate::{
    Actor, Registry, RegistryError, audit, id, json, on,
    profile::of_server,
    statement::{Text, one_of},
};

/// For how long and why a server is not expected to report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pause {
    /// When it ends by itself, in Unix ms; `None`: when somebody ends it.
    pub until: Option<Millis>,
    /// For people.
    pub reason: Option<String>,
}

const HOLD: &str =
    "UPDATE servers SET version = version + 1, updated_at = $2 WHERE id = $1 RETURNING paused_at";
const LASTING: &str = "SELECT ends_at, reason FROM pauses WHERE server_id = $1 AND paused_at = $2";
const MARK: &str = "UPDATE servers SET paused_at = $2 WHERE id = $1";
/// Paused again within the ms in which it was resumed: the one pause goes on.
const BEGIN: &str = "INSERT INTO pauses (server_id, paused_at, ends_at, reason) VALUES ($1, $2, $3, $4)
ON CONFLICT (server_id, paused_at) DO UPDATE SET resumed_at = NULL, ends_at = excluded.ends_at, reason = excluded.reason";
/// Never before it began, whatever the clock did meanwhile; nor after it ended by itself.
const END: &str =
    "UPDATE pauses SET resumed_at = CASE WHEN ends_at < $3 THEN ends_at WHEN $3 > paused_at THEN $3
ELSE paused_at END WHERE server_id = $1 AND paused_at = $2";
const DUE: &str = "SELECT p.server_id FROM pauses p JOIN servers s
ON s.id = p.server_id AND s.paused_at = p.paused_at
WHERE p.resumed_at IS NULL AND p.ends_at <= $1 ORDER BY p.server_id LIMIT 500";
const PAUSES: Text = one_of!(
    "SELECT server_id, paused_at, COALESCE(resumed_at, ends_at) FROM pauses WHERE server_id",
    "$1",
    " ORDER BY server_id, paused_at"
);

impl Registry {
    /// From now on this server is not expected to report. One that is paused stays so since it was, and ends as this
    /// one says. False: no such server.
    pub async fn pause(
        &self,
        server: ServerId,
        pause: &Pause,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let id = server.to_string();
        let until = pause.until.map(|until| until.max(now));
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let held: Option<(Option<Millis>,)> =
                sqlx::query_as(HOLD).bind(&id).bind(now).fetch_optional(&mut *tx).await?;
            let Some((lasting,)) = held else { return Ok(false) };
            let mut before = None;
            if let Some(since) = lasting {
                let (ends_at, reason) =
                    sqlx::query_as(LASTING).bind(&id).bind(since).fetch_optional(&mut *tx).await?.unwrap_or_default();
                let lasting = Pause { until: ends_at, reason };
                if lasting.until == until && lasting.reason == pause.reason {
                    tx.rollback().await?;
                    return Ok(true);
                }
                before = Some(lasting.told(since));
            }
            let since = lasting.unwrap_or(now);
            sqlx::query(MARK).bind(&id).bind(since).execute(&mut *tx).await?;
            let reason = pause.reason.as_deref();
            sqlx::query(BEGIN).bind(&id).bind(since).bind(until).bind(reason).execute(&mut *tx).await?;
            let after = Pause { until, ..pause.clone() }.told(since);
            let change = of_server(by, now, "server.pause", server, before, Some(after));
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            true
        }))
    }

    /// From now on this server is expected to report again; one that is not paused stays so. False: no such server.
    pub async fn resume(&self, server: ServerId, by: &Actor, now: Millis) -> Result<bool, RegistryError> {
        self.end_pause(server, false, by, now).await
    }

    /// `due`: only if it has ended by itself.
    async fn end_pause(
        &self,
        server: ServerId,
        due: bool,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let id = server.to_string();
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let held: Option<(Option<Millis>,)> =
                sqlx::query_as(HOLD).bind(&id).bind(now).fetch_optional(&mut *tx).await?;
            let Some((lasting,)) = held else { return Ok(false) };
            let Some(since) = lasting else {
                tx.rollback().await?;
                return Ok(true);
            };
            let (ends_at, _): (Option<Millis>, Option<String>) =
                sqlx::query_as(LASTING).bind(&id).bind(since).fetch_optional(&mut *tx).await?.unwrap_or_default();
            // Somebody made it longer meanwhile.
            if due && ends_at.is_none_or(|ends_at| ends_at > now) {
                tx.rollback().await?;
                return Ok(true);
            }
            sqlx::query(MARK).bind(&id).bind(None::<Millis>).execute(&mut *tx).await?;
            sqlx::query(END).bind(&id).bind(since).bind(now).execute(&mut *tx).await?;
            let before = Some(json!({"paused_at": since}));
            let change = of_server(by, now, "server.resume", server, before, None);
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            true
        }))
    }

    /// Resumes the servers whose pause has ended by itself, and says how many there were. Uptime knows of their end
    /// without it.
    pub async fn resume_due(&self, now: Millis) -> Result<usize, RegistryError> {
        let due: Vec<(String,)> =
            on!(self, db => sqlx::query_as(DUE).bind(now).fetch_all(db.reader()).await?);
        for (server,) in &due {
            self.end_pause(id("pauses", "server_id", server)?, true, &Actor::system(), now).await?;
        }
        Ok(due.len())
    }

    /// When these servers were paused: half-open ranges `[paused, resumed)` in Unix ms, by their start; one that lasts
    /// ends when it will by itself, or at [`Millis::MAX`]. A server that never was is left out.
    pub async fn pauses(
        &self,
        servers: &[ServerId],
    ) -> Result<HashMap<ServerId, Vec<(Millis, Millis)>>, RegistryError> {
        let ids = json(&servers)?;
        let rows: Vec<(String, Millis, Option<Millis>)> = on!(self, db => sqlx::query_as(PAUSES.on(self.dialect())).bind(ids).fetch_all(db.reader()).await?);
        let mut pauses: HashMap<_, Vec<_>> = HashMap::new();
        for (server, paused_at, resumed_at) in rows {
            let range = (paused_at, resumed_at.unwrap_or(Millis::MAX));
            pauses.entry(id("pauses", "server_id", &server)?).or_default().push(range);
        }
        Ok(pauses)
    }
}

impl Pause {
    /// As the audit log has it.
    fn told(&self, since: Millis) -> Value {
        json!({"paused_at": since, "until": self.until, "reason": self.reason})
    }
}
