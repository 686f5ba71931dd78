//! What the interface does while one of its servers is away, hangs, or answers garbage.

use std::time::{Duration, Instant};

use fleet::ServerId;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use testkit::{Proxy, eventually};

use crate::{
    place::{Place, fleet},
    real::{Proxies, with_proxies},
    suite::{HOUR, MINUTE, NOW, PASSWORD, Suite, steady},
};

/// A server that has been heard for an hour, on servers that can be broken.
async fn broken(case: impl AsyncFnOnce(Suite, ServerId, &Proxies)) {
    with_proxies(async |real, proxies| {
        let mut suite = Suite::spawn(Place::fleet(real).await).await;
        suite.at(NOW - HOUR).await;
        let server = suite.enrol("web-1").await;
        suite.at(NOW).await;
        suite.hear(server, &steady(NOW - HOUR, NOW)).await;
        suite.settle(NOW, NOW - HOUR).await;
        case(suite, server, proxies).await;
    })
    .await;
}

/// Longer than anything takes on a busy machine that waits for nothing, and sooner than history is given up.
const SOON: Duration = Duration::from_secs(15);

/// All that needs the registry alone, or can do without the cache; each within `most`.
async fn all_goes_on(suite: &Suite, server: ServerId, most: Duration) {
    for path in ["/status".to_owned(), "/servers?status=up".to_owned(), format!("/servers/{server}")] {
        let begun = Instant::now();
        let answer = suite.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(begun.elapsed() < most, "{path}: {:?}", begun.elapsed());
    }
    let (admin, stranger) =
        (json!({"username": "admin", "password": PASSWORD}), json!({"username": "x", "password": "y"}));
    let guess = json!({"token": "guess", "enrolment_key": "0123456789abcdef", "name": "x"});
    for (path, body, status) in [
        ("/sessions", admin, 200),
        ("/sessions", stranger, 401),
        ("/enrolments", guess, 401),
        ("/enrolment-tokens", json!({}), 201),
    ] {
        let begun = Instant::now();
        let answer = suite.post(path, body).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(begun.elapsed() < most, "{path}: {:?}", begun.elapsed());
    }
}

fn figures(server: ServerId) -> [String; 3] {
    let range = format!("from={}&to={NOW}", NOW - HOUR);
    [
        format!("/servers/{server}/uptime?{range}"),
        format!("/uptime?{range}"),
        format!("/servers/{server}/snapshots?{range}"),
    ]
}

/// What must be 503, asked all at once.
async fn all_is_unavailable(suite: &Suite, paths: &[String]) {
    let answers = paths.iter().map(async |path| {
        let answer = suite.get(path).await;
        assert_eq!((answer.status, &answer.body["code"]), (503, &json!("unavailable")), "{path}: {answer:?}");
        assert!(answer.headers.contains_key("retry-after"), "{path}");
    });
    join_all(answers).await;
}

#[actix_web::test]
async fn without_the_cache_all_goes_on() {
    broken(async |suite, server, proxies| {
        let break_it: [fn(&Proxy); 3] = [Proxy::cut, Proxy::stall, Proxy::swallow_replies];
        for how in break_it {
            how(&proxies.redis);
            // A call of the cache takes half a second at most, and a log-in makes six.
            all_goes_on(&suite, server, SOON).await;
            assert_eq!(suite.get(&figures(server)[0]).await.status, 200);
            assert_eq!(suite.post(&format!("/servers/{server}/revoke"), json!(null)).await.status, 204);
            proxies.redis.mend();
            eventually("the cache is used again", async || {
                !suite.read(&format!("/servers/{server}")).await["latest"].is_null()
            })
            .await;
        }
    })
    .await;
}

#[actix_web::test]
async fn garbage_in_the_cache_is_as_good_as_nothing() {
    fleet(async |place| {
        let mut suite = Suite::spawn(place).await;
        let server = suite.enrol("web-1").await;
        suite.hear(server, &steady(NOW - MINUTE, NOW)).await;
        suite.settle(NOW, NOW - HOUR).await;
        suite.post("/sessions", json!({"username": "admin", "password": "wrong"})).await;
        suite
            .post("/enrolments", json!({"token": "guess", "enrolment_key": "0123456789abcdef", "name": "x"}))
            .await;
        suite.management.publish_denylist().await.unwrap();
        let keys = suite.place.real().keys().await;
        assert!(keys.len() >= 7, "{keys:?}");
        for garbage in [["SET", "garbage"], ["LPUSH", "\u{1}\u{fffd}"], ["SADD", "x"]] {
            for key in &keys {
                suite.place.real().redis(&["DEL", key]).await;
                suite.place.real().redis(&[garbage[0], key, garbage[1]]).await;
            }
            all_goes_on(&suite, server, SOON).await;
            assert_eq!(suite.read(&format!("/servers/{server}")).await["latest"], json!(null));
            suite.management.publish_denylist().await.unwrap();
            assert!(suite.cache.denylist().await.unwrap().is_some());
        }
        // Nobody is down for that: only later, by the sighting.
        suite.at(NOW + 4 * MINUTE).await;
        suite.settle(NOW + 4 * MINUTE, NOW - HOUR).await;
        assert_eq!(suite.read("/status").await["down"], 0);
    })
    .await;
}

#[actix_web::test]
async fn without_history_there_are_states_and_no_figures() {
    broken(async |suite, server, proxies| {
        let paths = figures(server);
        let before = join_all(paths.iter().map(|path| suite.read(path))).await;
        // A question of history is given up after 20 s.
        for (how, most) in [(Proxy::cut as fn(&_), 15), (Proxy::stall, 25)] {
            how(&proxies.elasticsearch);
            let begun = Instant::now();
            tokio::join!(all_is_unavailable(&suite, &paths), all_goes_on(&suite, server, SOON));
            assert!(begun.elapsed() < Duration::from_secs(most), "{:?}", begun.elapsed());
            proxies.elasticsearch.mend();
            eventually("history answers again", async || suite.get(&paths[0]).await.status == 200).await;
            assert_eq!(join_all(paths.iter().map(|path| suite.read(path))).await, before);
        }
    })
    .await;
}

#[actix_web::test]
async fn without_the_registry_everything_is_503_until_it_is_back() {
    broken(async |suite, server, proxies| {
        let mut paths = vec!["/status".to_owned(), "/servers".to_owned(), "/enrolment-tokens".to_owned()];
        paths.extend(figures(server));
        let before = suite.read("/status").await;
        let log_in = async || {
            let body = json!({"username": "admin", "password": PASSWORD});
            let answer = suite.send(suite.call(Method::POST, "/sessions").json(&body)).await;
            assert_eq!((answer.status, &answer.body["code"]), (503, &json!("unavailable")), "{answer:?}");
        };
        // A call of the registry is given up after 13 s.
        for (how, most) in [(Proxy::cut as fn(&_), 10), (Proxy::stall, 16)] {
            how(&proxies.postgresql);
            let begun = Instant::now();
            tokio::join!(all_is_unavailable(&suite, &paths), log_in());
            assert!(begun.elapsed() < Duration::from_secs(most), "{:?}", begun.elapsed());
            proxies.postgresql.mend();
            eventually("the registry answers again", async || suite.get("/status").await.status == 200).await;
            assert_eq!(suite.read("/status").await, before);
        }
    })
    .await;
}
