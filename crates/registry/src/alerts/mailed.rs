//! Messages of channels of the kind mail. The outbox sends them, a mail to each recipient; here their states become that of
//! the message.

use std::collections::{BTreeMap, BTreeSet};

use fleet::{Millis, Subject};

use crate::{
    engine::{PerEngine, Registry, RegistryError, Tx, corrupt, json, one_of, query},
    outbox::{self, DeliveryState},
};

/// Those that wait are found by where mail leads, and not among all that wait for anything. A notifier's claim has a time;
/// what is under way as mail has none.
macro_rules! under_way {
    ($rest:literal) => {
        concat!(
            "SELECT id FROM (SELECT n.id FROM channels c JOIN notifications n ON n.target_key = c.target_key
            WHERE c.kind = 'mail' AND n.state = 'queued'
            UNION ALL SELECT n.id FROM notifications n WHERE n.state = 'sending' AND n.sending_at IS NULL) AS mailed ",
            $rest
        )
    };
}
const ANY: &str = under_way!("LIMIT 1");
const UNDER_WAY: &str = under_way!("ORDER BY id LIMIT 1000");
const SETTLE: &str = "UPDATE notifications SET state = $2, reason = $3, attempts = $4, updated_at = $5,
due_at = CASE WHEN $2 = 'queued' THEN due_at ELSE NULL END WHERE id = $1 AND state <> $2";
const LOOK_AGAIN: PerEngine = one_of!(
    "UPDATE incidents SET tell_at = $2 WHERE (tell_at IS NULL OR tell_at > $2)
    AND id IN (SELECT incident FROM notification_items WHERE notification",
    ")"
);

/// Whether any message waits for the outbox.
pub(super) async fn any(registry: &Registry) -> Result<bool, RegistryError> {
    registry.reader().any(ANY).await
}

/// Brings the states of the outbox to the messages. What failed is looked at again by whoever tells.
pub(super) async fn settle(tx: &mut Tx<'_>, now: Millis) -> Result<(), RegistryError> {
    let rows: Vec<(String,)> = tx.all(UNDER_WAY).await?;
    let mut failed = Vec::new();
    for (notification,) in rows {
        let deliveries = outbox::of(tx, &subject(&notification)?).await?;
        let states: Vec<DeliveryState> = deliveries.iter().map(|delivery| delivery.state).collect();
        let state = state(&states);
        let reason = deliveries.iter().find_map(|delivery| delivery.error.as_deref());
        let attempts = deliveries.iter().map(|delivery| delivery.attempts).max().unwrap_or(0);
        let row =
            query(SETTLE).bind(&notification).bind(state).bind(reason).bind(i64::from(attempts)).bind(now);
        tx.run(row).await?;
        if state == "failed" {
            failed.push(notification);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    tx.run(query(LOOK_AGAIN).bind(json(&failed)?).bind(now)).await.map(drop)
}

/// The state of a message of which each mail is in one of these. It has failed only if nobody got it.
fn state(mails: &[DeliveryState]) -> &'static str {
    use DeliveryState::{Failed, Queued, Sending, Sent, Unknown, Written};
    let any = |wanted: &[DeliveryState]| mails.iter().any(|state| wanted.contains(state));
    match () {
        () if any(&[Sending]) => "sending",
        // Some are gone, and some wait: no more of it falls.
        () if any(&[Queued]) => {
            if any(&[Sent, Written, Unknown, Failed]) {
                "sending"
            } else {
                "queued"
            }
        }
        () if any(&[Sent, Written]) => "sent",
        () if any(&[Unknown]) => "unknown",
        () => "failed",
    }
}

/// Of these messages, which nobody has claimed, keeps those of which no mail is under way either.
pub(super) async fn hold(tx: &mut Tx<'_>, held: &mut BTreeSet<String>) -> Result<(), RegistryError> {
    let mut under_way = BTreeMap::new();
    for id in held.iter() {
        let states = outbox::hold(tx, &subject(id)?).await?;
        under_way.insert(id.clone(), states.iter().any(|state| *state != DeliveryState::Queued));
    }
    held.retain(|id| !under_way.get(id).copied().unwrap_or(false));
    Ok(())
}

/// The mails of these messages are not sent.
pub(super) async fn fall(
    tx: &mut Tx<'_>,
    notifications: &[&str],
    reason: &str,
    now: Millis,
) -> Result<(), RegistryError> {
    for notification in notifications {
        outbox::fail(tx, &subject(notification)?, reason, now).await?;
    }
    Ok(())
}

pub(super) fn subject(notification: &str) -> Result<Subject, RegistryError> {
    notification.parse().map(Subject::Notification).map_err(|_| corrupt("notifications", "id", notification))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_its_mails_are_together() {
        use DeliveryState::{Failed, Queued, Sending, Sent, Unknown, Written};
        for (mails, told) in [
            (&[Queued, Queued][..], "queued"),
            (&[Queued, Sending], "sending"),
            (&[Queued, Sent], "sending"),
            (&[Failed, Sent], "sent"),
            (&[Written], "sent"),
            (&[Unknown, Failed], "unknown"),
            (&[Failed, Failed], "failed"),
        ] {
            assert_eq!(state(mails), told, "{mails:?}");
        }
    }
}
