//! Rules, what breaks them, and incidents.

use std::collections::HashMap;

use fleet::{
    Millis, ServerId,
    alert::{
        Binding, Draft, Holds, IncidentEventKind, IncidentState, Level, Phase, Resolution, Sample, State,
        Verdict,
    },
    id::{AlertRuleId, IncidentId},
};
use registry::{
    Actor, AlertRule, Incident, IncidentFigures, IncidentFilter, Judged, Observation, Pause, PeriodIncidents,
    Raised, Refusal, Registry, Response, StateKey,
};

use crate::store::{ALL, NOW, Store};

const SECOND: Millis = 1_000;

/// The holds of the rule that [`rule`] makes.
const HOLDS: Holds = Holds { raise: 60 * SECOND, clear: 30 * SECOND };

fn draft() -> Draft {
    Draft {
        kind: "value".to_owned(),
        metric: "disk.used_percent".to_owned(),
        instance: "*".to_owned(),
        op: "above".to_owned(),
        warning: Some(80.0),
        warning_clear: Some(70.0),
        critical: Some(90.0),
        critical_clear: Some(85.5),
        hold_ms: HOLDS.raise,
        clear_hold_ms: HOLDS.clear,
        ..Draft::default()
    }
}

pub fn rule_id(number: u8) -> AlertRuleId {
    AlertRuleId::new(NOW, [number; 10])
}

async fn rule(store: &Store, number: u8, draft: Draft) -> AlertRule {
    let rule = AlertRule::new(rule_id(number), &format!("rule {number}"), true, draft, NOW);
    store.registry.make_alert_rule(&rule, &Actor::system()).await.unwrap().unwrap();
    rule
}

fn key(server: ServerId, rule: &AlertRule, level: Level) -> StateKey {
    StateKey { server, rule: rule.id, instance: "/".to_owned(), level }
}

fn sample(verdict: Verdict, at: Millis) -> Sample {
    Sample { verdict, value: 95.0, sampled_at: at, received_at: at, afresh: false }
}

fn observed(key: StateKey, rule: &AlertRule, sample: Sample) -> Observation {
    let holds = Holds { raise: rule.draft.hold_ms, clear: rule.draft.clear_hold_ms };
    Observation { key, version: rule.version, sample, holds }
}

/// What is seen of this key at `at`, in time.
async fn see(registry: &Registry, key: StateKey, rule: &AlertRule, verdict: Verdict, at: Millis) {
    let observation = observed(key, rule, sample(verdict, at));
    registry.observe(&[observation], Some(at)).await.unwrap();
}

async fn phase(registry: &Registry, key: &StateKey) -> Option<Phase> {
    registry.alert_states(&[key.server]).await.unwrap().get(key).map(|state| state.phase)
}

/// Judges until there is nothing left to do.
async fn judge(registry: &Registry, now: Millis) -> Judged {
    let mut sum = Judged::default();
    let mut new = || IncidentId::new(now, testkit_random());
    while let Some(judged) = registry.judge_states(None, &mut new, now).await.unwrap() {
        sum.opened += judged.opened;
        sum.raised += judged.raised;
        sum.resolved += judged.resolved;
    }
    sum
}

/// Ids that no other has.
fn testkit_random() -> [u8; 10] {
    use std::sync::atomic::{AtomicU64, Ordering};
    static MADE: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [7; 10];
    bytes[2..].copy_from_slice(&MADE.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes
}

async fn incidents(registry: &Registry) -> Vec<Incident> {
    registry.incidents(&IncidentFilter::default(), ALL).await.unwrap().0
}

/// A stream of numbers that is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

pub async fn a_state_is_what_the_rule_says_in_whatever_order_samples_come(store: Store) {
    let servers = [store.enrol(1, "a").await, store.enrol(2, "b").await, store.enrol(3, "c").await];
    let slow = rule(&store, 1, draft()).await;
    let quick = rule(&store, 2, Draft { hold_ms: 0, clear_hold_ms: 0, ..draft() }).await;
    let mut dice = Dice(4);
    let mut expected: HashMap<StateKey, State> = HashMap::new();
    let mut phases = [0; 4];
    for turn in 0..400 {
        let mut observations: Vec<Observation> = Vec::new();
        let late = dice.below(4) == 0;
        for server in servers {
            for (rule, level) in
                [(&slow, Level::Warning), (&slow, Level::Critical), (&quick, Level::Critical)]
            {
                if dice.below(3) == 0 {
                    continue;
                }
                // Most come in order, some come again, some come late.
                let at = NOW + (turn + 3 - dice.below(7) as Millis) * 10 * SECOND;
                let verdict =
                    [Verdict::Over, Verdict::Over, Verdict::Between, Verdict::Inside][dice.below(4) as usize];
                let sample = Sample {
                    verdict,
                    value: dice.below(100) as f64 / 2.0,
                    sampled_at: at,
                    received_at: at + dice.below(3) as Millis,
                    afresh: dice.below(10) == 0,
                };
                observations.push(observed(key(server, rule, level), rule, sample));
            }
        }
        // What is in time is so by one clock for all of a batch.
        let newest = observations.iter().map(|one| one.sample.received_at).max().unwrap_or(NOW);
        let clock = newest + if late { 60 * SECOND } else { 0 };
        for one in &observations {
            let stored = expected.get(&one.key).copied();
            let in_time = one.sample.received_at >= clock - 5 * SECOND;
            match State::after(stored, &one.sample, one.holds, in_time) {
                Some(state) => drop(expected.insert(one.key.clone(), state)),
                None => drop(expected.remove(&one.key)),
            }
        }
        store.registry.observe(&observations, Some(clock)).await.unwrap();
        // Delivered again.
        store.registry.observe(&observations, Some(clock)).await.unwrap();
        let states = store.registry.alert_states(&servers).await.unwrap();
        assert_eq!(states, expected, "turn {turn}: {observations:#?}");
        for state in states.values() {
            phases[state.phase as usize] += 1;
        }
        // The judge takes what is cleared.
        if dice.below(5) == 0 {
            judge(&store.registry, clock).await;
            expected.retain(|_, state| state.phase != Phase::Cleared);
        }
    }
    assert!(phases[..3].iter().all(|seen| *seen > 50), "{phases:?}");
}

pub async fn what_is_in_time_is_told_by_the_stores_clock(store: Store) {
    let server = store.enrol(1, "a").await;
    let rule = rule(&store, 1, Draft { hold_ms: 0, clear_hold_ms: 0, ..draft() }).await;
    let (registry, key) = (&store.registry, key(server, &rule, Level::Critical));
    let now = registry.clock().await.unwrap();
    let late = observed(key.clone(), &rule, sample(Verdict::Over, now - 6 * SECOND));
    registry.observe(&[late], None).await.unwrap();
    assert_eq!(phase(registry, &key).await, Some(Phase::Pending));
    let now = registry.clock().await.unwrap();
    registry.observe(&[observed(key.clone(), &rule, sample(Verdict::Over, now))], None).await.unwrap();
    assert_eq!(phase(registry, &key).await, Some(Phase::Raised));
}

pub async fn a_worker_that_knows_an_older_rule_writes_nothing(store: Store) {
    let server = store.enrol(1, "a").await;
    let made = rule(&store, 1, Draft { hold_ms: 0, ..draft() }).await;
    let (registry, key) = (&store.registry, key(server, &made, Level::Critical));
    let wanted = AlertRule { name: "renamed".to_owned(), ..made.clone() };
    let by = Actor::system();
    let changed = registry.change_alert_rule(&wanted, Some(&[1]), &by, NOW).await.unwrap().unwrap();
    see(registry, key.clone(), &made, Verdict::Over, NOW).await;
    assert_eq!(phase(registry, &key).await, None);
    see(registry, key.clone(), &changed, Verdict::Over, NOW).await;
    assert_eq!(phase(registry, &key).await, Some(Phase::Raised));
    let off = AlertRule { enabled: false, ..changed.clone() };
    let off = registry.change_alert_rule(&off, None, &by, NOW).await.unwrap().unwrap();
    assert_eq!(phase(registry, &key).await, None, "a rule that is switched off remembers nothing");
    see(registry, key.clone(), &off, Verdict::Over, NOW + 1).await;
    assert_eq!(phase(registry, &key).await, None);
    registry.delete_server(server, None, &by, NOW).await.unwrap().unwrap();
    let gone = StateKey { rule: rule(&store, 2, draft()).await.id, ..key };
    see(registry, gone, &AlertRule { version: 1, ..made }, Verdict::Over, NOW + 2).await;
    assert_eq!(registry.alert_states(&[server]).await.unwrap(), HashMap::new());
}

pub async fn an_incident_opens_rises_and_is_over_once(store: Store) {
    let server = store.enrol(1, "a").await;
    let rule = rule(&store, 1, Draft { hold_ms: 0, clear_hold_ms: 0, ..draft() }).await;
    let (registry, by) = (&store.registry, Actor::system());
    let [warning, critical] = Level::ALL.map(|level| key(server, &rule, level));
    see(registry, warning.clone(), &rule, Verdict::Over, NOW).await;
    assert_eq!(judge(registry, NOW + 1).await, Judged { opened: 1, ..Judged::default() });
    assert_eq!(judge(registry, NOW + 2).await, Judged::default());
    let incident = incidents(registry).await.remove(0);
    let at = (incident.opened_at, incident.began_at, incident.value);
    assert_eq!(
        (incident.state, incident.level, at),
        (IncidentState::Open, Level::Warning, (NOW + 1, NOW, Some(95.0)))
    );
    let taken = registry
        .respond(incident.id, Response::Acknowledge, Some("mine"), &by, NOW + 3)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((taken.state, taken.transition), (IncidentState::Acknowledged, 2));

    see(registry, critical.clone(), &rule, Verdict::Over, NOW + 10).await;
    assert_eq!(judge(registry, NOW + 11).await, Judged { raised: 1, ..Judged::default() });
    let incident = incidents(registry).await.remove(0);
    assert_eq!((incident.state, incident.level), (IncidentState::Open, Level::Critical));

    // The level never sinks, and one level that clears is not the end.
    see(registry, critical.clone(), &rule, Verdict::Inside, NOW + 20).await;
    assert_eq!(judge(registry, NOW + 21).await, Judged::default());
    assert_eq!(incidents(registry).await[0].level, Level::Critical);
    see(registry, critical.clone(), &rule, Verdict::Over, NOW + 30).await;
    assert_eq!(judge(registry, NOW + 31).await, Judged::default(), "it is as bad as it was");
    see(registry, critical.clone(), &rule, Verdict::Inside, NOW + 40).await;
    see(registry, warning.clone(), &rule, Verdict::Inside, NOW + 40).await;
    assert_eq!(judge(registry, NOW + 41).await, Judged { resolved: 1, ..Judged::default() });
    let (incident, events) = registry.incident(incident.id).await.unwrap().unwrap();
    assert_eq!((incident.state, incident.resolution), (IncidentState::Resolved, Some(Resolution::Recovered)));
    let kinds: Vec<_> = events.iter().map(|event| (event.number, event.kind, event.transition)).collect();
    use IncidentEventKind::{Acknowledged, Opened, Raised, Resolved};
    assert_eq!(kinds, [(1, Opened, 1), (2, Acknowledged, 2), (3, Raised, 3), (4, Resolved, 4)]);
    assert_eq!(events[1].note.as_deref(), Some("mine"));
    assert_eq!(registry.alert_states(&[server]).await.unwrap(), HashMap::new());

    see(registry, warning, &rule, Verdict::Over, NOW + 50).await;
    assert_eq!(judge(registry, NOW + 51).await.opened, 1, "the next one is another");
    assert_eq!(store.number("SELECT COUNT(*) FROM incidents WHERE tell_at IS NOT NULL").await, 2);
}

pub async fn judges_at_once_open_one_incident_each(store: Store) {
    let server = store.enrol(1, "a").await;
    let rule = rule(&store, 1, Draft { hold_ms: 0, clear_hold_ms: 0, ..draft() }).await;
    let registry = &store.registry;
    let keys: Vec<StateKey> = (0..2_500)
        .map(|number| StateKey { instance: format!("/{number}"), ..key(server, &rule, Level::Critical) })
        .collect();
    for (verdict, at, expected) in [(Verdict::Over, NOW, (2_500, 0)), (Verdict::Inside, NOW + 1, (0, 2_500))]
    {
        let seen: Vec<_> = keys.iter().map(|key| observed(key.clone(), &rule, sample(verdict, at))).collect();
        registry.observe(&seen, Some(at)).await.unwrap();
        let (a, b, c) = tokio::join!(judge(registry, at), judge(registry, at), judge(registry, at));
        let judged = [a, b, c];
        // Whoever found the rows of others taken may have left before these were done.
        let rest = judge(registry, at).await;
        let sum = |of: fn(&Judged) -> usize| judged.iter().map(of).sum::<usize>() + of(&rest);
        assert_eq!((sum(|judged| judged.opened), sum(|judged| judged.resolved)), expected);
    }
    assert_eq!(store.number("SELECT COUNT(*) FROM incidents").await, 2_500);
    assert_eq!(store.number("SELECT COUNT(*) FROM incident_events").await, 5_000);
    assert_eq!(store.number("SELECT COUNT(*) FROM alert_states").await, 0);
}

pub async fn what_is_closed_does_not_open_again_until_it_was_right_once(store: Store) {
    let server = store.enrol(1, "a").await;
    let rule = rule(&store, 1, Draft { hold_ms: 0, clear_hold_ms: 0, ..draft() }).await;
    let (registry, by) = (&store.registry, Actor::system());
    let key = key(server, &rule, Level::Critical);
    see(registry, key.clone(), &rule, Verdict::Over, NOW).await;
    judge(registry, NOW).await;
    let id = incidents(registry).await[0].id;
    let respond = async |response, note| registry.respond(id, response, note, &by, NOW + 1).await.unwrap();
    assert_eq!(respond(Response::Close, None).await.unwrap().resolution, Some(Resolution::Closed));
    assert_eq!(respond(Response::Close, None).await.unwrap().transition, 2, "once");
    assert_eq!(respond(Response::Acknowledge, None).await, Err(Refusal::Changed));
    assert_eq!(respond(Response::Comment, Some("why")).await.unwrap().transition, 2);
    see(registry, key.clone(), &rule, Verdict::Over, NOW + 10).await;
    assert_eq!(judge(registry, NOW + 10).await, Judged::default());
    see(registry, key.clone(), &rule, Verdict::Inside, NOW + 20).await;
    assert_eq!(judge(registry, NOW + 20).await, Judged::default(), "it is over already");
    see(registry, key, &rule, Verdict::Over, NOW + 30).await;
    assert_eq!(judge(registry, NOW + 30).await.opened, 1);
    let nobody = IncidentId::new(1, [1; 10]);
    assert_eq!(
        registry.respond(nobody, Response::Close, None, &by, NOW).await.unwrap(),
        Err(Refusal::NotFound)
    );
}

pub async fn what_is_paused_gone_or_not_bound_is_not_called_a_recovery(store: Store) {
    let servers = [
        store.enrol(1, "a").await,
        store.enrol(2, "b").await,
        store.enrol(3, "c").await,
        store.enrol(4, "d").await,
    ];
    let [paused, deleted, unbound, ruleless] = servers;
    let quick = Draft { hold_ms: 0, clear_hold_ms: 0, ..draft() };
    let (kept, dropped) = (rule(&store, 1, quick.clone()).await, rule(&store, 2, quick).await);
    let (registry, by) = (&store.registry, Actor::system());
    for (server, rule) in [(paused, &kept), (deleted, &kept), (unbound, &kept), (ruleless, &dropped)] {
        see(registry, key(server, rule, Level::Critical), rule, Verdict::Over, NOW).await;
    }
    assert_eq!(judge(registry, NOW).await.opened, 4);
    registry.pause(paused, &Pause::default(), &by, NOW).await.unwrap().unwrap();
    registry.delete_server(deleted, None, &by, NOW).await.unwrap().unwrap();
    registry.delete_alert_rule(dropped.id, None, &by, NOW).await.unwrap().unwrap();
    assert_eq!(registry.resolve_paused(NOW + 1).await.unwrap(), 1);
    assert_eq!(registry.resolve_gone(NOW + 1).await.unwrap(), 1);
    assert_eq!(registry.resolve_stateless(NOW + 1).await.unwrap(), 1);
    assert_eq!(registry.servers_of_rule(kept.id, None).await.unwrap(), [unbound]);
    assert_eq!(registry.unbind(kept.id, &[unbound], NOW + 1).await.unwrap(), 1);
    let resolutions: HashMap<_, _> = incidents(registry)
        .await
        .into_iter()
        .map(|one| (one.server.unwrap(), one.resolution.unwrap()))
        .collect();
    let expected = [
        (paused, Resolution::Paused),
        (deleted, Resolution::ServerGone),
        (unbound, Resolution::RuleGone),
        (ruleless, Resolution::RuleGone),
    ];
    assert_eq!(resolutions, expected.into());
    assert_eq!(store.number("SELECT COUNT(*) FROM alert_states").await, 0, "so that it can rise again");
    for resolved in [registry.resolve_paused(NOW).await, registry.resolve_gone(NOW).await] {
        assert_eq!(resolved.unwrap(), 0);
    }
    // What breaks while its server is paused is told once it is expected again, if it lasts.
    see(registry, key(paused, &kept, Level::Critical), &kept, Verdict::Over, NOW + 10).await;
    assert_eq!(judge(registry, NOW + 10).await, Judged::default());
    registry.resume(paused, &by, NOW + 20).await.unwrap().unwrap();
    assert_eq!(judge(registry, NOW + 20).await.opened, 1);
}

pub async fn while_one_rule_is_judged_alone_what_others_raised_waits(store: Store) {
    let server = store.enrol(1, "a").await;
    let quick = rule(&store, 1, Draft { hold_ms: 0, clear_hold_ms: 0, ..draft() }).await;
    let own = Draft {
        kind: "self".to_owned(),
        metric: "late".to_owned(),
        level: "critical".to_owned(),
        ..Draft::default()
    };
    let late = rule(&store, 2, own).await;
    let registry = &store.registry;
    let raised = Raised {
        server: None,
        rule: late.id,
        instance: String::new(),
        level: Level::Critical,
        began_at: NOW,
        value: 7.0,
    };
    registry.raise(std::slice::from_ref(&raised)).await.unwrap();
    registry.raise(&[raised]).await.unwrap();
    see(registry, key(server, &quick, Level::Warning), &quick, Verdict::Over, NOW).await;
    let mut new = || IncidentId::new(NOW, testkit_random());
    let judged = registry.judge_states(Some(late.id), &mut new, NOW).await.unwrap().unwrap();
    assert_eq!(judged.opened, 1);
    assert_eq!(registry.judge_states(Some(late.id), &mut new, NOW).await.unwrap(), None);
    let incident = incidents(registry).await.remove(0);
    assert_eq!((incident.server, incident.server_name.as_str(), incident.value), (None, "", Some(7.0)));
    let lasting = registry.lasting(&[late.id], None, 10).await.unwrap();
    registry.clear(&lasting).await.unwrap();
    let judged = registry.judge_states(Some(late.id), &mut new, NOW + 1).await.unwrap().unwrap();
    assert_eq!(judged.resolved, 1);
    assert_eq!(judge(registry, NOW + 2).await.opened, 1);
}

pub async fn rules_are_made_changed_and_deleted_and_shipped_once(store: Store) {
    let server = store.enrol(1, "a").await;
    let (registry, by) = (&store.registry, Actor::system());
    let mut number = 100;
    let mut new = || {
        number += 1;
        rule_id(number)
    };
    assert!(registry.ship_alert_rules(&mut new, NOW).await.unwrap());
    assert!(!registry.ship_alert_rules(&mut new, NOW).await.unwrap());
    let (shipped, total) = registry.alert_rules(ALL).await.unwrap();
    assert_eq!((shipped.len(), total), (fleet::alert::shipped().len(), 14));
    for rule in &shipped {
        registry.delete_alert_rule(rule.id, Some(&[1]), &by, NOW).await.unwrap().unwrap();
    }
    assert!(!registry.ship_alert_rules(&mut new, NOW).await.unwrap(), "what people delete stays deleted");

    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let binding = Binding {
        needs: vec![label("env", "prod"), label("role", "db")],
        excludes: vec![label("role", "test")],
        exclude_servers: vec![server],
    };
    let made = rule(&store, 1, Draft { binding, ..draft() }).await;
    assert_eq!(registry.alert_rule(made.id).await.unwrap(), Some(made.clone()));
    let before = registry.alert_rules_version().await.unwrap();
    let taken = AlertRule::new(rule_id(2), "RULE 1", true, draft(), NOW);
    assert_eq!(registry.make_alert_rule(&taken, &by).await.unwrap(), Err(Refusal::NameTaken));
    assert_eq!(registry.alert_rules_version().await.unwrap(), before);
    let wanted = AlertRule { draft: draft(), ..made.clone() };
    assert_eq!(registry.change_alert_rule(&wanted, Some(&[2]), &by, NOW).await.unwrap(), Err(Refusal::Stale));
    let changed = registry.change_alert_rule(&wanted, Some(&[1]), &by, NOW + 1).await.unwrap().unwrap();
    assert_eq!(changed, AlertRule { draft: draft(), version: 2, updated_at: NOW + 1, ..made.clone() });
    assert_eq!(registry.enabled_alert_rules().await.unwrap(), (before + 1, vec![changed]));
    registry.delete_alert_rule(made.id, None, &by, NOW).await.unwrap().unwrap();
    assert_eq!(registry.delete_alert_rule(made.id, None, &by, NOW).await.unwrap(), Err(Refusal::NotFound));
    assert_eq!(registry.alert_rules(ALL).await.unwrap(), (vec![], 0));
}

/// As the migration finds a database of a release that had the first rules and none about deafness.
pub async fn rules_that_an_older_database_lacks_are_made_once(store: Store) {
    let migration = include_str!("../../migrations/0022_shipped_rules.sql");
    let inserts: Vec<&str> = migration.split(';').filter(|part| part.contains("INSERT INTO")).collect();
    let (registry, by) = (&store.registry, Actor::system());
    let migrate = async || {
        store.execute("DELETE FROM shipped_rules").await;
        for insert in &inserts {
            store.execute(insert).await;
        }
    };
    let mut number = 100;
    let mut new = || {
        number += 1;
        rule_id(number)
    };
    migrate().await;
    assert_eq!(store.number("SELECT COUNT(*) FROM shipped_rules").await, 0, "it has had none yet");
    assert!(registry.ship_alert_rules(&mut new, NOW).await.unwrap());
    let deaf = async || {
        let (rules, _) = registry.alert_rules(ALL).await.unwrap();
        rules.into_iter().find(|rule| rule.draft.metric == "deaf")
    };
    migrate().await;
    assert!(!registry.ship_alert_rules(&mut new, NOW).await.unwrap(), "it has all of them");

    // One was deleted by a person, and there never was one about deafness.
    let (rules, _) = registry.alert_rules(ALL).await.unwrap();
    let hot = rules.iter().find(|rule| rule.name == "Too hot").unwrap();
    registry.delete_alert_rule(hot.id, None, &by, NOW).await.unwrap().unwrap();
    store.execute("DELETE FROM alert_rules WHERE metric = 'deaf'").await;
    migrate().await;
    let version = registry.alert_rules_version().await.unwrap();
    assert!(registry.ship_alert_rules(&mut new, NOW).await.unwrap());
    assert_eq!(registry.alert_rules_version().await.unwrap(), version + 1, "workers and judges read them");
    let made = deaf().await.unwrap();
    assert_eq!(registry.alert_rules(ALL).await.unwrap().1, 13, "and no other");

    // Who deletes it has none, after another upgrade too.
    registry.delete_alert_rule(made.id, None, &by, NOW).await.unwrap().unwrap();
    assert!(!registry.ship_alert_rules(&mut new, NOW).await.unwrap());
    migrate().await;
    assert!(!registry.ship_alert_rules(&mut new, NOW).await.unwrap());
    assert_eq!(deaf().await, None);
}

pub async fn incidents_are_narrowed_and_forgotten_once_they_are_old(store: Store) {
    let (web, db) = (store.enrol(1, "web").await, store.enrol(2, "db").await);
    assert!(store.set_labels(db, &[("role".to_owned(), "db".to_owned())].into(), NOW).await);
    let rule = rule(&store, 1, Draft { hold_ms: 0, clear_hold_ms: 0, ..draft() }).await;
    let (registry, by) = (&store.registry, Actor::system());
    see(registry, key(web, &rule, Level::Warning), &rule, Verdict::Over, NOW).await;
    judge(registry, NOW).await;
    see(registry, key(db, &rule, Level::Critical), &rule, Verdict::Over, NOW + 100).await;
    judge(registry, NOW + 100).await;
    let of_web = incidents(registry).await[1].id;
    registry.respond(of_web, Response::Close, None, &by, NOW + 50).await.unwrap().unwrap();
    let found = async |filter: IncidentFilter| -> Vec<String> {
        let (found, total) = registry.incidents(&filter, ALL).await.unwrap();
        assert_eq!(found.len() as u64, total);
        found.into_iter().map(|one| one.server_name).collect()
    };
    let all = IncidentFilter::default();
    assert_eq!(found(all.clone()).await, ["db", "web"]);
    let label = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    for (filter, expected) in [
        (
            IncidentFilter { states: vec![IncidentState::Open, IncidentState::Acknowledged], ..all.clone() },
            vec!["db"],
        ),
        (IncidentFilter { level: Some(Level::Warning), ..all.clone() }, vec!["web"]),
        (IncidentFilter { rule: Some("Rule 1".to_owned()), ..all.clone() }, vec!["db", "web"]),
        (IncidentFilter { rule: Some(rule.id.to_string()), ..all.clone() }, vec!["db", "web"]),
        (IncidentFilter { rule: Some("x\0".to_owned()), ..all.clone() }, vec![]),
        (IncidentFilter { server: Some("WEB".to_owned()), ..all.clone() }, vec!["web"]),
        (IncidentFilter { server: Some(db.to_string()), ..all.clone() }, vec!["db"]),
        (IncidentFilter { labels: label("role", "db"), ..all.clone() }, vec!["db"]),
        (IncidentFilter { labels: label("role", "\0"), ..all.clone() }, vec![]),
        (IncidentFilter { from: Some(NOW + 51), ..all.clone() }, vec!["db"]),
        (IncidentFilter { to: Some(NOW + 100), ..all.clone() }, vec!["web"]),
    ] {
        assert_eq!(found(filter.clone()).await, expected, "{filter:?}");
    }
    let counts = registry.incident_counts().await.unwrap();
    assert_eq!(counts, [(IncidentState::Open, Level::Critical, 1)]);
    assert_eq!(registry.open_incidents(db).await.unwrap().len(), 1);
    assert_eq!(registry.forget_incidents(NOW + 50, 10).await.unwrap(), 0);
    assert_eq!(registry.forget_incidents(NOW + 51, 10).await.unwrap(), 1);
    assert_eq!(found(all).await, ["db"], "what lasts is kept however old it is");
}

/// What a worker does, by an account of its own.
pub async fn what_a_report_says_of_incidents_is_what_lasted_in_its_time(store: Store) {
    let (web, db) = (store.enrol(1, "web").await, store.enrol(2, "db").await);
    let rule = rule(&store, 1, Draft { hold_ms: 0, clear_hold_ms: 0, ..draft() }).await;
    let registry = &store.registry;
    let minute = |count: i64| NOW + count * 60 * SECOND;
    // Of web: before the time, into it, in it, and beyond it. Of db: one that a pause ended, which is no repair.
    for (server, from, to) in [(web, 1, 5), (web, 8, 12), (web, 13, 14), (db, 15, 17), (web, 18, 25)] {
        see(registry, key(server, &rule, Level::Warning), &rule, Verdict::Over, minute(from) - SECOND).await;
        see(registry, key(server, &rule, Level::Warning), &rule, Verdict::Over, minute(from)).await;
        assert_eq!(judge(registry, minute(from)).await.opened, 1);
        if server == db {
            registry.pause(db, &Pause::default(), &Actor::system(), minute(to)).await.unwrap().unwrap();
            registry.resolve_paused(minute(to)).await.unwrap();
        } else {
            see(registry, key(server, &rule, Level::Warning), &rule, Verdict::Inside, minute(to) - SECOND)
                .await;
            see(registry, key(server, &rule, Level::Warning), &rule, Verdict::Inside, minute(to)).await;
            assert_eq!(judge(registry, minute(to)).await.resolved, 1);
        }
    }
    let minutes = |count: i64| count * 60 * SECOND;
    let of_web = IncidentFigures {
        count: 3,
        open: 1,
        longest_ms: Some(minutes(4)),
        resolved: 2,
        resolved_in_ms: minutes(5),
    };
    let (found, servers) = registry.incidents_of_period(minute(10), minute(20), None).await.unwrap();
    assert_eq!(found.all, IncidentFigures { count: 4, ..of_web });
    assert_eq!((servers.get(&web), servers.get(&db).unwrap().resolved), (Some(&of_web), 0));
    assert_eq!(of_web.mean_ms(), Some(minutes(5) / 2));
    let named: Vec<_> = found
        .longest
        .iter()
        .map(|one| (one.server.as_str(), one.length_ms / minutes(1), one.lasts))
        .collect();
    assert_eq!(named, [("web", 4, false), ("db", 2, false), ("web", 2, true), ("web", 1, false)]);
    let (found, _) = registry.incidents_of_period(minute(10), minute(20), Some(&[web])).await.unwrap();
    assert_eq!((found.all, found.longest.len()), (of_web, 3));
    let (found, servers) = registry.incidents_of_period(minute(10), minute(20), Some(&[])).await.unwrap();
    assert_eq!((found, servers.len()), (PeriodIncidents::default(), 0));
}

pub async fn is_observed(management: &Registry, worker: &Registry, server: ServerId) {
    let rule =
        AlertRule::new(rule_id(1), "rule", true, Draft { hold_ms: 0, clear_hold_ms: 0, ..draft() }, NOW);
    management.make_alert_rule(&rule, &Actor::system()).await.unwrap().unwrap();
    assert_eq!(worker.enabled_alert_rules().await.unwrap(), (1, vec![rule.clone()]));
    assert_eq!(worker.labels(&[server]).await.unwrap(), HashMap::new());
    for (number, verdict) in
        [Verdict::Over, Verdict::Between, Verdict::Inside, Verdict::Over].into_iter().enumerate()
    {
        see(worker, key(server, &rule, Level::Warning), &rule, verdict, NOW + number as Millis).await;
    }
    assert_eq!(phase(worker, &key(server, &rule, Level::Warning)).await, Some(Phase::Raised));
}
