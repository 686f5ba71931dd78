use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::{
    place::Place,
    suite::{Answer, HOUR, MINUTE, NOW, PASSWORD, SECOND, Suite},
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
    suite.elevate().await;
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
    assert_eq!(listed["items"][0]["expired"], false);
    suite.clock.advance(60 * SECOND);
    assert_eq!(status(&replica, token, "/users").await, 401);
    assert_eq!(suite.read("/tokens").await["items"][0]["expired"], true);
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
    assert_eq!(elevate(&suite, &session, PASSWORD).await.status, 200);
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
}

async fn elevate(suite: &Suite, token: &str, password: &str) -> Answer {
    call(suite, token, Method::POST, "/sessions/elevate", json!({"password": password})).await
}

pub async fn a_stolen_session_makes_no_token_without_the_password(place: Place) {
    let suite = Suite::spawn(place).await;
    let (replica, body) = (suite.replica(), json!({"name": "script", "scopes": ["server:read"]}));
    let make = async |token: &str| code_of(&call(&suite, token, Method::POST, "/tokens", body.clone()).await);
    let (stolen, own) = (suite.token.clone(), log_in(&suite, "admin", PASSWORD).await.unwrap());
    assert_eq!(make(&stolen).await, Some((403, "elevation_required".to_owned())), "a log-in does not count");
    assert_eq!(code(&elevate(&suite, &stolen, "wrong").await), (403, "wrong_password"));
    let elevated = elevate(&replica, &own, PASSWORD).await;
    assert_eq!(elevated.body, json!({"elevated_until": NOW + 5 * MINUTE}));
    assert_eq!(make(&own).await, None);
    assert_eq!(make(&stolen).await, Some((403, "elevation_required".to_owned())), "of another session");
    suite.clock.advance(5 * MINUTE - 1);
    assert_eq!(make(&own).await, None);
    suite.clock.advance(1);
    assert_eq!(make(&own).await, Some((403, "elevation_required".to_owned())), "five minutes are over");
    assert_eq!(suite.read("/tokens").await["total"], 2);
    assert_eq!(suite.read("/audit?action=session.elevate").await["total"], 1);
    let refused = suite.read("/audit?action=session.refuse").await;
    assert_eq!((&refused["total"], &refused["items"][0]["actor"]["kind"]), (&json!(1), &json!("user")));
}

fn code_of(answer: &Answer) -> Option<(u16, String)> {
    (answer.status >= 400).then(|| (answer.status, answer.body["code"].as_str().unwrap().to_owned()))
}

pub async fn who_guesses_the_password_of_a_stolen_session_is_stopped_and_its_owner_is_not(place: Place) {
    let suite = Suite::spawn(place).await;
    let own = log_in(&suite, "admin", PASSWORD).await.unwrap();
    let path = format!("/users/{}/password", me(&suite).await);
    for guess in 0..10 {
        // Both doors count together.
        let wrong = match guess % 2 {
            0 => elevate(&suite, &suite.token, "wrong").await,
            _ => suite.post(&path, json!({"password": OTHER, "current_password": "wrong"})).await,
        };
        assert_eq!(code(&wrong), (403, "wrong_password"));
    }
    assert_eq!(code(&elevate(&suite, &suite.token, PASSWORD).await), (429, "rate_limited"));
    assert_eq!(elevate(&suite, &own, PASSWORD).await.status, 200);
}

pub async fn a_token_expires_in_90_days_unless_said_otherwise_and_never_later_than_the_setting(place: Place) {
    const DAY: i64 = 24 * HOUR;
    let suite = Suite::spawn(place).await;
    assert_eq!(suite.api_token(&["server:read"]).await["expires_at"], json!(NOW + 90 * DAY));
    let ask = async |suite: &Suite, seconds: i64| {
        let body = json!({"name": "script", "scopes": ["server:read"], "expires_in": seconds});
        suite.post("/tokens", body).await
    };
    let longest = 365 * DAY / SECOND;
    assert_eq!(ask(&suite, longest).await.body["expires_at"], json!(NOW + 365 * DAY));
    let longer = ask(&suite, longest + 1).await;
    assert_eq!((code(&longer), &longer.body["field"]), ((422, "invalid_body"), &json!("expires_in")));
    assert!(
        longer.body["detail"].as_str().unwrap().starts_with("expires_in must be 60 to 31536000"),
        "{longer:?}"
    );

    let strict = suite.replica_of_tokens_for(30);
    assert_eq!(strict.api_token(&["server:read"]).await["expires_at"], json!(NOW + 30 * DAY));
    assert_eq!(code(&ask(&strict, 30 * DAY / SECOND + 1).await), (422, "invalid_body"));
}

pub async fn tokens_of_a_release_without_an_end_get_90_days_and_old_ones_go(place: Place) {
    const DAY: i64 = 24 * HOUR;
    let mut suite = Suite::spawn(place).await;
    let made = suite.api_token(&["server:read"]).await;
    suite.sql("UPDATE api_tokens SET expires_at = NULL").await;
    let listed = suite.read("/tokens").await;
    assert_eq!(
        (&listed["items"][0]["expires_at"], &listed["items"][0]["expired"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(status(&suite, made["token"].as_str().unwrap(), "/servers").await, 200);
    let stop = CancellationToken::new();
    let background = |suite: &Suite| {
        actix_web::rt::spawn(suite.management.clone().run(crate::suite::nobody(), stop.child_token()))
    };
    let one = background(&suite);
    let end = json!(NOW + 90 * DAY);
    eventually("the token has an end", async || suite.read("/tokens").await["items"][0]["expires_at"] == end)
        .await;
    suite.at(NOW + 120 * DAY - 1).await;
    assert_eq!(suite.read("/tokens").await["items"][0]["expired"], true);
    suite.at(NOW + 120 * DAY).await;
    let other = background(&suite.replica());
    eventually("the token is forgotten", async || suite.read("/tokens").await["total"] == 0).await;
    stop.cancel();
    for running in [one, other] {
        running.await.unwrap();
    }
}

pub async fn who_manages_users_sees_and_ends_everybodys_tokens(place: Place) {
    let suite = Suite::spawn(place).await;
    let ops = make(&suite, "ops", "viewer").await;
    let session = log_in(&suite, "ops", PASSWORD).await.unwrap();
    assert_eq!(elevate(&suite, &session, PASSWORD).await.status, 200);
    let body = json!({"name": "forgotten", "scopes": ["server:read"]});
    let made = call(&suite, &session, Method::POST, "/tokens", body).await.body;
    let own = suite.api_token(&["server:read"]).await;
    let read =
        async |token: &str, path: &str| suite.send(suite.call(Method::GET, path).bearer_auth(token)).await;

    let theirs = suite.read(&format!("/tokens?user={ops}")).await;
    let item = &theirs["items"][0];
    assert_eq!((&theirs["total"], &item["id"]), (&json!(1), &made["id"]));
    assert_eq!((&item["user_id"], &item["username"]), (&json!(ops), &json!("ops")));
    assert_eq!(suite.read("/tokens?all=true").await["total"], 2);
    assert_eq!(suite.read("/tokens").await["total"], 1);
    for path in ["/tokens?all=true".to_owned(), format!("/tokens?user={}", me(&suite).await)] {
        assert_eq!(code(&read(&session, &path).await), (403, "insufficient_scope"), "{path}");
    }
    assert_eq!(read(&session, &format!("/tokens?user={ops}")).await.body["total"], 1, "one's own");
    for bad in [format!("/tokens?user={ops}&all=true"), "/tokens?user=ops".to_owned()] {
        assert_eq!(code(&suite.get(&bad).await), (400, "invalid_parameter"), "{bad}");
    }

    let foreign = format!("/tokens/{}", own["id"].as_str().unwrap());
    let refused = suite.send(suite.call(Method::DELETE, &foreign).bearer_auth(&session)).await;
    assert_eq!(code(&refused), (404, "not_found"));
    let id = made["id"].as_str().unwrap();
    assert_eq!(suite.delete(&format!("/tokens/{id}")).await.status, 204);
    assert_eq!(status(&suite, made["token"].as_str().unwrap(), "/servers").await, 401);
    let entry = &suite.read("/audit?action=token.delete").await["items"][0];
    let before =
        json!({"name": "forgotten", "expires_at": made["expires_at"], "user_id": ops, "username": "ops"});
    assert_eq!((&entry["object"]["id"], &entry["before"]), (&made["id"], &before));
    assert_eq!(entry["actor"]["name"], "admin");
}

pub async fn a_password_that_is_set_ends_the_users_tokens_unless_told_otherwise(place: Place) {
    let suite = Suite::spawn(place).await;
    let path = format!("/users/{}/password", make(&suite, "ops", "viewer").await);
    let make = async |password: &str| {
        let session = log_in(&suite, "ops", password).await.unwrap();
        assert_eq!(elevate(&suite, &session, password).await.status, 200);
        let body = json!({"name": "script", "scopes": ["server:read"]});
        let made = call(&suite, &session, Method::POST, "/tokens", body).await.body;
        (session, made["token"].as_str().unwrap().to_owned())
    };
    let (_, token) = make(PASSWORD).await;
    let kept = suite.post(&path, json!({"password": OTHER, "keep_api_tokens": true})).await;
    assert_eq!(kept.status, 204);
    assert_eq!(status(&suite, &token, "/servers").await, 200);
    assert_eq!(suite.post(&path, json!({"password": PASSWORD})).await.status, 204);
    assert_eq!(status(&suite, &token, "/servers").await, 401);

    let (session, token) = make(PASSWORD).await;
    let own = json!({"password": OTHER, "current_password": PASSWORD});
    assert_eq!(call(&suite, &session, Method::POST, &path, own).await.status, 204);
    assert_eq!(status(&suite, &token, "/servers").await, 401, "of one's own password too");
}
