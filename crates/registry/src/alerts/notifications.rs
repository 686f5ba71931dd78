//! Messages on channels: claimed before anything is sent, and settled once it is known what became of them. So none is sent
//! twice, however many processes send and whenever one of them ends.
//!
//! `queued → sending → sent | failed | unknown`, and from `sending` back to `queued` only when it is certain that nothing was
//! sent. What stays `sending` becomes `unknown`, and is never sent again by itself.

use fleet::{
    Millis,
    alert::{
        Level,
        channel::Kind,
        message::{Item, What},
        verdict::Verdict,
    },
    id::{ChannelId, IncidentId, NotificationId},
};

use super::channels::{self, Channel};
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{PerEngine, Registry, RegistryError, Tx, corrupt, count, id, json, one_of, query, row},
};

/// Most messages that go out as one.
const ROWS: i64 = 50;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationKind {
    /// Incidents.
    Incidents,
    /// Nothing: somebody wants to see whether the channel works.
    Test,
}

/// Messages that one process has claimed to send them as one.
#[derive(Debug, Clone)]
pub struct ClaimedMessage {
    /// The claim itself, and what the message is known by.
    pub claim: String,
    /// Where it goes.
    pub channel: Channel,
    /// What it is about.
    pub kind: NotificationKind,
    /// How many of the queue it is made of.
    pub rows: usize,
    /// How often that of them was claimed which was claimed most.
    pub attempts: u32,
    /// What it says.
    pub items: Vec<Item>,
    /// The place that it goes to is nobody else's until then, in Unix ms.
    lease: Millis,
}

/// When messages are claimed and what for.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The claim's own name, which no other has.
    pub name: &'a str,
    /// For how long nobody else sends to the place, in milliseconds.
    pub lease: Millis,
    /// How far apart messages of a kind are, in milliseconds.
    pub spacing: fn(Kind) -> Millis,
    /// All times are so many times shorter, which is for tests.
    pub scale: i64,
}

row! {
    struct Row {
        id: String,
        attempts: i64,
    }
}

row! {
    struct ItemRow {
        notification: String,
        kind: String,
        incident: String,
        transition: i64,
        level: String,
        value: Option<f64>,
        rule_name: String,
        server_name: String,
        instance: String,
        metric: String,
        began_at: Millis,
    }
}

/// Places whose turn it is and for which something waits.
const PLACES: &str = "SELECT target_key FROM targets t
WHERE t.busy_until <= $1 AND t.blocked_until <= $1 AND t.next_at <= $1 AND EXISTS (SELECT 1 FROM notifications n
    WHERE n.target_key = t.target_key AND n.state = 'queued' AND n.due_at <= $1) ORDER BY t.next_at, t.target_key LIMIT $2";
/// Guarded: of two that saw its turn, the second waits for the first, and finds the place busy.
const TAKE_PLACE: &str = "UPDATE targets SET busy_until = $2
WHERE target_key = $1 AND busy_until <= $3 AND blocked_until <= $3 AND next_at <= $3";
const NEXT_TURN: &str = "UPDATE targets SET next_at = $2 WHERE target_key = $1";
const EXPIRE: &str = "UPDATE notifications SET state = 'failed', reason = $3, due_at = NULL, updated_at = $2
WHERE target_key = $1 AND state = 'queued' AND expires_at <= $2";
const FIRST: &str = "SELECT channel, kind FROM notifications
WHERE target_key = $1 AND state = 'queued' AND due_at <= $2 ORDER BY due_at, id LIMIT 1";
const CLAIM: &str =
    "UPDATE notifications SET state = 'sending', attempts = attempts + 1, claim = $4, message_id = $4,
sending_at = $5, updated_at = $5 WHERE state = 'queued' AND id IN (SELECT id FROM notifications
    WHERE target_key = $1 AND channel = $2 AND kind = $3 AND state = 'queued' AND due_at <= $5
    ORDER BY due_at, id LIMIT $6) RETURNING id, attempts";
const ITEMS: PerEngine = one_of!(
    "SELECT n.notification, n.kind, n.incident, n.transition, n.level, n.value, i.rule_name, i.server_name, i.instance,
    i.metric, i.began_at FROM notification_items n JOIN incidents i ON i.id = n.incident WHERE n.notification",
    " ORDER BY n.notification, i.server_name, n.incident"
);
/// Whoever sends what was given up as unknown may still say that it was sent, or refused. Once its lease has ended, another may
/// have told the same place of something newer, whether or not it was given up already; and so if it waits again from then on.
const SETTLE: &str = "UPDATE notifications SET state = $2, sending_at = NULL, updated_at = $4,
reason = CASE WHEN $2 = 'queued' AND ($5 <= $4 OR reason LIKE 'its turn was over: %') THEN 'its turn was over: ' || $3
    WHEN $2 <> 'sent' THEN $3 WHEN state = 'unknown' THEN 'it was sent late, when it had been given up'
    WHEN $5 <= $4 THEN 'its turn was over when this was known: newer ones may have been sent before'
    WHEN reason LIKE 'its turn was over: %' THEN 'its turn was over before it was sent: newer ones may have been sent before'
    ELSE $3 END,
due_at = CASE WHEN $2 = 'queued' THEN due_at ELSE NULL END
WHERE claim = $1 AND (state = 'sending' OR (state = 'unknown' AND $2 IN ('sent', 'failed')))";
/// Only while it is ours still.
const LEAVE_PLACE: &str = "UPDATE targets SET busy_until = 0, next_at = CASE WHEN next_at < $3 THEN $3 ELSE next_at END,
blocked_until = CASE WHEN blocked_until < $4 THEN $4 ELSE blocked_until END WHERE target_key = $1 AND busy_until = $2";
const LOOK_AGAIN: &str = "UPDATE incidents SET tell_at = $2 WHERE (tell_at IS NULL OR tell_at > $2) AND id IN
(SELECT incident FROM notification_items WHERE notification IN (SELECT id FROM notifications WHERE claim = $1))";
const DISABLE: &str = "UPDATE channels SET disabled_at = $2, disabled_reason = $3, updated_at = $2
WHERE id = $1 AND disabled_at IS NULL AND version = $4";
const FAIL_QUEUED: &str =
    "UPDATE notifications SET state = 'failed', reason = $2, due_at = NULL, updated_at = $3
WHERE channel = $1 AND state = 'queued'";
const LOOK_AT_CHANNEL: &str =
    "UPDATE incidents SET tell_at = $2 WHERE (tell_at IS NULL OR tell_at > $2) AND state <> 'resolved'
AND id IN (SELECT incident FROM told WHERE channel = $1)";
const GIVE_UP: &str =
    "UPDATE notifications SET state = 'unknown', sending_at = NULL, due_at = NULL, reason = $2,
updated_at = $3 WHERE state = 'sending' AND sending_at < $1";
const DOUBT: &str =
    "UPDATE notifications SET state = 'unknown', sending_at = NULL, due_at = NULL, reason = $1,
updated_at = $2 WHERE state IN ('queued', 'sending')";
const OF_MAIL: &str =
    "SELECT channel, kind FROM notifications WHERE id = $1 AND state IN ('queued', 'sending')";

/// What waits or is under way becomes unknown, for this reason. Answers how many messages there were.
pub(crate) async fn doubt(tx: &mut Tx<'_>, reason: &str, now: Millis) -> Result<u64, RegistryError> {
    tx.run(query(DOUBT).bind(reason).bind(now)).await
}

impl Registry {
    /// Places that something waits for and whose turn it is, `most` at the most; to be [claimed](Self::claim_message) one by
    /// one.
    #[crate::engine::boxed]
    pub async fn places_to_tell(&self, most: u32, now: Millis) -> Result<Vec<String>, RegistryError> {
        let places = query(PLACES).bind(now).bind(i64::from(most));
        let rows: Vec<(String,)> = self.reader().all(places).await?;
        Ok(rows.into_iter().map(|(place,)| place).collect())
    }

    /// Claims what waits for a place, as one message. `None`: nothing does, or another process was first. To be called before
    /// anything is sent.
    #[crate::engine::boxed]
    pub async fn claim_message(
        &self,
        place: &str,
        claim: &Claim<'_>,
        now: Millis,
    ) -> Result<Option<ClaimedMessage>, RegistryError> {
        let lease = now + claim.lease;
        self.write(async |tx| {
            if tx.run(query(TAKE_PLACE).bind(place).bind(lease).bind(now)).await? == 0 {
                return Ok(None);
            }
            let late = "nobody could be told for a day";
            tx.run(query(EXPIRE).bind(place).bind(now).bind(late)).await?;
            let first: Option<(String, String)> = tx.maybe(query(FIRST).bind(place).bind(now)).await?;
            let channel = match &first {
                Some((channel, _)) => channels::find(tx, id("notifications", "channel", channel)?).await?,
                None => None,
            };
            let (Some((_, kind)), Some(channel)) = (first, channel) else {
                tx.run(query(NEXT_TURN).bind(place).bind(now)).await?;
                leave(tx, place, lease, now, now).await?;
                return Ok(None);
            };
            let next = now + (claim.spacing)(channel.kind()) / claim.scale;
            tx.run(query(NEXT_TURN).bind(place).bind(next)).await?;
            let take = query(CLAIM).bind(place).bind(channel.id.to_string()).bind(&kind).bind(claim.name);
            let rows: Vec<Row> = tx.all(take.bind(now).bind(ROWS)).await?;
            let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
            let items = items(tx, &ids).await?;
            let attempts = rows.iter().map(|row| row.attempts).max().unwrap_or(0);
            Ok(Some(ClaimedMessage {
                claim: claim.name.to_owned(),
                channel,
                kind: read_kind(&kind)?,
                rows: rows.len(),
                attempts: count("notifications", "attempts", "", attempts)?,
                items,
                lease,
            }))
        })
        .await
    }

    /// Writes what became of a claimed message. `wait`: for how long its place is left alone, in milliseconds.
    ///
    /// False: it was given up meanwhile, and nothing certain is known of it.
    #[crate::engine::boxed]
    pub async fn settle_message(
        &self,
        message: &ClaimedMessage,
        verdict: &Verdict,
        wait: Millis,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let (state, reason) = match verdict {
            Verdict::Sent { .. } => ("sent", None),
            Verdict::NotSent(reason) | Verdict::Blocked { reason, .. } => ("queued", Some(reason.as_str())),
            Verdict::Failed { reason, .. } => ("failed", Some(reason.as_str())),
            Verdict::Unknown(reason) => ("unknown", Some(reason.as_str())),
        };
        self.write(async |tx| {
            let settle =
                query(SETTLE).bind(&message.claim).bind(state).bind(reason).bind(now).bind(message.lease);
            let settled = tx.run(settle).await? > 0;
            let (next, blocked) = match verdict {
                Verdict::NotSent(_) => (now + wait, now),
                _ => (now, now + wait),
            };
            leave(tx, &message.channel.target_key, message.lease, next, blocked).await?;
            if let (Verdict::Failed { reason, disables }, true) = (verdict, settled) {
                tx.run(query(LOOK_AGAIN).bind(&message.claim).bind(now)).await?;
                if *disables {
                    disable(tx, &message.channel, reason, now).await?;
                }
            }
            Ok(settled)
        })
        .await
    }

    /// Messages that are being sent since before this time become unknown: whoever sent them is gone, and nobody can tell
    /// whether they were taken. Answers how many there were.
    #[crate::engine::boxed]
    pub async fn give_up_messages(&self, before: Millis, now: Millis) -> Result<u64, RegistryError> {
        const REASON: &str = "the process that sent it ended before it had an answer";
        self.writer().run(query(GIVE_UP).bind(before).bind(REASON).bind(now)).await
    }

    /// What a message of a channel of the kind mail says. `None`: it is not to be sent any more.
    #[crate::engine::boxed]
    pub async fn message_by_mail(
        &self,
        id: NotificationId,
    ) -> Result<Option<(Channel, NotificationKind, Vec<Item>)>, RegistryError> {
        let key = id.to_string();
        self.read(async |tx| {
            let row: Option<(String, String)> = tx.maybe(query(OF_MAIL).bind(&key)).await?;
            let Some((channel, kind)) = row else { return Ok(None) };
            let channel = crate::engine::id("notifications", "channel", &channel)?;
            let Some(channel) = channels::find_unsealed(tx, channel).await? else { return Ok(None) };
            Ok(Some((channel, read_kind(&kind)?, items(tx, &[&key]).await?)))
        })
        .await
    }
}

async fn leave(
    tx: &mut Tx<'_>,
    place: &str,
    lease: Millis,
    next: Millis,
    blocked: Millis,
) -> Result<(), RegistryError> {
    tx.run(query(LEAVE_PLACE).bind(place).bind(lease).bind(next).bind(blocked)).await.map(drop)
}

/// Nothing is told on this channel from now on: it refuses for good. Unless a person changed it since it was read.
async fn disable(tx: &mut Tx<'_>, channel: &Channel, reason: &str, now: Millis) -> Result<(), RegistryError> {
    let disable = query(DISABLE).bind(channel.id.to_string()).bind(now).bind(reason).bind(channel.version);
    if tx.run(disable).await? == 0 {
        return Ok(());
    }
    let why = format!("its channel is disabled: {reason}");
    tx.run(query(FAIL_QUEUED).bind(channel.id.to_string()).bind(why).bind(now)).await?;
    tx.run(query(LOOK_AT_CHANNEL).bind(channel.id.to_string()).bind(now)).await?;
    let system = Actor::system();
    let change = Change::new(&system, now, Action::ChannelDisable, channel.id);
    let after = serde_json::json!({"name": channel.name, "disabled_reason": reason});
    audit::record(tx, &[change.after(after)]).await
}

async fn items(tx: &mut Tx<'_>, notifications: &[&str]) -> Result<Vec<Item>, RegistryError> {
    let rows: Vec<ItemRow> = tx.all(query(ITEMS).bind(json(&notifications)?)).await?;
    rows.into_iter().map(ItemRow::item).collect()
}

pub(super) fn read_kind(kind: &str) -> Result<NotificationKind, RegistryError> {
    match kind {
        "incidents" => Ok(NotificationKind::Incidents),
        "test" => Ok(NotificationKind::Test),
        _ => Err(corrupt("notifications", "kind", kind)),
    }
}

impl NotificationKind {
    /// As stores and the interface spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incidents => "incidents",
            Self::Test => "test",
        }
    }
}

impl ItemRow {
    fn item(self) -> Result<Item, RegistryError> {
        let corrupt = |column| corrupt("notification_items", column, &self.notification);
        let incident: IncidentId = id("notification_items", "incident", &self.incident)?;
        let level: Level = self.level.parse().map_err(|_| corrupt("level"))?;
        Ok(Item {
            what: What::of(&self.kind).ok_or_else(|| corrupt("kind"))?,
            incident,
            transition: self.transition,
            level,
            rule: self.rule_name,
            server: self.server_name,
            instance: self.instance,
            metric: self.metric,
            value: self.value,
            since: self.began_at,
        })
    }
}

/// Ids of channels in rows of this module.
pub(super) fn channel_id(text: &str) -> Result<ChannelId, RegistryError> {
    id("notifications", "channel", text)
}
