use fleet::{Interval, Millis, Record, ServerId, Snapshot, retention::DAY, wire::v1};
use history::History;
use simulator::{Entry, Journal, oracle};
use testkit::tempdir;

use crate::fleet;

const NOW: Millis = 1_790_000_000_000;

fn entry(server: ServerId, sampled_at: Millis, status: Option<u16>) -> Entry {
    Entry { server, sampled_at, sent: sampled_at, status, took_us: 0 }
}

fn record(server: ServerId, sampled_at: Millis) -> Record {
    let raw = v1::Snapshot { sampled_at, covers_ms: 0, ..Default::default() };
    let snapshot = Snapshot::check(raw, Interval::DEFAULT).unwrap();
    Record { server, generation: 0, received_at: sampled_at, interval: Interval::DEFAULT, snapshot }
}

#[tokio::test]
async fn what_is_lost_and_what_was_never_sent_is_found_on_every_day() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("history.db");
    let history = History::open_sqlite(&path, 35).await.unwrap();
    let [a, b] = [fleet(2)[0].id, fleet(2)[1].id];
    let stored = [record(a, NOW), record(a, NOW - DAY), record(b, NOW), record(b, NOW + 1)];
    assert_eq!(history.append(&stored).await.unwrap(), []);
    history.close().await;

    let mut journal = Journal { entries: vec![entry(a, NOW, None), entry(a, NOW, Some(202))] };
    journal.extend(Journal { entries: vec![entry(a, NOW - DAY, Some(202)), entry(b, NOW, Some(503))] });
    journal.entries.push(entry(b, NOW + 2, None));
    let found = oracle(&journal, &path).await.unwrap();
    assert_eq!((found.stored, found.unexpected, found.lost), (4, vec![(b, NOW + 1)], vec![]));

    journal.entries.push(entry(b, NOW + 1, Some(202)));
    assert!(oracle(&journal, &path).await.unwrap().clean());

    journal.entries.push(entry(b, NOW + 3, Some(202)));
    let found = oracle(&journal, &path).await.unwrap();
    assert_eq!((found.lost.as_slice(), found.clean()), ([(b, NOW + 3)].as_slice(), false));
    assert!(found.to_string().contains(&b.to_string()));
}
