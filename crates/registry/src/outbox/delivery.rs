//! Deliveries: one mail about something to one recipient, from the outbox to what became of it. What it is about makes
//! no difference here.
//!
//! `queued → sending → sent | failed | unknown`, and from `sending` back to `queued` when it is certain that nothing was
//! sent. A process claims the row of a delivery before it sends the mail, so that no two processes send it. A delivery that
//! is `unknown` is never sent again.

use fleet::{MailJob, Millis, Subject, id::DeliveryId};
use serde::Serialize;

use crate::engine::{PerEngine, Query, Registry, RegistryError, Tx, corrupt, count, id, json, query, row};

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waits for what it is about, for the queue, or for its next attempt.
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
    /// What it is about.
    pub about: Subject,
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

row! {
    struct Row {
        id: String,
        kind: String,
        subject_id: String,
        recipient: String,
        state: String,
        attempts: i64,
        publish_at: Option<Millis>,
        message_id: Option<String>,
        error: Option<String>,
        updated_at: Millis,
    }
}

/// A delivery as the statement takes it.
#[derive(Serialize)]
struct Written<'a> {
    id: DeliveryId,
    place: usize,
    recipient: &'a str,
}

const ADD: PerEngine = PerEngine {
    sqlite: "INSERT INTO deliveries (id, kind, subject_id, place, recipient, state, attempts, created_at, updated_at)
        SELECT value ->> 'id', $1, $2, value ->> 'place', value ->> 'recipient', 'queued', 0, $3, $3 FROM json_each($4)",
    postgres: "INSERT INTO deliveries (id, kind, subject_id, place, recipient, state, attempts, created_at, updated_at)
        SELECT id, $1, $2, place, recipient, 'queued', 0, $3, $3
        FROM jsonb_to_recordset(CAST($4 AS JSONB)) AS line (id TEXT, place BIGINT, recipient TEXT)",
};
const OF: &str =
    "SELECT id, kind, subject_id, recipient, state, attempts, publish_at, message_id, error, updated_at
FROM deliveries WHERE kind = $1 AND subject_id = $2 ORDER BY place";
/// Mostly no delivery is due, and to look for one takes no lock.
const ANY_DUE: &str = "SELECT id FROM deliveries WHERE publish_at <= $1 AND state = 'queued' LIMIT 1";
/// Guarded a second time outside the inner query: of two that found the same delivery, the second waits for the first, and
/// then finds that it is not due any more.
const TAKE: &str = "UPDATE deliveries SET publish_at = $2 WHERE id IN (SELECT id FROM deliveries
WHERE publish_at <= $1 AND state = 'queued' ORDER BY publish_at, id LIMIT $3) AND publish_at <= $1 AND state = 'queued'
RETURNING id, kind, subject_id";
const PUBLISHED: &str =
    "UPDATE deliveries SET publish_at = $3 WHERE id = $1 AND publish_at = $2 AND state = 'queued'";
/// One that still waits for what it is about has no due time, and is not to be sent yet.
const CLAIM: &str = "UPDATE deliveries
SET state = 'sending', attempts = attempts + 1, message_id = $2, publish_at = NULL, updated_at = $3
WHERE id = $1 AND state = 'queued' AND publish_at IS NOT NULL
RETURNING id, kind, subject_id, recipient, state, attempts, publish_at, message_id, error, updated_at";
/// Whoever sends a delivery that was given up as unknown may still say that it was sent or failed; it is never sent again.
const SETTLE: &str = "UPDATE deliveries SET state = $3, error = $4, publish_at = $5, updated_at = $6
WHERE id = $1 AND attempts = $2 AND (state = 'sending' OR (state = 'unknown' AND $3 IN ('sent', 'written', 'failed')))";
const GIVE_UP: &str = "UPDATE deliveries SET state = 'unknown', error = $2, updated_at = $3
WHERE state = 'sending' AND updated_at < $1";
const DOUBT: &str = "UPDATE deliveries SET state = 'unknown', error = $1, publish_at = NULL, updated_at = $2
WHERE state IN ('queued', 'sending')";

const SEND: &str = "UPDATE deliveries SET publish_at = $3, updated_at = $4
WHERE kind = $1 AND subject_id = $2 AND state = 'queued'";
const FAIL: &str = "UPDATE deliveries SET state = 'failed', error = $3, publish_at = NULL, updated_at = $4
WHERE kind = $1 AND subject_id = $2 AND state = 'queued'";
/// Changes nothing, and holds the rows.
const HOLD: &str =
    "UPDATE deliveries SET state = state WHERE kind = $1 AND subject_id = $2 RETURNING id, state";
const FORGET: &str = "DELETE FROM deliveries WHERE kind = $1 AND subject_id = $2";
const COUNT: &str = "SELECT state, COUNT(*) FROM deliveries GROUP BY state";

/// A statement about all deliveries of a subject.
fn about(text: &'static str, subject: &Subject) -> Query {
    query(text).bind(subject.kind()).bind(subject.id())
}

/// Makes the deliveries of a subject, which wait until it [is due](send).
pub(crate) async fn add(
    tx: &mut Tx<'_>,
    subject: &Subject,
    recipients: &[(DeliveryId, String)],
    now: Millis,
) -> Result<(), RegistryError> {
    let written: Vec<Written<'_>> = recipients
        .iter()
        .enumerate()
        .map(|(place, (id, recipient))| Written { id: *id, place, recipient })
        .collect();
    let add = query(ADD).bind(subject.kind()).bind(subject.id()).bind(now).bind(json(&written)?);
    tx.run(add).await.map(drop)
}

/// The deliveries of a subject, in the order of its recipients.
pub(crate) async fn of(tx: &mut Tx<'_>, subject: &Subject) -> Result<Vec<Delivery>, RegistryError> {
    let rows: Vec<Row> = tx.all(about(OF, subject)).await?;
    rows.into_iter().map(Row::delivery).collect()
}

/// The deliveries of a subject wait for it no longer: each is due at this time.
pub(crate) async fn send(
    tx: &mut Tx<'_>,
    subject: &Subject,
    due_at: Millis,
    now: Millis,
) -> Result<(), RegistryError> {
    tx.run(about(SEND, subject).bind(due_at).bind(now)).await.map(drop)
}

/// The deliveries of a subject fail for this reason.
pub(crate) async fn fail(
    tx: &mut Tx<'_>,
    subject: &Subject,
    reason: &str,
    now: Millis,
) -> Result<(), RegistryError> {
    tx.run(about(FAIL, subject).bind(reason).bind(now)).await.map(drop)
}

/// Holds the deliveries of a subject to the end of the transaction, and answers their states.
pub(crate) async fn hold(tx: &mut Tx<'_>, subject: &Subject) -> Result<Vec<DeliveryState>, RegistryError> {
    let rows: Vec<(String, String)> = tx.all(about(HOLD, subject)).await?;
    rows.iter().map(|(id, state)| read_state(state, id)).collect()
}

/// A subject is gone, and its deliveries with it.
pub(crate) async fn forget(tx: &mut Tx<'_>, subject: &Subject) -> Result<(), RegistryError> {
    tx.run(about(FORGET, subject)).await.map(drop)
}

/// How many deliveries are in each state, by the states that occur.
pub(crate) async fn counts(tx: &mut Tx<'_>) -> Result<Vec<(String, i64)>, RegistryError> {
    tx.all(COUNT).await
}

/// Everything that waits or is under way becomes unknown, for this reason: it may have been sent. Answers how many there
/// were.
pub(crate) async fn doubt(tx: &mut Tx<'_>, reason: &str, now: Millis) -> Result<u64, RegistryError> {
    tx.run(query(DOUBT).bind(reason).bind(now)).await
}

impl Registry {
    /// Takes deliveries that are due, as jobs for the queue, `most` at the most. Unless [`published`](Self::published) says that
    /// it is there, a taken one is due again at `again`.
    #[crate::engine::boxed]
    pub async fn take_due_deliveries(
        &self,
        now: Millis,
        again: Millis,
        most: u32,
    ) -> Result<Vec<MailJob>, RegistryError> {
        if !self.reader().any(query(ANY_DUE).bind(now)).await? {
            return Ok(Vec::new());
        }
        let take = query(TAKE).bind(now).bind(again).bind(i64::from(most));
        let rows: Vec<(String, String, String)> = self.writer().all(take).await?;
        let job = |(delivery, kind, subject): &(String, String, String)| {
            let about = Some(read_subject(kind, subject, delivery)?);
            Ok(MailJob { delivery: id("deliveries", "id", delivery)?, about })
        };
        rows.iter().map(job).collect()
    }

    /// The job of a delivery that was taken until `again` is in the queue. It is published once more at `net` if it still
    /// waits then, for a queue that lost it.
    #[crate::engine::boxed]
    pub async fn published(&self, id: DeliveryId, again: Millis, net: Millis) -> Result<(), RegistryError> {
        let published = query(PUBLISHED).bind(id.to_string()).bind(again).bind(net);
        self.writer().run(published).await.map(drop)
    }

    /// Takes a delivery to send it now, as the mail of this `message_id`. `None`: it is not to be sent, say because
    /// another process has it. To be called before anything is sent.
    #[crate::engine::boxed]
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
    #[crate::engine::boxed]
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
    #[crate::engine::boxed]
    pub async fn give_up_deliveries(&self, before: Millis, now: Millis) -> Result<u64, RegistryError> {
        const REASON: &str = "the process that sent it ended before it had an answer";
        self.writer().run(query(GIVE_UP).bind(before).bind(REASON).bind(now)).await
    }
}

impl Row {
    fn delivery(self) -> Result<Delivery, RegistryError> {
        let state = read_state(&self.state, &self.id)?;
        Ok(Delivery {
            attempts: count("deliveries", "attempts", &self.id, self.attempts)?,
            about: read_subject(&self.kind, &self.subject_id, &self.id)?,
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

fn read_state(state: &str, row: &str) -> Result<DeliveryState, RegistryError> {
    Ok(match state {
        "queued" => DeliveryState::Queued,
        "sending" => DeliveryState::Sending,
        "sent" => DeliveryState::Sent,
        "written" => DeliveryState::Written,
        "failed" => DeliveryState::Failed,
        "unknown" => DeliveryState::Unknown,
        _ => return Err(corrupt("deliveries", "state", row)),
    })
}

fn read_subject(kind: &str, subject: &str, row: &str) -> Result<Subject, RegistryError> {
    Subject::new(kind, subject).map_err(|_| corrupt("deliveries", "subject_id", row))
}
