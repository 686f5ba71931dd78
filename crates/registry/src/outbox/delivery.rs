//! Deliveries: one mail of a report to one recipient, from the outbox to what became of it.
//!
//! `queued → sending → sent | failed | unknown`, and from `sending` back to `queued` when it is certain that nothing was
//! sent. Whoever is to send takes the row first, so no two ever do; what is `unknown` is never sent again.

use fleet::{
    Millis,
    id::{DeliveryId, ReportId},
};
use serde::Serialize;

use crate::{Registry, RegistryError, count, id, json, on, statement::Text};

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waits for its report, for the queue, or for its next attempt.
    Queued,
    /// Somebody sends it.
    Sending,
    /// The server of the recipient's side, or ours, has taken it.
    Sent,
    /// It will not be sent.
    Failed,
    /// It may have been sent. It is not sent again; a person may ask the recipient.
    Unknown,
}

/// One mail to one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// Of which report.
    pub report: ReportId,
    /// Address of the recipient.
    pub recipient: String,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// What the mail is known by, once it was tried.
    pub message_id: Option<String>,
    /// Why it failed, or did at the last attempt.
    pub error: Option<String>,
    /// When it is tried (again), in Unix ms, while it waits for that.
    pub due_at: Option<Millis>,
    /// When it changed last, in Unix ms.
    pub updated_at: Millis,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// It was taken.
    Sent,
    /// It never will be, and why.
    Failed(String),
    /// It may have been, and why nobody knows.
    Unknown(String),
    /// It was not; the reason, and when to try again in Unix ms.
    Again(String, Millis),
}

#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    id: String,
    report_id: String,
    recipient: String,
    state: String,
    attempts: i64,
    publish_at: Option<Millis>,
    message_id: Option<String>,
    error: Option<String>,
    updated_at: Millis,
}

/// A delivery as the statement takes it.
#[derive(Serialize)]
pub(crate) struct Written<'a> {
    id: DeliveryId,
    place: usize,
    recipient: &'a str,
}

pub(crate) const ADD: Text = Text {
    sqlite: "INSERT INTO deliveries (id, report_id, place, recipient, state, attempts, created_at, updated_at)
        SELECT value ->> 'id', $1, value ->> 'place', value ->> 'recipient', 'queued', 0, $2, $2 FROM json_each($3)",
    postgres: "INSERT INTO deliveries (id, report_id, place, recipient, state, attempts, created_at, updated_at)
        SELECT id, $1, place, recipient, 'queued', 0, $2, $2
        FROM jsonb_to_recordset(CAST($3 AS JSONB)) AS line (id TEXT, place BIGINT, recipient TEXT)",
};
pub(crate) const OF: &str =
    "SELECT id, report_id, recipient, state, attempts, publish_at, message_id, error, updated_at
FROM deliveries WHERE report_id = $1 ORDER BY place";
/// Mostly there are none, and to look takes no lock.
const ANY_DUE: &str = "SELECT id FROM deliveries WHERE publish_at <= $1 AND state = 'queued' LIMIT 1";
/// Guarded again outside, as with every claim.
const TAKE: &str = "UPDATE deliveries SET publish_at = $2 WHERE id IN (SELECT id FROM deliveries
WHERE publish_at <= $1 AND state = 'queued' ORDER BY publish_at, id LIMIT $3) AND publish_at <= $1 AND state = 'queued'
RETURNING id";
const PUBLISHED: &str =
    "UPDATE deliveries SET publish_at = $3 WHERE id = $1 AND publish_at = $2 AND state = 'queued'";
const CLAIM: &str = "UPDATE deliveries
SET state = 'sending', attempts = attempts + 1, message_id = $2, publish_at = NULL, updated_at = $3
WHERE id = $1 AND state = 'queued' AND EXISTS (SELECT 1 FROM reports r WHERE r.id = report_id AND r.state = 'ready')
RETURNING id, report_id, recipient, state, attempts, publish_at, message_id, error, updated_at";
/// What was given up as unknown may still be told by whoever sent it, but never be sent again.
const SETTLE: &str = "UPDATE deliveries SET state = $3, error = $4, publish_at = $5, updated_at = $6
WHERE id = $1 AND attempts = $2 AND (state = 'sending' OR (state = 'unknown' AND $3 IN ('sent', 'failed')))";
const GIVE_UP: &str = "UPDATE deliveries SET state = 'unknown', error = $2, updated_at = $3
WHERE state = 'sending' AND updated_at < $1";

impl Registry {
    /// Takes deliveries that are due for the queue, `most` at the most. Unless [`published`](Self::published) says that
    /// it is there, a taken one is due again at `again`.
    pub async fn take_due_deliveries(
        &self,
        now: Millis,
        again: Millis,
        most: u32,
    ) -> Result<Vec<DeliveryId>, RegistryError> {
        let ids: Vec<(String,)> = on!(self, db => {
            let any: Option<(String,)> = sqlx::query_as(ANY_DUE).bind(now).fetch_optional(db.reader()).await?;
            if any.is_none() {
                return Ok(Vec::new());
            }
            sqlx::query_as(TAKE).bind(now).bind(again).bind(i64::from(most)).fetch_all(db.writer()).await?
        });
        ids.iter().map(|(delivery,)| id("deliveries", "id", delivery)).collect()
    }

    /// The job of a delivery that was taken until `again` is in the queue. It is published once more at `net` if it still
    /// waits then, for a queue that lost it.
    pub async fn published(&self, id: DeliveryId, again: Millis, net: Millis) -> Result<(), RegistryError> {
        let id = id.to_string();
        on!(self, db => {
            sqlx::query(PUBLISHED).bind(&id).bind(again).bind(net).execute(db.writer()).await?;
        });
        Ok(())
    }

    /// Takes a delivery to send it now, as the mail of this `message_id`. `None`: it is not to be sent, say because
    /// another process has it. To be called before anything is sent.
    pub async fn claim_delivery(
        &self,
        id: DeliveryId,
        message_id: &str,
        now: Millis,
    ) -> Result<Option<Delivery>, RegistryError> {
        let id = id.to_string();
        let row: Option<Row> = on!(self, db => {
            sqlx::query_as(CLAIM).bind(&id).bind(message_id).bind(now).fetch_optional(db.writer()).await?
        });
        row.map(Row::delivery).transpose()
    }

    /// Writes what became of the attempt of this claimed delivery. False: it was given up meanwhile.
    pub async fn settle_delivery(
        &self,
        delivery: &Delivery,
        attempt: &Attempt,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let (state, reason, due) = match attempt {
            Attempt::Sent => ("sent", None, None),
            Attempt::Failed(reason) => ("failed", Some(reason), None),
            Attempt::Unknown(reason) => ("unknown", Some(reason), None),
            Attempt::Again(reason, due) => ("queued", Some(reason), Some(*due)),
        };
        let id = delivery.id.to_string();
        let done = on!(self, db => {
            sqlx::query(SETTLE)
                .bind(&id)
                .bind(i64::from(delivery.attempts))
                .bind(state)
                .bind(reason)
                .bind(due)
                .bind(now)
                .execute(db.writer())
                .await?
                .rows_affected()
        });
        Ok(done > 0)
    }

    /// Whatever was claimed before this time and not settled since is unknown: its process is gone, and nobody can tell
    /// whether it had sent. Answers how many.
    pub async fn give_up_deliveries(&self, before: Millis, now: Millis) -> Result<u64, RegistryError> {
        const REASON: &str = "the process that sent it ended before it had an answer";
        Ok(on!(self, db => {
            let given_up = sqlx::query(GIVE_UP).bind(before).bind(REASON).bind(now);
            given_up.execute(db.writer()).await?.rows_affected()
        }))
    }
}

impl<'a> Written<'a> {
    pub(crate) fn of(recipients: &'a [(DeliveryId, String)]) -> Result<String, RegistryError> {
        let written =
            |(place, (id, recipient)): (usize, &'a (DeliveryId, String))| Self { id: *id, place, recipient };
        json(&recipients.iter().enumerate().map(written).collect::<Vec<_>>())
    }
}

impl Row {
    pub(crate) fn delivery(self) -> Result<Delivery, RegistryError> {
        let state = match self.state.as_str() {
            "queued" => DeliveryState::Queued,
            "sending" => DeliveryState::Sending,
            "sent" => DeliveryState::Sent,
            "failed" => DeliveryState::Failed,
            "unknown" => DeliveryState::Unknown,
            _ => return Err(RegistryError::Corrupt { table: "deliveries", column: "state", row: self.id }),
        };
        Ok(Delivery {
            attempts: count("deliveries", "attempts", &self.id, self.attempts)?,
            report: id("deliveries", "report_id", &self.report_id)?,
            id: id("deliveries", "id", &self.id)?,
            recipient: self.recipient,
            state,
            message_id: self.message_id,
            error: self.error,
            due_at: self.publish_at,
            updated_at: self.updated_at,
        })
    }
}
