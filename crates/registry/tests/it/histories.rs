//! Histories of a host and of what becomes of its samples on their way: workers stall, deliver again and in another order. What
//! is raised and what is over is told against what the host measured.

use std::collections::{BTreeMap, HashMap, VecDeque};

use fleet::{
    Millis, ServerId,
    alert::{Draft, Holds, Level, Phase, Sample, State, Verdict},
    id::AlertRuleId,
};
use registry::{Actor, AlertRule, Observation, StateKey};

use crate::store::{NOW, Store, server_id};

const SECOND: Millis = 1_000;
/// How often a host samples, and how long what it says has to last. Of the fast ones several samples are in time at once.
const KINDS: [(Millis, Holds); 2] = [
    (30 * SECOND, Holds { raise: 60 * SECOND, clear: 60 * SECOND }),
    (2 * SECOND, Holds { raise: 10 * SECOND, clear: 10 * SECOND }),
];

/// What is committed this long after its receipt is not in time.
const IN_TIME: Millis = 5 * SECOND;

/// Samples of a history, and histories that are written together.
const SAMPLES: i64 = 40;
const TOGETHER: u64 = 100;

/// Histories on each store, unless ROLLCALL_HISTORIES says otherwise.
const HISTORIES: u64 = 200;

/// A stream of numbers that is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn millis(&mut self, most: Millis) -> Millis {
        self.below(most.unsigned_abs()).cast_signed()
    }
}

/// How many reads ago a worker may have read what it decides by: it was stopped between reading and writing.
const READS: usize = 8;

/// What a host measured, each as it was received.
struct History {
    interval: Millis,
    holds: Holds,
    samples: Vec<(Millis, Verdict)>,
    state: Option<State>,
    /// What workers sent of it: when it was received, what it said, and whether that was in time.
    sent: Vec<(Millis, Verdict, bool)>,
    /// How much of that was sent when the state began, and when it began to be cleared. A store without a row remembers nothing
    /// of what came before, so what is delivered late may begin what newer samples had ended.
    began: usize,
    clears: usize,
}

impl History {
    /// Trouble comes and goes, sometimes for a moment alone.
    fn of(dice: &mut Dice) -> Self {
        let (interval, holds) = KINDS[dice.below(2) as usize];
        let mut verdict = Verdict::Inside;
        let mut samples = Vec::new();
        for number in 0..SAMPLES {
            if dice.below(4) == 0 {
                verdict =
                    [Verdict::Over, Verdict::Over, Verdict::Between, Verdict::Inside][dice.below(4) as usize];
            }
            samples.push((NOW + number * interval + dice.millis(2 * SECOND), verdict));
        }
        Self { interval, holds, samples, state: None, sent: Vec::new(), began: 0, clears: 0 }
    }

    /// When each of its samples is committed, in seconds since the first: mostly at once; together, later and in any order
    /// after a worker stalled; some once more.
    fn commits(&self, dice: &mut Dice) -> Vec<(Millis, usize)> {
        let mut commits = Vec::new();
        let mut stalled_until = 0;
        for (number, (received_at, _)) in self.samples.iter().enumerate() {
            if dice.below(12) == 0 {
                stalled_until = received_at + dice.millis(10 * self.interval);
            }
            let mut at = received_at + dice.millis(4 * SECOND);
            // Of two workers one goes on while the other is stopped.
            if at < stalled_until && dice.below(4) > 0 {
                at = stalled_until + dice.millis(3 * SECOND);
            }
            commits.push((at, number));
            if dice.below(5) == 0 {
                commits.push((at + dice.millis(4 * self.interval), number));
            }
        }
        commits
    }

    /// Whether a sample of this verdict was received within the time that counts as now.
    fn says(&self, at: Millis, is: impl Fn(Verdict) -> bool) -> bool {
        let (now, _) = self.samples.split_at(self.samples.partition_point(|(received, _)| *received <= at));
        now.iter()
            .rev()
            .take_while(|(received, _)| *received >= at - IN_TIME)
            .any(|(_, verdict)| is(*verdict))
    }

    /// Whether everything that was sent of this stretch of time says so, as far as it counts.
    fn lasted(&self, sent: usize, from: Millis, is: impl Fn(Verdict) -> bool, late_counts: bool) -> bool {
        let counts =
            self.sent[sent..].iter().filter(|(at, _, in_time)| *at > from && (*in_time || late_counts));
        counts.into_iter().all(|(_, verdict, _)| is(*verdict))
    }

    /// Checks that no sample changed anything that is older than what was seen before.
    fn check_order(&self, before: &State, after: Option<State>) {
        let Some(after) = after else {
            let calm = |(at, verdict, _): &(Millis, Verdict, bool)| {
                *at > before.seen_at && *verdict != Verdict::Over
            };
            let ended = before.phase != Phase::Pending || self.sent.iter().any(calm);
            return assert!(ended, "what is pending was ended by what was before: {before:?}");
        };
        assert!(after.seen_at >= before.seen_at, "{after:?} after {before:?}");
        if let Some(clear_at) = after.clear_at.filter(|_| after.clear_at != before.clear_at) {
            let newer = clear_at - self.holds.clear > before.seen_at;
            assert!(newer, "what was before began to clear it: {after:?} after {before:?}");
        }
    }

    /// Checks what a commit at this time made of the state.
    fn check(&mut self, state: Option<State>, at: Millis) -> (u32, u32) {
        let before = self.state.map(|state| state.phase);
        let (mut raised, mut cleared) = (0, 0);
        if let Some(state) = state {
            let began =
                self.samples.iter().any(|(at, verdict)| *at == state.began_at && *verdict == Verdict::Over);
            assert!(began, "it began with no sample that was over: {state:?}");
            match (before, state.phase) {
                (None | Some(Phase::Pending | Phase::Cleared), Phase::Raised) => {
                    raised += 1;
                    assert!(
                        self.says(at, |verdict| verdict == Verdict::Over),
                        "raised by what was over before: {state:?}"
                    );
                    assert!(
                        at >= state.began_at + self.holds.raise,
                        "raised before it had lasted: {state:?}"
                    );
                    let lasted =
                        self.lasted(self.began, state.began_at, |verdict| verdict == Verdict::Over, true);
                    assert!(
                        before == Some(Phase::Cleared) || lasted,
                        "raised though it was not over: {state:?}"
                    );
                }
                (Some(Phase::Raised), Phase::Cleared) => {
                    cleared += 1;
                    assert!(
                        self.says(at, |verdict| verdict == Verdict::Inside),
                        "cleared by what was inside before: {state:?}"
                    );
                    let clear_at = state.clear_at.unwrap();
                    assert!(at >= clear_at, "cleared too early: {state:?}");
                    let inside = |verdict| verdict == Verdict::Inside;
                    let lasted = self.lasted(self.clears, clear_at - self.holds.clear, inside, false);
                    assert!(lasted, "cleared though it was not inside: {state:?}");
                    let began = self.samples.iter().any(|(at, _)| *at == clear_at - self.holds.clear);
                    assert!(began, "no sample began to clear it: {state:?}");
                }
                (Some(Phase::Raised), Phase::Pending) | (None | Some(Phase::Pending), Phase::Cleared) => {
                    panic!("{before:?} became {state:?}")
                }
                _ => {}
            }
        } else {
            assert_ne!(before, Some(Phase::Raised), "what is raised was forgotten");
        }
        if let Some(before) = self.state {
            self.check_order(&before, state);
        }
        if self.state.map(|state| state.began_at) != state.map(|state| state.began_at) {
            self.began = self.sent.len();
        }
        if self.state.map(|state| state.clear_at) != state.map(|state| state.clear_at) {
            self.clears = self.sent.len();
        }
        self.state = state;
        (raised, cleared)
    }
}

/// By the second of their commit, of each host the samples that are committed together.
fn commits(hosts: &[History], dice: &mut Dice) -> BTreeMap<Millis, BTreeMap<usize, Vec<usize>>> {
    let mut commits: BTreeMap<Millis, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
    for (host, history) in hosts.iter().enumerate() {
        for (at, sample) in history.commits(dice) {
            let second = (at + SECOND).div_euclid(SECOND) * SECOND;
            commits.entry(second).or_default().entry(host).or_default().push(sample);
        }
    }
    commits
}

/// What a worker sends of one server's samples that it commits together, by the state that it read.
fn observed(
    key: &StateKey,
    rule: &AlertRule,
    samples: &[(Millis, Verdict)],
    read: Option<&State>,
    holds: Holds,
) -> Option<Observation> {
    let (received_at, verdict) = samples.iter().max_by_key(|(at, _)| *at).copied()?;
    let contrary = |other: Verdict| match (read.map(|state| state.phase), verdict) {
        (Some(Phase::Pending), Verdict::Over) => other != Verdict::Over,
        (Some(Phase::Raised), Verdict::Inside) => other != Verdict::Inside,
        _ => false,
    };
    let new = |at: Millis| at < received_at && read.is_some_and(|state| at > state.seen_at);
    let afresh = samples.iter().any(|(at, verdict)| new(*at) && contrary(*verdict));
    let sample = Sample { verdict, value: 1.0, sampled_at: received_at, received_at, afresh };
    let due = State::is_due(read, &sample);
    due.then(|| Observation { key: key.clone(), version: rule.version, sample, holds })
}

/// The contract's simulation: without the rule for what comes late, more than a tenth of what is raised is false.
pub async fn nothing_is_raised_or_over_but_by_what_is_so(store: Store) {
    let draft = Draft {
        kind: "value".to_owned(),
        metric: "cpu.total".to_owned(),
        op: "above".to_owned(),
        critical: Some(90.0),
        hold_ms: KINDS[0].1.raise,
        clear_hold_ms: KINDS[0].1.clear,
        ..Draft::default()
    };
    let rule = AlertRule::new(AlertRuleId::new(NOW, [1; 10]), "busy", true, draft, NOW);
    store.registry.make_alert_rule(&rule, &Actor::system()).await.unwrap().unwrap();
    let histories = std::env::var("ROLLCALL_HISTORIES").map_or(HISTORIES, |count| count.parse().unwrap());
    for number in 1..=TOGETHER {
        store.enrol(number, &format!("host {number}")).await;
    }
    let mut dice = Dice(11);
    let (mut raised, mut cleared) = (0, 0);
    for _ in 0..histories.div_ceil(TOGETHER) {
        let servers: Vec<ServerId> = (1..=TOGETHER).map(server_id).collect();
        let mut hosts: Vec<History> = servers.iter().map(|_| History::of(&mut dice)).collect();
        let mut reads: VecDeque<HashMap<StateKey, State>> = VecDeque::new();
        for (at, together) in commits(&hosts, &mut dice) {
            let now = store.registry.alert_states(&servers).await.unwrap();
            // A worker may be stopped between reading and writing.
            reads.push_front(now);
            reads.truncate(READS);
            let ago = if dice.below(3) == 0 { dice.below(reads.len() as u64) as usize } else { 0 };
            let read = &reads[ago];
            let mut observations = Vec::new();
            for (host, samples) in &together {
                let key = StateKey {
                    server: servers[*host],
                    rule: rule.id,
                    instance: String::new(),
                    level: Level::Critical,
                };
                let samples: Vec<_> = samples.iter().map(|number| hosts[*host].samples[*number]).collect();
                let history = &mut hosts[*host];
                if let Some(observation) = observed(&key, &rule, &samples, read.get(&key), history.holds) {
                    let Sample { received_at, verdict, .. } = observation.sample;
                    history.sent.push((received_at, verdict, received_at >= at - IN_TIME));
                    observations.push(observation);
                }
            }
            store.registry.observe(&observations, Some(at)).await.unwrap();
            let states = store.registry.alert_states(&servers).await.unwrap();
            for host in together.keys() {
                let state = states.iter().find(|(key, _)| key.server == servers[*host]);
                let found = hosts[*host].check(state.map(|(_, state)| *state), at);
                (raised, cleared) = (raised + found.0, cleared + found.1);
            }
        }
        store.execute("DELETE FROM alert_states").await;
    }
    assert!(u64::from(raised) > histories / 4 && u64::from(cleared) > histories / 8, "{raised} {cleared}");
}
