//! Servers as people make, change and delete them.

use std::collections::BTreeMap;

use fleet::ServerId;
use registry::{
    Actor, Enrol, Enrolled, Forgetting, Pause, Profile, ProfileChange, Refusal, Registry, Roll, ServerFilter,
    SortKey,
};

use crate::store::{ALL, CLOCK, FIRST, NOW, Store, ask, by, server_id, sighting, token};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn named(name: &str) -> ProfileChange {
    ProfileChange { name: Some(name.to_owned()), ..ProfileChange::default() }
}

async fn change(
    registry: &Registry,
    id: ServerId,
    expected: &[i64],
    change: &ProfileChange,
) -> Result<(), Refusal> {
    registry.change_server(id, Some(expected), change, &Actor::system(), NOW + 1).await.unwrap()
}

pub async fn a_server_that_was_made_enrols_once_by_its_name(store: Store) {
    let profile = Profile {
        name: "Web".to_owned(),
        address: Some("192.0.2.1".to_owned()),
        labels: labels(&[("env", "prod")]),
    };
    let id = server_id(1);
    store.registry.make_server(id, &profile, &Actor::system(), NOW).await.unwrap().unwrap();
    assert_eq!(
        store.registry.make_server(server_id(2), &profile, &Actor::system(), NOW).await.unwrap(),
        Err(Refusal::NameTaken)
    );
    let made = store.server(id).await;
    assert_eq!((made.generation, made.enrolled_at, &made.labels), (0, None, &profile.labels));

    let enrol = Enrol { address: Some("10.0.0.1"), now: NOW + 5, ..ask(7, " WEB ") };
    let taken = store.registry.enrol(&enrol).await.unwrap();
    assert_eq!(taken, Ok(Enrolled { id, generation: FIRST, replaces: false }));
    let server = store.server(id).await;
    assert_eq!((server.generation, server.enrolled_at, server.created_at), (FIRST, Some(NOW + 5), NOW));
    // What a person said stays.
    assert_eq!((server.name, server.address), ("Web".to_owned(), Some("192.0.2.1".to_owned())));
    assert!(server.version > made.version);
    assert_eq!(
        store.registry.enrol(&enrol).await.unwrap(),
        Ok(Enrolled { id, generation: FIRST, replaces: false })
    );
    assert_eq!(store.registry.enrol(&ask(8, "web")).await.unwrap(), Err(Refusal::NameTaken));
    assert_eq!(store.names(ServerFilter { q: Some("PROD".into()), ..Default::default() }).await, ["Web"]);
}

pub async fn a_tokens_labels_are_those_of_who_enrols_with_it(store: Store) {
    let wanted = labels(&[("env", "prod"), ("site", "eu")]);
    let bound = registry::EnrolmentToken { labels: wanted.clone(), ..token([9; 32], 2, NOW + 9) };
    store.registry.make_enrolment_token(&bound, [9; 32], &Actor::system()).await.unwrap();
    let enrol = |number, name| Enrol { token_hash: [9; 32], ..ask(number, name) };
    store.registry.enrol(&enrol(1, "web")).await.unwrap().unwrap();
    assert_eq!(store.server(server_id(1)).await.labels, wanted);
    assert_eq!(store.names(ServerFilter { q: Some("eu".into()), ..Default::default() }).await, ["web"]);

    let id = store.make(2, "db").await;
    assert!(store.set_labels(id, &labels(&[("env", "test")]), NOW).await);
    store.registry.enrol(&enrol(3, "db")).await.unwrap().unwrap();
    assert_eq!(store.server(id).await.labels, labels(&[("env", "test"), ("site", "eu")]));
    let (tokens, _) = store.registry.enrolment_tokens(ALL).await.unwrap();
    assert!(tokens.contains(&registry::EnrolmentToken { used: 2, ..bound }));
}

pub async fn a_token_for_one_server_replaces_its_credential(store: Store) {
    let id = store.enrol(1, "web").await;
    let other = store.enrol(2, "db").await;
    let bound = registry::EnrolmentToken { server: Some(id), ..token([9; 32], 1, NOW + 9) };
    store.registry.make_enrolment_token(&bound, [9; 32], &Actor::system()).await.unwrap();
    let enrol = Enrol { token_hash: [9; 32], ..ask(5, "db") };
    for _ in 0..2 {
        let answer = store.registry.enrol(&enrol).await.unwrap();
        assert_eq!(answer, Ok(Enrolled { id, generation: FIRST + 1, replaces: true }));
    }
    assert_eq!(store.registry.denylist().await.unwrap().1.get(&id), Some(&(FIRST + 1)));
    assert_eq!(store.server(id).await.name, "web");
    assert_eq!(store.server(other).await.generation, FIRST);
    let second = Enrol { token_hash: [9; 32], ..ask(6, "web") };
    assert_eq!(store.registry.enrol(&second).await.unwrap(), Err(Refusal::BadToken));
    // The credential that it brought was revoked since.
    store.registry.revoke(id, &Actor::system(), NOW).await.unwrap().unwrap();
    assert_eq!(store.registry.enrol(&enrol).await.unwrap(), Err(Refusal::BadToken));
    store.token([8; 32], 1, NOW + 9).await;
    store.execute(&format!("UPDATE enrolment_tokens SET server_id = '{other}' WHERE used = 0")).await;
    store.registry.delete_server(other, None, &Actor::system(), NOW).await.unwrap().unwrap();
    let late = Enrol { token_hash: [8; 32], ..ask(7, "db") };
    assert_eq!(store.registry.enrol(&late).await.unwrap(), Err(Refusal::BadToken));
}

pub async fn a_stale_change_changes_nothing(store: Store) {
    let id = store.enrol(1, "web").await;
    store.enrol(2, "db").await;
    let seen = store.server(id).await.version;
    assert_eq!(change(&store.registry, id, &[seen], &named("Web-1")).await, Ok(()));
    assert_eq!(change(&store.registry, id, &[seen], &named("web-2")).await, Err(Refusal::Stale));
    assert_eq!(change(&store.registry, server_id(9), &[seen], &named("x")).await, Err(Refusal::NotFound));
    let now = store.server(id).await;
    assert_eq!((now.name.as_str(), now.version, now.updated_at), ("Web-1", seen + 1, NOW + 1));
    assert_eq!(change(&store.registry, id, &[0, seen + 1], &named("DB")).await, Err(Refusal::NameTaken));
    // Nothing is different, so nothing is written.
    assert_eq!(change(&store.registry, id, &[seen + 1], &named("Web-1")).await, Ok(()));
    assert_eq!(store.server(id).await.version, seen + 1);
    let none = ProfileChange { address: Some(None), ..named("web-1") };
    assert_eq!(change(&store.registry, id, &[seen + 1], &none).await, Ok(()));
    assert_eq!(store.names(ServerFilter { q: Some("web-1".into()), ..Default::default() }).await, ["web-1"]);
}

pub async fn of_changes_at_once_one_wins(store: Store) {
    store.warm().await;
    let id = store.enrol(1, "web").await;
    let seen = store.server(id).await.version;
    let mut tasks = Vec::new();
    for number in 0..8 {
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move {
            change(&registry, id, &[seen], &named(&format!("web-{number}"))).await
        }));
    }
    let mut done = 0;
    for task in tasks {
        done += u32::from(task.await.unwrap() == Ok(()));
    }
    assert_eq!((done, store.server(id).await.version), (1, seen + 1));
}

pub async fn one_name_at_once_is_one_servers(store: Store) {
    store.warm().await;
    let mut tasks = Vec::new();
    for number in 0..8 {
        let id = store.enrol(number, &format!("web-{number}")).await;
        let registry = store.registry.clone();
        tasks.push(tokio::spawn(async move {
            registry.change_server(id, None, &named("wanted"), &Actor::system(), NOW).await.unwrap()
        }));
    }
    let mut done = 0;
    for task in tasks {
        let changed = task.await.unwrap();
        assert!(matches!(changed, Ok(()) | Err(Refusal::NameTaken)), "{changed:?}");
        done += u32::from(changed == Ok(()));
    }
    assert_eq!(done, 1);
}

pub async fn a_deleted_server_is_gone_and_its_credential_refused(store: Store) {
    let id = store.enrol(1, "web").await;
    store.set_labels(id, &labels(&[("env", "prod")]), NOW).await;
    store.registry.sight(&[sighting(id, NOW)], CLOCK).await.unwrap();
    store.registry.pause(id, &Pause::default(), &Actor::system(), NOW).await.unwrap().unwrap();
    let (before, _) = store.registry.denylist().await.unwrap();
    store.registry.delete_server(id, None, &Actor::system(), NOW).await.unwrap().unwrap();
    assert_eq!(
        store.registry.delete_server(id, None, &Actor::system(), NOW).await.unwrap(),
        Err(Refusal::NotFound)
    );
    let (after, denied) = store.registry.denylist().await.unwrap();
    assert!(after > before && denied[&id] == FIRST + 1);
    // What was under way for it does not bring it back.
    store.registry.sight(&[sighting(id, NOW + 1)], CLOCK).await.unwrap();
    assert!(store.registry.standing(&[id]).await.unwrap().is_empty());
    assert_eq!(store.registry.server(id, &Roll::default()).await.unwrap(), None);
    assert_eq!(store.registry.enrol(&ask(1, "web")).await.unwrap(), Err(Refusal::BadToken));
    let again = store.enrol(2, "WEB").await;
    assert_eq!(store.server(again).await.labels, labels(&[]));
}

pub async fn a_pause_ends_by_itself_unless_it_is_made_longer(store: Store) {
    let id = store.enrol(1, "web").await;
    let until = |until| Pause { until: Some(until), reason: Some("disks".to_owned()) };
    let registry = &store.registry;
    registry.pause(id, &until(NOW + 10), &Actor::system(), NOW).await.unwrap().unwrap();
    assert_eq!(store.server(id).await.paused, Some((NOW, until(NOW + 10))));
    assert_eq!(registry.pauses(&[id]).await.unwrap()[&id], [(NOW, NOW + 10)]);
    registry.pause(id, &until(NOW + 20), &Actor::system(), NOW + 5).await.unwrap().unwrap();
    assert_eq!(registry.resume_due(NOW + 19).await.unwrap(), 0);
    assert_eq!(store.server(id).await.paused, Some((NOW, until(NOW + 20))));
    // Noticed late, it ended when it had to.
    assert_eq!(registry.resume_due(NOW + 90).await.unwrap(), 1);
    assert_eq!(registry.pauses(&[id]).await.unwrap()[&id], [(NOW, NOW + 20)]);
    assert_eq!(store.server(id).await.paused, None);
    assert_eq!(registry.resume_due(NOW + 90).await.unwrap(), 0);
}

pub async fn every_change_of_a_server_is_in_the_audit_log(store: Store) {
    let id = store.make(1, "web").await;
    let me = &Actor::system();
    store.registry.enrol(&ask(5, "web")).await.unwrap().unwrap();
    store.registry.change_server(id, None, &named("web-1"), me, NOW).await.unwrap().unwrap();
    store.registry.pause(id, &Pause::default(), me, NOW).await.unwrap().unwrap();
    store.registry.pause(id, &Pause::default(), me, NOW).await.unwrap().unwrap();
    store.registry.resume(id, me, NOW).await.unwrap().unwrap();
    store.registry.resume(id, me, NOW).await.unwrap().unwrap();
    store.registry.revoke(id, me, NOW).await.unwrap().unwrap();
    store.registry.delete_server(id, None, me, NOW).await.unwrap().unwrap();
    let expected = [
        "enrolment_token.create",
        "server.create",
        "server.enrol",
        "server.change",
        "server.pause",
        "server.resume",
        "server.revoke",
        "server.delete",
    ];
    assert_eq!(store.actions().await, expected);
}

pub async fn parts_together_are_the_list(store: Store) {
    for number in 0..25 {
        let id = store.enrol(number, &format!("Web-{:02}", (number * 7) % 25)).await;
        if number % 3 == 0 {
            store.set_labels(id, &labels(&[("env", "prod")]), NOW).await;
        }
        if number % 4 == 0 {
            store.registry.pause(id, &Pause::default(), &Actor::system(), NOW).await.unwrap().unwrap();
        }
    }
    let filters = [
        ServerFilter::default(),
        ServerFilter { labels: vec![("env".to_owned(), "prod".to_owned())], ..Default::default() },
        ServerFilter {
            status: Some(fleet::Status::Paused),
            q: Some("WEB-1".to_owned()),
            ..Default::default()
        },
    ];
    for filter in filters {
        let (whole, _) = store.list(&filter, &[by(SortKey::Name)], ALL).await;
        let mut parts: Vec<registry::Server> = Vec::new();
        loop {
            let after = parts.last().map(|server| server.name.clone());
            let part =
                store.registry.servers_after(&filter, after.as_deref(), 4, &Roll::default()).await.unwrap();
            if part.is_empty() {
                break;
            }
            parts.extend(part);
        }
        assert_eq!(parts, whole);
    }
}

pub async fn what_is_to_be_forgotten_is_due_until_it_is_and_once_more(store: Store) {
    let (registry, me) = (&store.registry, &Actor::system());
    let id = registry.enrol(&ask(1, "web")).await.unwrap().unwrap().id;
    assert_eq!(registry.take_forgetting(NOW, NOW + 300).await.unwrap(), None);
    let version = store.server(id).await.version;
    registry.forget_history(id, me, NOW).await.unwrap().unwrap();
    let server = store.server(id).await;
    assert_eq!(
        (server.history_from, server.version),
        (Some(NOW), version),
        "it is no change of what is shown"
    );
    let expected = Forgetting { server: id, before: NOW, asked_at: NOW };
    assert_eq!(registry.take_forgetting(NOW, NOW + 300).await.unwrap(), Some(expected));
    assert_eq!(
        registry.take_forgetting(NOW + 299, NOW).await.unwrap(),
        None,
        "one of several replicas has it"
    );
    let taken = registry.take_forgetting(NOW + 300, NOW + 600).await.unwrap();
    assert_eq!(taken, Some(expected), "whoever had it is gone");
    registry.forgot(&expected, NOW + 400).await.unwrap();
    assert_eq!(registry.take_forgetting(NOW + 119_999, NOW).await.unwrap(), None);
    assert_eq!(registry.take_forgetting(NOW + 120_000, NOW + 500_000).await.unwrap(), Some(expected));
    // Deleted meanwhile: what was asked before is part of that.
    registry.delete_server(id, None, me, NOW + 120_000).await.unwrap().unwrap();
    registry.forgot(&expected, NOW + 130_000).await.unwrap();
    let all = registry.take_forgetting(NOW + 130_000, NOW + 130_000).await.unwrap().unwrap();
    assert_eq!((all.server, all.asked_at), (id, NOW + 120_000));
    assert!(all.before > fleet::snapshot::MAX_TIME);
    registry.forgot(&all, NOW + 240_000).await.unwrap();
    assert_eq!(registry.take_forgetting(NOW + 999_000, NOW).await.unwrap(), None);
    assert_eq!(registry.forget_history(id, me, NOW).await.unwrap(), Err(Refusal::NotFound));
}
