//! Tells somebody when no gate answers, and once more when one does, if this agent is the one that was elected for it
//! (`fleet::alert::lease`). Never twice: the outage is in the state file before anything is sent.

mod channel;
mod outage;
mod send;

use std::time::{Duration, Instant};

use fleet::{
    Millis, Zone,
    alert::{
        Level,
        lease::{APART, LEASE},
        message::{Item, Manner, What},
        request::{Bases, Content, Message, request},
        verdict::{Verdict, pause},
    },
    id::IncidentId,
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use wire::v1;

pub use self::channel::WatchChannel;
pub(crate) use self::outage::Outage;
use crate::{agent::Agent, answer::Answer};

/// So many attempts in a row fail before anything is told, for each address.
const ATTEMPTS: usize = 3;
/// Addresses that one attempt asks at most.
const ASKED_AT_ONCE: usize = 2;
/// Two outages that are told are so far apart.
const BETWEEN: Duration = Duration::from_secs(300);

/// A lease, by time since a boot: a clock that nobody sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    boot: String,
    until: Millis,
}

/// What is known of the suite since this agent started.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// When the request that is on its way was sent, by time since the boot.
    sent: Millis,
    /// The failure that lasts.
    failure: Option<Failure>,
    /// A gate answered since the last look.
    heard: bool,
    /// What is being sent.
    sending: Option<JoinHandle<Verdict>>,
    /// What is to be sent is not sent before.
    due: Option<Instant>,
    /// When an outage was told last.
    told: Option<Instant>,
}

/// Attempts that fail, without one between that does not.
#[derive(Debug)]
struct Failure {
    /// By this agent's stamps.
    since: Millis,
    /// Whether the lease ran when it began.
    held: bool,
    /// Samples that could not be sent meanwhile.
    count: usize,
}

impl Agent {
    /// Marks what this agent says of itself: that it would tell.
    pub(crate) fn marked(&self, about: Option<v1::Agent>) -> Option<v1::Agent> {
        match self.settings.watch {
            Some(_) => Some(v1::Agent { reporter: true, ..about.unwrap_or_default() }),
            None => about,
        }
    }

    /// Takes note that a request is about to be sent.
    pub(crate) fn asks(&mut self) {
        if self.settings.watch.is_none() {
            return;
        }
        let reading = self.clocks.read();
        self.watch.sent = reading.up;
        if self.watch.failure.is_none() {
            let boot = self.clocks.boot();
            let lease = self.store.state.lease.as_ref();
            let held = lease.is_some_and(|lease| lease.boot == boot && lease.until > reading.up);
            self.watch.failure = Some(Failure { since: reading.at, held, count: 0 });
        }
    }

    /// Takes in what an answer says of the suite: that it is there, and how long this agent is the one that tells.
    pub(crate) fn hears(&mut self, answer: &Answer) {
        if self.settings.watch.is_none() || !is_there(answer) {
            return;
        }
        self.watch.heard = true;
        self.watch.failure = None;
        let bulletin = answer.accepted.as_ref().map(|accepted| &accepted.bulletin);
        let lease_ms = bulletin.and_then(|bulletin| bulletin.watch.as_ref()).map(|watch| watch.lease_ms);
        let Some(lease_ms) = lease_ms.filter(|ms| (1..=LEASE + APART).contains(ms)) else { return };
        let (boot, until) = (self.clocks.boot().to_owned(), self.watch.sent + lease_ms);
        let lease = &mut self.store.state.lease;
        if lease.as_ref().is_none_or(|held| held.boot != boot || held.until < until) {
            *lease = Some(Lease { boot, until });
        }
    }

    /// After each sample: says what there is to say.
    pub(crate) async fn watch_over(&mut self) {
        if self.settings.watch.is_none() {
            return;
        }
        self.conclude_sending().await;
        let outage = self.store.state.outage.clone();
        let now = self.clocks.read().at;
        if std::mem::take(&mut self.watch.heard) {
            self.turn_to(outage.and_then(|outage| outage.answered(now)));
        } else if self.has_failed() {
            self.turn_to(outage.map(Outage::lost_again).or_else(|| self.began()));
        }
        let waits = self.store.state.outage.as_ref().is_some_and(Outage::waits);
        if waits && self.watch.sending.is_none() && self.watch.due.is_none_or(|due| Instant::now() >= due) {
            self.tell();
        }
    }

    /// Counts a sample that could not be sent. Whether all addresses were asked often enough.
    fn has_failed(&mut self) -> bool {
        let cycles = (ATTEMPTS * self.settings.urls.len()).div_ceil(ASKED_AT_ONCE).max(ATTEMPTS);
        let Some(failure) = &mut self.watch.failure else { return false };
        failure.count += 1;
        failure.count >= cycles
    }

    /// The outage that begins, if it is this agent that tells of it.
    fn began(&self) -> Option<Outage> {
        let failure = self.watch.failure.as_ref().filter(|failure| failure.held)?;
        if self.watch.told.is_some_and(|told| told.elapsed() < BETWEEN) {
            return None;
        }
        let mut random = [0; 10];
        for part in random.chunks_mut(4) {
            part.copy_from_slice(&crate::random().to_ne_bytes()[..part.len()]);
        }
        Some(Outage::new(IncidentId::new(failure.since, random).to_string(), failure.since))
    }

    /// Takes what became of the message on its way, if that is known by now.
    async fn conclude_sending(&mut self) {
        let Some(sending) = self.watch.sending.take_if(|sending| sending.is_finished()) else { return };
        // A task that panicked may have sent it.
        let verdict = sending.await.unwrap_or_else(|error| Verdict::Unknown(error.to_string()));
        let Some(outage) = self.store.state.outage.clone() else { return };
        let (ends, attempts) = (outage.ends(), outage.attempts);
        match &verdict {
            Verdict::Sent { .. } => tracing::info!(ends, "told that the suite is away, or that it is back"),
            Verdict::NotSent(reason) | Verdict::Blocked { reason, .. } => {
                tracing::info!(ends, attempts, reason, "a message was not sent, and is tried again");
            }
            Verdict::Failed { reason, .. } => tracing::error!(ends, reason, "a message failed"),
            Verdict::Unknown(reason) => {
                tracing::warn!(ends, reason, "a message may have been taken; it is not sent again");
            }
        }
        let wait = match &verdict {
            Verdict::Blocked { wait, .. } => *wait,
            _ => pause(attempts),
        };
        self.watch.due = Some(Instant::now() + Duration::from_millis(wait.unsigned_abs()));
        self.turn_to(outage.settled(&verdict));
        if !self.store.state.outage.as_ref().is_some_and(Outage::waits) {
            self.watch.due = None;
        }
    }

    fn turn_to(&mut self, outage: Option<Outage>) {
        if self.store.state.outage != outage {
            self.store.state.outage = outage;
            self.store.save();
        }
    }

    /// Sends what waits, once it is on disk that it is on its way.
    fn tell(&mut self) {
        let (Some(channel), Some(outage)) = (&self.settings.watch, &self.store.state.outage) else { return };
        let claimed = outage.clone().claim();
        let (channel, authorities) = (channel.clone(), self.settings.authorities.clone());
        let name = self.store.state.name.as_ref().unwrap_or(&self.settings.name);
        let Some(asked) = said(&channel, &claimed, name, self.clocks.read().at) else { return };
        let before = self.store.state.outage.replace(claimed);
        if let Err(error) = self.store.must_save() {
            tracing::error!(%error, "cannot write that something is told, so it is not told");
            self.store.state.outage = before;
            return;
        }
        self.watch.told = Some(Instant::now());
        self.watch.sending = Some(tokio::spawn(send::send(channel, asked, authorities)));
    }
}

/// Whether a gate answered, and would take what is sent if nothing were wrong with that.
fn is_there(answer: &Answer) -> bool {
    let by_a_gate = answer.problem.now.is_some();
    answer.accepted.is_some() || by_a_gate && (answer.status < 500 || answer.problem.code == UNKNOWN_SERVER)
}

const UNKNOWN_SERVER: &str = fleet::access::UNKNOWN_SERVER;

/// The request that tells it.
fn said(
    channel: &WatchChannel,
    outage: &Outage,
    server: &str,
    now: Millis,
) -> Option<fleet::alert::request::Request> {
    let (what, transition) = if outage.ends() { (What::Recovery, 2) } else { (What::Alert, 1) };
    let item = Item {
        what,
        incident: outage.id.parse().ok()?,
        transition,
        level: Level::Critical,
        rule: channel.language.words().unreachable.to_owned(),
        server: server.to_owned(),
        instance: String::new(),
        metric: String::new(),
        value: None,
        since: outage.since,
    };
    let id = format!("msg_{}_{transition}", outage.id.replace('-', ""));
    let manner = Manner { language: channel.language, zone: Zone::UTC, template: None, url: None };
    let content = Content::Incidents(std::slice::from_ref(&item));
    let message = Message { id: &id, at: now, content, manner };
    let asked = request(&channel.config, &channel.secret, &Bases::default(), &message);
    asked.inspect_err(|error| tracing::error!(%error, "cannot tell that the suite is away")).ok()
}
