//! The broker is away or full; Redis says who is revoked, or says nonsense.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use cache::Denylist;
use fleet::{
    Millis,
    alert::lease::{LEASE, Lease},
};
use serde_json::json;
use testkit::eventually;

use crate::{
    app::{self, App, NOW, credential, records, report, server},
    place::Place,
};

/// How often a gate reads the denylist.
const REFRESH: Duration = Duration::from_secs(2);

/// Posts, one snapshot each, and remembers what was acknowledged.
struct Agent<'a> {
    app: &'a App,
    sent: Millis,
    acknowledged: BTreeSet<Millis>,
}

impl<'a> Agent<'a> {
    fn new(app: &'a App) -> Self {
        Self { app, sent: 0, acknowledged: BTreeSet::new() }
    }

    /// Whether it was taken; the only other answer is 503, to come back within the interval of a second.
    async fn beat(&mut self) -> bool {
        self.sent += 1;
        // So that its rate is no matter.
        self.app.clock.advance(50);
        let snapshots = json!([{"sampled_at": NOW - self.sent, "covers_ms": 0}]);
        let body = json!({"interval_ms": 1_000, "snapshots": snapshots}).to_string();
        let answer = self.app.post(&credential(1), body).await;
        if answer.status == 202 {
            self.acknowledged.insert(NOW - self.sent);
            return true;
        }
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (503, &json!("unavailable")));
        assert_eq!(answer.headers["retry-after"], "1");
        false
    }
}

fn times(messages: &[fleet::Message]) -> BTreeSet<Millis> {
    records(messages).iter().map(|record| record.snapshot.sampled_at()).collect()
}

#[tokio::test]
async fn a_broker_that_is_away_is_told_and_nothing_acknowledged_is_lost() {
    let place = Place::new().await;
    let app = app::spawn_on(place.publisher().await, place.cache());
    let mut agent = Agent::new(&app);
    for _ in 0..3 {
        assert!(agent.beat().await);
        place.broker().cut();
        for _ in 0..20 {
            assert!(!agent.beat().await, "acknowledged without a broker");
        }
        place.broker().mend();
        eventually("taken again", async || agent.beat().await).await;
    }
    let taken = times(&place.take().await);
    assert!(agent.acknowledged.len() >= 6);
    assert!(agent.acknowledged.is_subset(&taken), "{:?} are lost", agent.acknowledged.difference(&taken));
}

#[tokio::test]
async fn a_confirm_that_never_came_is_no_202() {
    let place = Place::new().await;
    let app = app::spawn_on(place.publisher().await, place.cache());
    let mut agent = Agent::new(&app);
    assert!(agent.beat().await);
    place.broker().swallow_replies();
    let (taken, ()) = tokio::join!(agent.beat(), async {
        eventually("it is in the queue", async || place.waiting().await == 2).await;
        place.broker().cut();
    });
    assert!(!taken, "acknowledged without a confirm");
}

#[tokio::test]
async fn a_full_queue_is_unavailable_until_there_is_room() {
    let place = Place::new().await.at_most(3);
    let app = app::spawn_on(place.publisher().await, place.cache());
    let mut agent = Agent::new(&app);
    eventually("full", async || !agent.beat().await).await;
    let mut taken = times(&place.take().await);
    eventually("there is room", async || agent.beat().await).await;
    taken.extend(times(&place.take().await));
    assert!(agent.acknowledged.is_subset(&taken), "{:?} are lost", agent.acknowledged.difference(&taken));
}

#[tokio::test]
async fn a_revocation_in_redis_holds_within_two_seconds_and_garbage_does_not_lift_it() {
    let place = Place::new().await;
    let app = app::spawn_on(place.publisher().await, place.cache());
    app.run();
    let body = report(json!({})).to_string();
    let status = async |number| {
        app.clock.advance(50);
        app.post(&credential(number), body.clone()).await.status.as_u16()
    };
    let denylist = |version, number| Denylist { version, lowest: [(server(number), 4)].into() };
    assert_eq!((status(1).await, status(2).await), (202, 202));

    place.cache().put_denylist(denylist(7, 1)).await.unwrap();
    let begun = Instant::now();
    eventually("revoked", async || status(1).await == 401).await;
    // The rest is for a machine that does much else.
    assert!(begun.elapsed() < 5 * REFRESH, "{:?}", begun.elapsed());

    // A part of a list, none at all, an older one.
    let others = [&b"denylist 1 9 5\n"[..], b"\xff\0 garbage", b"denylist 1 6 0\n"];
    for garbage in others {
        place.put("denylist", garbage).await;
        let begun = Instant::now();
        eventually("it was read", async || {
            assert_eq!((status(1).await, status(2).await), (401, 202), "{garbage:?}");
            begun.elapsed() > REFRESH + Duration::from_millis(200)
        })
        .await;
    }
    place.redis().cut();
    assert_eq!((status(1).await, status(2).await), (401, 202));
    place.redis().mend();
    place.cache().put_denylist(denylist(8, 2)).await.unwrap();
    eventually("the next version", async || status(2).await == 401).await;
    assert_eq!(status(1).await, 202);
}

#[tokio::test]
async fn a_lease_in_redis_goes_to_its_server_alone_until_it_ends() {
    let place = Place::new().await;
    let app = app::spawn_on(place.publisher().await, place.cache());
    app.run();
    let body = report(json!({})).to_string();
    let watch = async |number| {
        app.clock.advance(50);
        let answer = app.post(&credential(number), body.clone()).await;
        assert_eq!(answer.status.as_u16(), 202);
        let lease_ms = answer.body["bulletin"]["watch"]["lease_ms"].as_i64();
        lease_ms.map(|lease_ms| app.clock.now() + lease_ms)
    };
    assert_eq!(watch(1).await, None);
    let until = NOW + LEASE;
    place.cache().put_reporter_lease(Lease { server: server(1), until }).await.unwrap();
    eventually("its server is told until when", async || watch(1).await == Some(until)).await;
    assert_eq!(watch(2).await, None);

    // Without Redis it goes on with what it knows, and that ends.
    place.redis().cut();
    assert_eq!(watch(1).await, Some(until));
    app.clock.set(until - 50);
    assert_eq!(watch(1).await, None);
    place.redis().mend();

    // Garbage is none, and so is what a clock wrote that was a day ahead.
    for text in
        [b"reporter 1 nobody 7".to_vec(), format!("reporter 1 {} {}", server(1), until + 86_400_000).into()]
    {
        let fresh = Lease { server: server(1), until: app.clock.now() + LEASE };
        place.cache().put_reporter_lease(fresh).await.unwrap();
        eventually("it is told", async || watch(1).await == Some(fresh.until)).await;
        place.put("reporter", &text).await;
        eventually("it is told no more", async || watch(1).await.is_none()).await;
    }
}
