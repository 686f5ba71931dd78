//! A fleet so large that its lists are walked: a filter lets more servers through than are found and sorted at once.

use std::{cmp::Ordering, collections::BTreeMap};

use fleet::{
    Millis, Pipeline, Status,
    liveness::{SIGHTING_SLACK, silent_at},
};
use proptest::{
    prelude::*,
    sample::{select, subsequence},
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use registry::{
    Actor, ImportRow, Page, Pause, ProfileChange, Roll, Server, ServerFilter, Sighting, Sort, SortKey,
};

use crate::store::{CLOCK, KEYS, NOW, Store, by, host, server_id, sighting};

/// How many servers: 10,000 are found and sorted at once, and all but 4 in 100 are up.
const SERVERS: u64 = 10_700;

fn change(number: u64) -> ProfileChange {
    let env = if number % 100 == 1 { "staging" } else { "production" };
    let labels = [("env", env.to_owned()), ("rack", (number % 300).to_string()), ("owner", "ops".to_owned())];
    let address = (!number.is_multiple_of(7)).then(|| format!("10.0.0.{}", number % 250));
    ProfileChange {
        // The names are in another order than the ids.
        name: Some(format!("host-{:05}", number * 7_919 % SERVERS)),
        address: Some(address),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
        ..ProfileChange::default()
    }
}

/// Of 100 servers one was never heard, one is paused, one is silent, and one is silent by what the cache says alone.
async fn fill(store: &Store) -> Vec<Sighting> {
    let rows: Vec<ImportRow> = (0..SERVERS)
        .map(|number| ImportRow {
            number: u32::try_from(number).unwrap(),
            id: None,
            new_id: server_id(number),
            change: change(number),
        })
        .collect();
    for (part, at) in rows.chunks(4_000).zip(NOW..) {
        store.registry.import(part, true, &Actor::system(), at).await.unwrap();
    }
    let mut late = Vec::new();
    let mut seen = Vec::new();
    for number in (0..SERVERS).filter(|number| number % 100 != 1) {
        // Many servers were heard first in the same moment, and many last.
        let heard = NOW
            + match number % 100 {
                2 => -36_000_000,
                7..10 => 1_000,
                _ => i64::try_from(number % 997).unwrap(),
            };
        let facts = Some((heard, host(&format!("node-{number}"))));
        let seen_one = Sighting { facts, ..sighting(server_id(number), heard) };
        if number % 100 == 4 {
            late.push(seen_one.clone());
        }
        seen.push(seen_one);
    }
    store.registry.sight(&seen, CLOCK).await.unwrap();
    for number in (0..SERVERS).filter(|number| number % 100 == 3) {
        store
            .registry
            .pause(server_id(number), &Pause::default(), &Actor::system(), NOW)
            .await
            .unwrap()
            .unwrap();
    }
    store.settle().await;
    late
}

fn filter() -> impl Strategy<Value = ServerFilter> {
    let states = [Status::Up, Status::Down, Status::Unknown, Status::Paused].map(Some);
    let status = select([&[None; 4][..], &states].concat());
    let q = select(vec![None, None, None, Some("host"), Some("ode-1"), Some("0007"), Some("nowhere")]);
    let labels = vec![("env", "production"), ("owner", "ops"), ("rack", "17"), ("env", "staging")];
    let labels = prop_oneof![2 => Just(Vec::new()), 1 => subsequence(labels[..2].to_vec(), 1..=2),
        1 => subsequence(labels, 1..=2)];
    (status, q, labels).prop_map(|(status, q, labels)| ServerFilter {
        status,
        q: q.map(str::to_owned),
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        ..ServerFilter::default()
    })
}

fn sort() -> impl Strategy<Value = Vec<Sort>> {
    proptest::collection::vec((select(KEYS.to_vec()), any::<bool>()), 1..=3)
        .prop_map(|keys| keys.into_iter().map(|(key, descending)| Sort { key, descending }).collect())
}

fn is_hit(filter: &ServerFilter, server: &Server) -> bool {
    let hostname = server.facts.as_ref().and_then(|facts| facts.hostname.clone());
    let mut texts = vec![server.name.clone()];
    texts.extend(server.address.clone());
    texts.extend(hostname);
    texts.extend(server.labels.values().cloned());
    filter.status.is_none_or(|status| server.status == status)
        && filter.q.as_ref().is_none_or(|q| texts.iter().any(|text| text.contains(q)))
        && filter.labels.iter().all(|(key, value)| server.labels.get(key) == Some(value))
}

/// Sorts servers as the list does: those without a value come last in either direction, ties are broken by id.
fn order(sort: &[Sort], a: &Server, b: &Server) -> Ordering {
    let word = |server: &Server| format!("{:?}", server.status);
    for Sort { key, descending } in sort {
        let nullable = |a: Option<Ordering>, missing: (bool, bool)| a.unwrap_or(missing.0.cmp(&missing.1));
        let (order, fixed) = match key {
            SortKey::Name => (a.name.cmp(&b.name), false),
            SortKey::Status => (word(a).cmp(&word(b)), false),
            SortKey::CreatedAt => (a.created_at.cmp(&b.created_at), false),
            SortKey::UpdatedAt => (a.updated_at.cmp(&b.updated_at), false),
            SortKey::Address => {
                let both = a.address.as_ref().zip(b.address.as_ref());
                let missing = (a.address.is_none(), b.address.is_none());
                (nullable(both.map(|(a, b)| a.cmp(b)), missing), both.is_none())
            }
            SortKey::LastSeenAt => {
                let both = a.last_seen_at.zip(b.last_seen_at);
                let missing = (a.last_seen_at.is_none(), b.last_seen_at.is_none());
                (nullable(both.map(|(a, b)| a.cmp(&b)), missing), both.is_none())
            }
        };
        if order != Ordering::Equal {
            return if *descending && !fixed { order.reverse() } else { order };
        }
    }
    a.id.cmp(&b.id)
}

/// The whole list, read part by part along the names.
async fn everyone(store: &Store, roll: &Roll) -> Vec<Server> {
    let mut all: Vec<Server> = Vec::new();
    loop {
        let after = all.last().map(|server| server.name.clone());
        let filter = ServerFilter::default();
        let part = store.registry.servers_after(&filter, after.as_deref(), 5_000, roll).await.unwrap();
        if part.is_empty() {
            assert_eq!(all.len() as u64, SERVERS);
            return all;
        }
        all.extend(part);
    }
}

pub async fn pages_are_parts_of_the_sorted_list(store: Store) {
    let late = fill(&store).await;
    let roll = |watermark: Millis| Roll {
        pipeline: Pipeline { watermark: Some(watermark), open_since: Some(NOW - 86_400_000) },
        silent: late.iter().map(|one| (one.server, one.silent_at)).collect(),
    };
    let heard = silent_at(NOW + 1_000, fleet::Interval::DEFAULT);
    let mut runner = TestRunner::new(Config::default());
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    // Of the silent servers, which are few, every page.
    for (watermark, pages) in [(heard, 120), (heard + 2 * SIGHTING_SLACK, 40)] {
        let roll = roll(watermark);
        let everyone = everyone(&store, &roll).await;
        let counts = store.registry.counts(&roll).await.unwrap();
        for server in &everyone {
            *met.entry(format!("{:?}", server.status)).or_default() += 1;
        }
        assert_eq!(
            [counts.up, counts.down, counts.unknown, counts.paused],
            [Status::Up, Status::Down, Status::Unknown, Status::Paused].map(|status| everyone
                .iter()
                .filter(|server| server.status == status)
                .count()
                as u64)
        );
        let mut asked = Vec::new();
        for _ in 0..pages {
            let some = (filter(), sort(), 0.0..1.02_f64, 1..300u32);
            asked.push(some.new_tree(&mut runner).unwrap().current());
        }
        for (descending, page_size) in [(true, 1), (false, 1), (true, 9), (false, 5)] {
            let sort = vec![Sort { key: SortKey::LastSeenAt, descending }, by(SortKey::Name)];
            asked.push((ServerFilter::default(), sort, 0.0, page_size));
        }
        for (filter, sort, at, page_size) in asked {
            let mut hits: Vec<&Server> = everyone.iter().filter(|one| is_hit(&filter, one)).collect();
            hits.sort_by(|a, b| order(&sort, a, b));
            // Half of the pages are the first one.
            let share = (at - 0.5).max(0.0) * 2.0;
            let number = (share * hits.len() as f64 / f64::from(page_size)) as u32;
            let page = Page { page: number + 1, page_size };
            let on_page = hits.iter().skip((number * page_size) as usize).take(page_size as usize);
            let wanted: Vec<_> = on_page.map(|server| server.id).collect();
            let answer = store.registry.servers(&filter, &sort, page, &roll).await;
            let (found, total) =
                answer.unwrap_or_else(|error| panic!("{error} {filter:?} {sort:?} {page:?}"));
            let found: Vec<_> = found.iter().map(|server| server.id).collect();
            assert_eq!((found, total), (wanted, hits.len() as u64), "{filter:?} {sort:?} {page:?}");
        }
    }
    assert_eq!(met.len(), 4, "{met:?}");
}
