//! What was decided, as rows: messages with what they say, what falls, and when to look again.

use std::collections::{BTreeMap, BTreeSet};

use fleet::{
    Millis, Subject,
    alert::{
        channel::Config,
        message::What,
        telling::{Decision, RECOVERIES_LAST},
    },
    id::{ChannelId, DeliveryId, NotificationId},
};
use serde::Serialize;

use super::{
    super::{channels::Channel, mailed},
    Saying, Told,
    read::Found,
};
use crate::{
    engine::{PerEngine, RegistryError, Tx, json, one_of, query},
    outbox,
};

/// How soon to look again at what was to fall and is being sent by now.
const SOON: Millis = 1_000;

const ADD: &str =
    "INSERT INTO notifications (id, channel, channel_name, target_key, kind, state, attempts, due_at,
expires_at, created_at, updated_at) VALUES ($1, $2, $3, $4, 'incidents', 'queued', 0, $5, $6, $5, $5)";
const ADD_ITEMS: PerEngine = PerEngine {
    sqlite: "INSERT INTO notification_items
        (channel, incident, transition, reminder, round, notification, kind, level, value)
        SELECT $1, value ->> 'incident', value ->> 'transition', value ->> 'reminder', value ->> 'round', $2,
        value ->> 'kind', value ->> 'level', value ->> 'value' FROM json_each($3)",
    postgres: "INSERT INTO notification_items
        (channel, incident, transition, reminder, round, notification, kind, level, value)
        SELECT $1, incident, transition, reminder, round, $2, kind, level, value
        FROM jsonb_to_recordset(CAST($3 AS JSONB)) AS line (incident TEXT, transition BIGINT, reminder BIGINT,
        round BIGINT, kind TEXT, level TEXT, value DOUBLE PRECISION)",
};
/// `alerted_at` is that of the last alert, whatever was said after it.
const TOLD: PerEngine = PerEngine {
    sqlite: "INSERT INTO told (incident, channel, kind, level, transition, reminder, round, alerted_at, told_at, notification)
        SELECT value ->> 'incident', $1, value ->> 'kind', value ->> 'level', value ->> 'transition',
        value ->> 'reminder', value ->> 'round', value ->> 'alerted_at', $2, $3 FROM json_each($4) WHERE true
        ON CONFLICT (incident, channel) DO UPDATE SET kind = excluded.kind, level = excluded.level,
        transition = excluded.transition, reminder = excluded.reminder, round = excluded.round,
        alerted_at = COALESCE(excluded.alerted_at, told.alerted_at), told_at = excluded.told_at,
        notification = excluded.notification",
    postgres: "INSERT INTO told (incident, channel, kind, level, transition, reminder, round, alerted_at, told_at, notification)
        SELECT incident, $1, kind, level, transition, reminder, round, alerted_at, $2, $3
        FROM jsonb_to_recordset(CAST($4 AS JSONB)) AS line (incident TEXT, kind TEXT, level TEXT, transition BIGINT,
        reminder BIGINT, round BIGINT, alerted_at BIGINT)
        ON CONFLICT (incident, channel) DO UPDATE SET kind = excluded.kind, level = excluded.level,
        transition = excluded.transition, reminder = excluded.reminder, round = excluded.round,
        alerted_at = COALESCE(excluded.alerted_at, told.alerted_at), told_at = excluded.told_at,
        notification = excluded.notification",
};
/// Whoever changed an incident meanwhile, or had it looked at again, is not undone.
const LOOKED: PerEngine = PerEngine {
    sqlite: "UPDATE incidents SET tell_at = line.next, step = line.step FROM (SELECT value ->> 'id' AS id,
        value ->> 'transition' AS transition, value ->> 'seen' AS seen, value ->> 'next' AS next,
        value ->> 'step' AS step FROM json_each($1)) AS line
        WHERE incidents.id = line.id AND incidents.transition = line.transition AND incidents.tell_at = line.seen",
    postgres: "UPDATE incidents SET tell_at = line.next, step = line.step FROM jsonb_to_recordset(CAST($1 AS JSONB))
        AS line (id TEXT, transition BIGINT, seen BIGINT, next BIGINT, step BIGINT)
        WHERE incidents.id = line.id AND incidents.transition = line.transition AND incidents.tell_at = line.seen",
};
/// Holds those that wait still: whoever claims one later finds less in it.
const HOLD: PerEngine = PerEngine {
    sqlite: "UPDATE notifications SET updated_at = $2 WHERE state = 'queued'
        AND id IN (SELECT value FROM json_each($1)) RETURNING id",
    postgres: "UPDATE notifications SET updated_at = $2 WHERE state = 'queued'
        AND id = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS JSONB)))) RETURNING id",
};
const ITEMS: PerEngine =
    one_of!("SELECT notification, incident FROM notification_items WHERE notification", "");
const DROP_ITEM: &str = "DELETE FROM notification_items WHERE notification = $1 AND incident = $2";
const FALL: PerEngine = PerEngine {
    sqlite: "UPDATE notifications SET state = 'fallen', reason = $2, due_at = NULL
        WHERE id IN (SELECT value FROM json_each($1))",
    postgres: "UPDATE notifications SET state = 'fallen', reason = $2, due_at = NULL
        WHERE id = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS JSONB))))",
};
const OVER: &str = "what it was to tell was over before it was sent";

#[derive(Serialize)]
struct ItemLine {
    incident: String,
    transition: i64,
    reminder: i64,
    round: i64,
    kind: &'static str,
    level: &'static str,
    value: Option<f64>,
    alerted_at: Option<Millis>,
}

#[derive(Serialize)]
struct LookLine {
    id: String,
    transition: i64,
    seen: Millis,
    next: Option<Millis>,
    step: i64,
}

pub(super) async fn write(
    tx: &mut Tx<'_>,
    found: &[Found],
    decisions: &[Decision],
    channels: &[Channel],
    random: fn() -> [u8; 10],
    now: Millis,
) -> Result<Told, RegistryError> {
    let stays = fall(tx, found, decisions, now).await?;
    let mut told = Told::default();
    for channel in channels {
        // What ends expires, and what is open does not: two messages, which go out as one.
        for ends in [false, true] {
            let sayings = sayings(found, decisions, channel.id, ends);
            if !sayings.is_empty() {
                add(tx, channel, &sayings, ends, random, now).await?;
                told.notifications += 1;
                told.items += sayings.len();
            }
        }
    }
    let line = |(place, (one, decision)): (usize, (&Found, &Decision))| LookLine {
        id: one.id.to_string(),
        transition: one.transition,
        seen: one.tell_at,
        next: if stays.contains(&place) { Some(now + SOON) } else { decision.next },
        step: decision.step,
    };
    let lines: Vec<LookLine> = found.iter().zip(decisions).enumerate().map(line).collect();
    tx.run(query(LOOKED).bind(json(&lines)?)).await?;
    Ok(told)
}

fn sayings<'a>(
    found: &'a [Found],
    decisions: &[Decision],
    channel: ChannelId,
    ends: bool,
) -> Vec<Saying<'a>> {
    let pairs = found.iter().zip(decisions);
    let of_one = |(one, decision): (&'a Found, &Decision)| {
        let own = decision.say.iter().filter(move |(to, what, _)| *to == channel && what.ends() == ends);
        let saying = |(channel, what, reminder): &(ChannelId, What, i64)| Saying {
            found: one,
            channel: *channel,
            what: *what,
            reminder: *reminder,
            round: one.failures(*channel),
        };
        own.map(saying).collect::<Vec<_>>()
    };
    pairs.flat_map(of_one).collect()
}

/// A message, with what it says.
async fn add(
    tx: &mut Tx<'_>,
    channel: &Channel,
    sayings: &[Saying<'_>],
    ends: bool,
    random: fn() -> [u8; 10],
    now: Millis,
) -> Result<(), RegistryError> {
    let id = NotificationId::new(now, random());
    let line = |saying: &Saying<'_>| ItemLine {
        incident: saying.found.id.to_string(),
        transition: saying.found.transition,
        reminder: saying.reminder,
        round: saying.round,
        kind: saying.what.as_str(),
        level: saying.found.level.as_str(),
        value: saying.found.value,
        alerted_at: (saying.what == What::Alert).then_some(now),
    };
    let lines = json(&sayings.iter().map(line).collect::<Vec<_>>())?;
    debug_assert!(sayings.iter().all(|saying| saying.channel == channel.id));
    let notification = query(ADD)
        .bind(id.to_string())
        .bind(channel.id.to_string())
        .bind(&channel.name)
        .bind(&channel.target_key)
        .bind(now)
        .bind(ends.then_some(now + RECOVERIES_LAST));
    tx.run(notification).await?;
    tx.run(query(ADD_ITEMS).bind(channel.id.to_string()).bind(id.to_string()).bind(&lines)).await?;
    tx.run(query(TOLD).bind(channel.id.to_string()).bind(now).bind(id.to_string()).bind(&lines)).await?;
    post(tx, channel, id, random, now).await
}

/// A channel of the kind mail is served by the outbox: a mail to each recipient.
pub(in super::super) async fn post(
    tx: &mut Tx<'_>,
    channel: &Channel,
    id: NotificationId,
    random: fn() -> [u8; 10],
    now: Millis,
) -> Result<(), RegistryError> {
    let Config::Mail { recipients } = &channel.config else { return Ok(()) };
    let recipients: Vec<(DeliveryId, String)> =
        recipients.iter().map(|to| (DeliveryId::new(now, random()), to.to_string())).collect();
    let subject = Subject::Notification(id);
    outbox::add(tx, &subject, &recipients, now).await?;
    outbox::send(tx, &subject, now, now).await
}

/// What waits and is over is not sent. Answers the places of those of which something is being sent by now.
async fn fall(
    tx: &mut Tx<'_>,
    found: &[Found],
    decisions: &[Decision],
    now: Millis,
) -> Result<BTreeSet<usize>, RegistryError> {
    // By message, the incidents that it is not to speak of.
    let mut falling: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut places: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (place, (one, decision)) in found.iter().zip(decisions).enumerate() {
        for notification in decision.fall.iter().filter_map(|channel| one.waiting.get(channel)).flatten() {
            falling.entry(notification).or_default().insert(one.id.to_string());
            places.entry(notification).or_default().insert(place);
        }
    }
    if falling.is_empty() {
        return Ok(BTreeSet::new());
    }
    let ids = json(&falling.keys().collect::<Vec<_>>())?;
    let held: Vec<(String,)> = tx.all(query(HOLD).bind(&ids).bind(now)).await?;
    let mut held: BTreeSet<String> = held.into_iter().map(|(id,)| id).collect();
    mailed::hold(tx, &mut held).await?;
    let items: Vec<(String, String)> = tx.all(query(ITEMS).bind(&ids)).await?;
    let mut whole = Vec::new();
    for (notification, incidents) in falling.iter().filter(|(id, _)| held.contains(**id)) {
        let stays = items.iter().any(|(of, incident)| of == notification && !incidents.contains(incident));
        if !stays {
            whole.push(*notification);
            continue;
        }
        for incident in incidents {
            tx.run(query(DROP_ITEM).bind(*notification).bind(incident)).await?;
        }
    }
    tx.run(query(FALL).bind(json(&whole)?).bind(OVER)).await?;
    mailed::fall(tx, &whole, OVER, now).await?;
    let sent = places.iter().filter(|(id, _)| !held.contains(**id));
    Ok(sent.flat_map(|(_, places)| places.iter().copied()).collect())
}
