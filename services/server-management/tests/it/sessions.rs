use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    place::Place,
    suite::{HOUR, MINUTE, NOW, PASSWORD, SECOND, Suite},
};

async fn attempt(suite: &Suite, username: &str, password: &str) -> crate::suite::Answer {
    let body = json!({"username": username, "password": password});
    suite.send(suite.call(Method::POST, "/sessions").json(&body)).await
}

async fn attempt_from(suite: &Suite, address: &str, username: &str, password: &str) -> crate::suite::Answer {
    let body = json!({"username": username, "password": password});
    let request = suite.call(Method::POST, "/sessions").header("x-forwarded-for", address);
    suite.send(request.json(&body)).await
}

async fn refresh(suite: &Suite, token: &Value) -> crate::suite::Answer {
    suite.send(suite.call(Method::POST, "/sessions/refresh").json(&json!({"refresh_token": token}))).await
}

pub async fn a_log_in_gives_tokens_that_serve_and_nobody_may_keep(place: Place) {
    let suite = Suite::spawn(place).await;
    let answer = attempt(&suite, "ADMIN", PASSWORD).await;
    assert_eq!((answer.status, &answer.body["expires_in"]), (200, &json!(900)));
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(suite.get("/status").await.status, 200);
}

#[actix_web::test]
async fn unknown_user_and_wrong_password_are_one_answer() {
    let suite = Suite::embedded().await;
    let unknown = attempt(&suite, "nobody", PASSWORD).await;
    let wrong = attempt(&suite, "admin", "wrong").await;
    assert_eq!((unknown.status, wrong.status), (401, 401));
    assert_eq!(unknown.body, wrong.body);
}

pub async fn ten_failures_close_an_account_to_their_address_for_a_quarter_of_an_hour(place: Place) {
    let suite = Suite::spawn(place).await;
    for _ in 0..10 {
        assert_eq!(attempt(&suite, "admin", "wrong").await.status, 401);
        suite.clock.advance(SECOND);
    }
    let throttled = attempt(&suite, "admin", PASSWORD).await;
    assert_eq!((throttled.status, &throttled.body["code"]), (429, &json!("rate_limited")));
    let detail = "too many failed log-ins to this account from this address; come back in 890 s";
    assert_eq!(throttled.body["detail"], detail);
    let wait: i64 = throttled.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(wait, 15 * 60 - 10);
    suite.clock.advance(wait * SECOND);
    assert_eq!(attempt(&suite, "admin", PASSWORD).await.status, 200);
}

#[actix_web::test]
async fn failures_from_elsewhere_do_not_shut_the_owner_out_until_there_are_very_many() {
    let suite = Suite::embedded().await;
    for stranger in 0..10 {
        let stranger = format!("198.51.100.{stranger}");
        for _ in 0..10 {
            assert_eq!(attempt_from(&suite, &stranger, "admin", "wrong").await.status, 401);
        }
        assert_eq!(attempt_from(&suite, &stranger, "admin", PASSWORD).await.status, 429);
        let owner = attempt_from(&suite, "192.0.2.1", "admin", PASSWORD).await;
        assert_eq!(owner.status, if stranger.ends_with('9') { 429 } else { 200 }, "{stranger}: {owner:?}");
    }
}

#[actix_web::test]
async fn who_holds_a_refresh_token_is_not_shut_out_by_strangers() {
    let mut suite = Suite::embedded().await;
    let held = suite.log_in().await["refresh_token"].clone();
    for stranger in 0..12 {
        let stranger = format!("198.51.100.{stranger}");
        for _ in 0..9 {
            attempt_from(&suite, &stranger, "admin", "wrong").await;
        }
    }
    let with = async |token: &Value, password: &str| {
        let body = json!({"username": "admin", "password": password, "refresh_token": token});
        suite.send(suite.call(Method::POST, "/sessions").json(&body)).await.status
    };
    assert_eq!(attempt(&suite, "admin", PASSWORD).await.status, 429, "of one account from everywhere");
    assert_eq!(with(&json!("of my own making"), PASSWORD).await, 429);
    assert_eq!(with(&held, PASSWORD).await, 200);
    for _ in 0..10 {
        assert_eq!(with(&held, "wrong").await, 401);
    }
    assert_eq!(with(&held, PASSWORD).await, 429, "a stolen one buys no more guesses than that");
    let next = refresh(&suite, &held).await;
    assert_eq!(next.status, 200, "it was not used up");
    assert_eq!(with(&held, PASSWORD).await, 429, "it is used up");
}

#[actix_web::test]
async fn throttling_does_not_tell_known_users_from_unknown_ones() {
    let suite = Suite::embedded().await;
    let answers = ["admin", "nobody"].map(async |name| {
        let folded = [name.to_owned(), name.to_uppercase(), format!(" {}\u{a0}", name.to_uppercase())];
        for spelling in folded.iter().cycle().take(10) {
            assert_eq!(attempt(&suite, spelling, "wrong").await.status, 401, "{spelling}");
        }
        let mixed: String = name[..1].to_uppercase() + &name[1..];
        attempt(&suite, &mixed, "wrong").await
    });
    let [known, unknown] = <[_; 2]>::try_from(join_all(answers).await).unwrap();
    assert_eq!((known.status, unknown.status), (429, 429));
    assert_eq!(known.body, unknown.body);
}

#[actix_web::test]
async fn failures_of_many_accounts_close_their_address() {
    let suite = Suite::embedded().await;
    for account in 0..30 {
        assert_eq!(attempt(&suite, &format!("user{account}"), "wrong").await.status, 401);
    }
    assert_eq!(attempt(&suite, "admin", PASSWORD).await.status, 429);
    assert_eq!(attempt_from(&suite, "192.0.2.1", "admin", PASSWORD).await.status, 200);
}

pub async fn success_is_never_throttled(place: Place) {
    let suite = Suite::spawn(place).await;
    for _ in 0..15 {
        assert_eq!(attempt(&suite, "admin", PASSWORD).await.status, 200);
    }
}

#[actix_web::test]
async fn attempts_sent_all_at_once_do_not_slip_through() {
    let suite = Suite::embedded().await;
    let answers = join_all((0..40).map(|_| attempt(&suite, "admin", "wrong"))).await;
    let looked_at = answers.iter().filter(|answer| answer.status == 401).count();
    assert!((10..=11).contains(&looked_at), "{looked_at}");
    assert!(answers.iter().all(|answer| [401, 429].contains(&answer.status)));
}

pub async fn a_refresh_token_serves_once_and_its_reuse_ends_the_session(place: Place) {
    let mut suite = Suite::spawn(place).await;
    let first = suite.log_in().await;
    suite.clock.advance(MINUTE);
    let second = refresh(&suite, &first["refresh_token"]).await;
    assert_eq!(second.status, 200);
    suite.token = second.body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(suite.get("/status").await.status, 200);

    let early = refresh(&suite, &first["refresh_token"]).await;
    assert_eq!((early.status, &early.body["code"]), (409, &json!("rotated")));
    assert_eq!(suite.get("/status").await.status, 200);
    suite.clock.advance(10 * SECOND);
    let again = suite.call(Method::POST, "/sessions/refresh").header("x-forwarded-for", "192.0.2.9");
    let again = suite.send(again.json(&json!({"refresh_token": first["refresh_token"]}))).await;
    assert_eq!(again.status, 401);
    assert_eq!(suite.get("/status").await.status, 401);
    assert_eq!(refresh(&suite, &second.body["refresh_token"]).await.status, 401);
    suite.log_in().await;
    let reuse = suite.read("/audit?action=session.reuse").await;
    let from = json!({"kind": "stranger", "id": null, "name": null, "address": "192.0.2.9"});
    assert_eq!((&reuse["total"], &reuse["items"][0]["actor"]), (&json!(1), &from));
}

pub async fn a_page_has_its_refresh_token_in_a_cookie_and_a_foreign_page_has_no_use_for_it(place: Place) {
    let suite = Suite::spawn(place).await;
    let ask = async |path: &str, origin: Option<&str>, cookie: Option<&str>, body: Value| {
        let mut request = suite.call(Method::POST, path);
        for (name, value) in [("origin", origin), ("cookie", cookie)] {
            request = value.into_iter().fold(request, |request, value| request.header(name, value));
        }
        suite.send(request.json(&body)).await
    };
    let login = json!({"username": "admin", "password": PASSWORD, "cookie": true});
    let url = suite.url("");
    let own = url.split('/').take(3).collect::<Vec<_>>().join("/");
    for origin in [None, Some("http://evil.example"), Some("null")] {
        let refused = ask("/sessions", origin, None, login.clone()).await;
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("foreign_origin")), "{origin:?}");
    }
    let kept =
        |answer: &crate::suite::Answer| {
            let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
            assert!(cookie.ends_with(
                "; Path=/server-management/v1/sessions; Max-Age=2592000; HttpOnly; SameSite=Strict"
            ));
            cookie.split(';').next().unwrap().to_owned()
        };
    let begun = ask("/sessions", Some(&own), None, login).await;
    assert_eq!((begun.status, &begun.body["refresh_token"]), (200, &Value::Null));
    let first = kept(&begun);
    let refused = ask("/sessions/refresh", Some("http://evil.example"), Some(&first), json!({})).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("foreign_origin")));
    let refreshed = ask("/sessions/refresh", Some(&own), Some(&first), json!({})).await;
    assert_eq!((refreshed.status, &refreshed.body["refresh_token"]), (200, &Value::Null));
    let second = kept(&refreshed);
    let another_tab = ask("/sessions/refresh", Some(&own), Some(&first), json!({})).await;
    assert_eq!((another_tab.status, &another_tab.body["code"]), (409, &json!("rotated")));
    let it_tries_again = ask("/sessions/refresh", Some(&own), Some(&second), json!({})).await;
    assert_eq!(it_tries_again.status, 200);
    assert_eq!(ask("/sessions/refresh", Some(&own), None, json!({})).await.status, 401);
    let token = it_tries_again.body["access_token"].as_str().unwrap();
    let ended = suite.send(suite.call(Method::DELETE, "/sessions").bearer_auth(token)).await;
    let cookie = ended.headers["set-cookie"].to_str().unwrap();
    assert!(ended.status == 204 && cookie.starts_with("rollcall_session=; ") && cookie.contains("Max-Age=0"));
    assert_eq!(
        ask("/sessions/refresh", Some(&own), Some(&kept(&it_tries_again)), json!({})).await.status,
        401
    );
}

pub async fn people_see_where_they_are_logged_in_and_log_out_everywhere(place: Place) {
    let mut suite = Suite::spawn(place).await;
    suite.clock.advance(MINUTE);
    let first = suite.token.clone();
    suite.log_in().await;
    let list = suite.read("/sessions/own").await;
    let items = list["items"].as_array().unwrap();
    let told: Vec<_> =
        items.iter().map(|one| (one["current"].clone(), one["began_at"].as_i64().unwrap())).collect();
    assert_eq!(told, [(json!(true), NOW + MINUTE), (json!(false), NOW)]);
    let other = items[1]["id"].as_str().unwrap();
    assert_eq!(suite.delete(&format!("/sessions/own/{other}")).await.status, 204);
    assert_eq!(suite.delete(&format!("/sessions/own/{other}")).await.status, 404);
    let get =
        async |token: &str| suite.send(suite.call(Method::GET, "/status").bearer_auth(token)).await.status;
    assert_eq!((get(&first).await, get(&suite.token).await), (401, 200));

    let made = json!({"username": "other", "password": "a long enough secret", "role": "viewer"});
    assert_eq!(suite.post("/users", made).await.status, 201);
    let others = attempt(&suite, "other", "a long enough secret").await.body["access_token"].clone();
    let theirs = suite.call(Method::DELETE, &format!("/sessions/own/{}", items[0]["id"].as_str().unwrap()));
    assert_eq!(
        suite.send(theirs.bearer_auth(others.as_str().unwrap())).await.status,
        404,
        "it is not theirs"
    );
    let third = attempt(&suite, "admin", PASSWORD).await.body["access_token"].clone();
    assert_eq!(suite.delete("/sessions/own").await.status, 204);
    for ended in [&suite.token, third.as_str().unwrap()] {
        assert_eq!(get(ended).await, 401);
    }
    assert_eq!(get(others.as_str().unwrap()).await, 200);
    suite.log_in().await;
    assert_eq!(suite.read("/audit?action=session.end").await["total"], 3);
}

pub async fn a_session_lasts_while_it_is_refreshed_and_30_days_longer(place: Place) {
    let mut suite = Suite::spawn(place).await;
    let mut tokens = suite.log_in().await;
    for _ in 0..3 {
        suite.clock.advance(20 * 24 * HOUR);
        let answer = refresh(&suite, &tokens["refresh_token"]).await;
        assert_eq!(answer.status, 200);
        tokens = answer.body;
    }
    suite.clock.advance(30 * 24 * HOUR + SECOND);
    assert_eq!(refresh(&suite, &tokens["refresh_token"]).await.status, 401);
}

pub async fn logging_out_ends_the_session_at_once_and_no_other(place: Place) {
    let mut suite = Suite::spawn(place).await;
    let other = suite.token.clone();
    let tokens = suite.log_in().await;
    assert_eq!(suite.delete("/sessions").await.status, 204);
    assert_eq!(suite.get("/status").await.status, 401);
    assert_eq!(refresh(&suite, &tokens["refresh_token"]).await.status, 401);
    suite.token = other;
    assert_eq!(suite.get("/status").await.status, 200);
}

pub async fn an_access_token_expires_by_our_clock(place: Place) {
    let suite = Suite::spawn(place).await;
    suite.clock.advance(15 * MINUTE - SECOND);
    assert_eq!(suite.get("/status").await.status, 200);
    suite.clock.advance(31 * SECOND);
    assert_eq!(suite.get("/status").await.status, 401);
    suite.clock.set(NOW);
    assert_eq!(suite.get("/status").await.status, 200);
}

pub async fn a_disabled_user_is_out_at_once(place: Place) {
    let mut suite = Suite::spawn(place).await;
    let tokens = suite.log_in().await;
    suite.sql("UPDATE users SET disabled_at = 1").await;
    assert_eq!(suite.get("/status").await.status, 401);
    assert_eq!(refresh(&suite, &tokens["refresh_token"]).await.status, 401);
    assert_eq!(attempt(&suite, "admin", PASSWORD).await.status, 401);
}

pub async fn no_secret_is_stored_as_it_is(place: Place) {
    let mut suite = Suite::spawn(place).await;
    let tokens = suite.log_in().await;
    let enrolment = suite.enrolment_token().await;
    let stored = suite.place.stored().await;
    assert!(stored.contains("$argon2id$v=19$m=19456,t=2,p=1$"));
    for secret in [tokens["refresh_token"].as_str().unwrap(), &enrolment, PASSWORD] {
        assert!(!stored.contains(secret));
    }
}
