//! When servers are not expected to report.

use std::collections::HashMap;

use fleet::{Millis, ServerId};
use serde_json::{Value, json};

use crate::{
    audit::{self, Action, Actor, Change},
    engine::{PerEngine, Registry, RegistryError, Stop, Tx, id, json, one_of, query},
    refusal::Refusal,
};

/// For how long and why a server is not expected to report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pause {
    /// When it ends by itself, in Unix ms; `None`: when somebody ends it.
    pub until: Option<Millis>,
    /// For people.
    pub reason: Option<String>,
}

/// A query for the ids of all servers that are paused, each once: by a person, or by a maintenance window.
macro_rules! paused {
    () => {
        "SELECT id FROM servers WHERE paused_at IS NOT NULL \
         UNION SELECT server_id FROM pauses WHERE origin <> '' AND resumed_at IS NULL"
    };
}
pub(crate) use paused;

/// The condition that a server, of the table of this name, is not paused.
macro_rules! is_expected {
    ($servers:literal) => {
        concat!(
            $servers,
            ".paused_at IS NULL AND ",
            $servers,
            ".id NOT IN (SELECT server_id FROM pauses WHERE origin <> '' AND resumed_at IS NULL)"
        )
    };
}
pub(crate) use is_expected;

/// Holds the row and raises its version; whoever then finds nothing to do rolls back.
const HOLD: &str =
    "UPDATE servers SET version = version + 1, updated_at = $2 WHERE id = $1 RETURNING paused_at";
const LASTING: &str =
    "SELECT ends_at, reason FROM pauses WHERE server_id = $1 AND origin = '' AND paused_at = $2";
const MARK: &str = "UPDATE servers SET paused_at = $2 WHERE id = $1";
/// A server that is paused again within the ms in which it was resumed: its one pause goes on.
const BEGIN: &str = "INSERT INTO pauses (server_id, paused_at, ends_at, reason) VALUES ($1, $2, $3, $4)
ON CONFLICT (server_id, origin, paused_at) DO UPDATE SET resumed_at = NULL, ends_at = excluded.ends_at, reason = excluded.reason";
/// A pause ends never before it began, whatever the clock did meanwhile, nor after the time at which it ends by itself.
const END: &str =
    "UPDATE pauses SET resumed_at = CASE WHEN ends_at < $3 THEN ends_at WHEN $3 > paused_at THEN $3
ELSE paused_at END WHERE server_id = $1 AND origin = '' AND paused_at = $2";
const DUE: &str = "SELECT p.server_id FROM pauses p JOIN servers s
ON s.id = p.server_id AND s.paused_at = p.paused_at
WHERE p.origin = '' AND p.resumed_at IS NULL AND p.ends_at <= $1 ORDER BY p.server_id LIMIT 500";
const PAUSES: PerEngine = one_of!(
    "SELECT server_id, paused_at, COALESCE(resumed_at, ends_at) FROM pauses WHERE server_id",
    " ORDER BY server_id, paused_at, origin"
);

/// Holds a server's row to the end of the transaction, and answers since when the server is paused and how, if it is.
async fn hold(tx: &mut Tx<'_>, server: &str, now: Millis) -> Result<Option<(Millis, Pause)>, Stop> {
    let held: Option<(Option<Millis>,)> = tx.maybe(query(HOLD).bind(server).bind(now)).await?;
    let (paused_at,) = held.ok_or(Refusal::NotFound)?;
    let Some(since) = paused_at else { return Ok(None) };
    let lasting: Option<(Option<Millis>, Option<String>)> =
        tx.maybe(query(LASTING).bind(server).bind(since)).await?;
    let (until, reason) = lasting.unwrap_or_default();
    Ok(Some((since, Pause { until, reason })))
}

impl Registry {
    /// From now on this server is not expected to report. One that is paused already stays paused since it was, and ends as
    /// this pause says.
    #[crate::engine::boxed]
    pub async fn pause(
        &self,
        server: ServerId,
        pause: &Pause,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let key = server.to_string();
        let wanted = Pause { until: pause.until.map(|until| until.max(now)), ..pause.clone() };
        self.change(async |tx| {
            let lasting = hold(tx, &key, now).await?;
            if lasting.as_ref().is_some_and(|(_, pause)| *pause == wanted) {
                tx.roll_back();
                return Ok(());
            }
            let since = lasting.as_ref().map_or(now, |(since, _)| *since);
            tx.run(query(MARK).bind(&key).bind(since)).await?;
            let begin = query(BEGIN).bind(&key).bind(since).bind(wanted.until).bind(wanted.reason.as_deref());
            tx.run(begin).await?;
            let before = lasting.map(|(since, pause)| pause.told(since));
            let change = Change::new(by, now, Action::ServerPause, server).after(wanted.told(since));
            Ok(audit::record(tx, &[Change { before, ..change }]).await?)
        })
        .await
    }

    /// From now on this server is expected to report again; one that is not paused stays so.
    #[crate::engine::boxed]
    pub async fn resume(
        &self,
        server: ServerId,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        self.end_pause(server, false, by, now).await
    }

    /// `due`: only a pause whose end has come by itself.
    async fn end_pause(
        &self,
        server: ServerId,
        due: bool,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let key = server.to_string();
        self.change(async |tx| {
            let lasting = hold(tx, &key, now).await?;
            // Somebody may have made it longer since it was found due.
            let ends = |pause: &Pause| !due || pause.until.is_some_and(|until| until <= now);
            let Some((since, _)) = lasting.filter(|(_, pause)| ends(pause)) else {
                tx.roll_back();
                return Ok(());
            };
            tx.run(query(MARK).bind(&key).bind(None::<Millis>)).await?;
            tx.run(query(END).bind(&key).bind(since).bind(now)).await?;
            let before = json!({"paused_at": since});
            let change = Change::new(by, now, Action::ServerResume, server).before(before);
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }

    /// Resumes the servers whose pause has ended by itself, and says how many there were. Uptime knows of their end
    /// without it.
    #[crate::engine::boxed]
    pub async fn resume_due(&self, now: Millis) -> Result<usize, RegistryError> {
        let due: Vec<(String,)> = self.reader().all(query(DUE).bind(now)).await?;
        for (server,) in &due {
            let server = id("pauses", "server_id", server)?;
            // Nothing is left to do for a server that was deleted meanwhile.
            let _refused = self.end_pause(server, true, &Actor::system(), now).await?;
        }
        Ok(due.len())
    }

    /// When these servers were paused, by people and by maintenance windows, whose ranges may overlap: half-open ranges `[paused, resumed)` in Unix ms, by their start; one that lasts
    /// ends when it will by itself, or at [`Millis::MAX`]. A server that never was is left out.
    #[crate::engine::boxed]
    pub async fn pauses(
        &self,
        servers: &[ServerId],
    ) -> Result<HashMap<ServerId, Vec<(Millis, Millis)>>, RegistryError> {
        let rows: Vec<(String, Millis, Option<Millis>)> =
            self.reader().all(query(PAUSES).bind(json(&servers)?)).await?;
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
