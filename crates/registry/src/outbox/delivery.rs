//! Deliveries: one mail of a report to one recipient, from the outbox to what became of it.
//!
//! `queued → sending → sent | failed | unknown`, and from `sending` back to `queued` when it is certain that nothing was
//! sent. A process claims the row of a delivery before it sends the mail, so that no two processes send it. A delivery that
//! is `unknown` is never sent again.

use fleet::{
    Millis,
    id::{DeliveryId, ReportId},
};
use serde::Serialize;

use crate::engine::{PerEngine, Registry, RegistryError, Tx, corrupt, count, id, json, query};

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waits for its report, for the queue, or for its next attempt.
    Queued,
    /// A process sends it.
    Sending,
    /// A mail server has taken it.
    Sent,
    /// There is no mail server: it lies in a folder, and was sent to nobody.
    Written,
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
    /// The mail was taken.
    Sent,
    /// The mail is a file, and goes to nobody.
    Written,
    /// The mail will never be taken; why.
    Failed(String),
    /// The mail may have been taken; why nobody knows.
    Unknown(String),
    /// The mail was not taken; why, and when to try again in Unix ms.
    Again(String, Millis),
}

#[derive(sqlx::FromRow)]
struct Row {
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
struct Written<'a> {
    id: DeliveryId,
    place: usize,
    recipient: &'a str,
}

const ADD: PerEngine = PerEngine {
    sqlite: "INSERT INTO deliveries (id, report_id, place, recipient, state, attempts, created_at, updated_at)
        SELECT value ->> 'id', $1, value ->> 'place', value ->> 'recipient', 'queued', 0, $2, $2 FROM json_each($3)",
    postgres: "INSERT INTO deliveries (id, report_id, place, recipient, state, attempts, created_at, updated_at)
        SELECT id, $1, place, recipient, 'queued', 0, $2, $2
        FROM jsonb_to_recordset(CAST($3 AS JSONB)) AS line (id TEXT, place BIGINT, recipient TEXT)",
};
const OF: &str = "SELECT id, report_id, recipient, state, attempts, publish_at, message_id, error, updated_at
FROM deliveries WHERE report_id = $1 ORDER BY place";
/// Mostly no delivery is due, and to look for one takes no lock.
const ANY_DUE: &str = "SELECT id FROM deliveries WHERE publish_at <= $1 AND state = 'queued' LIMIT 1";
/// Guarded a second time outside the inner query: of two that found the same delivery, the second waits for the first, and
/// then finds that it is not due any more.
const TAKE: &str = "UPDATE deliveries SET publish_at = $2 WHERE id IN (SELECT id FROM deliveries
WHERE publish_at <= $1 AND state = 'queued' ORDER BY publish_at, id LIMIT $3) AND publish_at <= $1 AND state = 'queued'
RETURNING id";
const PUBLISHED: &str =
    "UPDATE deliveries SET publish_at = $3 WHERE id = $1 AND publish_at = $2 AND state = 'queued'";
const CLAIM: &str = "UPDATE deliveries
SET state = 'sending', attempts = attempts + 1, message_id = $2, publish_at = NULL, updated_at = $3
WHERE id = $1 AND state = 'queued' AND EXISTS (SELECT 1 FROM reports r WHERE r.id = report_id AND r.state = 'ready')
RETURNING id, report_id, recipient, state, attempts, publish_at, message_id, error, updated_at";
/// Whoever sends a delivery that was given up as unknown may still say that it was sent or failed; it is never sent again.
const SETTLE: &str = "UPDATE deliveries SET state = $3, error = $4, publish_at = $5, updated_at = $6
WHERE id = $1 AND attempts = $2 AND (state = 'sending' OR (state = 'unknown' AND $3 IN ('sent', 'written', 'failed')))";
const GIVE_UP: &str = "UPDATE deliveries SET state = 'unknown', error = $2, updated_at = $3
WHERE state = 'sending' AND updated_at < $1";
const DOUBT: &str = "UPDATE deliveries SET state = 'unknown', error = $1, publish_at = NULL, updated_at = $2
WHERE state IN ('queued', 'sending')";

const SEND: &str =
    "UPDATE deliveries SET publish_at = $2, updated_at = $2 WHERE report_id = $1 AND state = 'queued'";
const FAIL: &str = "UPDATE deliveries SET state = 'failed', error = $2, publish_at = NULL, updated_at = $3
WHERE report_id = $1 AND state = 'queued'";

/// Makes the deliveries of a report, which wait for it.
pub(crate) async fn add(
    tx: &mut Tx<'_>,
    report: ReportId,
    recipients: &[(DeliveryId, String)],
    now: Millis,
) -> Result<(), RegistryError> {
    let written: Vec<Written<'_>> = recipients
        .iter()
        .enumerate()
        .map(|(place, (id, recipient))| Written { id: *id, place, recipient })
        .collect();
    tx.run(query(ADD).bind(report.to_string()).bind(now).bind(json(&written)?)).await.map(drop)
}

/// The deliveries of a report, in the order of its recipients.
pub(crate) async fn of(tx: &mut Tx<'_>, report: ReportId) -> Result<Vec<Delivery>, RegistryError> {
    let rows: Vec<Row> = tx.all(query(OF).bind(report.to_string())).await?;
    rows.into_iter().map(Row::delivery).collect()
}

/// The deliveries of a report wait for it no longer: each is due.
pub(crate) async fn send(tx: &mut Tx<'_>, report: ReportId, now: Millis) -> Result<(), RegistryError> {
    tx.run(query(SEND).bind(report.to_string()).bind(now)).await.map(drop)
}

/// The deliveries of a report fail for this reason.
pub(crate) async fn fail(
    tx: &mut Tx<'_>,
    report: ReportId,
    reason: &str,
    now: Millis,
) -> Result<(), RegistryError> {
    tx.run(query(FAIL).bind(report.to_string()).bind(reason).bind(now)).await.map(drop)
}

/// Everything that waits or is under way becomes unknown, for this reason: it may have been sent. Answers how many there
/// were.
pub(crate) async fn doubt(tx: &mut Tx<'_>, reason: &str, now: Millis) -> Result<u64, RegistryError> {
    tx.run(query(DOUBT).bind(reason).bind(now)).await
}

impl Registry {
    /// Takes deliveries that are due for the queue, `most` at the most. Unless [`published`](Self::published) says that
    /// it is there, a taken one is due again at `again`.
    pub async fn take_due_deliveries(
        &self,
        now: Millis,
        again: Millis,
        most: u32,
    ) -> Result<Vec<DeliveryId>, RegistryError> {
        if !self.reader().any(query(ANY_DUE).bind(now)).await? {
            return Ok(Vec::new());
        }
        let take = query(TAKE).bind(now).bind(again).bind(i64::from(most));
        let ids: Vec<(String,)> = self.writer().all(take).await?;
        ids.iter().map(|(delivery,)| id("deliveries", "id", delivery)).collect()
    }

    /// The job of a delivery that was taken until `again` is in the queue. It is published once more at `net` if it still
    /// waits then, for a queue that lost it.
    pub async fn published(&self, id: DeliveryId, again: Millis, net: Millis) -> Result<(), RegistryError> {
        let published = query(PUBLISHED).bind(id.to_string()).bind(again).bind(net);
        self.writer().run(published).await.map(drop)
    }

    /// Takes a delivery to send it now, as the mail of this `message_id`. `None`: it is not to be sent, say because
    /// another process has it. To be called before anything is sent.
    pub async fn claim_delivery(
        &self,
        id: DeliveryId,
        message_id: &str,
        now: Millis,
    ) -> Result<Option<Delivery>, RegistryError> {
        let claim = query(CLAIM).bind(id.to_string()).bind(message_id).bind(now);
        let row: Option<Row> = self.writer().maybe(claim).await?;
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
            Attempt::Written => ("written", None, None),
            Attempt::Failed(reason) => ("failed", Some(reason.as_str()), None),
            Attempt::Unknown(reason) => ("unknown", Some(reason.as_str()), None),
            Attempt::Again(reason, due) => ("queued", Some(reason.as_str()), Some(*due)),
        };
        let settle = query(SETTLE)
            .bind(delivery.id.to_string())
            .bind(i64::from(delivery.attempts))
            .bind(state)
            .bind(reason)
            .bind(due)
            .bind(now);
        Ok(self.writer().run(settle).await? > 0)
    }

    /// A delivery that was claimed before this time and not settled since becomes unknown: its process is gone, and nobody
    /// can tell whether it had sent the mail. Answers how many there were.
    pub async fn give_up_deliveries(&self, before: Millis, now: Millis) -> Result<u64, RegistryError> {
        const REASON: &str = "the process that sent it ended before it had an answer";
        self.writer().run(query(GIVE_UP).bind(before).bind(REASON).bind(now)).await
    }
}

impl Row {
    fn delivery(self) -> Result<Delivery, RegistryError> {
        let state = match self.state.as_str() {
            "queued" => DeliveryState::Queued,
            "sending" => DeliveryState::Sending,
            "sent" => DeliveryState::Sent,
            "written" => DeliveryState::Written,
            "failed" => DeliveryState::Failed,
            "unknown" => DeliveryState::Unknown,
            _ => return Err(corrupt("deliveries", "state", &self.id)),
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
