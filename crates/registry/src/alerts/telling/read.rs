//! What there is to look at: incidents that are due, what was said of them, and their servers' labels.

use std::collections::BTreeMap;

use fleet::{
    Millis,
    alert::{
        IncidentState, Level, Resolution, RuleKind,
        message::What,
        route::Traits,
        telling::{APART, Fate, Said},
    },
    id::{ChannelId, IncidentId},
};

use crate::engine::{PerEngine, RegistryError, Tx, corrupt, id, json, one_of, query, row};

/// An incident that is due to be looked at, and what was said of it.
pub(super) struct Found {
    pub(super) id: IncidentId,
    pub(super) kind: RuleKind,
    pub(super) level: Level,
    pub(super) state: IncidentState,
    pub(super) transition: i64,
    pub(super) opened_at: Millis,
    /// Since when steps count, and how many have come since.
    pub(super) escalates_from: Millis,
    pub(super) step: i64,
    pub(super) resolved: Option<(Millis, Resolution)>,
    pub(super) value: Option<f64>,
    /// From when on it was to be looked at.
    pub(super) tell_at: Millis,
    pub(super) traits: Traits,
    pub(super) said: BTreeMap<ChannelId, Vec<Said>>,
    /// On each channel the messages that failed or were sent again.
    pub(super) rounds: BTreeMap<ChannelId, i64>,
    /// On each channel the message that waits.
    pub(super) waiting: BTreeMap<ChannelId, Vec<String>>,
    /// What makes another incident the same trouble again.
    thing: (String, String, String),
}

row! {
    struct Row {
        id: String,
        rule: String,
        kind: String,
        server: String,
        instance: String,
        level: String,
        state: String,
        transition: i64,
        opened_at: Millis,
        escalates_from: Option<Millis>,
        step: i64,
        value: Option<f64>,
        resolved_at: Option<Millis>,
        resolution: Option<String>,
        tell_at: Millis,
    }
}

row! {
    /// What was said of an incident.
    struct SaidRow {
        incident: String,
        channel: String,
        kind: String,
        level: String,
        reminder: i64,
        round: i64,
        notification: String,
        state: String,
        created_at: Millis,
        updated_at: Millis,
    }
}

/// PostgreSQL holds the rows: who sends may find meanwhile that something failed, and has it looked at again.
const DUE: PerEngine = PerEngine {
    sqlite: "SELECT id, rule, kind, server, instance, level, state, transition, opened_at, escalates_from, step,
        value, resolved_at, resolution, tell_at FROM incidents WHERE tell_at <= $1 ORDER BY tell_at, id LIMIT $2",
    postgres: "SELECT id, rule, kind, server, instance, level, state, transition, opened_at, escalates_from, step,
        value, resolved_at, resolution, tell_at FROM incidents WHERE tell_at <= $1 ORDER BY tell_at, id LIMIT $2 FOR UPDATE",
};
const SAID: PerEngine = one_of!(
    "SELECT i.incident, i.channel, i.kind, i.level, i.reminder, i.round, i.notification, n.state, n.created_at, n.updated_at
    FROM notification_items i JOIN notifications n ON n.id = i.notification
    WHERE n.state <> 'fallen' AND i.incident",
    " ORDER BY n.created_at, n.id"
);
const LABELS: PerEngine = one_of!("SELECT server_id, key, value FROM labels WHERE server_id", "");
/// Only what was over within the last minutes can have been told in them and be there again.
const ALERTED: PerEngine = one_of!(
    "SELECT i.rule, i.server, i.instance, t.channel, t.alerted_at FROM incidents i JOIN told t ON t.incident = i.id
    WHERE i.resolved_at > $2 AND t.alerted_at > $2 AND i.server",
    ""
);

/// The incidents that are due, the longest first.
pub(super) async fn due(tx: &mut Tx<'_>, most: i64, now: Millis) -> Result<Vec<Found>, RegistryError> {
    let rows: Vec<Row> = tx.all(query(DUE).bind(now).bind(most)).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let servers: Vec<&str> =
        rows.iter().map(|row| row.server.as_str()).filter(|server| !server.is_empty()).collect();
    let labels: Vec<(String, String, String)> = tx.all(query(LABELS).bind(json(&servers)?)).await?;
    let mut of_servers: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (server, key, value) in labels {
        of_servers.entry(server).or_default().insert(key, value);
    }
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let said: Vec<SaidRow> = tx.all(query(SAID).bind(json(&ids)?)).await?;
    let mut found = rows.into_iter().map(|row| row.found(&of_servers)).collect::<Result<Vec<_>, _>>()?;
    let places: BTreeMap<String, usize> =
        found.iter().enumerate().map(|(place, one)| (one.id.to_string(), place)).collect();
    for row in said {
        if let Some(place) = places.get(&row.incident) {
            row.put(&mut found[*place])?;
        }
    }
    Ok(found)
}

/// When the same trouble was told last, of an incident that is over, on each channel.
pub(super) async fn alerted(
    tx: &mut Tx<'_>,
    found: &[Found],
    now: Millis,
) -> Result<BTreeMap<IncidentId, BTreeMap<ChannelId, Millis>>, RegistryError> {
    let servers: Vec<&str> = found.iter().map(|one| one.thing.1.as_str()).collect();
    let rows: Vec<(String, String, String, String, Millis)> =
        tx.all(query(ALERTED).bind(json(&servers)?).bind(now - APART)).await?;
    let mut of_things: BTreeMap<(String, String, String), BTreeMap<ChannelId, Millis>> = BTreeMap::new();
    for (rule, server, instance, channel, at) in rows {
        let channel = id("told", "channel", &channel)?;
        let last = of_things.entry((rule, server, instance)).or_default().entry(channel).or_insert(at);
        *last = at.max(*last);
    }
    let of_incident = |one: &Found| Some((one.id, of_things.get(&one.thing)?.clone()));
    Ok(found.iter().filter_map(of_incident).collect())
}

impl Row {
    fn found(self, labels: &BTreeMap<String, BTreeMap<String, String>>) -> Result<Found, RegistryError> {
        let corrupt = |column| corrupt("incidents", column, &self.id);
        let resolution = self.resolution.as_deref().map(str::parse).transpose();
        let resolution: Option<Resolution> = resolution.map_err(|_| corrupt("resolution"))?;
        let traits = Traits {
            // The suite's own troubles may have a rule without an id.
            rule: self.rule.parse().ok(),
            server: self.server.parse().ok(),
            labels: labels.get(&self.server).cloned().unwrap_or_default(),
        };
        Ok(Found {
            id: id("incidents", "id", &self.id)?,
            kind: self.kind.parse().map_err(|_| corrupt("kind"))?,
            level: self.level.parse().map_err(|_| corrupt("level"))?,
            state: self.state.parse().map_err(|_| corrupt("state"))?,
            transition: self.transition,
            opened_at: self.opened_at,
            escalates_from: self.escalates_from.unwrap_or(self.opened_at),
            step: self.step,
            resolved: self.resolved_at.zip(resolution),
            value: self.value,
            tell_at: self.tell_at,
            traits,
            said: BTreeMap::new(),
            rounds: BTreeMap::new(),
            waiting: BTreeMap::new(),
            thing: (self.rule, self.server, self.instance),
        })
    }
}

impl SaidRow {
    fn put(self, found: &mut Found) -> Result<(), RegistryError> {
        let corrupt = |column| corrupt("notification_items", column, &self.incident);
        let fate = match self.state.as_str() {
            "queued" => Fate::Queued,
            "sending" => Fate::Sending,
            "sent" | "unknown" => Fate::Gone,
            "failed" => Fate::Failed(self.updated_at),
            _ => return Err(corrupt("state")),
        };
        let said = Said {
            what: What::of(&self.kind).ok_or_else(|| corrupt("kind"))?,
            level: self.level.parse().map_err(|_| corrupt("level"))?,
            reminder: self.reminder,
            at: self.created_at,
            fate,
        };
        let channel: ChannelId = id("notification_items", "channel", &self.channel)?;
        found.said.entry(channel).or_default().push(said);
        let round = found.rounds.entry(channel).or_default();
        // The round after one that failed; a person who had it sent again took one too.
        *round = (*round).max(self.round + i64::from(matches!(fate, Fate::Failed(_))));
        if fate == Fate::Queued {
            found.waiting.entry(channel).or_default().push(self.notification);
        }
        Ok(())
    }
}
