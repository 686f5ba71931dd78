use std::collections::HashMap;

use fleet::{Millis, Record, ServerId, hours::HOUR, processes::Sampled, retention::DAY};
use history::{History, Order};

use crate::make::{MIDNIGHT, ran, record, roll_up, server};

crate::on_every_store! {
    what_ran_is_read_from_either_end
    command_lines_are_found_by_their_hash
    command_lines_go_with_the_days_that_name_them
    what_ran_goes_with_the_history_of_its_server
    charts_are_the_same_whatever_ran
}

fn ran_in(record: &Record) -> Sampled {
    let processes = record.snapshot.as_wire().processes.clone().unwrap();
    Sampled { at: record.snapshot.sampled_at(), covers: record.snapshot.covers(), processes }
}

async fn times(store: &History, of: ServerId, range: [Millis; 2], order: Order, most: usize) -> Vec<Millis> {
    let found = store.processes(of, range, order, most).await.unwrap();
    found.iter().map(|sample| sample.at).collect()
}

/// Over a midnight, with a snapshot that does not tell, and another server beside it.
async fn what_ran_is_read_from_either_end(store: History) {
    let at = |n: i64| MIDNIGHT - 90_000 + n * 30_000;
    let mut batch: Vec<Record> = (0..6).map(|n| ran(server(1), at(n), &["db", "web"])).collect();
    batch[2] = record(server(1), at(2), 30_000);
    batch.push(ran(server(2), at(3), &["other"]));
    for _ in 0..2 {
        assert_eq!(store.append(&batch).await.unwrap(), []);
    }
    let all = store.processes(server(1), [at(0), at(5) + 1], Order::Earliest, 99).await.unwrap();
    let expected: Vec<Sampled> = [0, 1, 3, 4, 5].map(|n| ran_in(&batch[n])).into();
    assert_eq!(all, expected);
    for (range, order, most, expected) in [
        ([at(1), at(5)], Order::Earliest, 99, vec![at(1), at(3), at(4)]),
        ([at(0), at(9)], Order::Earliest, 2, vec![at(0), at(1)]),
        ([at(0), at(9)], Order::Latest, 2, vec![at(4), at(5)]),
        ([at(0), at(4) + 1], Order::Latest, 3, vec![at(1), at(3), at(4)]),
        ([at(4), at(4)], Order::Latest, 3, vec![]),
        ([at(6), at(9)], Order::Earliest, 3, vec![]),
    ] {
        assert_eq!(
            times(&store, server(1), range, order, most).await,
            expected,
            "{range:?} {order:?} {most}"
        );
    }
    assert_eq!(times(&store, server(2), [0, at(9)], Order::Latest, 9).await, [at(3)]);
    assert_eq!(times(&store, server(3), [0, at(9)], Order::Latest, 9).await, Vec::<Millis>::new());
}

async fn command_lines_are_found_by_their_hash(store: History) {
    store
        .append(&[ran(server(1), MIDNIGHT, &["db", "web"]), ran(server(2), MIDNIGHT, &["db"])])
        .await
        .unwrap();
    store.append(&[ran(server(2), MIDNIGHT + 1, &["db", "sh"])]).await.unwrap();
    let text = |name: &str| format!("/usr/bin/{name} \"--of\" ä");
    let hash = |name: &str| fleet::processes::hash(&text(name));
    let asked = ["db", "web", "sh", "nobody"].map(hash);
    let found = store.commands(&asked, [MIDNIGHT, MIDNIGHT + DAY - 1]).await.unwrap();
    let expected: HashMap<String, String> =
        ["db", "web", "sh"].map(|name| (hash(name), text(name))).into_iter().collect();
    assert_eq!(found, expected);
    assert_eq!(store.commands(&[], [0, 1]).await.unwrap(), HashMap::new());
}

async fn command_lines_go_with_the_days_that_name_them(store: History) {
    let later = MIDNIGHT + 70 * DAY;
    store.append(&[ran(server(1), MIDNIGHT, &["old"]), ran(server(1), later, &["new"])]).await.unwrap();
    let hashes = ["old", "new"].map(|name| fleet::processes::hash(&format!("/usr/bin/{name} \"--of\" ä")));
    let count = async || store.commands(&hashes, [MIDNIGHT, later + 1]).await.unwrap().len();
    store.expire(MIDNIGHT + 35 * DAY).await.unwrap();
    assert_eq!(count().await, 2, "its day is kept");
    store.expire(later + DAY).await.unwrap();
    assert_eq!(count().await, 1);
}

async fn what_ran_goes_with_the_history_of_its_server(store: History) {
    let batch: Vec<Record> =
        (0..3).flat_map(|n| [1, 2].map(|id| ran(server(id), MIDNIGHT + n, &["db"]))).collect();
    store.append(&batch).await.unwrap();
    let mut from = Some(0);
    while let Some(next) = from {
        from = store.forget(server(1), MIDNIGHT + 2, next).await.unwrap();
    }
    let all = [0, MIDNIGHT + DAY];
    assert_eq!(times(&store, server(1), all, Order::Earliest, 9).await, [MIDNIGHT + 2]);
    assert_eq!(times(&store, server(2), all, Order::Earliest, 9).await.len(), 3);
}

async fn charts_are_the_same_whatever_ran(store: History) {
    let batch: Vec<Record> = (0..120).map(|n| ran(server(1), MIDNIGHT + n * 30_000, &["db"])).collect();
    store.append(&batch).await.unwrap();
    let points = async || store.points(server(1), MIDNIGHT, MIDNIGHT + HOUR, 60).await.unwrap();
    let before = points().await;
    assert_eq!((before.len(), before[0].count), (60, 2));
    assert!(before[0].load.is_some());
    roll_up(&store, MIDNIGHT + 3 * HOUR, 9).await;
    while store.pack().await.unwrap().more {}
    assert_eq!(points().await, before);
    // The same samples, whatever form they have, and one that comes late beside them.
    store.append(&[ran(server(1), MIDNIGHT + 45_000, &["late"])]).await.unwrap();
    let found = store.processes(server(1), [MIDNIGHT, MIDNIGHT + HOUR], Order::Earliest, 999).await.unwrap();
    assert_eq!(found.len(), 121);
    assert_eq!(found[2].processes.rows[0].name.as_deref(), Some("late"));
    assert_eq!(found[3], ran_in(&batch[2]));
    let range = [MIDNIGHT, MIDNIGHT + HOUR];
    assert_eq!(
        times(&store, server(1), range, Order::Latest, 2).await,
        [118, 119].map(|n| MIDNIGHT + n * 30_000)
    );
}
