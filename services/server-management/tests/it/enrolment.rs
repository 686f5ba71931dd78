use fleet::Credential;
use serde_json::{Value, json};
use server_management::make_enrolment_token;

use crate::{
    place::Place,
    suite::{HOUR, NOW, SECOND, Suite, keyring},
};

fn with(token: &str, key: &str, name: &str) -> Value {
    json!({"token": token, "enrolment_key": key, "name": name})
}

const KEY: &str = "0123456789abcdef";

async fn token(suite: &Suite, body: Value) -> Value {
    let made = suite.post("/enrolment-tokens", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body
}

pub async fn an_enrolled_server_has_a_credential_and_can_be_read(place: Place) {
    let suite = Suite::spawn(place).await;
    let made = token(&suite, json!({})).await;
    assert_eq!((&made["uses"], &made["expires_at"]), (&json!(1), &json!(NOW + HOUR)));
    let body = json!({"token": made["token"], "enrolment_key": KEY, "name": " web-1\u{1b}[31m ", "address": "10.0.0.1"});
    let issued = suite.post("/enrolments", body).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    let credential = keyring().verify(issued.body["credential"].as_str().unwrap()).unwrap();
    let server = issued.body["server_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(credential.server, server);
    assert_eq!(credential, Credential { server, generation: credential.generation, outdated: false });
    let read = suite.read(&format!("/servers/{server}")).await;
    assert_eq!((&read["name"], &read["address"]), (&json!("web-1\u{fffd}[31m"), &json!("10.0.0.1")));
    assert_eq!(
        (&read["status"], &read["last_seen_at"], &read["latest"]),
        (&json!("unknown"), &json!(null), &json!(null))
    );
    assert_eq!((&read["created_at"], &read["labels"]), (&json!(NOW), &json!({})));
}

pub async fn a_lost_answer_burns_nothing(place: Place) {
    let suite = Suite::spawn(place).await;
    let made = token(&suite, json!({"uses": 1})).await;
    let secret = made["token"].as_str().unwrap();
    let first = suite.post("/enrolments", with(secret, KEY, "web-1")).await;
    let again = suite.post("/enrolments", with(secret, KEY, "web-1")).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    let other = suite.post("/enrolments", with(secret, "another-key-of-16", "web-2")).await;
    assert_eq!((other.status, &other.body["code"]), (401, &json!("unauthorized")));
}

pub async fn a_name_is_unique_regardless_of_case(place: Place) {
    let suite = Suite::spawn(place).await;
    suite.enrol("web-1").await;
    let secret = suite.enrolment_token().await;
    let taken = suite.post("/enrolments", with(&secret, KEY, "WEB-1")).await;
    assert_eq!((taken.status, &taken.body["code"]), (409, &json!("name_taken")));
    assert_eq!(suite.post("/enrolments", with(&secret, KEY, "web-2")).await.status, 201);
}

pub async fn an_expired_or_revoked_token_is_refused(place: Place) {
    let suite = Suite::spawn(place).await;
    let expiring = token(&suite, json!({"expires_in": 60})).await;
    let revoked = token(&suite, json!({"uses": 5})).await;
    let path = format!("/enrolment-tokens/{}", revoked["id"].as_str().unwrap());
    assert_eq!(suite.delete(&path).await.status, 204);
    suite.clock.advance(61 * SECOND);
    for made in [expiring, revoked] {
        let answer = suite.post("/enrolments", with(made["token"].as_str().unwrap(), KEY, "web-1")).await;
        assert_eq!((answer.status, &answer.body["code"]), (401, &json!("unauthorized")));
    }
    assert_eq!(suite.read("/servers").await["total"], 0);
}

pub async fn tokens_are_listed_without_themselves_newest_first(place: Place) {
    let suite = Suite::spawn(place).await;
    let first = token(&suite, json!({"uses": 3})).await;
    suite.clock.advance(SECOND);
    let second = token(&suite, json!({})).await;
    let secret = first["token"].as_str().unwrap();
    suite.post("/enrolments", with(secret, KEY, "web-1")).await;
    let listed = suite.read("/enrolment-tokens").await;
    assert_eq!((&listed["total"], &listed["page"], &listed["page_size"]), (&json!(2), &json!(1), &json!(50)));
    let newest_first = [&second["id"], &first["id"]];
    assert_eq!([&listed["items"][0]["id"], &listed["items"][1]["id"]], newest_first);
    assert_eq!((&listed["items"][1]["uses"], &listed["items"][1]["used"]), (&json!(3), &json!(1)));
    assert!(!listed.to_string().contains(secret));
    let page = suite.read("/enrolment-tokens?page=2&page_size=1").await;
    assert_eq!((&page["items"][0]["id"], &page["total"]), (&first["id"], &json!(2)));
}

pub async fn revoking_what_is_not_there_is_404(place: Place) {
    let suite = Suite::spawn(place).await;
    for id in ["0190a5c2-7b5e-7c3d-8e4f-0123456789ab", "nonsense"] {
        assert_eq!(suite.delete(&format!("/enrolment-tokens/{id}")).await.status, 404);
    }
}

pub async fn bad_tokens_are_throttled_by_their_address_and_good_ones_never(place: Place) {
    let suite = Suite::spawn(place).await;
    let secret = suite.enrolment_token().await;
    for n in 0..15 {
        let good = with(&secret, &format!("a-key-of-many-bytes-{n}"), &format!("web-{n}"));
        assert_eq!(suite.post("/enrolments", good).await.status, 201);
    }
    for _ in 0..10 {
        assert_eq!(suite.post("/enrolments", with("guess", KEY, "x")).await.status, 401);
    }
    let throttled = suite.post("/enrolments", with("guess", KEY, "x")).await;
    assert_eq!((throttled.status, throttled.headers["retry-after"].to_str().unwrap()), (429, "900"));
    let detail = "too many bad enrolment tokens from this address; come back in 900 s";
    assert_eq!(throttled.body["detail"], detail);
    assert_eq!(suite.post("/enrolments", with(&secret, KEY, "x")).await.status, 201);
    suite.clock.advance(900 * SECOND);
    assert_eq!(suite.post("/enrolments", with("guess", KEY, "x")).await.status, 401);
}

pub async fn the_host_that_monitors_itself_enrols_once_with_a_token_of_its_own(place: Place) {
    let suite = Suite::spawn(place).await;
    let secret = make_enrolment_token(&suite.registry, &suite.clock).await.unwrap();
    assert_eq!(suite.post("/enrolments", with(secret.expose(), KEY, "this")).await.status, 201);
    let second = with(secret.expose(), "another-key-of-16", "that");
    assert_eq!(suite.post("/enrolments", second).await.status, 401);
}
