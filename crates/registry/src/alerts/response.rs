//! What people do about incidents.

use fleet::{
    Millis,
    alert::{IncidentEventKind, Resolution},
    id::IncidentId,
};
use serde_json::json as told;

use super::incidents::{Changed, Incident, read};
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Registry, RegistryError, Tx, query},
    refusal::Refusal,
};

/// What a person does about an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// Takes it on.
    Acknowledge,
    /// Gives it back.
    Unacknowledge,
    /// Says that it is over; it does not open again until what is wrong was right once.
    Close,
    /// Says something of it.
    Comment,
}

/// Changes nothing, and holds the row.
const HOLD: &str = "UPDATE incidents SET transition = transition WHERE id = $1 RETURNING state, transition";
const ACKNOWLEDGE: &str = "UPDATE incidents SET state = 'acknowledged', acknowledged_by = $4, acknowledged_at = $3,
transition = transition + 1, events = events + 1, updated_at = $3, tell_at = $3 WHERE id = $1 AND transition = $2
RETURNING id, transition, events, level, value";
const UNACKNOWLEDGE: &str = "UPDATE incidents SET state = 'open', acknowledged_by = NULL, acknowledged_at = NULL,
escalates_from = $3, step = 0,
transition = transition + 1, events = events + 1, updated_at = $3, tell_at = $3 WHERE id = $1 AND transition = $2
RETURNING id, transition, events, level, value";
const CLOSE: &str = "UPDATE incidents SET state = 'resolved', resolution = 'closed', resolved_at = $3,
transition = transition + 1, events = events + 1, updated_at = $3, tell_at = $3 WHERE id = $1 AND transition = $2
RETURNING id, transition, events, level, value";
const COMMENT: &str =
    "UPDATE incidents SET events = events + 1, updated_at = $3 WHERE id = $1 AND transition = $2
RETURNING id, transition, events, level, value";
const SAY: &str =
    "INSERT INTO incident_events (incident, number, at, kind, transition, level, value, resolution,
actor_kind, actor_id, actor_name, note) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
impl Registry {
    /// Does what a person wants about an incident, and answers what it is then. What is done already is done; of what is
    /// resolved nothing but a comment is taken: [`Refusal::Changed`].
    #[crate::engine::boxed]
    pub async fn respond(
        &self,
        incident: IncidentId,
        response: Response,
        note: Option<&str>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<Incident, Refusal>, RegistryError> {
        let key = incident.to_string();
        self.change(async |tx| {
            let held: Option<(String, i64)> = tx.maybe(query(HOLD).bind(&key)).await?;
            let (state, transition) = held.ok_or(Refusal::NotFound)?;
            if response.is_done(&state)? {
                tx.roll_back();
                return read(tx, &key).await;
            }
            let statement = query(response.statement()).bind(&key).bind(transition).bind(now);
            let statement = match response {
                Response::Acknowledge => statement.bind(by.name.as_deref()),
                _ => statement,
            };
            let changed: Changed = tx.one(statement).await?;
            say(tx, &changed, response, note, by, now).await?;
            let change = Change::new(by, now, response.action(), incident)
                .after(told!({"state": response.state().unwrap_or(&state), "note": note}));
            audit::record(tx, &[change]).await?;
            read(tx, &key).await
        })
        .await
    }
}

async fn say(
    tx: &mut Tx<'_>,
    changed: &Changed,
    response: Response,
    note: Option<&str>,
    by: &Actor,
    now: Millis,
) -> Result<(), RegistryError> {
    let (actor_kind, actor_id) = by.who.parts();
    let say = query(SAY)
        .bind(&changed.id)
        .bind(changed.events)
        .bind(now)
        .bind(response.event().as_str())
        .bind(changed.transition)
        .bind(&changed.level)
        .bind(changed.value)
        .bind((response == Response::Close).then(|| Resolution::Closed.as_str()))
        .bind(actor_kind)
        .bind(actor_id)
        .bind(by.name.as_deref())
        .bind(note);
    tx.run(say).await.map(drop)
}

impl Response {
    /// Whether there is nothing left to do.
    fn is_done(self, state: &str) -> Result<bool, Refusal> {
        match (self, state) {
            (Self::Acknowledge, "acknowledged")
            | (Self::Unacknowledge, "open")
            | (Self::Close, "resolved") => Ok(true),
            (Self::Acknowledge | Self::Unacknowledge, "resolved") => Err(Refusal::Changed),
            _ => Ok(false),
        }
    }

    fn statement(self) -> &'static str {
        match self {
            Self::Acknowledge => ACKNOWLEDGE,
            Self::Unacknowledge => UNACKNOWLEDGE,
            Self::Close => CLOSE,
            Self::Comment => COMMENT,
        }
    }

    /// The state after it, if it makes a difference.
    fn state(self) -> Option<&'static str> {
        match self {
            Self::Acknowledge => Some("acknowledged"),
            Self::Unacknowledge => Some("open"),
            Self::Close => Some("resolved"),
            Self::Comment => None,
        }
    }

    fn event(self) -> IncidentEventKind {
        match self {
            Self::Acknowledge => IncidentEventKind::Acknowledged,
            Self::Unacknowledge => IncidentEventKind::Unacknowledged,
            Self::Close => IncidentEventKind::Resolved,
            Self::Comment => IncidentEventKind::Commented,
        }
    }

    fn action(self) -> Action {
        match self {
            Self::Acknowledge => Action::IncidentAcknowledge,
            Self::Unacknowledge => Action::IncidentUnacknowledge,
            Self::Close => Action::IncidentClose,
            Self::Comment => Action::IncidentComment,
        }
    }
}
