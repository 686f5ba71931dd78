//! Servers as people make, change, pause and delete them.

use fleet::ServerId;
use serde_json::{Value, json};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::{
    place::Place,
    suite::{Answer, FIRST, HOUR, MINUTE, NOW, SECOND, Suite, keyring, nobody, steady},
};

fn etag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

async fn make(suite: &Suite, body: Value) -> Answer {
    suite.post("/servers", body).await
}

async fn enrol(suite: &Suite, token: &str, key: &str, name: &str) -> Answer {
    suite.post("/enrolments", json!({"token": token, "enrolment_key": key, "name": name})).await
}

pub async fn a_server_that_was_made_is_taken_over_by_who_enrols_under_its_name(place: Place) {
    let suite = Suite::spawn(place).await;
    let body = json!({"name": " Web-1 ", "address": "192.0.2.1", "labels": {"env": "prod"}});
    let made = make(&suite, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["id"].as_str().unwrap();
    assert_eq!(made.headers["location"], format!("/server-management/v1/servers/{id}"));
    assert_eq!((&made.body["name"], &made.body["status"]), (&json!("Web-1"), &json!("unknown")));
    assert_eq!((&made.body["enrolled_at"], &made.body["labels"]), (&json!(null), &json!({"env": "prod"})));
    assert_eq!(code(&make(&suite, json!({"name": "WEB-1"})).await), (409, "name_taken"));

    let token = suite.enrolment_token().await;
    let enrolled = enrol(&suite, &token, "a-key-of-many-bytes", "web-1").await;
    assert_eq!((enrolled.status, &enrolled.body["server_id"]), (201, &made.body["id"]));
    let credential = enrolled.body["credential"].as_str().unwrap();
    assert_eq!(keyring().verify(credential).unwrap().generation, FIRST);
    let read = suite.get(&format!("/servers/{id}")).await;
    assert_eq!((&read.body["enrolled_at"], &read.body["address"]), (&json!(NOW), &json!("192.0.2.1")));
    assert_ne!(etag(&read), etag(&made));
    let second = enrol(&suite, &token, "another-key-of-bytes", "web-1").await;
    assert_eq!(code(&second), (409, "name_taken"));
}

pub async fn a_change_needs_the_version_that_was_read(place: Place) {
    let suite = Suite::spawn(place).await;
    let made = make(&suite, json!({"name": "web-1", "labels": {"env": "prod"}})).await;
    make(&suite, json!({"name": "taken"})).await;
    let path = format!("/servers/{}", made.body["id"].as_str().unwrap());
    let without =
        suite.call(reqwest::Method::PATCH, &path).bearer_auth(&suite.token).json(&json!({"name": "x"}));
    assert_eq!(code(&suite.send(without).await), (428, "precondition_required"));
    let seen = etag(&suite.get(&path).await);
    assert_eq!(seen, etag(&made));
    let renamed = suite.patch(&path, &seen, json!({"name": "web-2", "address": "192.0.2.2"})).await;
    assert_eq!((renamed.status, &renamed.body["labels"]), (200, &json!({"env": "prod"})));
    assert_ne!(etag(&renamed), seen);
    for stale in [seen.as_str(), "\"x\"", "W/\"1\"", ""] {
        let answer = suite.patch(&path, stale, json!({"name": "web-3"})).await;
        assert_eq!(code(&answer), (412, "precondition_failed"), "{stale}");
    }
    assert_eq!(code(&suite.patch(&path, "*", json!({"name": "TAKEN"})).await), (409, "name_taken"));
    let same = suite.patch(&path, &etag(&renamed), json!({})).await;
    assert_eq!((same.status, etag(&same)), (200, etag(&renamed)));
    let cleared = suite.patch(&path, &etag(&renamed), json!({"address": null, "labels": {}})).await;
    assert_eq!((&cleared.body["address"], &cleared.body["labels"]), (&json!(null), &json!({})));
    assert_eq!(suite.get(&path).await.body, cleared.body);
}

pub async fn a_change_is_bounded_like_what_is_made(place: Place) {
    let suite = Suite::spawn(place).await;
    let made = make(&suite, json!({"name": "web-1"})).await;
    let path = format!("/servers/{}", made.body["id"].as_str().unwrap());
    let many: serde_json::Map<_, _> = (0..33).map(|n| (format!("k{n}"), json!("v"))).collect();
    let hostile = [
        json!({"name": ""}),
        json!({"name": " \u{200b}"}),
        json!({"name": "a\0"}),
        json!({"name": "n".repeat(257)}),
        json!({"name": null}),
        json!({"name": 7}),
        json!({"address": ""}),
        json!({"labels": {"a:b": "c"}}),
        json!({"labels": {"": "c"}}),
        json!({"labels": {"k": ""}}),
        json!({"labels": {"k": 7}}),
        json!({"labels": null}),
        json!({"labels": {"k": "a", " k": "b"}}),
        json!({"labels": many}),
    ];
    for mut body in hostile {
        assert_eq!(code(&suite.patch(&path, "*", body.clone()).await), (422, "invalid_body"), "{body}");
        body.as_object_mut().unwrap().entry("name").or_insert(json!("web-2"));
        assert_eq!(code(&make(&suite, body.clone()).await), (422, "invalid_body"), "{body}");
    }
    for body in
        [json!({"until": NOW}), json!({"until": "x"}), json!({"until": i64::MAX}), json!({"reason": " "})]
    {
        assert_eq!(
            code(&suite.post(&format!("{path}/pause"), body.clone()).await),
            (422, "invalid_body"),
            "{body}"
        );
    }
    assert_eq!(suite.read("/servers").await["total"], 1);
}

pub async fn a_pause_is_shown_and_ends_by_itself(place: Place) {
    let suite = Suite::spawn(place).await;
    let path = format!("/servers/{}", suite.enrol("web-1").await);
    let until = NOW + 10 * MINUTE;
    let paused = suite.post(&format!("{path}/pause"), json!({"until": until, "reason": "new disks"})).await;
    assert_eq!((paused.status, &paused.body["status"]), (200, &json!("paused")), "{paused:?}");
    assert_eq!(paused.body["paused"], json!({"since": NOW, "until": until, "reason": "new disks"}));
    let open = suite.post(&format!("{path}/pause"), json!({})).await;
    assert_eq!(open.body["paused"], json!({"since": NOW, "until": null, "reason": null}));
    for _ in 0..2 {
        let resumed = suite.post(&format!("{path}/resume"), json!(null)).await;
        assert_eq!((resumed.status, &resumed.body["paused"]), (200, &json!(null)));
    }
    suite.post(&format!("{path}/pause"), json!({"until": until})).await;
    let stop = CancellationToken::new();
    let running = actix_web::rt::spawn(suite.management.clone().run(nobody(), stop.clone()));
    suite.clock.set(until);
    eventually("it is resumed", async || suite.read(&path).await["paused"].is_null()).await;
    stop.cancel();
    running.await.unwrap();
    let id = path.trim_start_matches("/servers/").parse().unwrap();
    let pauses = suite.registry.pauses(&[id]).await.unwrap();
    assert_eq!(pauses[&id].last(), Some(&(NOW, until)));
}

pub async fn a_deleted_server_is_refused_everywhere_and_its_name_is_free(place: Place) {
    let suite = Suite::spawn(place).await;
    let id = suite.enrol("web-1").await;
    suite.hear(id, &[(NOW, 0)]).await;
    let path = format!("/servers/{id}");
    assert_eq!(suite.delete(&path).await.status, 204);
    assert_eq!(code(&suite.delete(&path).await), (404, "not_found"));
    assert_eq!(suite.get(&path).await.status, 404);
    assert_eq!(suite.cache.denylist().await.unwrap().unwrap().lowest.get(&id), Some(&(FIRST + 1)));
    // What was under way for it does not bring it back.
    suite.hear(id, &[(NOW + 1_000, 0)]).await;
    assert_eq!(suite.read("/servers").await["total"], 0);
    assert_eq!(make(&suite, json!({"name": "WEB-1"})).await.status, 201);
    assert_eq!(suite.get(&path).await.status, 404);
}

pub async fn a_token_for_one_server_rotates_its_credential(place: Place) {
    let suite = Suite::spawn(place).await;
    let (id, other) = (suite.enrol("web-1").await, suite.enrol("web-2").await);
    let made = suite.post(&format!("/servers/{id}/enrolment-tokens"), json!({"expires_in": 60})).await;
    assert_eq!((made.status, &made.body["uses"]), (201, &json!(1)), "{made:?}");
    let token = made.body["token"].as_str().unwrap();
    let listed = suite.read("/enrolment-tokens").await;
    let items = listed["items"].as_array().unwrap();
    let bound = items.iter().find(|item| item["id"] == made.body["id"]).unwrap();
    assert_eq!(bound["server_id"], json!(id));
    let mut credentials = Vec::new();
    for _ in 0..2 {
        let enrolled = enrol(&suite, token, "a-new-key-of-many-bytes", "web-2").await;
        assert_eq!((enrolled.status, &enrolled.body["server_id"]), (201, &json!(id)), "{enrolled:?}");
        credentials.push(enrolled.body["credential"].as_str().unwrap().to_owned());
    }
    assert_eq!(credentials[0], credentials[1]);
    assert_eq!(keyring().verify(&credentials[0]).unwrap().generation, FIRST + 1);
    let lowest = suite.cache.denylist().await.unwrap().unwrap().lowest;
    assert_eq!((lowest.get(&id), lowest.get(&other)), (Some(&(FIRST + 1)), None));
    assert_eq!(suite.read(&format!("/servers/{id}")).await["name"], "web-1");
    assert_eq!(enrol(&suite, token, "yet-another-key-of-bytes", "web-3").await.status, 401);
}

pub async fn a_tokens_labels_come_with_who_enrols(place: Place) {
    let suite = Suite::spawn(place).await;
    let body = json!({"uses": 2, "labels": {"site": "eu"}});
    let made = suite.post("/enrolment-tokens", body).await;
    let token = made.body["token"].as_str().unwrap();
    for name in ["web-1", "web-2"] {
        assert_eq!(enrol(&suite, token, &format!("a-key-of-many-bytes-{name}"), name).await.status, 201);
    }
    assert_eq!(enrol(&suite, token, "a-key-of-many-bytes-3", "web-3").await.status, 401);
    let listed = suite.read("/servers?label=site:eu").await;
    assert_eq!(listed["total"], 2);
    assert_eq!(suite.read("/enrolment-tokens").await["items"][0]["labels"], json!({"site": "eu"}));
    let bad = suite.post("/enrolment-tokens", json!({"labels": {"a:b": "c"}})).await;
    assert_eq!(code(&bad), (422, "invalid_body"));
}

pub async fn a_history_that_somebody_deletes_counts_no_longer_and_goes(place: Place) {
    let mut suite = Suite::spawn(place).await;
    suite.at(NOW - 2 * HOUR).await;
    let (web, db) = (suite.enrol("web-1").await, suite.enrol("db-1").await);
    suite.at(NOW).await;
    suite.settle(NOW, NOW - 3 * HOUR).await;
    for server in [web, db] {
        // Down for an hour.
        suite.hear(server, &steady(NOW - 2 * HOUR, NOW - HOUR)).await;
        suite.hear(server, &steady(NOW - MINUTE, NOW)).await;
    }
    let path = format!("/servers/{web}");
    let version = suite.get(&path).await.headers["etag"].clone();
    assert_eq!(suite.delete(&format!("{path}/history")).await.status, 202);
    assert_eq!(suite.get(&path).await.headers["etag"], version);
    suite.clock.set(NOW + 30 * SECOND);
    suite.settle(NOW + 30 * SECOND, NOW - 3 * HOUR).await;
    suite.hear(web, &steady(NOW, NOW + 30 * SECOND)).await;
    let range = format!("from={}&to={}", NOW - 2 * HOUR, NOW + MINUTE);
    let uptime = suite.read(&format!("{path}/uptime?{range}")).await;
    assert_eq!((&uptime["expected_ms"], &uptime["uptime"]), (&json!(30_000), &json!(1.0)), "{uptime}");
    assert_eq!(suite.read(&format!("{path}/outages?{range}")).await["outages"], json!([]));
    assert_eq!(
        code(&suite.delete(&format!("/servers/{}/history", ServerId::new(1, [1; 10]))).await),
        (404, "not_found")
    );
    let stop = CancellationToken::new();
    let running = actix_web::rt::spawn(suite.management.clone().run(nobody(), stop.clone()));
    let stored = async |id: ServerId| {
        let points = suite.read(&format!("/servers/{id}/snapshots?{range}&points=1")).await;
        points["points"][0]["count"].as_u64()
    };
    eventually("what it sampled before is gone", async || stored(web).await == Some(2)).await;
    assert_eq!(stored(db).await, Some(122));
    assert_eq!(suite.delete(&format!("/servers/{db}")).await.status, 204);
    eventually("what is left of a deleted server is gone", async || {
        suite.history.extents(&[db]).await.unwrap() == [None]
    })
    .await;
    stop.cancel();
    running.await.unwrap();
    let log = suite.read("/audit?action=server.forget").await;
    assert_eq!((&log["total"], &log["items"][0]["object"]["id"]), (&json!(1), &json!(web)), "{log}");
}
