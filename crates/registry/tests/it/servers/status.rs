//! States, and the pauses among them.

use std::collections::HashMap;

use fleet::{Interval, Millis, Pipeline, ServerId, Status, liveness::SIGHTING_SLACK};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use registry::{Actor, Counts, Pause, Roll, ServerFilter, Sighting, SortKey};

use crate::store::{ALL, CLOCK, NOW, Store, by, server_id, sighting};

const SERVERS: u64 = 48;

/// Whole minutes and the moments beside them: every comparison of the rule meets equals.
fn moment() -> impl Strategy<Value = Millis> {
    (0i64..16, -1i64..=1).prop_map(|(minutes, beside)| minutes * 60_000 + beside)
}

/// Quarter minutes: four of them are whole minutes.
fn interval() -> impl Strategy<Value = Interval> {
    (1i64..12).prop_map(|quarters| Interval::try_from(quarters * 15_000).unwrap())
}

/// Half of the time the cache is lost. Entries are of any age, some of the watermark's own, doubled, and of servers that
/// are not there.
fn roll() -> impl Strategy<Value = Roll> {
    let entry = (0..SERVERS + 4, moment(), proptest::bool::weighted(0.3));
    let entries = prop_oneof![Just(Vec::new()), proptest::collection::vec(entry, 0..60)];
    let known = || proptest::option::weighted(0.9, moment());
    (known(), known(), entries).prop_map(|(watermark, open_since, entries)| {
        let at = |at, now: bool| if now { watermark.unwrap_or(at) } else { at };
        Roll {
            pipeline: Pipeline { watermark, open_since },
            silent: entries.into_iter().map(|(number, any, now)| (server_id(number), at(any, now))).collect(),
        }
    })
}

/// The rule in the words of the domain: the cache says from when a server is silent unless it is out of date; the
/// registry says it [`SIGHTING_SLACK`] later.
fn judged(roll: &Roll, paused: bool, sighting: Option<&Sighting>, id: ServerId) -> Status {
    let silent_at = sighting.map(|sighting| {
        let cached = roll.silent.iter().filter(|(of, at)| {
            *of == id && *at >= sighting.silent_at && roll.pipeline.watermark.is_some_and(|mark| *at < mark)
        });
        let cached = cached.map(|(_, at)| *at).max().unwrap_or(Millis::MAX);
        cached.min(sighting.silent_at + SIGHTING_SLACK)
    });
    let interval = sighting.map_or(Interval::DEFAULT, |sighting| sighting.interval);
    roll.pipeline.status(paused, silent_at, interval)
}

pub async fn status_equals_the_rule(store: Store) {
    let mut runner = TestRunner::new(Config::default());
    let mut seen = HashMap::new();
    for number in 0..SERVERS {
        let id = store.enrol(number, &format!("web-{number:02}")).await;
        if number % 8 != 0 {
            let (silent_at, interval) = (moment(), interval()).new_tree(&mut runner).unwrap().current();
            seen.insert(id, Sighting { silent_at, interval, ..sighting(id, 0) });
        }
        if number % 6 == 0 {
            store.registry.pause(id, &Pause::default(), &Actor::system(), NOW).await.unwrap().unwrap();
        }
    }
    store.registry.sight(&seen.values().cloned().collect::<Vec<_>>(), CLOCK).await.unwrap();

    let mut met = Counts::default();
    for _ in 0..150 {
        let roll = roll().new_tree(&mut runner).unwrap().current();
        let (servers, _) = store
            .registry
            .servers(&ServerFilter::default(), &[by(SortKey::Status)], ALL, &roll)
            .await
            .unwrap();
        let mut counts = Counts::default();
        for (server, number) in servers.iter().map(|server| (server, number_of(server.id))) {
            let wanted = judged(&roll, number % 6 == 0, seen.get(&server.id), server.id);
            assert_eq!(server.status, wanted, "{roll:?} {:?}", seen.get(&server.id));
            *place(&mut counts, wanted) += 1;
            *place(&mut met, wanted) += 1;
        }
        assert_eq!(servers.len() as u64, SERVERS);
        assert_eq!(store.registry.counts(&roll).await.unwrap(), counts, "{roll:?}");
        assert!(servers.is_sorted_by_key(|server| format!("{:?}", server.status)), "{roll:?}");

        for status in [Status::Up, Status::Down, Status::Unknown, Status::Paused] {
            let filter = ServerFilter { status: Some(status), ..Default::default() };
            let (some, total) =
                store.registry.servers(&filter, &[by(SortKey::Status)], ALL, &roll).await.unwrap();
            let wanted: Vec<_> = servers.iter().filter(|server| server.status == status).cloned().collect();
            assert_eq!((some, total), (wanted, *place(&mut counts, status)), "{roll:?}");
        }
        let one = &servers[0];
        assert_eq!(store.registry.server(one.id, &roll).await.unwrap().as_ref(), Some(one));
    }
    let all_met = [met.up, met.down, met.unknown, met.paused].iter().all(|count| *count > 0);
    assert!(all_met, "a state that never came was not tried: {met:?}");
}

fn number_of(id: ServerId) -> u64 {
    (0..SERVERS).find(|number| server_id(*number) == id).unwrap()
}

fn place(counts: &mut Counts, status: Status) -> &mut u64 {
    match status {
        Status::Up => &mut counts.up,
        Status::Down => &mut counts.down,
        Status::Unknown => &mut counts.unknown,
        Status::Paused => &mut counts.paused,
    }
}

pub async fn pauses_are_ranges(store: Store) {
    let (id, other) = (store.enrol(1, "web").await, store.enrol(2, "db").await);
    let registry = &store.registry;
    registry.pause(id, &Pause::default(), &Actor::system(), 100).await.unwrap().unwrap();
    registry.pause(id, &Pause::default(), &Actor::system(), 150).await.unwrap().unwrap();
    assert_eq!(registry.pauses(&[id, other]).await.unwrap()[&id], [(100, Millis::MAX)]);
    registry.resume(id, &Actor::system(), 200).await.unwrap().unwrap();
    registry.resume(id, &Actor::system(), 250).await.unwrap().unwrap();
    registry.pause(id, &Pause::default(), &Actor::system(), 300).await.unwrap().unwrap();
    let pauses = registry.pauses(&[id, other]).await.unwrap();
    assert_eq!(pauses[&id], [(100, 200), (300, Millis::MAX)]);
    assert!(!pauses.contains_key(&other));
    assert_eq!(store.server(id).await.status, Status::Paused);
    assert_eq!(store.server(other).await.status, Status::Unknown);
    // Within one ms the pause goes on.
    registry.resume(id, &Actor::system(), 300).await.unwrap().unwrap();
    registry.pause(id, &Pause::default(), &Actor::system(), 300).await.unwrap().unwrap();
    assert_eq!(registry.pauses(&[id]).await.unwrap()[&id], [(100, 200), (300, Millis::MAX)]);
}

pub async fn a_pause_never_ends_before_it_began(store: Store) {
    let id = store.enrol(1, "web").await;
    store.registry.pause(id, &Pause::default(), &Actor::system(), 500).await.unwrap().unwrap();
    store.registry.resume(id, &Actor::system(), 400).await.unwrap().unwrap();
    assert_eq!(store.registry.pauses(&[id]).await.unwrap()[&id], [(500, 500)]);
    assert_eq!(store.server(id).await.status, Status::Unknown);
}

pub async fn pausing_at_once_is_once(store: Store) {
    store.warm().await;
    let id = store.enrol(1, "web").await;
    let mut tasks = Vec::new();
    for number in 0..8 {
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move {
            registry.pause(id, &Pause::default(), &Actor::system(), NOW + number).await.unwrap()
        }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let pauses = store.registry.pauses(&[id]).await.unwrap();
    let [(paused_at, Millis::MAX)] = pauses[&id][..] else { panic!("{pauses:?}") };
    assert_eq!(store.server(id).await.updated_at, paused_at);
}

pub async fn a_pause_that_is_extended_goes_on_whoever_ends_those_that_are_due(store: Store) {
    store.warm().await;
    let lasting = |until| Pause { until: Some(until), reason: None };
    for number in 0..40 {
        let id = store.enrol(number, &format!("web-{number}")).await;
        store.registry.pause(id, &lasting(NOW + 5), &Actor::system(), NOW).await.unwrap().unwrap();
        let mut tasks = Vec::new();
        for replica in 0..3 {
            let registry = store.registry.clone();
            tasks.push(tokio::spawn(async move {
                if replica == 1 {
                    let pause = lasting(NOW + 100);
                    registry.pause(id, &pause, &Actor::system(), NOW + 10).await.unwrap().unwrap();
                } else {
                    registry.resume_due(NOW + 10).await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let pauses = store.registry.pauses(&[id]).await.unwrap();
        match pauses[&id][..] {
            [(NOW, last)] => assert_eq!(last, NOW + 100),
            [(NOW, first), (again, last)] => {
                assert_eq!((first, again, last), (NOW + 5, NOW + 10, NOW + 100), "it ended before");
            }
            _ => panic!("{pauses:?}"),
        }
        assert_eq!(store.server(id).await.status, Status::Paused);
    }
    assert_eq!(store.registry.resume_due(NOW + 100).await.unwrap(), 40);
}
