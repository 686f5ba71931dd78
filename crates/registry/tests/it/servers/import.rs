//! Servers out of a sheet.

use std::collections::{BTreeMap, BTreeSet};

use fleet::ServerId;
use registry::{
    Actor, ImportFault, ImportOutcome, ImportRow, Page, Profile, ProfileChange, Roll, ServerFilter, Sort,
    SortKey,
};

use crate::store::{NOW, Store, server_id};

fn row(number: u32, id: Option<ServerId>, name: Option<&str>) -> ImportRow {
    let change = ProfileChange { name: name.map(str::to_owned), ..ProfileChange::default() };
    ImportRow { number, id, new_id: server_id(1_000 + u64::from(number)), change }
}

async fn import(store: &Store, rows: &[ImportRow], apply: bool) -> Vec<ImportOutcome> {
    store.registry.import(rows, apply, &Actor::system(), NOW + 1).await.unwrap()
}

fn profile(name: &str) -> Profile {
    Profile { name: name.to_owned(), ..Profile::default() }
}

pub async fn a_dry_run_tells_and_changes_nothing(store: Store) {
    let (web, db) = (store.enrol(1, "web").await, store.enrol(2, "db").await);
    let rows = [row(2, Some(web), Some("web-1")), row(3, None, Some("DB")), row(4, None, Some("new"))];
    let told = import(&store, &rows, false).await;
    let expected = [
        ImportOutcome::Update { id: web, before: profile("web"), after: profile("web-1") },
        ImportOutcome::Update { id: db, before: profile("db"), after: profile("DB") },
        ImportOutcome::Create { id: server_id(1_004), profile: profile("new") },
    ];
    assert_eq!(told, expected);
    assert_eq!(store.names(Default::default()).await, ["db", "web"]);
    let actions = store.actions().await.len();
    assert_eq!(import(&store, &rows, true).await, expected);
    assert_eq!(store.names(Default::default()).await, ["DB", "new", "web-1"]);
    assert_eq!(store.actions().await.len(), actions + 3);
    let again = import(&store, &rows, true).await;
    assert!(again.iter().all(|verdict| matches!(verdict, ImportOutcome::Unchanged { .. })), "{again:?}");
    assert_eq!(store.actions().await.len(), actions + 3);
    assert_eq!(store.server(server_id(1_004)).await.generation, 0);
}

pub async fn one_wrong_row_leaves_everything_as_it_was(store: Store) {
    let (web, db) = (store.enrol(1, "web").await, store.enrol(2, "db").await);
    store.enrol(3, "taken").await;
    let cases: [(&[ImportRow], usize, ImportFault); 6] = [
        (&[row(2, Some(server_id(99)), Some("x"))], 0, ImportFault::UnknownId),
        (&[row(2, None, None)], 0, ImportFault::NoName),
        (&[row(2, Some(web), Some("TAKEN"))], 0, ImportFault::NameTaken),
        (&[row(2, Some(web), None), row(3, Some(web), None)], 1, ImportFault::SameServer(2)),
        (&[row(2, Some(web), None), row(3, None, Some("WEB"))], 1, ImportFault::SameServer(2)),
        (&[row(2, None, Some("x")), row(3, Some(db), Some(" X"))], 1, ImportFault::SameName(2)),
    ];
    for (wrong, at, fault) in cases {
        let rows = [&[row(9, None, Some("good"))], wrong].concat();
        let told = import(&store, &rows, true).await;
        assert_eq!(told[at + 1], ImportOutcome::Wrong(fault));
        assert_eq!(told.iter().filter(|told| matches!(told, ImportOutcome::Wrong(_))).count(), 1, "{told:?}");
        assert_eq!(store.names(Default::default()).await, ["db", "taken", "web"]);
    }
}

pub async fn names_can_be_exchanged(store: Store) {
    let (web, db) = (store.enrol(1, "web").await, store.enrol(2, "db").await);
    let rows = [row(2, Some(web), Some("db")), row(3, Some(db), Some("mail")), row(4, None, Some("new"))];
    assert!(import(&store, &rows, true).await.iter().all(|told| !matches!(told, ImportOutcome::Wrong(_))));
    assert_eq!((store.server(web).await.name, store.server(db).await.name), ("db".into(), "mail".into()));
}

pub async fn what_a_row_does_not_tell_stays(store: Store) {
    let web = store.enrol(1, "web").await;
    let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    store.set_labels(web, &labels, NOW).await;
    let address = ProfileChange { address: Some(Some("192.0.2.1".to_owned())), ..ProfileChange::default() };
    import(&store, &[ImportRow { change: address, ..row(2, Some(web), None) }], true).await;
    let server = store.server(web).await;
    assert_eq!((server.address.as_deref(), &server.labels), (Some("192.0.2.1"), &labels));
    let none = ProfileChange { labels: Some(BTreeMap::new()), ..ProfileChange::default() };
    import(&store, &[ImportRow { change: none, ..row(2, Some(web), None) }], true).await;
    assert_eq!(store.server(web).await.labels, BTreeMap::new());
    let found = ServerFilter { q: Some("192.0".to_owned()), ..Default::default() };
    assert_eq!(store.names(found).await, ["web"]);
}

pub async fn ten_thousand_rows_are_one_import(store: Store) {
    let labels = |n: u32| {
        BTreeMap::from([("number".to_owned(), n.to_string()), ("env".to_owned(), "prod".to_owned())])
    };
    let rows: Vec<ImportRow> = (0..10_000)
        .map(|n| {
            let made = row(n, None, Some(&format!("web-{n:05}")));
            ImportRow { change: ProfileChange { labels: Some(labels(n)), ..made.change.clone() }, ..made }
        })
        .collect();
    let told = import(&store, &rows, true).await;
    assert!(told.iter().all(|told| matches!(told, ImportOutcome::Create { .. })));
    assert_eq!(
        import(&store, &rows, false).await,
        (0..10_000).map(|n| ImportOutcome::Unchanged { id: rows[n].new_id }).collect::<Vec<_>>()
    );
    let renamed: Vec<ImportRow> = rows
        .iter()
        .map(|made| row(made.number, Some(made.new_id), Some(&format!("db-{}", made.number))))
        .collect();
    import(&store, &renamed, true).await;
    let mut seen = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let (filter, roll) = (ServerFilter::default(), Roll::default());
        let part = store.registry.servers_after(&filter, after.as_deref(), 1_000, &roll).await.unwrap();
        let Some(last) = part.last() else { break };
        after = Some(last.name.clone());
        seen.extend(part.into_iter().map(|server| server.name));
    }
    assert_eq!(seen, (0..10_000).map(|n| format!("db-{n}")).collect());
    assert_eq!(store.server(rows[77].new_id).await.labels, labels(77));
}

pub async fn a_list_of_more_than_are_worked_out_at_once_is_whole(store: Store) {
    let named = |number: u32| format!("host-{:05}", (number * 7_919) % 10_150);
    let rows: Vec<ImportRow> = (0..10_150).map(|number| row(number, None, Some(&named(number)))).collect();
    assert_eq!(import(&store, &rows, true).await.len(), 10_150);
    let list = async |q: &str, page: u32| {
        let filter = ServerFilter { q: Some(q.to_owned()), ..ServerFilter::default() };
        let sort = [Sort { key: SortKey::Name, descending: false }];
        let page = Page { page, page_size: 50 };
        let (servers, total) = store.registry.servers(&filter, &sort, page, &Roll::default()).await.unwrap();
        let names: Vec<String> = servers.into_iter().map(|server| server.name).collect();
        (names, total)
    };
    let names = |numbers: std::ops::Range<u32>| numbers.map(|n| format!("host-{n:05}")).collect::<Vec<_>>();
    // More than 10,000, on the first page, beyond the 10,000th, and past the end; and fewer.
    assert_eq!(list("host", 1).await, (names(0..50), 10_150));
    assert_eq!(list("host", 203).await, (names(10_100..10_150), 10_150));
    assert_eq!(list("host", 204).await, (Vec::new(), 10_150));
    assert_eq!(list("host-0", 200).await, (names(9_950..10_000), 10_000));
    assert_eq!(list("host-0", 201).await, (Vec::new(), 10_000));
    assert_eq!(list("host-101", 1).await, (names(10_100..10_150), 50));
    assert_eq!(list("nowhere", 1).await, (Vec::new(), 0));
}
