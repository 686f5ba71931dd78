//! What workers write.

use fleet::{Interval, ServerId, access::Alternation, liveness::Beat, wire::v1::Host};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use registry::{Marks, RegistryError, Roll, Sighting, Standing};

use crate::store::{CLOCK, FIRST, NOW, Store, host, server_id, sighting};

async fn marks(store: &Store, id: ServerId) -> Option<Marks> {
    store.registry.standing(&[id]).await.unwrap().remove(&id).unwrap().sighting
}

pub async fn older_sighting_never_wins(store: Store) {
    let id = store.enrol(1, "web").await;
    let minute = Interval::try_from(60_000).unwrap();
    let newest = Sighting {
        interval: minute,
        silent_at: NOW + 240_000,
        facts: Some((NOW, host("new"))),
        ..sighting(id, NOW)
    };
    let older = Sighting { facts: Some((NOW - 9_000, host("old"))), ..sighting(id, NOW - 9_000) };
    store.registry.sight(std::slice::from_ref(&newest), CLOCK).await.unwrap();
    store.registry.sight(std::slice::from_ref(&older), CLOCK).await.unwrap();
    store.registry.sight(&[newest.clone(), older], CLOCK).await.unwrap();
    let beat = Beat { received_at: NOW, silent_at: NOW + 240_000 };
    let wanted = Marks { beat, interval: minute, sampled_at: NOW, facts_at: Some(NOW) };
    assert_eq!(marks(&store, id).await, Some(wanted));
    let server = store.server(id).await;
    assert_eq!((server.last_seen_at, server.facts), (Some(NOW), Some(host("new"))));

    // Back-fill that arrives now: heard later, sampled earlier.
    let back_fill = Sighting { sampled_at: NOW - 60_000, ..sighting(id, NOW + 300_000) };
    store.registry.sight(&[back_fill], CLOCK).await.unwrap();
    let beat = Beat { received_at: NOW + 300_000, silent_at: NOW + 420_000 };
    let wanted = Marks { beat, interval: Interval::DEFAULT, ..wanted };
    assert_eq!(marks(&store, id).await, Some(wanted));
    assert_eq!(store.server(id).await.last_seen_at, Some(NOW + 300_000));
}

pub async fn a_shorter_interval_counts_at_once(store: Store) {
    let id = store.enrol(1, "web").await;
    let hourly = Interval::try_from(3_600_000).unwrap();
    let first = Sighting { interval: hourly, silent_at: NOW + 4 * 3_600_000, ..sighting(id, NOW) };
    store.registry.sight(std::slice::from_ref(&first), CLOCK).await.unwrap();
    let second = sighting(id, NOW + 30_000);
    for batch in [vec![second.clone()], vec![first.clone()], vec![second.clone(), first]] {
        store.registry.sight(&batch, CLOCK).await.unwrap();
        let marks = marks(&store, id).await.unwrap();
        assert_eq!(marks.beat, Beat { received_at: NOW + 30_000, silent_at: NOW + 150_000 });
        assert_eq!(marks.interval, Interval::DEFAULT);
    }
}

pub async fn what_was_heard_ahead_of_the_clock_loses_to_any_beat(store: Store) {
    let id = store.enrol(1, "web").await;
    let beat = async || marks(&store, id).await.unwrap().beat.received_at;
    store.registry.sight(&[sighting(id, NOW + 7_200_000)], NOW + 7_200_000).await.unwrap();
    store.registry.sight(&[sighting(id, NOW)], NOW + 7_170_000).await.unwrap();
    assert_eq!(beat().await, NOW + 7_200_000, "30 s ahead is not yet wrong");
    store.registry.sight(&[sighting(id, NOW)], NOW + 7_169_999).await.unwrap();
    assert_eq!(beat().await, NOW);
    store.registry.sight(&[sighting(id, NOW + 7_200_000), sighting(id, NOW + 1)], NOW).await.unwrap();
    assert_eq!(beat().await, NOW + 1, "within a batch too");
}

pub async fn what_was_heard_ahead_of_the_clock_is_taken_as_heard_now(store: Store) {
    let (ahead, right) = (store.enrol(1, "web").await, store.enrol(2, "db").await);
    store
        .registry
        .sight(&[sighting(ahead, NOW + 7_200_000), sighting(right, NOW + 30_000)], CLOCK)
        .await
        .unwrap();
    assert_eq!(store.registry.correct_beats(NOW).await.unwrap(), 1);
    let beat = async |id| marks(&store, id).await.unwrap().beat;
    assert_eq!(beat(ahead).await, Beat { received_at: NOW, silent_at: NOW + 120_000 });
    assert_eq!(beat(right).await, Beat { received_at: NOW + 30_000, silent_at: NOW + 150_000 });
    assert_eq!(store.registry.correct_beats(NOW).await.unwrap(), 0);
}

pub async fn two_boots_in_turn_are_told_and_a_new_one_begins_anew(store: Store) {
    let id = store.enrol(1, "web").await;
    let tell = async |at, boot_at| {
        let facts = Some((at, Host { boot_at, ..host("web") }));
        store.registry.sight(&[Sighting { facts, ..sighting(id, at) }], CLOCK).await.unwrap();
        store.server(id).await.alternation
    };
    let (old, new, third) = (Some(NOW - 900_000), Some(NOW - 100_000), Some(NOW - 50_000));
    let changes = |third_last, last| Some(Alternation { last: NOW + last, third_last: NOW + third_last });
    assert_eq!(tell(NOW, old).await, None);
    assert_eq!(tell(NOW + 1, new).await, None, "it booted again");
    assert_eq!(tell(NOW + 2, None).await, None, "this one does not tell");
    assert_eq!(tell(NOW + 3, old.map(|at| at + 5_000)).await, None, "a clock that was corrected");
    assert_eq!(tell(NOW + 2, new).await, None, "late");
    assert_eq!(tell(NOW + 4, new).await, changes(1, 4));
    assert_eq!(tell(NOW + 5, new.map(|at| at - 5_000)).await, changes(1, 4), "the same boot");
    assert_eq!(tell(NOW + 6, old).await, changes(3, 6));
    assert_eq!(tell(NOW + 7, third).await, None, "a boot that nobody told before");
    assert_eq!(tell(NOW + 8, old).await, None);
    assert_eq!(tell(NOW + 9, third).await, changes(7, 9));
}

/// Sightings of three servers whose sampled_at are all different.
fn sightings() -> impl Strategy<Value = Vec<Sighting>> {
    let one = (1u64..=3, 0i64..50, 0i64..50, 0i64..3, any::<bool>());
    proptest::collection::vec(one, 1..20).prop_map(|all| {
        let mut sightings = Vec::new();
        for (number, (server, received, silent, interval, told)) in (0i64..).zip(all) {
            // 7 is prime to 41, so no two are alike and they come in no order.
            let sampled_at = NOW + number * 7 % 41;
            sightings.push(Sighting {
                server: server_id(server),
                // No two alike: of those the later `silent_at` would decide, and its interval with it.
                received_at: NOW + 20 * received + number,
                silent_at: NOW + silent,
                interval: Interval::try_from(30_000 + interval).unwrap(),
                sampled_at,
                facts: told.then(|| (sampled_at, host(&format!("h{sampled_at}")))),
            });
        }
        sightings
    })
}

pub async fn order_and_batches_do_not_matter(store: Store) {
    let mut runner = TestRunner::new(Config::default());
    let mut other = Store::sqlite().await;
    for number in 1..=3 {
        store.enrol(number, &format!("web-{number}")).await;
        other.enrol(number, &format!("web-{number}")).await;
    }
    for round in 0..12 {
        let base = round * 1_000;
        let mut all = sightings().new_tree(&mut runner).unwrap().current();
        for one in &mut all {
            // Each round is after the one before, so that it says something new.
            one.received_at += base;
            one.silent_at += base;
            one.sampled_at += base;
            one.facts.iter_mut().for_each(|(at, _)| *at += base);
        }
        store.registry.sight(&all, CLOCK).await.unwrap();
        for one in all.iter().rev() {
            other.registry.sight(std::slice::from_ref(one), CLOCK).await.unwrap();
        }
        if round == 6 {
            other.restart().await;
        }
        for number in 1..=3 {
            let id = server_id(number);
            assert_eq!(marks(&store, id).await, marks(&other, id).await, "{all:?}");
            assert_eq!(store.server(id).await, other.server(id).await, "{all:?}");
        }
    }
}

pub async fn a_sighting_of_nobody_fails_nothing(store: Store) {
    let id = store.enrol(1, "web").await;
    let nobody = Sighting { facts: Some((NOW, host("ghost"))), ..sighting(server_id(66), NOW) };
    store.registry.sight(&[nobody, sighting(id, NOW)], CLOCK).await.unwrap();
    assert!(marks(&store, id).await.is_some());
    assert!(!store.registry.standing(&[server_id(66)]).await.unwrap().contains_key(&server_id(66)));
    store.registry.sight(&[], CLOCK).await.unwrap();
}

pub async fn standing_tells_of_known_servers_alone(store: Store) {
    let id = store.enrol(1, "web").await;
    let standing = store.registry.standing(&[server_id(66), id, id]).await.unwrap();
    assert_eq!(
        standing.into_iter().collect::<Vec<_>>(),
        [(id, Standing { generation: FIRST, sighting: None, has_states: false })]
    );
    assert!(store.registry.standing(&[]).await.unwrap().is_empty());
}

pub async fn facts_come_back_as_they_were(store: Store) {
    let id = store.enrol(1, "web").await;
    let facts = Host {
        hostname: Some("Ünï\"'\\<b>$[0]{}".into()),
        os: Some("Debian\n\t\u{202e}".into()),
        boot_at: Some(NOW),
        ..Host::default()
    };
    let told = Sighting { facts: Some((NOW, facts.clone())), ..sighting(id, NOW) };
    store.registry.sight(&[told], CLOCK).await.unwrap();
    assert_eq!(store.server(id).await.facts, Some(facts));
    // A sighting without facts leaves them.
    store.registry.sight(&[sighting(id, NOW + 60_000)], CLOCK).await.unwrap();
    assert_eq!(marks(&store, id).await.unwrap().facts_at, Some(NOW));
}

pub async fn damaged_facts_are_corrupt(store: Store) {
    let id = store.enrol(1, "web").await;
    let told = Sighting { facts: Some((NOW, host("web"))), ..sighting(id, NOW) };
    store.registry.sight(&[told], CLOCK).await.unwrap();
    store.execute("UPDATE facts SET facts = '{'").await;
    match store.registry.server(id, &Roll::default()).await {
        Err(RegistryError::Corrupt { table: "facts", column: "facts", row }) => {
            assert_eq!(row, id.to_string());
        }
        other => panic!("{other:?}"),
    }
}

pub async fn batches_in_any_order_at_once_do_not_block_each_other(store: Store) {
    store.warm().await;
    let ids: Vec<_> = (0..1_000).map(server_id).collect();
    let rows: Vec<_> = ids.iter().map(|id| format!("('{id}', '{id}', '{id}', '', 1, 1, 0, 0)")).collect();
    let columns = "id, name, name_folded, search, generation, version, created_at, updated_at";
    store.execute(&format!("INSERT INTO servers ({columns}) VALUES {}", rows.join(","))).await;
    let mut tasks = Vec::new();
    for round in 0..12 {
        let seen = |id: &ServerId| Sighting {
            facts: Some((NOW + round, host(&format!("h{round}")))),
            ..sighting(*id, NOW + round)
        };
        let mut batch: Vec<_> = ids.iter().map(seen).collect();
        batch.rotate_left(usize::try_from(round).unwrap() * 80);
        if round % 2 == 0 {
            batch.reverse();
        }
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move { registry.sight(&batch, CLOCK).await.unwrap() }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let standing = store.registry.standing(&ids).await.unwrap();
    for id in ids {
        let marks = standing[&id].sighting.unwrap();
        assert_eq!((marks.sampled_at, marks.facts_at), (NOW + 11, Some(NOW + 11)));
    }
}

pub async fn a_nul_in_facts_fails_nothing(store: Store) {
    let (id, other) = (store.enrol(1, "web").await, store.enrol(2, "db").await);
    let told = Sighting { facts: Some((NOW, host("a\0b"))), ..sighting(id, NOW) };
    store.registry.sight(&[told, sighting(other, NOW)], CLOCK).await.unwrap();
    assert_eq!(store.server(id).await.facts, Some(host("a\0b")));
    assert!(marks(&store, other).await.is_some());
}
