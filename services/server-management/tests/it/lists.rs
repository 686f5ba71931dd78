//! What a dashboard asks for every ten seconds comes compressed, and not at all if it has not changed.

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::{
    Method, RequestBuilder,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderMap, IF_NONE_MATCH, VARY},
};
use serde_json::{Value, json};

use crate::{
    place::Place,
    suite::{HOUR, NOW, PASSWORD, Suite, record, steady},
};

/// Of a page.
const SERVERS: usize = 500;

/// What of the interface has items, by its document.
async fn lists(suite: &Suite) -> Vec<(String, bool)> {
    let document = suite.read("/openapi.json").await;
    let mut lists = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let responses = &item["get"]["responses"];
        let schema = &responses["200"]["content"]["application/json"]["schema"];
        let Some(reference) = schema["$ref"].as_str() else { continue };
        let schema = document.pointer(&reference[1..]).unwrap();
        if schema["properties"]["items"].is_object() {
            lists.push((path.clone(), responses["304"].is_object()));
        }
    }
    lists
}

async fn again(suite: &Suite, path: &str, tag: &str) -> u16 {
    let request = suite.call(Method::GET, path).bearer_auth(&suite.token).header(IF_NONE_MATCH, tag);
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    assert_eq!(status == 304, body.is_empty(), "{path}");
    assert!(status != 304 || headers.contains_key(ETAG), "{path}");
    status
}

pub async fn who_has_a_list_is_not_sent_it_again(place: Place) {
    let suite = Suite::spawn(place).await;
    let server = suite.enrol("web-1").await;
    suite.hear(server, &steady(NOW - HOUR, NOW)).await;
    suite.settle(NOW, NOW - HOUR).await;
    let user = suite.post("/users", json!({"username": "ops", "password": PASSWORD, "role": "viewer"})).await;
    let lists = lists(&suite).await;
    assert!(lists.len() >= 11, "{lists:?}");
    for (path, documented) in &lists {
        assert!(documented, "{path} has items, and is not mounted as a list");
        // Of which servers has to be said.
        let path = &if path == "/servers/sparklines" { format!("{path}?id={server}") } else { path.clone() };
        let answer = suite.get(path).await;
        let tag = answer.headers[ETAG].to_str().unwrap();
        assert!(tag.starts_with("W/\""), "{path}: {tag}");
        assert_eq!(again(&suite, path, tag).await, 304, "{path}");
        assert_eq!(again(&suite, path, "W/\"another\"").await, 200, "{path}");
    }
    let before = suite.get("/users").await;
    let path = format!("/users/{}", user.body["id"].as_str().unwrap());
    assert_eq!(suite.patch(&path, "*", json!({"username": "operator"})).await.status, 200);
    assert_eq!(again(&suite, "/users", before.headers[ETAG].to_str().unwrap()).await, 200, "it changed");
    let none = suite.call(Method::GET, "/users").header(IF_NONE_MATCH, "*");
    assert_eq!(suite.send(none).await.status, 401, "who may not see it is not told whether it changed");
}

/// Head and body as they are sent, and the body as it is read.
async fn sent(request: RequestBuilder) -> (HeaderMap, usize, Vec<u8>) {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let (headers, body) = (response.headers().clone(), response.bytes().await.unwrap());
    let mut text = Vec::new();
    match headers.get(CONTENT_ENCODING) {
        Some(coding) => {
            assert_eq!(coding, "gzip");
            GzDecoder::new(&body[..]).read_to_end(&mut text).unwrap();
        }
        None => text.extend_from_slice(&body),
    }
    (headers, body.len(), text)
}

pub async fn answers_are_compressed_for_who_takes_it(place: Place) {
    let suite = Suite::spawn(place).await;
    for n in 0..SERVERS {
        let made =
            suite.post("/servers", json!({"name": format!("web-{n}"), "labels": {"site": "eu"}})).await;
        let server = made.body["id"].as_str().unwrap().parse().unwrap();
        suite.see(&record(server, NOW + i64::try_from(n).unwrap(), 0)).await;
    }
    let ask = |path: &str| suite.call(Method::GET, path).bearer_auth(&suite.token);
    for (path, part) in
        [("/servers?page_size=500", 8), ("/servers/export?format=csv", 3), ("/openapi.json", 4)]
    {
        let (plain, plain_bytes, text) = sent(ask(path)).await;
        assert!(!plain.contains_key(CONTENT_ENCODING), "{path}");
        let (packed, packed_bytes, same) = sent(ask(path).header(ACCEPT_ENCODING, "gzip, br")).await;
        assert_eq!(packed.get(CONTENT_ENCODING).unwrap(), "gzip", "{path}");
        assert!(text == same, "{path}");
        assert!(packed_bytes * part < plain_bytes, "{path}: {packed_bytes} of {plain_bytes} bytes");
        assert_eq!(packed[VARY], plain[VARY], "{path}");
        assert_eq!(packed.get(ETAG), plain.get(ETAG), "{path}");
    }
    for path in ["/servers/export?format=xlsx", "/status", "/servers?page_size=1&name=nobody"] {
        let (plain, ..) = sent(ask(path).header(ACCEPT_ENCODING, "gzip")).await;
        assert!(!plain.contains_key(CONTENT_ENCODING), "{path}");
    }
    let (page, ..) =
        sent(suite.page(Method::GET, "/server-management/v1/docs.js").header(ACCEPT_ENCODING, "gzip")).await;
    assert_eq!(page[CONTENT_ENCODING], "gzip");
    let list: Value = serde_json::from_slice(&sent(ask("/servers?page_size=500")).await.2).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), SERVERS);
}
