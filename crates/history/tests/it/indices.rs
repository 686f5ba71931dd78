//! What only a cluster can get wrong.

use fleet::{Record, retention::DAY, snapshot::MAX_TIME, uptime::Piece};
use history::{ElasticUrl, History, HistoryError};
use serde_json::json;

use crate::{
    cluster::{self, Cluster},
    make::{MIDNIGHT, full, record, server, with_cpu},
};

/// The day of `MIDNIGHT`.
const DATE: &str = "2024.10.04";

async fn count(store: &History, n: u64) -> u64 {
    store.points(server(n), 0, MAX_TIME, 1).await.unwrap().first().map_or(0, |point| point.count)
}

fn is_unavailable<T>(answer: Result<T, HistoryError>) -> bool {
    matches!(answer, Err(HistoryError::Unavailable(_)))
}

async fn answers_nothing(store: &History) {
    let ever = vec![Piece { from: 0, to: MAX_TIME }];
    assert!(is_unavailable(store.ping().await));
    assert!(is_unavailable(store.append(&[record(server(1), MIDNIGHT, 1)]).await));
    assert!(is_unavailable(store.extents(&[server(1)]).await));
    assert!(is_unavailable(store.covered(&[(server(1), ever)]).await));
    assert!(is_unavailable(store.points(server(1), 0, MAX_TIME, 1).await));
    assert!(is_unavailable(store.expire(MIDNIGHT).await));
}

#[tokio::test]
async fn opening_waits_for_nobody_and_no_error_shows_the_password() {
    let store =
        History::open_elasticsearch(&"http://someone:hush@127.0.0.1:9".parse().unwrap(), "p", 35).unwrap();
    answers_nothing(&store).await;
    let error = store.ping().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
}

#[tokio::test]
async fn what_is_no_url_or_no_prefix_is_told() {
    assert!("elsewhere:9200".parse::<ElasticUrl>().is_err());
    let url = "http://127.0.0.1:9200".parse().unwrap();
    assert!(matches!(History::open_elasticsearch(&url, "P*", 35), Err(HistoryError::Schema(_))));
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_until_it_is_back() {
    cluster::with(async |cluster: &Cluster| {
        let (proxy, store) = (&cluster.servers.elasticsearch().proxy, cluster.open_by_proxy());
        proxy.cut();
        answers_nothing(&store).await;
        proxy.mend();
        store.ping().await.unwrap();
        assert_eq!(store.append(&[record(server(1), MIDNIGHT, 1)]).await.unwrap(), []);
        assert_eq!(count(&store, 1).await, 1);
        proxy.cut();
        answers_nothing(&store).await;
        // When the server comes back, the index and the template are gone.
        cluster.delete(&cluster.index(DATE)).await;
        cluster.delete(&format!("_index_template/{}-snapshots", cluster.prefix())).await;
        proxy.mend();
        assert_eq!(store.append(&[record(server(1), MIDNIGHT, 1)]).await.unwrap(), []);
        assert_eq!(count(&store, 1).await, 1);
        let mappings = cluster.get(&format!("{}/_mapping", cluster.index(DATE))).await;
        assert_eq!(mappings[cluster.index(DATE)]["mappings"]["dynamic"], "strict");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    cluster::with(async |cluster: &Cluster| {
        let (proxy, store) = (&cluster.servers.elasticsearch().proxy, cluster.open_by_proxy());
        proxy.stall();
        tokio::time::pause();
        answers_nothing(&store).await;
        tokio::time::resume();
    })
    .await;
}

#[tokio::test]
async fn an_append_whose_reply_was_lost_is_stored_once() {
    cluster::with(async |cluster: &Cluster| {
        let (proxy, store) = (&cluster.servers.elasticsearch().proxy, cluster.open_by_proxy());
        store.append(&[record(server(1), MIDNIGHT, 1)]).await.unwrap();
        let batch = [record(server(1), MIDNIGHT + 1_000, 500), record(server(2), MIDNIGHT + 1_000, 500)];
        proxy.swallow_replies();
        let cut = async {
            testkit::eventually("the lost append is stored", async || cluster.count().await == 3).await;
            proxy.cut();
        };
        let (lost, ()) = tokio::join!(store.append(&batch), cut);
        assert!(is_unavailable(lost));
        proxy.mend();
        assert_eq!(store.append(&batch).await.unwrap(), []);
        assert_eq!(cluster.count().await, 3);
        assert_eq!(count(&store, 1).await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_record_that_the_mapping_refuses_is_rejected_alone() {
    cluster::with(async |cluster: &Cluster| {
        let store = cluster.open();
        store.append(&[record(server(1), MIDNIGHT, 1)]).await.unwrap();
        // Without the store knowing, the index is replaced by one that has no temperature in its mapping.
        let mut mapping = cluster.get(&format!("{}/_mapping", cluster.index(DATE))).await;
        let mut mapping = mapping[cluster.index(DATE)]["mappings"].take();
        mapping["properties"].as_object_mut().unwrap().remove("temperature").unwrap();
        let template = format!("_index_template/{}-snapshots", cluster.prefix());
        cluster.delete(&cluster.index(DATE)).await;
        cluster.delete(&template).await;
        cluster.put(&cluster.index(DATE), json!({"mappings": mapping})).await;
        let batch = [
            record(server(1), MIDNIGHT, 1),
            full(server(1), MIDNIGHT + 1),
            record(server(1), MIDNIGHT + 2, 1),
            full(server(1), MIDNIGHT + 3),
        ];
        let rejected = store.append(&batch).await.unwrap();
        assert_eq!(rejected.iter().map(|rejected| rejected.index).collect::<Vec<_>>(), [1, 3]);
        assert!(rejected[0].reason.contains("temperature"), "{}", rejected[0].reason);
        assert_eq!(count(&store, 1).await, 2);
    })
    .await;
}

#[tokio::test]
async fn an_index_of_a_release_with_fewer_fields_learns_the_others() {
    cluster::with(async |cluster: &Cluster| {
        let few = json!({"dynamic": "strict", "properties": {"server": {"type": "keyword"}}});
        cluster.put(&cluster.index(DATE), json!({"mappings": few})).await;
        let store = cluster.open();
        assert_eq!(store.append(&[full(server(1), MIDNIGHT)]).await.unwrap(), []);
        assert_eq!(count(&store, 1).await, 1);
    })
    .await;
}

#[tokio::test]
async fn an_index_that_is_nothing_like_ours_is_told_and_left_alone() {
    cluster::with(async |cluster: &Cluster| {
        let strange = json!({"properties": {"sampled_at": {"type": "date"}}});
        cluster.put(&cluster.index(DATE), json!({"mappings": strange})).await;
        let error = cluster.open().append(&[record(server(1), MIDNIGHT, 1)]).await.unwrap_err();
        assert!(matches!(&error, HistoryError::Schema(why) if why.contains("sampled_at")), "{error}");
        assert_eq!(cluster.count().await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_index_holds_what_is_asked_for_and_no_more() {
    cluster::with(async |cluster: &Cluster| {
        cluster.open().append(&[full(server(1), MIDNIGHT)]).await.unwrap();
        let index = cluster.index(DATE);
        let mapping = cluster.get(&format!("{index}/_mapping")).await;
        let properties = mapping[&index]["mappings"]["properties"].as_object().unwrap();
        for (name, field) in properties {
            match name.as_str() {
                "server" => assert_eq!(field["type"], "keyword"),
                "body" => assert_eq!(field["enabled"], false),
                _ => assert_eq!(field["index"], false, "{name}"),
            }
        }
        let settings = cluster.get(&format!("{index}/_settings?flat_settings=true")).await;
        let settings = &settings[&index]["settings"];
        assert_eq!(settings["index.codec"], "best_compression");
        assert_eq!(settings["index.sort.field"], json!(["server", "sampled_at"]));
        assert_eq!(settings["index.refresh_interval"], "30s");
    })
    .await;
}

#[tokio::test]
async fn what_another_process_stored_is_seen_at_once() {
    cluster::with(async |cluster: &Cluster| {
        let (one, other) = (cluster.open(), cluster.open());
        for n in 1..=20 {
            let at = MIDNIGHT + n * 1_000;
            one.append(&[with_cpu(server(1), at, 1.0)]).await.unwrap();
            assert_eq!(other.extents(&[server(1)]).await.unwrap()[0].unwrap().newest, at);
            let ever = vec![Piece { from: 0, to: MAX_TIME }];
            assert_eq!(other.covered(&[(server(1), ever)]).await.unwrap(), [n]);
            assert_eq!(count(&other, 1).await, n.unsigned_abs());
        }
    })
    .await;
}

#[tokio::test]
async fn a_day_that_another_process_expired_does_not_return() {
    cluster::with(async |cluster: &Cluster| {
        let (one, other) = (cluster.open(), cluster.open());
        for at in [MIDNIGHT, MIDNIGHT + DAY] {
            one.append(&[record(server(1), at, 1)]).await.unwrap();
        }
        other.expire(MIDNIGHT + 36 * DAY).await.unwrap();
        let late = [record(server(1), MIDNIGHT + DAY + 1, 1), record(server(1), MIDNIGHT + 1, 1)];
        let rejected = one.append(&late).await.unwrap();
        assert_eq!(rejected.iter().map(|rejected| rejected.index).collect::<Vec<_>>(), [1]);
        assert_eq!(count(&one, 1).await, 2);
        // A store that has not read yet how far back history is kept.
        assert_eq!(cluster.open().append(&late[1..]).await.unwrap().len(), 1);
        let indices = cluster.get(&format!("{}-snapshots-*/_alias", cluster.prefix())).await;
        assert_eq!(indices.as_object().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_day_deleted_by_hand_is_made_again() {
    cluster::with(async |cluster: &Cluster| {
        let store = cluster.open();
        store.append(&[record(server(1), MIDNIGHT, 1), record(server(1), MIDNIGHT + DAY, 1)]).await.unwrap();
        cluster.delete(&cluster.index(DATE)).await;
        let batch = [record(server(1), MIDNIGHT + 1, 1), record(server(1), MIDNIGHT + DAY + 1, 1)];
        assert_eq!(store.append(&batch).await.unwrap(), []);
        assert_eq!(count(&store, 1).await, 3);
    })
    .await;
}

#[tokio::test]
async fn suites_with_prefixes_of_their_own_share_a_cluster() {
    cluster::with(async |cluster: &Cluster| {
        cluster::with(async |neighbour: &Cluster| {
            let (ours, theirs) = (cluster.open(), neighbour.open());
            ours.append(&[record(server(1), MIDNIGHT, 1)]).await.unwrap();
            theirs
                .append(&[record(server(1), MIDNIGHT, 1), record(server(1), MIDNIGHT + 1, 1)])
                .await
                .unwrap();
            theirs.expire(MIDNIGHT + 40 * DAY).await.unwrap();
            assert_eq!((count(&ours, 1).await, count(&theirs, 1).await), (1, 0));
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_several_requests_is_stored_whole() {
    cluster::with(async |cluster: &Cluster| {
        let mut batch = Vec::new();
        for n in 0..900 {
            let Record { snapshot, .. } = full(server(1), MIDNIGHT + n);
            let mut raw = snapshot.as_wire().clone();
            raw.disks = vec![raw.disks[0].clone(); 64];
            for disk in &mut raw.disks {
                disk.device = Some("d".repeat(256));
            }
            batch.push(crate::make::with(server(1), raw));
        }
        // Twice the bytes of one request.
        assert!(serde_json::to_vec(&batch[0].snapshot).unwrap().len() * batch.len() > 16 << 20);
        let store = cluster.open();
        assert_eq!(store.append(&batch).await.unwrap(), []);
        assert_eq!(count(&store, 1).await, 900);
    })
    .await;
}

#[tokio::test]
async fn a_closed_store_answers_nothing() {
    cluster::with(async |cluster: &Cluster| {
        let store = cluster.open();
        store.append(&[record(server(1), MIDNIGHT, 1)]).await.unwrap();
        store.clone().close().await;
        answers_nothing(&store).await;
        assert_eq!(cluster.count().await, 1);
    })
    .await;
}
