//! What was told, as people look at it: lists, tests of channels, and sending again what failed or may have been lost.

use fleet::{
    Millis,
    id::{ChannelId, IncidentId, NotificationId},
};
use serde_json::json as value;

use super::{
    channels::{self, Channel},
    notifications::{NotificationKind, channel_id, read_kind},
    telling,
};
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Page, Registry, RegistryError, Statement, Tx, corrupt, count, id, query, row},
    refusal::Refusal,
};

/// How long messages are kept.
const KEPT: Millis = 90 * 86_400_000;

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationState {
    /// It waits for its turn.
    Queued,
    /// A process sends it.
    Sending,
    /// The receiver has it.
    Sent,
    /// The receiver will not take it.
    Failed,
    /// The receiver may have it. It is not sent again by itself.
    Unknown,
    /// What it was to tell was over before it was sent.
    Fallen,
}

/// A message on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its id.
    pub id: NotificationId,
    /// On which channel, which may be gone by now.
    pub channel: ChannelId,
    /// The channel's name when the message was made.
    pub channel_name: String,
    /// What it is about.
    pub kind: NotificationKind,
    /// How far it is.
    pub state: NotificationState,
    /// How often it was tried.
    pub attempts: u32,
    /// What the receiver knows it by, once it was tried.
    pub message_id: Option<String>,
    /// Why it failed, or why it waits still.
    pub reason: Option<String>,
    /// The one that it repeats because a person wanted it.
    pub resend_of: Option<NotificationId>,
    /// Of how many incidents it tells.
    pub incidents: u64,
    /// Unix ms.
    pub created_at: Millis,
    /// Unix ms.
    pub updated_at: Millis,
}

/// Which messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotificationFilter {
    /// On this channel.
    pub channel: Option<ChannelId>,
    /// In this state.
    pub state: Option<NotificationState>,
    /// About this incident.
    pub incident: Option<IncidentId>,
}

row! {
    struct Row {
        id: String,
        channel: String,
        channel_name: String,
        kind: String,
        state: String,
        attempts: i64,
        message_id: Option<String>,
        reason: Option<String>,
        resend_of: Option<String>,
        incidents: i64,
        created_at: Millis,
        updated_at: Millis,
    }
}

const COLUMNS: &str = "SELECT n.id, n.channel, n.channel_name, n.kind, n.state, n.attempts, n.message_id, n.reason,
n.resend_of, (SELECT COUNT(*) FROM notification_items i WHERE i.notification = n.id) AS incidents, n.created_at,
n.updated_at FROM notifications n";
const ADD: &str =
    "INSERT INTO notifications (id, channel, channel_name, target_key, kind, state, attempts, due_at,
resend_of, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, 'queued', 0, $6, $7, $6, $6)";
/// The next round of each, so that the key is one of its own.
const COPY_ITEMS: &str = "INSERT INTO notification_items
(channel, incident, transition, reminder, round, notification, kind, level, value)
SELECT o.channel, o.incident, o.transition, o.reminder, (SELECT MAX(a.round) + 1 FROM notification_items a
    WHERE a.channel = o.channel AND a.incident = o.incident), $2, o.kind, o.level, o.value
FROM notification_items o WHERE o.notification = $1";
const STATES: &str =
    "SELECT state, COUNT(*) FROM notifications WHERE state IN ('queued', 'sending') GROUP BY state";
const OVERDUE: &str = "SELECT id FROM notifications WHERE state = 'queued' AND due_at < $1 LIMIT 1";
const JUDGED: &str = "SELECT version FROM versions WHERE name = 'judge'";
const FORGET: &str = "DELETE FROM notifications WHERE id IN (SELECT n.id FROM notifications n
WHERE n.created_at < $1 AND n.state NOT IN ('queued', 'sending') AND NOT EXISTS (SELECT 1 FROM notification_items i
    JOIN incidents o ON o.id = i.incident WHERE i.notification = n.id AND o.state <> 'resolved') LIMIT 1000)";
const TEST_WAITS: &str =
    "SELECT id FROM notifications WHERE channel = $1 AND kind = 'test' AND state = 'queued'";

fn narrowed(statement: &mut Statement, filter: &NotificationFilter) {
    let NotificationFilter { channel, state, incident } = filter;
    statement.push(" WHERE true");
    if let Some(channel) = channel {
        statement.push(" AND n.channel = ").bind(channel.to_string());
    }
    if let Some(state) = state {
        statement.push(" AND n.state = ").bind(state.as_str());
    }
    if let Some(incident) = incident {
        statement
            .push(" AND n.id IN (SELECT notification FROM notification_items WHERE incident = ")
            .bind(incident.to_string())
            .push(")");
    }
}

async fn find(tx: &mut Tx<'_>, id: NotificationId) -> Result<Option<Notification>, RegistryError> {
    let mut statement = Statement::new(tx.dialect());
    statement.push(COLUMNS).push(" WHERE n.id = ").bind(id.to_string());
    let row: Option<Row> = tx.maybe(statement).await?;
    row.map(Row::notification).transpose()
}

async fn add(
    tx: &mut Tx<'_>,
    channel: &Channel,
    id: NotificationId,
    kind: NotificationKind,
    resend_of: Option<NotificationId>,
    now: Millis,
) -> Result<(), RegistryError> {
    let add = query(ADD)
        .bind(id.to_string())
        .bind(channel.id.to_string())
        .bind(&channel.name)
        .bind(&channel.target_key)
        .bind(kind.as_str())
        .bind(now)
        .bind(resend_of.map(|id| id.to_string()));
    tx.run(add).await.map(drop)
}

impl Registry {
    /// One page of the messages, newest first, and the total.
    #[crate::engine::boxed]
    pub async fn notifications(
        &self,
        filter: &NotificationFilter,
        page: Page,
    ) -> Result<(Vec<Notification>, u64), RegistryError> {
        let dialect = self.dialect();
        let mut list = Statement::new(dialect);
        narrowed(list.push(COLUMNS), filter);
        list.push(" ORDER BY n.created_at DESC, n.id");
        let mut total = Statement::new(dialect);
        narrowed(total.push("SELECT COUNT(*) FROM notifications n"), filter);
        let (rows, total): (Vec<Row>, _) = self.page_of_some(list, total, page).await?;
        let notifications = rows.into_iter().map(Row::notification).collect::<Result<_, _>>()?;
        Ok((notifications, count("notifications", "total", "", total)?))
    }

    /// One message.
    #[crate::engine::boxed]
    pub async fn notification(&self, id: NotificationId) -> Result<Option<Notification>, RegistryError> {
        self.read(async |tx| find(tx, id).await).await
    }

    /// Puts a message into the queue of a channel that only shows whether it works. One that waits already is enough.
    #[crate::engine::boxed]
    pub async fn test_channel(
        &self,
        channel: ChannelId,
        id: NotificationId,
        random: fn() -> [u8; 10],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<Notification, Refusal>, RegistryError> {
        self.change(async |tx| {
            telling::hold(tx).await?;
            let channel = channels::find(tx, channel).await?.ok_or(Refusal::NotFound)?;
            let waits: Option<(String,)> = tx.maybe(query(TEST_WAITS).bind(channel.id.to_string())).await?;
            if let Some((waits,)) = waits {
                let waits = crate::engine::id("notifications", "id", &waits)?;
                return Ok(find(tx, waits).await?.ok_or(Refusal::NotFound)?);
            }
            add(tx, &channel, id, NotificationKind::Test, None, now).await?;
            telling::post(tx, &channel, id, random, now).await?;
            let change = Change::new(by, now, Action::ChannelTest, channel.id);
            audit::record(tx, &[change.after(value!({"notification": id}))]).await?;
            Ok(find(tx, id).await?.ok_or(Refusal::NotFound)?)
        })
        .await
    }

    /// Says again what a message said that failed or may have been lost: a new one, of which the audit log tells.
    #[crate::engine::boxed]
    pub async fn resend_notification(
        &self,
        lost: NotificationId,
        id: NotificationId,
        random: fn() -> [u8; 10],
        by: &Actor,
        now: Millis,
    ) -> Result<Result<Notification, Refusal>, RegistryError> {
        self.change(async |tx| {
            telling::hold(tx).await?;
            let before = find(tx, lost).await?.ok_or(Refusal::NotFound)?;
            if !matches!(before.state, NotificationState::Failed | NotificationState::Unknown) {
                return Err(Refusal::NotLost.into());
            }
            let channel = channels::find(tx, before.channel).await?.ok_or(Refusal::NoChannel)?;
            if channel.disabled.is_some() {
                return Err(Refusal::NoChannel.into());
            }
            add(tx, &channel, id, before.kind, Some(lost), now).await?;
            tx.run(query(COPY_ITEMS).bind(lost.to_string()).bind(id.to_string())).await?;
            telling::post(tx, &channel, id, random, now).await?;
            let change = Change::new(by, now, Action::NotificationResend, lost);
            audit::record(tx, &[change.after(value!({"notification": id, "channel": channel.name}))]).await?;
            Ok(find(tx, id).await?.ok_or(Refusal::NotFound)?)
        })
        .await
    }

    /// Whether a message waits since before this time (Unix ms).
    #[crate::engine::boxed]
    pub async fn has_overdue_notification(&self, before: Millis) -> Result<bool, RegistryError> {
        self.reader().any(query(OVERDUE).bind(before)).await
    }

    /// When the judge worked last, as far as it told, in Unix ms; 0: never.
    #[crate::engine::boxed]
    pub async fn judged_at(&self) -> Result<Millis, RegistryError> {
        let (at,): (Millis,) = self.reader().one(JUDGED).await?;
        Ok(at)
    }

    /// How many messages wait and are under way.
    #[crate::engine::boxed]
    pub async fn notification_counts(&self) -> Result<(u64, u64), RegistryError> {
        let rows: Vec<(String, i64)> = self.reader().all(STATES).await?;
        let of = |state: &str| {
            rows.iter().find(|(of, _)| of == state).map_or(0, |(_, count)| count.unsigned_abs())
        };
        Ok((of("queued"), of("sending")))
    }

    /// Forgets some messages that are too old; true: there may be more. What is open is remembered as long as it is.
    #[crate::engine::boxed]
    pub async fn forget_notifications(&self, now: Millis) -> Result<bool, RegistryError> {
        Ok(self.writer().run(query(FORGET).bind(now - KEPT)).await? > 0)
    }
}

impl NotificationState {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Sending, Self::Sent, Self::Failed, Self::Unknown, Self::Fallen];

    /// As stores and the interface spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Fallen => "fallen",
        }
    }

    /// The one of this name.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl Row {
    fn notification(self) -> Result<Notification, RegistryError> {
        let corrupt = |column| corrupt("notifications", column, &self.id);
        let resend_of =
            self.resend_of.as_deref().map(|of| id("notifications", "resend_of", of)).transpose()?;
        Ok(Notification {
            state: NotificationState::of(&self.state).ok_or_else(|| corrupt("state"))?,
            kind: read_kind(&self.kind)?,
            attempts: count("notifications", "attempts", &self.id, self.attempts)?,
            incidents: count("notification_items", "count", &self.id, self.incidents)?,
            id: id("notifications", "id", &self.id)?,
            channel: channel_id(&self.channel)?,
            channel_name: self.channel_name,
            message_id: self.message_id,
            reason: self.reason,
            resend_of,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}
