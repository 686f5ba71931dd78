//! A table of bodies and credentials that nobody honest sends: the right answer, nothing published, never a 5xx.

use fleet::{Keyring, Millis};
use serde_json::{Value, json};

use crate::app::{self, App, Consume, NOW, credential, gzip, key, report, ring, server};

/// A body and what it must be answered.
struct Case {
    name: &'static str,
    body: Vec<u8>,
    gzip: bool,
    status: u16,
    code: &'static str,
    refused: &'static [(u64, &'static str)],
}

const INVALID: &[(u64, &str)] = &[(0, "invalid_snapshot")];

fn case(name: &'static str, body: impl Into<Vec<u8>>, status: u16, code: &'static str) -> Case {
    Case { name, body: body.into(), gzip: false, status, code, refused: &[] }
}

fn gzipped(name: &'static str, body: impl Into<Vec<u8>>, status: u16, code: &'static str) -> Case {
    Case { gzip: true, ..case(name, body, status, code) }
}

/// A report whose only snapshot has these members too, and is refused for them.
fn invalid(name: &'static str, members: Value) -> Case {
    invalid_text(name, &report(members).to_string())
}

/// The same, as text: for numbers that no JSON library writes.
fn invalid_text(name: &'static str, body: &str) -> Case {
    Case { refused: INVALID, ..case(name, body, 422, "invalid_body") }
}

fn command(of: &str, text: &str) -> Value {
    json!({"hash": fleet::processes::hash(of), "text": text})
}

fn long_commands(count: usize) -> Vec<Value> {
    let texts = (0..count).map(|n| format!("{n:04}{}", "x".repeat(996)));
    texts.map(|text| command(&text, &text)).collect()
}

fn snapshots(count: usize) -> String {
    let snapshot = json!({"sampled_at": NOW, "covers_ms": 0});
    json!({"interval_ms": 30_000, "snapshots": vec![snapshot; count]}).to_string()
}

fn sampled(at: Millis) -> String {
    report(json!({"sampled_at": at})).to_string()
}

fn not_json() -> Vec<Case> {
    let whole = report(json!({})).to_string();
    vec![
        case("empty", "", 400, "invalid_json"),
        case("words", "hello", 400, "invalid_json"),
        case("half", &whole[..whole.len() / 2], 400, "invalid_json"),
        case("more after the end", format!("{whole} x"), 400, "invalid_json"),
        case(
            "not UTF-8",
            b"{\"interval_ms\":30000,\"snapshots\":[{\"host\":{\"os\":\"\xff\"}}]}".to_vec(),
            400,
            "invalid_json",
        ),
        case("NaN", whole.replace("30000", "NaN"), 400, "invalid_json"),
        case("deep and never closed", "[".repeat(200_000), 400, "invalid_json"),
        gzipped("gzip that is none", whole.clone(), 400, "invalid_json"),
        gzipped("half a gzip", &gzip(whole.as_bytes())[..40], 400, "invalid_json"),
        gzipped("gzip of words", gzip(b"hello"), 400, "invalid_json"),
        gzipped("gzip with a tail", [gzip(whole.as_bytes()), b"tail".to_vec()].concat(), 400, "invalid_json"),
    ]
}

fn too_large() -> Vec<Case> {
    vec![
        case("one byte too many", vec![b' '; 256 * 1024 + 1], 413, "too_large"),
        case("ten megabytes", vec![b' '; 10_000_000], 413, "too_large"),
        gzipped("one byte too many inside", gzip(&vec![b' '; 1024 * 1024 + 1]), 413, "too_large"),
        gzipped("a bomb of 200 megabytes", gzip(&vec![b'0'; 200_000_000]), 413, "too_large"),
    ]
}

fn wrong_as_a_whole() -> Vec<Case> {
    let whole = report(json!({})).to_string();
    let code = "invalid_body";
    vec![
        case("a number", "7", 422, code),
        case("a list", format!("[{whole}]"), 422, code),
        case(
            "the fields as a list",
            json!([30_000, [{"sampled_at": NOW, "covers_ms": 0}]]).to_string(),
            422,
            code,
        ),
        case("all fields as lists", json!([30_000, [[NOW, 0]]]).to_string(), 422, code),
        case("deep and closed", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), 422, code),
        case("no snapshots", json!({"interval_ms": 30_000}).to_string(), 422, code),
        case(
            "no interval",
            json!({"snapshots": [{"sampled_at": NOW, "covers_ms": 0}]}).to_string(),
            422,
            code,
        ),
        case(
            "snapshots of another type",
            json!({"interval_ms": 30_000, "snapshots": {}}).to_string(),
            422,
            code,
        ),
        case("none", snapshots(0), 422, code),
        case("241", snapshots(241), 422, code),
        case("interval too short", whole.replace(":30000,\"sn", ":999,\"sn"), 422, code),
        case("interval too long", whole.replace(":30000,\"sn", ":3600001,\"sn"), 422, code),
        case("interval negative", whole.replace(":30000,\"sn", ":-30000,\"sn"), 422, code),
        case("interval huge", whole.replace(":30000,\"sn", ":1e400,\"sn"), 422, code),
        case("interval as text", whole.replace(":30000,\"sn", ":\"30000\",\"sn"), 422, code),
        case("interval twice", whole.replacen('{', "{\"interval_ms\":30000,", 1), 422, code),
    ]
}

fn wrong_in_one_snapshot() -> Vec<Case> {
    let whole = report(json!({})).to_string();
    let lone_surrogate = report(json!({"host": {"os": "OS"}})).to_string().replace("OS", "\\ud800");
    vec![
        invalid("a negative time", json!({"sampled_at": -1})),
        invalid("covers less than nothing", json!({"covers_ms": -1})),
        invalid("covers more than two intervals", json!({"covers_ms": 60_001})),
        invalid("covers null", json!({"covers_ms": null})),
        invalid("time as text", json!({"sampled_at": "now"})),
        invalid("time in fractions", json!({"sampled_at": 1.5})),
        invalid_text(
            "a list instead of a snapshot",
            &json!({"interval_ms": 30_000, "snapshots": [[NOW, 0]]}).to_string(),
        ),
        invalid("a list instead of a host", json!({"host": ["web-1"]})),
        invalid("a list instead of a processor", json!({"cpu": [1.5]})),
        invalid("a list instead of a memory", json!({"memory": [1, 2]})),
        invalid("a list instead of a disk", json!({"disks": [["/", "sda1"]]})),
        invalid("a list instead of a network", json!({"networks": [["eth0", 1, 2]]})),
        invalid("a list instead of a temperature", json!({"temperatures": [["cpu", 40.5]]})),
        invalid("a list instead of an agent", json!({"agent": [0, 1]})),
        invalid("a negative size", json!({"memory": {"total": -1}})),
        invalid("a size over 63 bits", json!({"memory": {"total": u64::MAX}})),
        invalid("a share over 100", json!({"cpu": {"total": 100.5}})),
        invalid("a huge share", json!({"cpu": {"total": 1e300}})),
        invalid_text("1e400", &report(json!({"cpu": {"total": 7}})).to_string().replace(":7", ":1e400")),
        invalid_text("a time of 1e400", &whole.replace(&NOW.to_string(), "1e400")),
        invalid_text("a time of 100 digits", &whole.replace(&NOW.to_string(), &"9".repeat(100))),
        invalid_text("half a pair of surrogates", &lone_surrogate),
        invalid("two loads", json!({"load": [1, 2]})),
        invalid("NUL", json!({"host": {"hostname": "a\0b"}})),
        invalid("257 bytes", json!({"disks": [{"mount": "m".repeat(257)}]})),
        invalid("a thousand disks", json!({"disks": vec![json!({}); 1_000]})),
        invalid("65 networks", json!({"networks": vec![json!({}); 65]})),
        invalid("129 temperatures", json!({"temperatures": vec![json!({}); 129]})),
        invalid("1,025 cores", json!({"cpu": {"cores": vec![1; 1_025]}})),
        invalid("65 processes", json!({"processes": {"rows": vec![json!({}); 65]}})),
        invalid("a list instead of a process", json!({"processes": {"rows": [[1, 2]]}})),
        invalid(
            "a command line with another's hash",
            json!({"processes": {"commands": [command("a", "b")]}}),
        ),
        invalid("a section of 50 KB", json!({"processes": {"commands": long_commands(50)}})),
        invalid("deep in a measurement", json!({"cpu": [[[[[[[[[[[[]]]]]]]]]]]]})),
        Case { refused: &[(0, "clock_ahead")], ..case("ahead", sampled(NOW + 30_001), 422, "invalid_body") },
        Case {
            refused: &[(0, "too_old")],
            ..case("old", sampled(NOW - 37 * 86_400_000), 422, "invalid_body")
        },
    ]
}

async fn hold(app: &App, case: Case, number: u8) {
    let credential = credential(number);
    let answer = if case.gzip {
        app.post_gzip(&credential, case.body).await
    } else {
        app.post(&credential, case.body).await
    };
    let told = (answer.status.as_u16(), answer.body["code"].as_str(), answer.refused());
    assert_eq!(told, (case.status, Some(case.code), case.refused.to_vec()), "{}: {}", case.name, answer.body);
    assert_eq!(answer.body["now"], NOW, "{}", case.name);
    assert!(answer.body.to_string().len() < 1_000, "{}: an answer as long as its question", case.name);
}

#[tokio::test]
async fn every_hostile_body_has_its_answer_and_publishes_nothing() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let cases = [not_json(), too_large(), wrong_as_a_whole(), wrong_in_one_snapshot()];
    for (number, case) in cases.into_iter().flatten().enumerate() {
        hold(&app, case, u8::try_from(number).unwrap()).await;
    }
    assert_eq!(app.records(), []);
    assert_eq!(app.post(&credential(1), report(json!({})).to_string()).await.status, 202);
    assert_eq!(app.records().len(), 1);
}

#[tokio::test]
async fn one_bad_snapshot_refuses_the_request_and_all_bad_ones_are_told() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let good = json!({"sampled_at": NOW, "covers_ms": 0});
    let snapshots = json!([good, {"covers_ms": 0}, good, {"sampled_at": NOW + 60_000, "covers_ms": 0}, 7]);
    let body = json!({"interval_ms": 30_000, "snapshots": snapshots}).to_string();
    let answer = app.post(&credential(1), body).await;
    answer.is_problem(422, "invalid_body");
    assert_eq!(answer.refused(), [(1, "invalid_snapshot"), (3, "clock_ahead"), (4, "invalid_snapshot")]);
    assert!(answer.body["refused"][0]["reason"].as_str().unwrap().contains("sampled_at"));
    assert_eq!(app.records(), []);
}

#[tokio::test]
async fn another_servers_name_in_the_body_changes_nothing() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let mut body = report(json!({"server_id": server(2), "credential": credential(2)}));
    body["server_id"] = json!(server(2));
    body["credential"] = json!(credential(2));
    assert_eq!(app.post(&credential(1), body.to_string()).await.status, 202);
    let servers: Vec<_> = app.records().iter().map(|record| record.server).collect();
    assert_eq!(servers, [server(1)]);
}

#[tokio::test]
async fn a_credential_that_is_not_in_force_is_unauthorized() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let good = credential(1);
    let other_id = good.replace(&server(1).to_string(), &server(2).to_string());
    let other_generation = good.replacen(".3.", ".4.", 1);
    let bad = [
        String::new(),
        "x".to_owned(),
        "....".to_owned(),
        "x".repeat(4_000),
        good[..good.len() - 1].to_owned(),
        format!("{good}.x"),
        other_id,
        other_generation,
        Keyring::new(key(9), None).issue(server(1), 3),
    ];
    for credential in bad {
        // A body that is wrong too: the credential is judged first, and the body never read.
        let answer = app.post(&credential, "not JSON").await;
        answer.is_problem(401, "unauthorized");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    app.send(app.request().body("{}")).await.is_problem(401, "unauthorized");
    for header in [format!("Basic {good}"), good.clone(), "Bearer".to_owned()] {
        app.send(app.request().header("authorization", header)).await.is_problem(401, "unauthorized");
    }
    assert_eq!(app.records(), []);
}

#[tokio::test]
async fn a_revoked_generation_is_unauthorized_and_an_older_denylist_does_not_bring_it_back() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let body = report(json!({})).to_string();
    assert_eq!(app.post(&credential(1), body.clone()).await.status, 202);
    app.run();
    let denylist = |version, lowest: &[(u8, u32)]| cache::Denylist {
        version,
        lowest: lowest.iter().map(|(number, lowest)| (server(*number), *lowest)).collect(),
    };
    app.cache.put_denylist(denylist(7, &[(1, 4)])).await.unwrap();
    testkit::eventually("the revoked one is refused", async || {
        app.clock.advance(50);
        app.post(&credential(1), body.clone()).await.status == 401
    })
    .await;
    assert_eq!(app.post(&ring().issue(server(1), 4), body.clone()).await.status, 202);
    assert_eq!(app.post(&credential(2), body.clone()).await.status, 202);
    app.cache.put_denylist(denylist(8, &[(2, 4)])).await.unwrap();
    testkit::eventually("the next version is in force", async || {
        app.clock.advance(50);
        app.post(&credential(2), body.clone()).await.status == 401
    })
    .await;
    assert_eq!(app.post(&credential(1), body).await.status, 202);
}

#[tokio::test]
async fn a_server_that_was_never_known_keeps_what_it_has_until_it_is_known() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let body = report(json!({})).to_string();
    let stranger = cache::Unknown { server: server(1), generation: 3, last_seen: NOW };
    app.cache.note_unknown(&[stranger]).await.unwrap();
    app.gate.read_denylist().await;
    let answer = app.post(&credential(1), body.clone()).await;
    answer.is_problem(503, "unknown_server");
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(app.post(&credential(2), body.clone()).await.status, 202);
    app.cache.forget_unknown(&[server(1)]).await.unwrap();
    // A gate that runs sees it by itself.
    app.run();
    testkit::eventually("it is let in", async || {
        app.clock.advance(50);
        app.post(&credential(1), body.clone()).await.status == 202
    })
    .await;
}

#[tokio::test]
async fn an_unknown_coding_is_told_which_one_is_known() {
    let app = app::spawn(Consume::AllBut(0)).await;
    let request = app.request().bearer_auth(credential(1)).header("content-encoding", "br").body("x");
    let answer = app.send(request).await;
    answer.is_problem(415, "unsupported_encoding");
    assert_eq!(answer.headers["accept-encoding"], "gzip");
}
