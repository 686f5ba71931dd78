//! What the gates hand to the workers. Workers check it again, as a queue may hold what no gate wrote.

use serde::{Deserialize, Serialize, Serializer};

use wire::v1::{self, VERSION};

use super::outcome::Outcome;
use crate::{
    Millis, ServerId, availability,
    snapshot::{Interval, MAX_TIME, Snapshot},
};

/// A unit of work for a worker.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "v1::Message")]
pub enum Message {
    /// What agents sent.
    Snapshots(Vec<Record>),
    /// That a gate is open.
    Tick(Tick),
    /// What became of orders.
    Results(Vec<Outcome>),
}

/// A snapshot and what the gate knows about it. It is written as [`v1::Record`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Who sent it, by its credential.
    #[serde(rename = "server_id")]
    pub server: ServerId,
    /// Generation of that credential.
    pub generation: u32,
    /// The gate's clock at arrival.
    pub received_at: Millis,
    /// How often this server reports.
    #[serde(rename = "interval_ms")]
    pub interval: Interval,
    /// What it sent.
    pub snapshot: Snapshot,
}

/// A gate says that it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// Which gate: a name that is unique to the running process.
    pub gate: String,
    /// The gate's clock.
    pub at: Millis,
    /// Since when its ticks were confirmed without a gap.
    pub open_since: Millis,
}

/// Why a message is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Written by a later release.
    #[error("version {0} is not known here; upgrade the workers first")]
    Version(u32),
    /// A tick that no gate writes.
    #[error("tick: {0} is no time")]
    Tick(&'static str),
    /// A record, or a result, that no gate writes.
    #[error("record {index}: {reason}")]
    Record {
        /// Position in the message, from 0.
        index: usize,
        /// What is wrong.
        reason: String,
    },
}

impl Record {
    /// The moment from which, as far as this record tells, its server counts as silent.
    pub fn silent_at(&self) -> Millis {
        availability::silent_at(self.received_at, self.interval)
    }
}

impl Message {
    /// The smallest gate time in it; `None` for an empty one.
    pub fn oldest(&self) -> Option<Millis> {
        match self {
            Self::Snapshots(records) => records.iter().map(|record| record.received_at).min(),
            Self::Tick(tick) => Some(tick.at),
            Self::Results(results) => results.iter().map(|outcome| outcome.received_at).min(),
        }
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        let within: usize = match self {
            Self::Snapshots(records) => {
                records.iter().map(|record| size_of::<Record>() + record.snapshot.weight()).sum()
            }
            Self::Tick(_) => 0,
            Self::Results(results) => results.iter().map(Outcome::weight).sum(),
        };
        size_of::<Self>() + within
    }

    /// The greatest gate time in it; `None` for an empty one.
    pub fn newest(&self) -> Option<Millis> {
        match self {
            Self::Snapshots(records) => records.iter().map(|record| record.received_at).max(),
            Self::Tick(tick) => Some(tick.at),
            Self::Results(results) => results.iter().map(|outcome| outcome.received_at).max(),
        }
    }
}

impl TryFrom<v1::Message> for Message {
    type Error = BadMessage;

    fn try_from(message: v1::Message) -> Result<Self, BadMessage> {
        let (v1::Message::Snapshots { version, .. }
        | v1::Message::Tick { version, .. }
        | v1::Message::Results { version, .. }) = &message;
        if *version != VERSION {
            return Err(BadMessage::Version(*version));
        }
        match message {
            v1::Message::Tick { gate, at, open_since, .. } => {
                is_time(at).then_some(()).ok_or(BadMessage::Tick("at"))?;
                is_time(open_since).then_some(()).ok_or(BadMessage::Tick("open_since"))?;
                Ok(Self::Tick(Tick { gate, at, open_since }))
            }
            v1::Message::Snapshots { records, .. } => {
                let mut checked = Vec::with_capacity(records.len());
                for (index, record) in records.into_iter().enumerate() {
                    checked.push(check(record).map_err(|reason| BadMessage::Record { index, reason })?);
                }
                Ok(Self::Snapshots(checked))
            }
            v1::Message::Results { results, .. } => {
                let check = |(index, record)| {
                    Outcome::check(record).map_err(|reason| BadMessage::Record { index, reason })
                };
                Ok(Self::Results(results.into_iter().enumerate().map(check).collect::<Result<_, _>>()?))
            }
        }
    }
}

/// A number that is no time must not get further: sums with it would overflow.
fn is_time(at: Millis) -> bool {
    (0..=MAX_TIME).contains(&at)
}

fn check(record: v1::Record) -> Result<Record, String> {
    let interval = Interval::try_from(record.interval_ms).map_err(|error| error.to_string())?;
    if !is_time(record.received_at) {
        return Err("received_at is no time".to_owned());
    }
    Ok(Record {
        server: record.server_id.parse().map_err(|error| format!("server_id: {error}"))?,
        generation: record.generation,
        received_at: record.received_at,
        interval,
        snapshot: Snapshot::check(record.snapshot, interval).map_err(|fault| fault.to_string())?,
    })
}

/// Written as a [`v1::Message`], but without a copy of the records, as a gate writes one for each message.
impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(tag = "kind", rename_all = "lowercase")]
        enum Written<'a> {
            Snapshots { version: u32, records: &'a [Record] },
            Tick { version: u32, gate: &'a str, at: Millis, open_since: Millis },
            Results { version: u32, results: &'a [Outcome] },
        }
        let written = match self {
            Self::Snapshots(records) => Written::Snapshots { version: VERSION, records },
            Self::Tick(Tick { gate, at, open_since }) => {
                Written::Tick { version: VERSION, gate, at: *at, open_since: *open_since }
            }
            Self::Results(results) => Written::Results { version: VERSION, results },
        };
        written.serialize(serializer)
    }
}
