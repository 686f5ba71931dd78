//! Servers as sheets, out and in.

use std::collections::BTreeMap;

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use sheets::{Format, Limits, Upload};

use crate::{
    place::Place,
    suite::{Answer, NOW, Suite},
};

const BOUNDARY: &str = "a-boundary";

pub async fn export(suite: &Suite, query: &str) -> (Vec<u8>, HeaderMap) {
    let request = suite.call(Method::GET, &format!("/servers/export?{query}")).bearer_auth(&suite.token);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{query}");
    let headers = response.headers().clone();
    (response.bytes().await.unwrap().to_vec(), headers)
}

async fn send(suite: &Suite, query: &str, field: &str, file: &[u8]) -> Answer {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n\
         --{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"../x\"\r\n\r\n"
    );
    let body = [head.as_bytes(), file, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat();
    let request = suite.call(Method::POST, &format!("/servers/import{query}")).bearer_auth(&suite.token);
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    suite.send(request.header("content-type", kind).body(body)).await
}

async fn import(suite: &Suite, file: &[u8]) -> Answer {
    send(suite, "", "file", file).await
}

pub fn names(file: &[u8], format: Format) -> Vec<String> {
    let mut upload = Upload::open(file, format, Limits::default()).unwrap();
    let rows = upload.rows().unwrap();
    rows.map(|row| row.unwrap().get("name").text().unwrap().into_owned()).collect()
}

fn counts(body: &Value) -> [&Value; 3] {
    [&body["create"], &body["update"], &body["unchanged"]]
}

async fn hostile_servers(suite: &Suite) {
    let names =
        ["=1+1", "@SUM(A1)", "00123", "a,b;c", "\"quoted\"", "'tis", "1.50", "TRUE", "x\u{ffff}y", "ÄÖ 💣"];
    for (index, name) in names.into_iter().enumerate() {
        let labels = json!({"=k": "+v", "env": name, format!("n{index}"): "a:b"});
        let made = suite.post("/servers", json!({"name": name, "address": name, "labels": labels})).await;
        assert_eq!(made.status, 201, "{name}: {made:?}");
    }
    suite.post("/servers", json!({"name": "plain"})).await;
}

pub async fn what_was_exported_imports_unchanged(place: Place) {
    let suite = Suite::spawn(place).await;
    hostile_servers(&suite).await;
    suite.hear(suite.enrol("-heard").await, &[(NOW, 0)]).await;
    let before = suite.read("/servers").await;
    for (format, mime) in [(Format::Csv, "text/csv; charset=utf-8"), (Format::Xlsx, Format::Xlsx.mime_type())]
    {
        let (file, headers) = export(&suite, &format!("format={}", format.extension())).await;
        assert_eq!(headers["content-type"], mime);
        let disposition = format!("attachment; filename=\"servers.{}\"", format.extension());
        assert_eq!(headers["content-disposition"], disposition);
        assert_eq!(names(&file, format).len(), 12);
        for query in ["?dry_run=true", ""] {
            let answer = send(&suite, query, "file", &file).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(counts(&answer.body), [&json!(0), &json!(0), &json!(12)], "{answer:?}");
        }
    }
    assert_eq!(suite.read("/servers").await, before);
}

/// Texts that a sheet might take for something else, anything at all, and the longest that there may be.
fn any_text() -> impl Strategy<Value = String> {
    let traps = [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "'",
        "''=1",
        "00123",
        "1e5",
        "TRUE",
        "#N/A",
        "2026-01-01",
        "a,b;c\td",
        "\"\"",
        "a\nb",
        "_x000D_",
        "<b>&amp;</b>]]>",
        "e\u{301}\u{1f4f7}\u{202e}",
        "a:b",
        " blanks ",
    ];
    prop_oneof![
        prop::sample::select(traps.to_vec()).prop_map(str::to_owned),
        any::<String>(),
        "['=+@ _x0-9A-F\"\\-;,:]{1,12}",
        "[a-zäß💣=]{60,64}".prop_map(|text| text.repeat(4).chars().take(100).collect()),
    ]
}

pub async fn whatever_servers_are_called_their_export_imports_unchanged(place: Place) {
    let suite = Suite::spawn(place).await;
    let mut chance = TestRunner::deterministic();
    let server = (any_text(), any_text(), prop::collection::vec((any_text(), any_text()), 0..5));
    let mut made = 0;
    for _ in 0..250 {
        let (name, address, labels) = server.new_tree(&mut chance).unwrap().current();
        let labels: BTreeMap<_, _> = labels.into_iter().collect();
        // What no server can be called is refused here, and nothing of an export.
        for body in [json!({"name": name, "address": address, "labels": labels}), json!({"name": name})] {
            made += u64::from(suite.post("/servers", body).await.status == 201);
        }
    }
    assert!(made > 150, "{made} of them could be made");
    let all = "/servers?page_size=500&sort=name";
    let before = suite.read(all).await;
    assert_eq!(before["total"], made);
    for format in [Format::Csv, Format::Xlsx] {
        let (file, _) = export(&suite, &format!("format={}", format.extension())).await;
        for query in ["?dry_run=true", ""] {
            let answer = send(&suite, query, "file", &file).await;
            assert_eq!(answer.status, 200, "{format:?}: {:?}", answer.body["errors"]);
            let rows = answer.body["rows"].as_array().unwrap();
            let changed: Vec<_> = rows.iter().filter(|row| row["verdict"] != "unchanged").collect();
            assert_eq!((rows.len() as u64, changed), (made, vec![]), "{format:?}");
            assert_eq!(answer.body["errors"], json!([]), "{format:?}");
        }
    }
    assert_eq!(suite.read(all).await, before);
}

pub async fn an_export_is_narrowed_like_the_list(place: Place) {
    let suite = Suite::spawn(place).await;
    hostile_servers(&suite).await;
    let (file, _) = export(&suite, "format=csv&q=PLAIN").await;
    assert_eq!(names(&file, Format::Csv), ["plain"]);
    let (file, _) = export(&suite, "format=csv&label=env:00123&status=unknown").await;
    assert_eq!(names(&file, Format::Csv), ["00123"]);
    let (file, _) = export(&suite, "format=csv&status=down").await;
    assert!(file.starts_with(b"\xef\xbb\xbfid,name,address,labels,"), "{:?}", String::from_utf8_lossy(&file));
    assert_eq!(names(&file, Format::Csv), Vec::<String>::new());
    for query in ["format=pdf", "sort=name", "page=1", "format=csv&format=csv"] {
        assert_eq!(suite.get(&format!("/servers/export?{query}")).await.status, 400, "{query}");
    }
}

pub async fn a_dry_run_tells_what_would_become_of_each_row(place: Place) {
    let suite = Suite::spawn(place).await;
    let id = suite.enrol("web-1").await;
    suite.post("/servers", json!({"name": "same", "labels": {"env": "prod"}})).await;
    let csv = format!(
        "id,Name,address,labels\n{id},web-one,192.0.2.1,\"env:prod\nsite:eu\"\n,SAME,,env:prod\n,new,,\n\n,same,,\n,,,env:x\nnonsense,a,,\n,b,,broken\n"
    );
    let told = send(&suite, "?dry_run=true", "file", csv.as_bytes()).await;
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(counts(&told.body), [&json!(1), &json!(2), &json!(0)]);
    let changes = json!({
        "name": {"before": "web-1", "after": "web-one"},
        "address": {"before": "web-1.example", "after": "192.0.2.1"},
        "labels": {"before": {}, "after": {"env": "prod", "site": "eu"}},
    });
    assert_eq!(told.body["rows"][0], json!({"row": 2, "verdict": "update", "id": id, "changes": changes}));
    assert_eq!(told.body["rows"][2], json!({"row": 4, "verdict": "create", "id": null}));
    let errors: Vec<_> = told.body["errors"].as_array().unwrap().iter().collect();
    let codes: Vec<_> =
        errors.iter().map(|e| (e["column"].as_str().unwrap(), e["code"].as_str().unwrap())).collect();
    let expected = [
        ("name", "duplicate_server"),
        ("name", "missing_name"),
        ("id", "invalid_id"),
        ("labels", "invalid_labels"),
    ];
    assert_eq!(codes, expected, "{errors:?}");
    assert_eq!(suite.read("/servers").await["total"], 2);
    let good: String = csv.lines().take(5).map(|line| format!("{line}\n")).collect();
    let done = import(&suite, good.as_bytes()).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(counts(&done.body), [&json!(1), &json!(2), &json!(0)]);
    let made = done.body["rows"][2]["id"].as_str().unwrap();
    assert_eq!(suite.read(&format!("/servers/{made}")).await["enrolled_at"], json!(null));
    assert_eq!(suite.read(&format!("/servers/{id}")).await["name"], "web-one");
}

pub async fn one_wrong_row_leaves_everything_as_it_was(place: Place) {
    let suite = Suite::spawn(place).await;
    suite.enrol("web-1").await;
    let before = suite.read("/servers").await;
    let csv = "name,address\nweb-1,192.0.2.1\nnew,\n,192.0.2.2\nnew,\n";
    let refused = import(&suite, csv.as_bytes()).await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("invalid_rows")), "{refused:?}");
    let told = send(&suite, "?dry_run=true", "file", csv.as_bytes()).await;
    for member in ["create", "update", "unchanged", "errors", "rows"] {
        assert_eq!(refused.body[member], told.body[member], "{member}");
    }
    assert_eq!(told.body["errors"].as_array().unwrap().len(), 2);
    assert_eq!(suite.read("/servers").await, before);
}

pub async fn a_hostile_file_is_refused(place: Place) {
    let suite = Suite::spawn(place).await;
    let rows: String = (0..10_001).map(|n| format!("web-{n}\n")).collect();
    let many = format!("name\n{rows}");
    let large = vec![b'x'; (5 << 20) + 1];
    let cases: [(&[u8], u16, &str); 8] = [
        (b"", 422, "invalid_sheet"),
        (b"address\nx\n", 422, "invalid_sheet"),
        (b"name,name\nx,y\n", 422, "invalid_sheet"),
        (b"name,adress\nx,y\n", 422, "invalid_sheet"),
        (b"name\n\xff\xfe\n", 422, "invalid_sheet"),
        (b"PK\x03\x04 and nothing more", 422, "invalid_sheet"),
        (&large, 413, "too_large"),
        (many.as_bytes(), 422, "invalid_sheet"),
    ];
    for (file, status, code) in cases {
        let answer = import(&suite, file).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{answer:?}");
    }
    assert_eq!(send(&suite, "", "other", b"name\nx\n").await.status, 422);
    assert_eq!(send(&suite, "?dry_run=1", "file", b"name\nx\n").await.status, 400);
    assert_eq!(suite.post("/servers/import", json!({})).await.status, 422);
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    for body in ["", "--a-boundary", "--a-boundary\r\n\r\n\r\n", "--a-boundary--"] {
        let request = suite.call(Method::POST, "/servers/import").bearer_auth(&suite.token);
        let answer = suite.send(request.header("content-type", &kind).body(body)).await;
        assert_eq!((answer.status, &answer.body["code"]), (422, &json!("invalid_body")), "{body}");
    }
    assert_eq!(suite.read("/servers").await["total"], 0);
}
