use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::{
    place::Place,
    suite::{HOUR, NOW, PASSWORD, SECOND, Suite},
};

async fn attempt(suite: &Suite, username: &str) -> u16 {
    let request = suite.call(Method::POST, "/sessions").header("x-forwarded-for", "192.0.2.9");
    suite.send(request.json(&json!({"username": username, "password": "wrong"}))).await.status
}

pub async fn a_change_tells_who_made_it_from_where(place: Place) {
    let suite = Suite::spawn(place).await;
    suite.clock.advance(SECOND);
    let viewers = ["server:read", "report:read", "alert:read", "process:read"];
    let token = suite.api_token(&[&["user:read", "user:write"], &viewers[..]].concat()).await;
    let user = json!({"username": "ops", "password": PASSWORD, "role": "viewer"});
    let request = suite.call(Method::POST, "/users").bearer_auth(token["token"].as_str().unwrap());
    let made = suite.send(request.header("x-forwarded-for", "2001:db8::7").json(&user)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["id"].as_str().unwrap();
    let listed = suite.read(&format!("/audit?object={id}")).await;
    let after = json!({"username": "ops", "email": null, "role": "viewer", "disabled": false});
    let entry = &listed["items"][0];
    assert_eq!(
        (&listed["total"], &entry["at"], &entry["action"]),
        (&json!(1), &json!(NOW + SECOND), &json!("user.create"))
    );
    assert_eq!((&entry["before"], &entry["after"]), (&Value::Null, &after));
    assert_eq!(entry["object"], json!({"kind": "user", "id": id}));
    let actor = json!({"kind": "token", "id": token["id"], "name": "admin", "address": "2001:db8::7"});
    assert_eq!(entry["actor"], actor);
    assert!(!suite.read("/audit").await.to_string().contains("argon2"));
}

pub async fn refused_log_ins_are_there_as_long_as_they_are_not_throttled(place: Place) {
    let suite = Suite::spawn(place).await;
    for expected in [[401; 10].as_slice(), &[429; 5]].concat() {
        assert_eq!(attempt(&suite, "admin").await, expected);
    }
    assert_eq!(attempt(&suite, "s3cret typed here").await, 401);
    let refused = suite.read("/audit?action=session.refuse").await;
    assert_eq!(refused["total"], 11);
    let (unknown, known) = (&refused["items"][0], &refused["items"][1]);
    assert_eq!((&unknown["object"]["id"], &unknown["after"]), (&Value::Null, &Value::Null));
    assert_eq!(known["after"], json!({"username": "admin", "disabled": false}));
    assert_eq!(known["actor"], json!({"kind": "stranger", "id": null, "name": null, "address": "192.0.2.9"}));
    assert!(!refused.to_string().contains("s3cret"));
}

pub async fn log_in_and_log_out_are_there(place: Place) {
    let suite = Suite::spawn(place).await;
    assert_eq!(suite.delete("/sessions").await.status, 204);
    let mut again = suite;
    again.log_in().await;
    let listed = again.read("/audit?object=session&actor=ADMIN").await;
    let actions: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["session.begin", "session.end", "session.begin"]);
    let first = again.read("/audit?action=user.create").await;
    assert_eq!((&first["total"], &first["items"][0]["actor"]["kind"]), (&json!(1), &json!("system")));
}

pub async fn the_log_is_filtered_paged_and_exported_alike(place: Place) {
    let suite = Suite::spawn(place).await;
    for number in 0..5 {
        suite.clock.advance(SECOND);
        let role = json!({"name": format!("=role {number}"), "scopes": ["server:read"]});
        assert_eq!(suite.post("/roles", role).await.status, 201);
    }
    let query = format!("object=role&from={}&to={}", NOW + 2 * SECOND, NOW + 5 * SECOND);
    let page = suite.read(&format!("/audit?{query}&page=2&page_size=2")).await;
    assert_eq!((&page["total"], page["items"].as_array().unwrap().len()), (&json!(3), 1));
    assert_eq!(page["items"][0]["after"]["name"], "=role 1");
    for bad in ["from=x", "from=2&to=1", "nonsense=1", "page_size=501"] {
        assert_eq!(suite.get(&format!("/audit?{bad}")).await.status, 400, "{bad}");
    }
    assert_eq!(suite.get("/audit/export?format=xlsx").await.status, 400);

    let path = format!("/audit/export?format=csv&{query}");
    let answer = suite.call(Method::GET, &path).bearer_auth(&suite.token).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()),
        (200, "text/csv; charset=utf-8")
    );
    let text = answer.text().await.unwrap();
    let lines: Vec<&str> = text.trim_end().lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(
        lines[0]
            .ends_with("at,actor_kind,actor_id,actor_name,address,action,object_kind,object_id,before,after")
    );
    for (line, name) in lines[1..].iter().zip(["=role 3", "=role 2", "=role 1"]) {
        assert!(line.contains("role.create") && line.contains(name), "{line}");
    }
}

pub async fn the_log_is_kept_for_as_long_as_the_setting_says(place: Place) {
    const DAY: i64 = 24 * HOUR;
    let suite = Suite::spawn(place).await;
    let kept = NOW - 400 * DAY;
    // More than are forgotten at once.
    for at in (kept - 1_200..kept + 2).collect::<Vec<_>>().chunks(300) {
        let rows: Vec<_> = at.iter().map(|at| format!("({at}, 'system', 'user.change', 'user')")).collect();
        let rows = rows.join(", ");
        suite.sql(&format!("INSERT INTO audit (at, actor_kind, action, object_kind) VALUES {rows}")).await;
    }
    let stop = CancellationToken::new();
    let replica = suite.replica();
    let running = [&suite, &replica].map(|process| {
        actix_web::rt::spawn(process.management.clone().run(crate::suite::nobody(), stop.child_token()))
    });
    eventually("what is too old is forgotten", async || {
        suite.read("/audit?action=user.change&from=0").await["total"] == 2
    })
    .await;
    let listed = suite.read(&format!("/audit?to={}", NOW - DAY)).await;
    let left: Vec<_> = listed["items"].as_array().unwrap().iter().map(|entry| entry["at"].clone()).collect();
    assert_eq!(left, [json!(kept + 1), json!(kept)]);
    stop.cancel();
    for running in running {
        running.await.unwrap();
    }
}
