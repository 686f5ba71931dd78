//! The list of servers.

use std::collections::BTreeMap;

use fleet::{Status, id::EnrolmentTokenId};
use registry::{
    Actor, Enrol, Page, Pause, ProfileChange, Refusal, Roll, ServerFilter, Sighting, Sort, SortKey,
};

use crate::store::{ALL, CLOCK, KEYS, NOW, Store, ask, by, host, server_id, sighting};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn enrol_at(store: &Store, number: u64, name: &str, address: &str) {
    let enrol = Enrol { address: Some(address), ..ask(number, name) };
    store.registry.enrol(&enrol).await.unwrap().unwrap();
}

fn q(text: &str) -> ServerFilter {
    ServerFilter { q: Some(text.to_owned()), ..Default::default() }
}

fn labelled(pairs: &[(&str, &str)]) -> ServerFilter {
    ServerFilter { labels: labels(pairs).into_iter().collect(), ..Default::default() }
}

pub async fn every_filter_narrows(store: Store) {
    enrol_at(&store, 1, "web-1", "10.0.0.1").await;
    enrol_at(&store, 2, "web-2", "10.0.0.2").await;
    store.enrol(3, "db").await;
    store.set_labels(server_id(1), &labels(&[("env", "Prod"), ("dc", "eu")]), NOW).await;
    store.set_labels(server_id(3), &labels(&[("env", "Prod"), ("dc", "us")]), NOW).await;
    let told = Sighting { facts: Some((NOW, host("Mail.Example.org"))), ..sighting(server_id(2), NOW) };
    store.registry.sight(&[told], CLOCK).await.unwrap();
    store.registry.pause(server_id(3), &Pause::default(), &Actor::system(), NOW).await.unwrap().unwrap();

    let status = |status| ServerFilter { status: Some(status), ..Default::default() };
    let address = |text: &str| ServerFilter { address: Some(text.to_owned()), ..Default::default() };
    let ids = |numbers: &[u64]| ServerFilter {
        ids: Some(numbers.iter().map(|number| server_id(*number)).collect()),
        ..Default::default()
    };
    let cases = [
        (ServerFilter::default(), vec!["db", "web-1", "web-2"]),
        (status(Status::Up), vec!["web-2"]),
        (status(Status::Unknown), vec!["web-1"]),
        (status(Status::Paused), vec!["db"]),
        (status(Status::Down), vec![]),
        (address("10.0.0.2"), vec!["web-2"]),
        (address("10.0.0"), vec![]),
        (q("WEB"), vec!["web-1", "web-2"]),
        (q("0.0.1"), vec!["web-1"]),
        (q("mail.example"), vec!["web-2"]),
        (q("prod"), vec!["db", "web-1"]),
        (q(""), vec!["db", "web-1", "web-2"]),
        (labelled(&[("env", "Prod")]), vec!["db", "web-1"]),
        (labelled(&[("env", "Prod"), ("dc", "eu")]), vec!["web-1"]),
        (labelled(&[("env", "prod")]), vec![]),
        (labelled(&[("dc", "Prod")]), vec![]),
        (ids(&[1, 3, 77]), vec!["db", "web-1"]),
        (ids(&[]), vec![]),
        (ServerFilter { status: Some(Status::Paused), ..q("prod") }, vec!["db"]),
        (ServerFilter { ids: ids(&[2]).ids, ..q("prod") }, vec![]),
    ];
    for (filter, wanted) in cases {
        assert_eq!(store.names(filter.clone()).await, wanted, "{filter:?}");
    }
}

pub async fn search_treats_wildcards_literally(store: Store) {
    for (number, name) in (1..).zip(["100%", "100 of 100", "a_b", "axb", r"c\d", "cd"]) {
        store.enrol(number, name).await;
    }
    for (needle, wanted) in [("%", "100%"), ("_", "a_b"), (r"\", r"c\d"), ("0%", "100%"), ("A_B", "a_b")] {
        assert_eq!(store.names(q(needle)).await, [wanted], "{needle}");
    }
}

pub async fn search_folds_case_in_every_script(store: Store) {
    for (number, name) in (1..).zip(["ΟΔΟΣ-1", "Straße", "Жук", "İstanbul"]) {
        store.enrol(number, name).await;
    }
    for (needle, wanted) in [("οδος", "ΟΔΟΣ-1"), ("STRASS", "Straße"), ("ЖУ", "Жук"), ("STANBUL", "İstanbul")]
    {
        assert_eq!(store.names(q(needle)).await, [wanted], "{needle}");
    }
}

pub async fn a_search_that_cannot_match_finds_nothing(store: Store) {
    store.enrol(1, "web").await;
    for text in ["web\0", "\0"] {
        for filter in [
            ServerFilter { name: Some(text.into()), ..Default::default() },
            ServerFilter { address: Some(text.into()), ..Default::default() },
            labelled(&[(text, "web")]),
            labelled(&[("web", text)]),
        ] {
            assert!(store.names(filter.clone()).await.is_empty(), "{filter:?}");
        }
        assert!(store.registry.user_by_name(text).await.unwrap().is_none());
    }
    for needle in ["\0".to_owned(), "web\0".to_owned(), "w".repeat(100_000), "web\nnothing".to_owned()] {
        assert!(store.names(q(&needle)).await.is_empty(), "{}", needle.len());
    }
}

pub async fn paging_with_ties_is_stable_and_complete(store: Store) {
    for number in 0..23 {
        let name = format!("web-{:02}", number * 7 % 23);
        // Three addresses and none: many ties.
        let address = ["a", "b", "c"].get(usize::try_from(number % 4).unwrap());
        store
            .registry
            .enrol(&Enrol { address: address.copied(), ..ask(number, &name) })
            .await
            .unwrap()
            .unwrap();
        if number % 3 == 0 {
            let at = NOW + i64::try_from(number % 2).unwrap();
            store.registry.sight(&[sighting(server_id(number), at)], CLOCK).await.unwrap();
        }
    }
    for filter in [ServerFilter::default(), q("web")] {
        for key in KEYS {
            for descending in [false, true] {
                let sort = [Sort { key, descending }];
                let (whole, total) = store.list(&filter, &sort, ALL).await;
                assert_eq!((whole.len(), total), (23, 23));
                let mut paged = Vec::new();
                for page in 1..=4 {
                    let (servers, total) = store.list(&filter, &sort, Page { page, page_size: 7 }).await;
                    assert_eq!(total, 23);
                    paged.extend(servers);
                }
                assert_eq!(paged, whole, "{key:?} {descending}");
                let tied = |a: &registry::Server, b: &registry::Server| match key {
                    SortKey::Name => false,
                    SortKey::Address => a.address == b.address,
                    SortKey::Status => a.status == b.status,
                    SortKey::LastSeenAt => a.last_seen_at == b.last_seen_at,
                    SortKey::CreatedAt => a.created_at == b.created_at,
                    SortKey::UpdatedAt => a.updated_at == b.updated_at,
                };
                for pair in whole.windows(2) {
                    assert!(!tied(&pair[0], &pair[1]) || pair[0].id < pair[1].id, "{key:?} {descending}");
                }
            }
        }
    }
}

pub async fn servers_without_a_value_sort_last(store: Store) {
    store.enrol(1, "never").await;
    enrol_at(&store, 2, "early", "b").await;
    enrol_at(&store, 3, "late", "a").await;
    store
        .registry
        .sight(&[sighting(server_id(2), NOW), sighting(server_id(3), NOW + 9)], CLOCK)
        .await
        .unwrap();
    for (key, descending, wanted) in [
        (SortKey::LastSeenAt, false, ["early", "late", "never"]),
        (SortKey::LastSeenAt, true, ["late", "early", "never"]),
        (SortKey::Address, false, ["late", "early", "never"]),
        (SortKey::Address, true, ["early", "late", "never"]),
    ] {
        let (servers, _) = store.list(&ServerFilter::default(), &[Sort { key, descending }], ALL).await;
        let names: Vec<_> = servers.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(names, wanted, "{key:?} {descending}");
    }
}

pub async fn several_keys_sort_first_to_last(store: Store) {
    for (number, name, address) in [(1, "b", "y"), (2, "C", "x"), (3, "a", "y"), (4, "d", "x")] {
        enrol_at(&store, number, name, address).await;
    }
    let address = by(SortKey::Address);
    let name_down = Sort { key: SortKey::Name, descending: true };
    for (sort, wanted) in [
        (vec![address, name_down], ["d", "C", "b", "a"]),
        (vec![address, address, by(SortKey::Name), name_down], ["C", "d", "a", "b"]),
        (vec![name_down, address], ["d", "C", "b", "a"]),
        (vec![], ["b", "C", "a", "d"]),
        ([address; 40].to_vec(), ["C", "d", "b", "a"]),
    ] {
        let (servers, _) = store.list(&ServerFilter::default(), &sort, ALL).await;
        let names: Vec<_> = servers.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(names, wanted, "{sort:?}");
    }
}

pub async fn a_page_past_the_end_has_the_total(store: Store) {
    store.enrol(1, "web").await;
    for filter in [ServerFilter::default(), q("web")] {
        let far = Page { page: u32::MAX, page_size: u32::MAX };
        assert_eq!(store.list(&filter, &[by(SortKey::Name)], far).await, (vec![], 1));
    }
}

pub async fn labels_are_replaced_whole(store: Store) {
    let id = store.enrol(1, "web").await;
    store.enrol(2, "db").await;
    assert!(store.set_labels(id, &labels(&[("env", "prod"), ("dc", "eu")]), NOW + 1).await);
    assert!(store.set_labels(id, &labels(&[("env", "test")]), NOW + 2).await);
    let server = store.server(id).await;
    assert_eq!((server.labels, server.updated_at), (labels(&[("env", "test")]), NOW + 2));
    assert!(store.names(q("prod")).await.is_empty());
    assert_eq!(store.names(q("TEST")).await, ["web"]);
    assert_eq!(store.names(q("web")).await, ["web"]);
    assert!(!store.set_labels(server_id(9), &labels(&[("a", "b")]), NOW).await);
}

pub async fn hostile_text_is_only_text(store: Store) {
    let names = [
        "'; DROP TABLE servers; --",
        "\"quoted\"",
        "$1 ? :name @x",
        "<script>alert(1)</script>",
        "{\"a\":[1]}",
        "\u{1f4a3} 𝕏",
        "a\u{300}",
        "[\"x\"]",
        "line\nbreak",
    ];
    for (number, name) in (1..).zip(names) {
        enrol_at(&store, number, name, name).await;
        let hostile = labels(&[(name, name)]);
        assert!(store.set_labels(server_id(number), &hostile, NOW).await);
        let told = Sighting { facts: Some((NOW, host(name))), ..sighting(server_id(number), NOW) };
        store.registry.sight(&[told], CLOCK).await.unwrap();
    }
    for (number, name) in (1..).zip(names) {
        let server = store.server(server_id(number)).await;
        assert_eq!((server.name.as_str(), server.address.as_deref()), (name, Some(name)));
        assert_eq!((server.labels, server.facts), (labels(&[(name, name)]), Some(host(name))));
        for filter in [
            q(name),
            ServerFilter { name: Some(name.into()), ..Default::default() },
            ServerFilter { address: Some(name.into()), ..Default::default() },
            labelled(&[(name, name)]),
        ] {
            assert_eq!(store.names(filter.clone()).await, [name], "{filter:?}");
        }
        store.registry.put_progress(name, &Default::default()).await.unwrap();
        assert!(store.registry.user_by_name(name).await.unwrap().is_none());
    }
    assert_eq!(store.registry.progress().await.unwrap().len(), names.len());
}

pub async fn unknown_ids_are_not_found(store: Store) {
    store.enrol(1, "web").await;
    let (registry, nobody) = (&store.registry, server_id(9));
    assert_eq!(registry.server(nobody, &Roll::default()).await.unwrap(), None);
    assert_eq!(registry.revoke(nobody, &Actor::system(), NOW).await.unwrap(), Err(Refusal::NotFound));
    assert_eq!(
        registry.pause(nobody, &Pause::default(), &Actor::system(), NOW).await.unwrap(),
        Err(Refusal::NotFound)
    );
    assert_eq!(registry.resume(nobody, &Actor::system(), NOW).await.unwrap(), Err(Refusal::NotFound));
    assert!(registry.pauses(&[nobody]).await.unwrap().is_empty());
    let token = EnrolmentTokenId::new(NOW, [99; 10]);
    assert_eq!(
        registry.revoke_enrolment_token(token, &Actor::system(), NOW).await.unwrap(),
        Err(Refusal::NotFound)
    );
    assert_eq!(registry.denylist().await.unwrap().0, 0);
}

pub async fn labels_that_are_set_at_once_do_not_mix(store: Store) {
    store.warm().await;
    let id = store.enrol(1, "web").await;
    let mut tasks = Vec::new();
    for number in 0..8 {
        let registry = store.registry.clone();
        let value = format!("value-{number}");
        let labels = labels(&[("same", value.as_str()), (value.as_str(), "own")]);
        tasks.push(tokio::spawn(async move {
            let change = ProfileChange { labels: Some(labels), ..ProfileChange::default() };
            registry.change_server(id, None, &change, &Actor::system(), NOW).await.unwrap() == Ok(())
        }));
    }
    for task in tasks {
        assert!(task.await.unwrap());
    }
    let last = store.server(id).await.labels["same"].clone();
    assert_eq!(store.server(id).await.labels, labels(&[("same", last.as_str()), (last.as_str(), "own")]));
    for number in 0..8 {
        let value = format!("value-{number}");
        assert_eq!(store.names(q(&value)).await.len(), usize::from(value == last), "{value}");
    }
}
