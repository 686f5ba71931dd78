use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    place::Place,
    suite::{Answer, PASSWORD, SECOND, Suite},
};

const OTHER: &str = "staple battery horse";

async fn make(suite: &Suite, username: &str, role: &str) -> String {
    let user = json!({"username": username, "email": "a@example.org", "password": PASSWORD, "role": role});
    let made = suite.post("/users", user).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body["id"].as_str().unwrap().to_owned()
}

/// The access token of whoever logs in so.
async fn log_in(suite: &Suite, username: &str, password: &str) -> Result<String, u16> {
    let body = json!({"username": username, "password": password});
    let answer = suite.send(suite.call(Method::POST, "/sessions").json(&body)).await;
    answer.body["access_token"].as_str().map(str::to_owned).ok_or(answer.status)
}

async fn call(suite: &Suite, token: &str, method: Method, path: &str, body: Value) -> Answer {
    suite.send(suite.call(method, path).bearer_auth(token).json(&body)).await
}

/// Whatever version it is of.
async fn patch(suite: &Suite, path: &str, body: Value) -> Answer {
    suite.patch(path, "*", body).await
}

async fn status(suite: &Suite, token: &str, path: &str) -> u16 {
    suite.send(suite.call(Method::GET, path).bearer_auth(token)).await.status
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["code"].as_str().unwrap())
}

async fn me(suite: &Suite) -> String {
    suite.read("/sessions").await["user_id"].as_str().unwrap().to_owned()
}

pub async fn a_user_is_made_logs_in_is_changed_and_deleted(place: Place) {
    let suite = Suite::spawn(place).await;
    let id = make(&suite, " Ops ", "viewer").await;
    let path = format!("/users/{id}");
    let user = suite.read(&path).await;
    assert_eq!(
        (&user["username"], &user["email"], &user["role"]),
        (&json!("Ops"), &json!("a@example.org"), &json!("viewer"))
    );
    assert!(!user.to_string().contains("argon2"));
    let token = log_in(&suite, "ops", PASSWORD).await.unwrap();
    assert_eq!(status(&suite, &token, "/servers").await, 200);
    assert_eq!(status(&suite, &token, "/users").await, 403);

    let changed = patch(&suite, &path, json!({"username": "operator", "email": null})).await;
    assert_eq!(
        (changed.status, &changed.body["username"], &changed.body["email"]),
        (200, &json!("operator"), &json!(null))
    );
    assert_eq!(changed.body["role"], "viewer");
    let listed = suite.read("/users?role=viewer&q=OPER").await;
    assert_eq!((&listed["total"], &listed["items"][0]["id"]), (&json!(1), &json!(id)));
    assert_eq!(suite.read("/users?disabled=false").await["total"], 2);

    assert_eq!(suite.delete(&path).await.status, 204);
    assert_eq!(suite.delete(&path).await.status, 404);
    assert_eq!(suite.get(&path).await.status, 404);
    assert_eq!(patch(&suite, &path, json!({})).await.status, 404);
    assert_eq!(status(&suite, &token, "/servers").await, 401);
    assert_eq!(log_in(&suite, "operator", PASSWORD).await, Err(401));
}

pub async fn what_cannot_be_a_user_is_refused_by_its_code(place: Place) {
    let suite = Suite::spawn(place).await;
    make(&suite, "ops", "viewer").await;
    let user = |name: &str, password: &str, role: &str, email: &str| json!({"username": name, "password": password, "role": role, "email": email});
    for (body, expected) in [
        (user("OPS", PASSWORD, "viewer", "a@b"), (409, "name_taken")),
        (user("new", PASSWORD, "nobody", "a@b"), (422, "invalid_body")),
        (user("new", "1234567", "viewer", "a@b"), (422, "invalid_body")),
        (user("new", "password1", "viewer", "a@b"), (422, "invalid_body")),
        (user("somebody", "Somebody2026", "viewer", "a@b"), (422, "invalid_body")),
        (user("new", PASSWORD, "viewer", "a@b\r\nbcc: c@d"), (422, "invalid_body")),
        (user("new", PASSWORD, "viewer", "nobody"), (422, "invalid_body")),
        (user(" ", PASSWORD, "viewer", "a@b"), (422, "invalid_body")),
        (json!({"username": "new", "role": "viewer"}), (422, "invalid_body")),
    ] {
        let answer = suite.post("/users", body.clone()).await;
        assert_eq!(code(&answer), expected, "{body}");
    }
    assert_eq!(suite.read("/users").await["total"], 2);
}

pub async fn the_last_admin_cannot_lock_everybody_out(place: Place) {
    let suite = Suite::spawn(place).await;
    let own = format!("/users/{}", me(&suite).await);
    for change in [json!({"disabled": true}), json!({"role": "viewer"})] {
        assert_eq!(code(&patch(&suite, &own, change).await), (409, "last_admin"));
    }
    assert_eq!(code(&suite.delete(&own).await), (409, "last_admin"));
    assert_eq!(code(&patch(&suite, "/roles/admin", json!({"scopes": []})).await), (409, "built_in"));
    assert_eq!(code(&suite.delete("/roles/viewer").await), (409, "built_in"));
    make(&suite, "second", "admin").await;
    assert_eq!(patch(&suite, &own, json!({"role": "viewer"})).await.status, 200);
    assert_eq!(suite.get("/users").await.status, 403);
}

pub async fn a_password_is_changed_with_the_one_in_force_and_ends_every_session(place: Place) {
    let suite = Suite::spawn(place).await;
    let replica = suite.replica();
    let id = make(&suite, "ops", "viewer").await;
    let path = format!("/users/{id}/password");
    let (one, two) =
        (log_in(&suite, "ops", PASSWORD).await.unwrap(), log_in(&replica, "ops", PASSWORD).await.unwrap());
    for (body, expected) in [
        (json!({"password": OTHER}), (422, "invalid_body")),
        (json!({"password": OTHER, "current_password": "wrong"}), (403, "wrong_password")),
        (json!({"password": "ops-ops", "current_password": PASSWORD}), (422, "invalid_body")),
    ] {
        assert_eq!(code(&call(&suite, &one, Method::POST, &path, body.clone()).await), expected, "{body}");
    }
    let admins = format!("/users/{}/password", me(&suite).await);
    let answer = call(&suite, &one, Method::POST, &admins, json!({"password": OTHER})).await;
    assert_eq!(code(&answer), (403, "insufficient_scope"));

    let body = json!({"password": OTHER, "current_password": PASSWORD});
    assert_eq!(call(&suite, &one, Method::POST, &path, body).await.status, 204);
    for token in [&one, &two] {
        assert_eq!(status(&suite, token, "/servers").await, 401);
        assert_eq!(status(&replica, token, "/servers").await, 401);
    }
    assert_eq!(log_in(&suite, "ops", PASSWORD).await, Err(401));
    let token = log_in(&suite, "ops", OTHER).await.unwrap();

    assert_eq!(suite.post(&path, json!({"password": PASSWORD})).await.status, 204, "another's by user:write");
    assert_eq!(status(&replica, &token, "/servers").await, 401);
    assert!(log_in(&suite, "ops", PASSWORD).await.is_ok());
}

pub async fn who_guesses_the_password_of_an_open_session_is_stopped(place: Place) {
    let suite = Suite::spawn(place).await;
    let path = format!("/users/{}/password", me(&suite).await);
    for _ in 0..10 {
        let wrong = suite.post(&path, json!({"password": OTHER, "current_password": "wrong"})).await;
        assert_eq!(code(&wrong), (403, "wrong_password"));
    }
    let right = suite.post(&path, json!({"password": OTHER, "current_password": PASSWORD})).await;
    assert_eq!(code(&right), (429, "rate_limited"));
}

pub async fn disabling_and_another_role_count_on_every_replica(place: Place) {
    let suite = Suite::spawn(place).await;
    let replica = suite.replica();
    let path = format!("/users/{}", make(&suite, "ops", "viewer").await);
    let token = log_in(&suite, "ops", PASSWORD).await.unwrap();
    assert_eq!(status(&replica, &token, "/users").await, 403);
    assert_eq!(patch(&suite, &path, json!({"role": "admin"})).await.status, 200);
    assert_eq!(status(&replica, &token, "/users").await, 200);
    let disabled = patch(&suite, &path, json!({"disabled": true})).await;
    assert_eq!(
        (&disabled.body["disabled"], &disabled.body["disabled_at"]),
        (&json!(true), &json!(suite.clock.now()))
    );
    assert_eq!(status(&replica, &token, "/users").await, 401);
    assert_eq!(log_in(&replica, "ops", PASSWORD).await, Err(401));
    assert_eq!(patch(&suite, &path, json!({"disabled": false})).await.body["disabled_at"], json!(null));
    assert_eq!(status(&replica, &token, "/users").await, 401, "the old session stays ended");
    assert!(log_in(&replica, "ops", PASSWORD).await.is_ok());
}

pub async fn a_role_is_a_name_for_scopes(place: Place) {
    let suite = Suite::spawn(place).await;
    let scopes = suite.read("/scopes").await;
    assert_eq!(scopes["items"].as_array().unwrap().len(), fleet::Scope::ALL.len());
    let made = suite
        .post("/roles", json!({"name": "people", "scopes": ["user:write", "user:read", "user:read"]}))
        .await;
    assert_eq!((made.status, &made.body["scopes"]), (201, &json!(["user:read", "user:write"])));
    let path = format!("/roles/{}", made.body["id"].as_str().unwrap());
    assert_eq!(suite.read(&path).await, made.body);
    let listed = suite.read("/roles").await;
    let names: Vec<_> = listed["items"].as_array().unwrap().iter().map(|role| role["name"].clone()).collect();
    assert_eq!(names, ["admin", "viewer", "people"]);
    assert_eq!(
        code(&suite.post("/roles", json!({"name": "People", "scopes": []})).await),
        (409, "name_taken")
    );
    let unknown = suite.post("/roles", json!({"name": "x", "scopes": ["server:*"]})).await;
    assert_eq!(code(&unknown), (422, "invalid_body"));

    make(&suite, "hr", "people").await;
    let token = log_in(&suite, "hr", PASSWORD).await.unwrap();
    let user = json!({"username": "mole", "password": PASSWORD, "role": "admin"});
    let more = call(&suite, &token, Method::POST, "/users", user).await;
    assert_eq!(code(&more), (403, "insufficient_scope"));
    let more = suite.call(Method::PATCH, &path).bearer_auth(&token).header("if-match", "*");
    let more = suite.send(more.json(&json!({"scopes": ["user:write", "audit:read"]}))).await;
    assert_eq!((code(&more), &more.body["scope"]), ((403, "insufficient_scope"), &json!("audit:read")));
    let admin = format!("/users/{}/password", me(&suite).await);
    let over = call(&suite, &token, Method::POST, &admin, json!({"password": OTHER})).await;
    assert_eq!(code(&over), (403, "insufficient_scope"));

    assert_eq!(code(&suite.delete(&path).await), (409, "role_in_use"));
    assert_eq!(
        patch(&suite, &path, json!({"scopes": ["user:read"]})).await.body["scopes"],
        json!(["user:read"])
    );
    let user = json!({"username": "mole", "password": PASSWORD, "role": "viewer"});
    assert_eq!(call(&suite, &token, Method::POST, "/users", user).await.status, 403);
    assert_eq!(suite.get("/roles/nonsense").await.status, 404);
}

pub async fn an_api_token_serves_as_far_as_it_and_its_maker_reach(place: Place) {
    let suite = Suite::spawn(place).await;
    let replica = suite.replica();
    let body = json!({"name": "script", "scopes": ["user:read", "server:read"], "expires_in": 60});
    let made = suite.post("/tokens", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let token = made.body["token"].as_str().unwrap();
    assert!(token.starts_with("rct_") && token.len() > 40);
    assert_eq!(status(&replica, token, "/users").await, 200);
    assert_eq!(status(&replica, token, "/audit").await, 403);
    for path in ["/tokens", "/sessions"] {
        let answer = suite.send(suite.call(Method::GET, path).bearer_auth(token)).await;
        assert_eq!(code(&answer), (403, "session_required"), "{path}");
    }
    let listed = suite.read("/tokens").await;
    assert_eq!((&listed["total"], &listed["items"][0]["id"]), (&json!(1), &made.body["id"]));
    assert!(!listed.to_string().contains(token));
    assert!(!suite.place.stored().await.contains(token));
    suite.clock.advance(60 * SECOND);
    assert_eq!(status(&replica, token, "/users").await, 401);
    suite.clock.advance(-60 * SECOND);
    let path = format!("/tokens/{}", made.body["id"].as_str().unwrap());
    assert_eq!(suite.delete(&path).await.status, 204);
    assert_eq!(status(&replica, token, "/users").await, 401);
    assert_eq!(suite.delete(&path).await.status, 404);
}

pub async fn nobody_makes_a_token_of_more_than_they_have(place: Place) {
    let suite = Suite::spawn(place).await;
    make(&suite, "ops", "viewer").await;
    let session = log_in(&suite, "ops", PASSWORD).await.unwrap();
    let ask = async |scopes: Value, expires_in: Value| {
        let body = json!({"name": "script", "scopes": scopes, "expires_in": expires_in});
        call(&suite, &session, Method::POST, "/tokens", body).await
    };
    assert_eq!(
        code(&ask(json!(["server:read", "user:read"]), Value::Null).await),
        (403, "insufficient_scope")
    );
    for bad in [json!([]), json!(["nonsense"]), json!("server:read")] {
        assert_eq!(code(&ask(bad, Value::Null).await), (422, "invalid_body"));
    }
    for bad in [json!(0), json!(-1), json!(i64::MAX)] {
        assert_eq!(code(&ask(json!(["server:read"]), bad).await), (422, "invalid_body"));
    }
    assert_eq!(ask(json!(["server:read"]), Value::Null).await.body["expires_at"], Value::Null);
}
