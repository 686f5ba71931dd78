//! Several processes of management over the same servers tell the same.

use std::collections::BTreeSet;

use cache::Denylist;
use futures_util::future::{join_all, try_join_all};
use reqwest::Method;
use serde_json::json;
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::{
    place::{Place, fleet},
    suite::{MINUTE, NOW, SECOND, Suite, steady},
};

/// Two processes, and who is logged in at one of them.
async fn two(place: Place) -> (Suite, Suite) {
    let one = Suite::spawn(place).await;
    let other = one.replica();
    (one, other)
}

#[actix_web::test]
async fn a_session_begins_and_ends_everywhere_at_once() {
    fleet(async |place| {
        let (mut one, mut other) = two(place).await;
        let session = one.log_in().await;
        other.token.clone_from(&one.token);
        assert_eq!(other.get("/status").await.status, 200);
        let refresh = async |at: &Suite| {
            let body = json!({"refresh_token": session["refresh_token"]});
            at.send(at.call(Method::POST, "/sessions/refresh").json(&body)).await
        };
        let next = refresh(&other).await;
        assert_eq!(next.status, 200);
        assert_eq!(refresh(&one).await.status, 409, "a token that was used elsewhere just now");
        assert_eq!(other.get("/status").await.status, 200);
        one.clock.advance(10 * SECOND);
        assert_eq!(refresh(&one).await.status, 401, "a token that was used elsewhere");
        assert_eq!(other.get("/status").await.status, 401);

        one.log_in().await;
        other.token.clone_from(&one.token);
        assert_eq!(one.delete("/sessions").await.status, 204);
        assert_eq!(other.get("/status").await.status, 401);
    })
    .await;
}

#[actix_web::test]
async fn what_is_changed_at_one_is_read_at_the_other_at_once() {
    fleet(async |place| {
        let (one, other) = two(place).await;
        let server = one.enrol("web-1").await;
        other.hear(server, &steady(NOW - MINUTE, NOW)).await;
        other.settle(NOW, NOW - MINUTE).await;
        for path in ["/servers", "/status", "/uptime", "/enrolment-tokens"] {
            assert_eq!(one.read(path).await, other.read(path).await, "{path}");
        }
        one.give(&["agent:enroll"]).await;
        assert_eq!((one.get("/servers").await.status, other.get("/servers").await.status), (403, 403));
    })
    .await;
}

#[actix_web::test]
async fn failures_count_wherever_they_were() {
    fleet(async |place| {
        let (one, other) = two(place).await;
        let wrong = json!({"username": "admin", "password": "wrong"});
        for at in [&one, &other].into_iter().cycle().take(10) {
            assert_eq!(at.post("/sessions", wrong.clone()).await.status, 401);
        }
        for at in [&one, &other] {
            assert_eq!(at.post("/sessions", wrong.clone()).await.status, 429);
        }
    })
    .await;
}

#[actix_web::test]
async fn whoever_publishes_the_denylist_it_never_goes_back() {
    fleet(async |place| {
        let (one, other) = two(place).await;
        let mut servers = Vec::new();
        for number in 0..8 {
            servers.push(one.enrol(&format!("web-{number}")).await);
        }
        one.warm().await;
        other.warm().await;
        let stop = CancellationToken::new();
        let running = [&one, &other]
            .map(|at| actix_web::rt::spawn(at.management.clone().run(crate::suite::nobody(), stop.clone())));
        let revoke = async {
            let revoked = servers.iter().zip([&one, &other].into_iter().cycle()).map(async |(server, at)| {
                assert_eq!(at.post(&format!("/servers/{server}/revoke"), json!(null)).await.status, 204);
            });
            join_all(revoked).await;
        };
        let mut seen = Denylist::default();
        let watch = eventually("all of them are denied", async || {
            if let Some(now) = one.cache.denylist().await.unwrap() {
                assert!(now.version >= seen.version, "{now:?} after {seen:?}");
                seen = now;
            }
            seen.lowest.keys().collect::<BTreeSet<_>>() == servers.iter().collect()
        });
        tokio::join!(revoke, watch);
        stop.cancel();
        try_join_all(running).await.unwrap();
    })
    .await;
}

#[actix_web::test]
async fn several_forget_old_days_at_once_and_nothing_else() {
    fleet(async |place| {
        let one = Suite::spawn(place).await;
        let others = [one.replica(), one.replica()];
        let server = one.enrol("web-1").await;
        let old = NOW - 40 * 24 * 60 * MINUTE;
        one.hear(server, &steady(old, old + MINUTE)).await;
        one.hear(server, &steady(NOW - MINUTE, NOW)).await;
        for _ in 0..2 {
            let all = [&one, &others[0], &others[1]].map(|at| at.history.expire(NOW));
            try_join_all(all).await.unwrap();
        }
        for at in &others {
            let points = at.history.points(server, old - MINUTE, NOW + 1, 1).await.unwrap();
            assert_eq!(points.iter().map(|point| point.count).sum::<u64>(), 2, "{points:?}");
        }
    })
    .await;
}
