//! Whatever people change has a version, and is changed by whoever has seen the one in force.

use futures_util::future::join_all;
use reqwest::{Method, header::ETAG};
use serde_json::{Value, json};

use crate::{
    place::Place,
    suite::{Answer, PASSWORD, Suite},
};

/// Where it is made, what of, and two changes.
fn changeable() -> [(&'static str, Value, [Value; 2]); 4] {
    let schedule = json!({
        "cron": "59 23 * * *", "time_zone": "UTC", "window": "last_24h", "recipients": ["ops@example.org"]
    });
    let user = json!({"username": "ops", "password": PASSWORD, "role": "viewer"});
    [
        ("/servers", json!({"name": "web-1"}), [json!({"name": "web-2"}), json!({"name": "web-3"})]),
        ("/users", user, [json!({"username": "ops-2"}), json!({"username": "ops-3"})]),
        (
            "/roles",
            json!({"name": "people", "scopes": []}),
            [json!({"scopes": ["user:read"]}), json!({"name": "others"})],
        ),
        ("/report-schedules", schedule, [json!({"cron": "0 6 * * *"}), json!({"window": "yesterday"})]),
    ]
}

fn tag(answer: &Answer) -> &str {
    answer.headers[ETAG].to_str().unwrap()
}

fn told(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap_or_default())
}

async fn delete(suite: &Suite, path: &str, etag: &str) -> Answer {
    suite.send(suite.call(Method::DELETE, path).bearer_auth(&suite.token).header("if-match", etag)).await
}

pub async fn what_people_change_is_changed_by_who_saw_its_version(place: Place) {
    let suite = Suite::spawn(place).await;
    for (list, made, [first, second]) in changeable() {
        let made = suite.post(list, made).await;
        assert_eq!((made.status, tag(&made)), (201, "\"1\""), "{list}: {made:?}");
        let path = format!("{list}/{}", made.body["id"].as_str().unwrap());
        let read = suite.get(&path).await;
        assert_eq!(tag(&read), "\"1\"", "{path}");

        let blind = suite.call(Method::PATCH, &path).bearer_auth(&suite.token).json(&first);
        assert_eq!(told(&suite.send(blind).await), (428, "precondition_required"), "{path}");
        let changed = suite.patch(&path, "\"1\"", first.clone()).await;
        assert_eq!((changed.status, tag(&changed)), (200, "\"2\""), "{path}: {changed:?}");
        let late = suite.patch(&path, "\"1\"", second.clone()).await;
        assert_eq!(told(&late), (412, "precondition_failed"), "{path}");
        assert_eq!(told(&suite.patch(&path, "W/\"2\"", second.clone()).await), (412, "precondition_failed"));
        let unchanged = suite.get(&path).await;
        assert_eq!((tag(&unchanged), &unchanged.body), ("\"2\"", &changed.body), "{path}");
        assert_eq!(tag(&suite.patch(&path, "*", second).await), "\"3\"", "{path}");

        // A single thing has a state that moves without its version, so it is always told.
        let again = suite.call(Method::GET, &path).bearer_auth(&suite.token).header("if-none-match", "\"3\"");
        assert_eq!(suite.send(again).await.status, 200, "{path}");
        assert_eq!(told(&delete(&suite, &path, "\"2\"").await), (412, "precondition_failed"), "{path}");
        assert_eq!(delete(&suite, &path, "\"3\"").await.status, 204, "{path}");
        assert_eq!(suite.get(&path).await.status, 404, "{path}");
    }
}

pub async fn of_several_who_saw_the_same_version_one_changes_it(place: Place) {
    let suite = Suite::spawn(place).await;
    for (list, made, [first, second]) in changeable() {
        let made = suite.post(list, made).await;
        let path = format!("{list}/{}", made.body["id"].as_str().unwrap());
        let changes = (0..6).map(|n| suite.patch(&path, "\"1\"", [&first, &second][n % 2].clone()));
        let mut answers: Vec<u16> = join_all(changes).await.iter().map(|answer| answer.status).collect();
        answers.sort_unstable();
        assert_eq!(answers, [200, 412, 412, 412, 412, 412], "{path}");
        assert_eq!(tag(&suite.get(&path).await), "\"2\"", "{path}");
    }
}
