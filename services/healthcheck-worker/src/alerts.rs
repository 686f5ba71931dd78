//! Which servers of a batch break a rule. The newest snapshot of each is looked at, and the registry is asked for what it
//! remembers of a server only if that breaks something or did.

use std::collections::{BTreeMap, HashMap};

use chassis::Clock;
use fleet::{
    Record, ServerId, Snapshot,
    alert::{BACK_FILL, Binding, Holds, Phase, Sample, State, Threshold, Verdict, Watch, Watches},
    id::AlertRuleId,
};
use registry::{AlertRule, Observation, Registry, RegistryError, Standing, StateKey};
use tokio::time::{Duration, Instant};

use crate::heard::Heard;

/// How often this worker looks whether rules have changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The rules about measurements, as this worker knows them.
#[derive(Default)]
pub struct Alerts {
    rules: Vec<Watched>,
    /// Of all rules together; 0 before any was read.
    version: i64,
    looked: Option<Instant>,
}

struct Watched {
    id: AlertRuleId,
    version: i64,
    watch: Watch,
    holds: Holds,
    binding: Binding,
}

/// A server that may have something to tell.
struct Suspect<'a> {
    server: ServerId,
    newest: &'a Record,
    /// What else of it is in the batch.
    others: Vec<&'a Record>,
}

type States = HashMap<StateKey, State>;
type Labels = HashMap<ServerId, BTreeMap<String, String>>;

impl Alerts {
    /// Looks at what a batch of these records told of each server, and writes what it makes of the states of the rules. Doing
    /// it again changes nothing. Answers how many rows were sent.
    pub async fn look<'a>(
        &mut self,
        registry: &Registry,
        heard: &BTreeMap<ServerId, Heard<'a>>,
        records: impl Iterator<Item = &'a Record> + Clone,
        standing: &HashMap<ServerId, Standing>,
        clock: &Clock,
    ) -> Result<usize, RegistryError> {
        self.refresh(registry).await?;
        if self.rules.is_empty() {
            return Ok(0);
        }
        let has_states = |server| standing.get(server).is_some_and(|standing| standing.has_states);
        let mut suspects: Vec<Suspect<'_>> = heard
            .iter()
            .filter(|(_, heard)| is_recent(heard.newest()))
            .filter(|(server, heard)| has_states(server) || self.is_over(&heard.newest().snapshot))
            .map(|(server, heard)| Suspect { server: *server, newest: heard.newest(), others: Vec::new() })
            .collect();
        if suspects.is_empty() {
            return Ok(0);
        }
        let servers: Vec<ServerId> = suspects.iter().map(|suspect| suspect.server).collect();
        add_others(&mut suspects, records);
        let states = registry.alert_states(&servers).await?;
        let asking = self.asking(&suspects, &states);
        let labels = registry.labels(&asking).await?;
        let mut observations = Vec::new();
        for suspect in &suspects {
            self.observe(suspect, &states, &labels, &mut observations);
        }
        let now = match clock {
            Clock::System => None,
            Clock::Fixed(_) => Some(clock.now()),
        };
        registry.observe(&observations, now).await?;
        Ok(observations.len())
    }

    /// Reads the rules again if they have changed since.
    async fn refresh(&mut self, registry: &Registry) -> Result<(), RegistryError> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        if registry.alert_rules_version().await? != self.version {
            let (version, rules) = registry.enabled_alert_rules().await?;
            self.rules = rules.into_iter().filter_map(Watched::of).collect();
            self.version = version;
        }
        self.looked = Some(Instant::now());
        Ok(())
    }

    /// Whether a snapshot breaks any rule, whomever it binds.
    fn is_over(&self, snapshot: &Snapshot) -> bool {
        self.rules.iter().any(|rule| {
            let mut over = false;
            rule.watch.metric.each(snapshot, &mut |instance, value| {
                over = over || rule.watch.is_over(value) && rule.watch.instance.matches(instance);
            });
            over
        })
    }

    /// The servers whose labels decide whether something begins.
    fn asking(&self, suspects: &[Suspect<'_>], states: &States) -> Vec<ServerId> {
        let mut asking = Vec::new();
        for suspect in suspects {
            let asks = self.rules.iter().filter(|rule| rule.binding.asks_labels()).any(|rule| {
                let mut begins = false;
                rule.each(suspect.newest, &mut |key, _, verdict| {
                    begins = begins || verdict == Verdict::Over && !states.contains_key(&key);
                });
                begins
            });
            if asks {
                asking.push(suspect.server);
            }
        }
        asking
    }

    fn observe(
        &self,
        suspect: &Suspect<'_>,
        states: &States,
        labels: &Labels,
        observations: &mut Vec<Observation>,
    ) {
        let none = BTreeMap::new();
        let labels = labels.get(&suspect.server).unwrap_or(&none);
        let newest = suspect.newest;
        for rule in &self.rules {
            rule.each(newest, &mut |key, value, verdict| {
                let state = states.get(&key);
                if state.is_none() && !(verdict == Verdict::Over && rule.binding.binds(key.server, labels)) {
                    return;
                }
                let sample = Sample {
                    verdict,
                    value,
                    sampled_at: newest.snapshot.sampled_at(),
                    received_at: newest.received_at,
                    afresh: state.is_some_and(|state| rule.was_otherwise(suspect, &key, state, verdict)),
                };
                if State::is_due(state, &sample) {
                    observations.push(Observation { key, version: rule.version, sample, holds: rule.holds });
                }
            });
        }
    }
}

impl Watched {
    /// `None` of rules about something else, and of what a later release wrote.
    fn of(rule: AlertRule) -> Option<Self> {
        let AlertRule { id, version, draft, .. } = rule;
        let rule = draft.check().ok()?;
        let Watches::Value(watch) = rule.watches else { return None };
        let holds = Holds { raise: rule.hold, clear: rule.clear_hold };
        Some(Self { id, version, watch, holds, binding: rule.binding })
    }

    /// Calls `each` with every level of every instance that the rule is about, its value, and where that lies.
    fn each(&self, record: &Record, each: &mut dyn FnMut(StateKey, f64, Verdict)) {
        self.watch.metric.each(&record.snapshot, &mut |instance, value| {
            if !self.watch.instance.matches(instance) {
                return;
            }
            for (level, threshold) in self.watch.levels() {
                let instance = instance.to_owned();
                let key = StateKey { server: record.server, rule: self.id, instance, level };
                each(key, value, threshold.verdict(self.watch.op, value));
            }
        });
    }

    /// Whether a snapshot of the batch that is not looked at by itself says the contrary of what the newest says, which then
    /// has not lasted.
    fn was_otherwise(&self, suspect: &Suspect<'_>, key: &StateKey, state: &State, verdict: Verdict) -> bool {
        let contrary = |other: Verdict| match (state.phase, verdict) {
            (Phase::Pending, Verdict::Over) => other != Verdict::Over,
            (Phase::Raised, Verdict::Inside) => other != Verdict::Inside,
            _ => false,
        };
        let Some(threshold) = self.watch.threshold(key.level) else { return false };
        let mut others = suspect.others.iter().filter(|other| other.snapshot.sampled_at() > state.seen_at);
        others.any(|other| self.says(&other.snapshot, key, threshold).is_some_and(contrary))
    }

    fn says(&self, snapshot: &Snapshot, key: &StateKey, threshold: Threshold) -> Option<Verdict> {
        let mut verdict = None;
        self.watch.metric.each(snapshot, &mut |instance, value| {
            if instance == key.instance {
                verdict = Some(threshold.verdict(self.watch.op, value));
            }
        });
        verdict
    }
}

/// Whether it is no back-fill.
fn is_recent(record: &Record) -> bool {
    record.received_at - record.snapshot.sampled_at() <= record.interval.millis() + BACK_FILL
}

fn add_others<'a>(suspects: &mut [Suspect<'a>], records: impl Iterator<Item = &'a Record> + Clone) {
    if records.clone().count() <= suspects.len() {
        return;
    }
    let places: HashMap<ServerId, usize> =
        suspects.iter().enumerate().map(|(place, suspect)| (suspect.server, place)).collect();
    for record in records {
        if let Some(suspect) = places.get(&record.server).and_then(|place| suspects.get_mut(*place))
            && record.snapshot.sampled_at() < suspect.newest.snapshot.sampled_at()
        {
            suspect.others.push(record);
        }
    }
}
