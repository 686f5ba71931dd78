//! Telling: what is to be said of incidents becomes messages, each once at any number of replicas. What is to be said is
//! [`fleet::alert::telling`]'s to decide.

mod read;
mod write;

pub(super) use write::post;

use std::collections::{BTreeMap, BTreeSet};

use fleet::{
    Millis,
    alert::{
        IncidentState, RuleKind,
        message::What,
        route::{Route, Silence, routes_of, silent_until},
        telling::{Channels, Decision, Fate, RESOURCES_WAIT, Trouble, decide, storm},
    },
    id::{ChannelId, IncidentId},
};

use self::read::Found;
use super::{channels, mailed, routes, silences};
use crate::engine::{Registry, RegistryError, Tx, query};

/// Most incidents that are looked at at once.
const AT_ONCE: i64 = 1_000;

const HOLD: &str = "UPDATE versions SET version = version + 1 WHERE name = 'telling'";
const ANY: &str = "SELECT id FROM incidents WHERE tell_at <= $1 LIMIT 1";
/// Whatever is open, and whatever waits for a later look.
const LOOK: &str = "UPDATE incidents SET tell_at = $1
WHERE (state <> 'resolved' AND tell_at IS NULL) OR tell_at > $1";

/// What was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Messages that were made.
    pub notifications: usize,
    /// What they say of incidents.
    pub items: usize,
    /// There is more to look at.
    pub more: bool,
}

/// Something that is said of an incident on a channel.
pub(super) struct Saying<'a> {
    found: &'a Found,
    channel: ChannelId,
    what: What,
    reminder: i64,
    /// How often it failed before.
    round: i64,
}

/// Holds the row that whoever tells, and whoever changes where is told, holds first.
pub(super) async fn hold(tx: &mut Tx<'_>) -> Result<(), RegistryError> {
    tx.run(HOLD).await.map(drop)
}

/// All incidents that are open are looked at anew: where they are told has changed.
pub(super) async fn look_at_all(tx: &mut Tx<'_>, now: Millis) -> Result<(), RegistryError> {
    tx.run(query(LOOK).bind(now)).await.map(drop)
}

impl Registry {
    /// Whether [`tell`](Self::tell) has something to look at. It takes no lock.
    #[crate::engine::boxed]
    pub async fn has_to_tell(&self, now: Millis) -> Result<bool, RegistryError> {
        Ok(self.reader().any(query(ANY).bind(now)).await? || mailed::any(self).await?)
    }

    /// Makes messages of what there is to say, in one transaction. `ahead`: so many servers are about to fall silent, see
    /// [`STORM_AHEAD`](fleet::alert::telling::STORM_AHEAD). `random` makes ids.
    #[crate::engine::boxed]
    pub async fn tell(
        &self,
        ahead: usize,
        random: fn() -> [u8; 10],
        now: Millis,
    ) -> Result<Told, RegistryError> {
        self.write(async |tx| {
            hold(tx).await?;
            mailed::settle(tx, now).await?;
            let found = read::due(tx, AT_ONCE, now).await?;
            if found.is_empty() {
                return Ok(Told::default());
            }
            let world = World::read(tx, &found, ahead, now).await?;
            let decisions: Vec<Decision> = found.iter().map(|one| world.decide(one, now)).collect();
            let told = write::write(tx, &found, &decisions, &world.channels, random, now).await?;
            Ok(Told { more: i64::try_from(found.len()).is_ok_and(|count| count == AT_ONCE), ..told })
        })
        .await
    }
}

/// All that telling depends on.
struct World {
    routes: Vec<Route>,
    silences: Vec<Silence>,
    channels: Vec<channels::Channel>,
    usable: BTreeSet<ChannelId>,
    alerted: BTreeMap<IncidentId, BTreeMap<ChannelId, Millis>>,
    /// Until when alerts about servers that fell silent wait for others.
    storm: Option<Millis>,
}

impl World {
    async fn read(
        tx: &mut Tx<'_>,
        found: &[Found],
        ahead: usize,
        now: Millis,
    ) -> Result<Self, RegistryError> {
        let routes = routes::all(tx).await?.into_iter().map(|route| route.route).collect();
        let channels = channels::all(tx).await?;
        let usable =
            channels.iter().filter(|channel| channel.disabled.is_none()).map(|channel| channel.id).collect();
        let untold = || found.iter().filter(|one| one.kind == RuleKind::Silent && one.is_untold());
        let first = untold().map(|one| one.opened_at).min();
        let storm = first.and_then(|first| storm(untold().count(), first, ahead, now));
        let alerted = read::alerted(tx, found, now).await?;
        Ok(Self { routes, silences: silences::in_force(tx, now).await?, channels, usable, alerted, storm })
    }

    fn decide(&self, one: &Found, now: Millis) -> Decision {
        let wait_until = match one.kind {
            RuleKind::Silent => self.storm,
            RuleKind::Value => Some(one.opened_at + RESOURCES_WAIT),
            RuleKind::Unheard | RuleKind::Itself => None,
        };
        let trouble = Trouble {
            state: one.state,
            level: one.level,
            escalates_from: one.escalates_from,
            step: one.step,
            resolved: one.resolved,
            silent_until: silent_until(&self.silences, &one.traits, now),
            wait_until,
        };
        let routes = routes_of(&self.routes, &one.traits, one.level);
        let none = BTreeMap::new();
        let alerted = self.alerted.get(&one.id).unwrap_or(&none);
        decide(&trouble, &routes, &Channels { usable: &self.usable, alerted, said: &one.said }, now)
    }
}

impl Found {
    /// Whether nothing was said of it yet.
    fn is_untold(&self) -> bool {
        let counts = self.said.values().flatten().any(|said| !matches!(said.fate, Fate::Failed(_)));
        self.state != IncidentState::Resolved && !counts
    }

    fn failures(&self, channel: ChannelId) -> i64 {
        self.rounds.get(&channel).copied().unwrap_or(0)
    }
}
