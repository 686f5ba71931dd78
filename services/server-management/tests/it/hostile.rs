use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    bodies::valid,
    suite::{Suite, record},
};

#[actix_web::test]
async fn hostile_parameters_are_refused_by_name() {
    let suite = Suite::embedded().await;
    let server = suite.enrol("web-1").await;
    let own = format!("/servers/{server}");
    let long = "x".repeat(257);
    let many = "label=a:b&".repeat(17);
    let cases = [
        ("/servers?nonsense=1".to_owned(), "nonsense"),
        ("/servers?=x".to_owned(), ""),
        ("/servers?Status=up".to_owned(), "Status"),
        ("/servers?status=sideways".to_owned(), "status"),
        ("/servers?status=up&status=down".to_owned(), "status"),
        ("/servers?status=&status=up".to_owned(), "status"),
        ("/servers?page=&page=".to_owned(), "page"),
        ("/servers?page=0".to_owned(), "page"),
        ("/servers?page=-1".to_owned(), "page"),
        ("/servers?page=1.5".to_owned(), "page"),
        ("/servers?page=99999999999999999999".to_owned(), "page"),
        ("/servers?page_size=0".to_owned(), "page_size"),
        ("/servers?page_size=501".to_owned(), "page_size"),
        ("/servers?sort=password_hash".to_owned(), "sort"),
        ("/servers?sort=name;DROP%20TABLE%20servers".to_owned(), "sort"),
        ("/servers?sort=name,-name".to_owned(), "sort"),
        ("/servers?sort=,".to_owned(), "sort"),
        ("/servers?label=novalue".to_owned(), "label"),
        ("/servers?label=:x".to_owned(), "label"),
        (format!("/servers?{many}"), "label"),
        ("/servers?q=a%00b".to_owned(), "q"),
        (format!("/servers?name={long}"), "name"),
        ("/enrolment-tokens?page_size=1000".to_owned(), "page_size"),
        ("/enrolment-tokens?q=x".to_owned(), "q"),
        (format!("{own}/uptime?from=yesterday"), "from"),
        (format!("{own}/uptime?from=5&to=5"), "from"),
        (format!("{own}/uptime?from=6&to=5"), "from"),
        (format!("{own}/uptime?from=-1"), "from"),
        (format!("{own}/uptime?to=99999999999999999999"), "to"),
        (format!("{own}/uptime?to=NaN"), "to"),
        (format!("{own}/uptime?page=1"), "page"),
        (format!("{own}/snapshots?points=0"), "points"),
        (format!("{own}/snapshots?points=1001"), "points"),
        (format!("{own}/snapshots?from=2026-13-01T00:00:00Z"), "from"),
        ("/uptime?points=5".to_owned(), "points"),
    ];
    for (path, parameter) in cases {
        let answer = suite.get(&path).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!("invalid_parameter")),
            "{path}: {answer:?}"
        );
        assert_eq!(answer.body["parameter"], parameter, "{path}");
    }
}

#[actix_web::test]
async fn a_route_without_parameters_refuses_any() {
    let suite = Suite::embedded().await;
    suite.elevate().await;
    let document = suite.read("/openapi.json").await;
    let mut refused = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array();
            let queried =
                parameters.is_some_and(|parameters| parameters.iter().any(|one| one["in"] == "query"));
            if queried || operation["servers"].is_array() {
                continue;
            }
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let body = match schema {
                Value::Null => json!({}),
                schema => valid(&document, schema, "", &mut Vec::new()),
            };
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = path.replace("{id}", "0190a5c2-7b5e-7c3d-8e4f-0123456789ab");
            let request = suite.call(method.clone(), &format!("{path}?page=1")).bearer_auth(&suite.token);
            // Where a version is asked for, any does.
            let answer = suite.send(request.header("if-match", "*").json(&body)).await;
            let told = (answer.status, &answer.body["code"], &answer.body["parameter"]);
            assert_eq!(told, (400, &json!("invalid_parameter"), &json!("page")), "{method} {path}");
            refused += 1;
        }
    }
    assert!(refused >= 10, "{refused}");
    assert_eq!(suite.read("/enrolment-tokens").await["total"], 0);
}

#[actix_web::test]
async fn a_name_that_a_client_made_up_is_told_once_and_cut() {
    let suite = Suite::embedded().await;
    let name = "é".repeat(3_000);
    for path in [format!("/servers?{name}=1"), format!("/servers?{name}=%00"), format!("/status?{name}")] {
        let answer = suite.get(&path).await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_parameter")));
        assert_eq!(answer.body["parameter"], "é".repeat(64));
        assert_eq!(answer.body.to_string().matches('é').count(), 64);
    }
}

#[actix_web::test]
async fn without_a_folder_of_agents_none_is_offered_and_the_setting_is_named() {
    let suite = Suite::embedded().await;
    let path = "/server-management/v1/install.sh";
    for path in ["/install.sh", path, "/server-management/v1/agents/x86_64"] {
        let answer = suite.send(suite.page(Method::GET, path)).await;
        assert_eq!((answer.status, &answer.body["code"]), (404, &json!("no_downloads")), "{path}");
        assert!(answer.body["detail"].as_str().unwrap().contains("AGENT_DOWNLOADS"), "{path}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
    }
    let none = suite.send(suite.call(Method::GET, "/agents")).await;
    assert_eq!((none.status, &none.body), (200, &json!({"items": []})));
    let refused = suite.send(suite.page(Method::POST, "/install.sh")).await;
    assert_eq!((refused.status, &refused.headers["allow"]), (405, &"GET".parse().unwrap()));
}

#[actix_web::test]
async fn a_compressed_body_is_refused() {
    let suite = Suite::embedded().await;
    let call = || suite.call(Method::POST, "/enrolment-tokens").bearer_auth(&suite.token).body("{}");
    let answer = suite.send(call().header("content-encoding", "gzip")).await;
    assert_eq!((answer.status, &answer.body["code"]), (415, &json!("unsupported_encoding")));
    assert_eq!(answer.headers["accept-encoding"], "identity");
    assert_eq!(suite.send(call().header("content-encoding", "identity")).await.status, 201);
}

#[actix_web::test]
async fn the_page_answers_get_and_head_and_refuses_what_changes() {
    let suite = Suite::embedded().await;
    for path in ["/server-management/v1/docs", "/", "/server-management/v1/docs.js"] {
        let page = suite.page(Method::GET, path).send().await.unwrap();
        let head = suite.page(Method::HEAD, path).send().await.unwrap();
        assert_eq!((page.status().as_u16(), head.status().as_u16()), (200, 200), "{path}");
        assert_eq!(head.headers()["content-length"], page.headers()["content-length"], "{path}");
        assert_eq!(head.headers()["content-type"], page.headers()["content-type"], "{path}");
        for method in [Method::POST, Method::DELETE, Method::OPTIONS] {
            let answer = suite.send(suite.page(method, path)).await;
            assert_eq!((answer.status, &answer.body["code"]), (405, &json!("method_not_allowed")), "{path}");
            assert_eq!(answer.headers["allow"], "GET, HEAD", "{path}");
        }
    }
}

#[actix_web::test]
async fn odd_parameters_that_are_in_bounds_are_answered() {
    let suite = Suite::embedded().await;
    let server = suite.enrol("web-1").await;
    suite.history.append(&[record(server, crate::suite::NOW, 0)]).await.unwrap();
    for path in [
        "/servers?page=4294967295&page_size=500".to_owned(),
        "/servers?q=%25%5F%5C%27%22--".to_owned(),
        "/servers?q=%FF%FE".to_owned(),
        "/servers?name=%F0%9F%92%A9&label=a:".to_owned(),
        "/servers?&&q=x&".to_owned(),
        "/servers?label=&label=a:b&label=a:b".to_owned(),
        "/enrolment-tokens?page=4294967295&page_size=500".to_owned(),
        format!("/servers/{server}/uptime?from=0&to=253402300799999"),
        format!("/servers/{server}/snapshots?from=0&to=253402300799999&points=1000"),
        format!("/servers/{server}/snapshots?from=0&to=1&points=1000"),
        "/uptime?from=0&to=253402300799999".to_owned(),
    ] {
        assert_eq!(suite.get(&path).await.status, 200, "{path}");
    }
}

#[actix_web::test]
async fn hostile_bodies_are_refused_and_change_nothing() {
    let suite = Suite::embedded().await;
    let secret = suite.enrolment_token().await;
    let enrol = |change: fn(&mut Value)| {
        let mut body =
            json!({"token": secret, "enrolment_key": "0123456789abcdef", "name": "web-1", "address": "a"});
        change(&mut body);
        body.to_string()
    };
    let cases = [
        ("/sessions", "".to_owned(), 400),
        ("/sessions", "{".to_owned(), 400),
        ("/sessions", "\u{feff}{}".to_owned(), 400),
        ("/sessions", "[".repeat(60_000), 400),
        ("/sessions", "null".to_owned(), 422),
        ("/sessions", r#"{"username":"admin"}"#.to_owned(), 422),
        ("/sessions", json!(["admin", crate::suite::PASSWORD]).to_string(), 422),
        ("/enrolment-tokens", "[1, 60]".to_owned(), 422),
        ("/sessions", r#"{"username":"admin","password":5}"#.to_owned(), 422),
        ("/sessions", r#"{"username":"admin","password":["a"]}"#.to_owned(), 422),
        ("/sessions", json!({"username": "admin", "password": "x".repeat(1_025)}).to_string(), 422),
        ("/sessions", json!({"username": "a\0b", "password": "x"}).to_string(), 422),
        ("/sessions", json!({"username": "admin", "password": "x".repeat(70_000)}).to_string(), 413),
        ("/sessions/refresh", r#"{"refresh_token":"guess"}"#.to_owned(), 401),
        ("/sessions/refresh", r#"{"refresh_token":null}"#.to_owned(), 422),
        ("/enrolment-tokens", r#"{"uses":0}"#.to_owned(), 422),
        ("/enrolment-tokens", r#"{"uses":10001}"#.to_owned(), 422),
        ("/enrolment-tokens", r#"{"uses":-1}"#.to_owned(), 422),
        ("/enrolment-tokens", r#"{"uses":1.5}"#.to_owned(), 422),
        ("/enrolment-tokens", r#"{"expires_in":59}"#.to_owned(), 422),
        ("/enrolment-tokens", r#"{"expires_in":86401}"#.to_owned(), 422),
        ("/enrolment-tokens", r#"{"expires_in":9223372036854775807}"#.to_owned(), 422),
        ("/enrolments", enrol(|body| body["name"] = json!("  ")), 422),
        ("/enrolments", enrol(|body| body["name"] = json!("a\0b")), 422),
        ("/enrolments", enrol(|body| body["name"] = json!("\u{200b}\u{2060}")), 422),
        ("/enrolments", enrol(|body| body["name"] = json!("x".repeat(257))), 422),
        ("/enrolments", enrol(|body| body["address"] = json!("x".repeat(257))), 422),
        ("/enrolments", enrol(|body| body["enrolment_key"] = json!("fifteen-bytes-x")), 422),
        ("/enrolments", enrol(|body| body["enrolment_key"] = json!("x".repeat(257))), 422),
        ("/enrolments", enrol(|body| body["token"] = json!("x".repeat(257))), 422),
        ("/enrolments", enrol(|body| body["token"] = json!("")), 422),
        ("/enrolments", enrol(|body| body["token"] = json!("guess")), 401),
    ];
    for (path, body, expected) in cases {
        let shown: String = body.chars().take(80).collect();
        let answer = suite.send(suite.call(Method::POST, path).bearer_auth(&suite.token).body(body)).await;
        assert_eq!(answer.status, expected, "{path} {shown}: {answer:?}");
        let code = match expected {
            400 => "invalid_json",
            401 => "unauthorized",
            413 => "too_large",
            _ => "invalid_body",
        };
        assert_eq!(answer.body["code"], code, "{path} {shown}");
    }
    assert_eq!(suite.read("/servers").await["total"], 0);
    assert_eq!(suite.read("/enrolment-tokens").await["total"], 1);
}

#[actix_web::test]
async fn unknown_paths_and_methods_are_problems() {
    let suite = Suite::embedded().await;
    for path in ["", "/", "/nonsense", "/servers/", "/users/x/y", "/../../etc/passwd", "/servers/x/y/z"] {
        assert_eq!(suite.get(path).await.status, 404, "{path}");
    }
    let answer = suite.delete("/servers").await;
    assert_eq!((answer.status, &answer.body["code"]), (405, &json!("method_not_allowed")));
    assert_eq!(answer.headers["allow"], "GET, POST");
    assert_eq!(suite.send(suite.call(Method::PUT, "/sessions")).await.headers["allow"], "GET, POST, DELETE");
    assert_eq!(suite.get("/sessions/refresh").await.status, 405);
}

#[actix_web::test]
async fn a_registry_that_is_away_is_503_and_says_nothing() {
    let suite = Suite::embedded().await;
    suite.registry.close().await;
    let answer = suite.get("/servers").await;
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("unavailable")));
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!answer.body.to_string().to_lowercase().contains("pool"), "{answer:?}");
}
