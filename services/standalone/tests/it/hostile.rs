//! Sheets that nobody should send, to the running suite: each is refused soon, in little memory, and changes nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::tempdir;

use crate::{
    binary::Running,
    forge::{Book, cell, headed},
    suite::Client,
};

/// The longest that one may take; these tests are not optimised.
const LONGEST: Duration = Duration::from_secs(60);
/// The most memory that all of them may add, in KiB: three times what a workbook may inflate to.
const MOST: u64 = 3 * 50 * 1024;
/// More than a workbook may inflate to.
const TOO_MUCH: usize = 60 << 20;

/// What it is, the file, and the status, code and first row's error of its answer.
type Case = (&'static str, Vec<u8>, (u16, &'static str, Option<&'static str>));

/// Names of columns that an import takes, then these rows.
fn rows(rows: &str) -> Book {
    Book::new(&format!("<row r=\"1\">{}{}</row>{rows}", cell("A1", "name"), cell("B1", "address")))
}

fn second(cells: &str) -> Book {
    rows(&format!("<row r=\"2\">{cells}</row>"))
}

fn workbooks() -> Vec<Case> {
    let sheet = |xml: &str| Book::new("").part("xl/worksheets/sheet1.xml", xml);
    let entities =
        "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\">]><worksheet>&b;</worksheet>";
    let far = rows(&format!("<row r=\"1048576\">{}</row>", cell("XFD1048576", "x")));
    let whole = second(&cell("A2", "web")).zip();
    let many = rows(&"<row><c><v>1</v></c></row>".repeat(20_000));
    let dated = second("<c r=\"A2\" s=\"0\"><v>1e300</v></c>").styles("", "<xf numFmtId=\"14\"/>");
    let (large, unread) = ((413, "too_large", None), (422, "invalid_sheet", None));
    let bad = (422, "invalid_rows", Some("bad_cell"));
    vec![
        ("a bomb of blanks", rows(&" ".repeat(TOO_MUCH)).zip(), large),
        ("a bomb of one text", second(&cell("A2", &"a".repeat(TOO_MUCH))).zip(), large),
        ("a bomb of shared texts", second("").strings("", &"<si/>".repeat(TOO_MUCH / 5)).zip(), unread),
        ("two cells far apart", far.zip(), unread),
        ("half of one", whole[..whole.len() / 2].to_vec(), unread),
        ("all but its end", whole[..whole.len() - 1].to_vec(), unread),
        ("20,000 rows", many.zip(), unread),
        ("deep XML", sheet(&"<x>".repeat(1_000_000)).zip(), unread),
        ("entities", sheet(entities).zip(), unread),
        ("a column that there is no use for", Book::new(&headed("")).zip(), unread),
        ("a formula", second("<c r=\"A2\"><f>1+1</f><v>2</v></c>").zip(), bad),
        ("an error", second("<c r=\"A2\" t=\"e\"><v>#REF!</v></c>").zip(), bad),
        ("infinity", second("<c r=\"A2\"><v>1e999</v></c>").zip(), bad),
        ("a date of no year", dated.zip(), bad),
        ("no such kind", second("<c r=\"A2\" t=\"zz\"><v>1</v></c>").zip(), bad),
        (
            "a bool as an address",
            second(&(cell("A2", "web") + "<c r=\"B2\" t=\"b\"><v>7</v></c>")).zip(),
            bad,
        ),
    ]
}

fn texts(own: &str) -> Vec<Case> {
    let unread = (422, "invalid_sheet", None);
    let good: String = (0..9_999).map(|n| format!("new-{n},10.0.0.1\n")).collect();
    let wrong = |code| (422, "invalid_rows", Some(code));
    vec![
        ("one bad row in 10,000", format!("name,address\n{good},10.0.0.1\n").into(), wrong("missing_name")),
        ("an id twice", format!("id,name\n{own},one\n{own},two\n").into(), wrong("duplicate_server")),
        ("a name twice", "name\none\nOne\n".into(), wrong("duplicate_name")),
        ("an id of nobody", "id,name\n0190a5c2-7b5e-7c3d-8e4f-0123456789ab,x\n".into(), wrong("unknown_id")),
        ("no id", "id,name\n1,x\n".into(), wrong("invalid_id")),
        (
            "a quote without an end",
            format!("name\n\"{}", "a\n".repeat(1 << 20)).into(),
            (413, "too_large", None),
        ),
        ("empty lines", "\n".repeat(5 << 20).into(), unread),
        ("20,000 rows", format!("name\n{}", "a\n".repeat(20_000)).into(), unread),
        ("more than is taken", vec![b'a'; (5 << 20) + 1], (413, "too_large", None)),
        ("no UTF-8", b"name\n\xff\n".to_vec(), unread),
        ("nothing", Vec::new(), unread),
    ]
}

#[tokio::test]
async fn each_hostile_sheet_is_refused_soon_and_in_little_memory() {
    let dir = tempdir().unwrap();
    let rollcall = Running::start(dir.path(), &["--no-agent"]);
    let mut client = Client::new(rollcall.address);
    client.log_in(dir.path()).await;
    let (status, own) = client.post("/server-management/v1/servers", &json!({"name": "own"})).await;
    assert_eq!(status, 201, "{own}");
    let own = own["id"].as_str().unwrap();
    let (servers, before) = (client.get("servers").await, rollcall.memory("VmHWM") / 1024);
    for (name, file, (status, code, first)) in workbooks().into_iter().chain(texts(own)) {
        let begun = Instant::now();
        let answer = client.import(&file).await;
        let (took, more) = (begun.elapsed(), rollcall.memory("VmHWM") / 1024 - before);
        println!("{name}: {} in {took:?}, {more} KiB so far", answer.0);
        assert_eq!((answer.0, &answer.1["code"]), (status, &json!(code)), "{name}: {}", answer.1);
        if let Some(first) = first {
            assert_eq!(answer.1["errors"][0]["code"], first, "{name}: {}", answer.1["errors"]);
            assert_eq!(
                answer.1["errors"].as_array().map(Vec::len),
                Some(1),
                "{name}: {}",
                answer.1["errors"]
            );
        }
        assert!(took < LONGEST && more < MOST, "{name}: {took:?}, {more} KiB so far");
    }
    assert_eq!(client.get("servers").await, servers);
    let (status, told) = client.import(b"name\nown\nanother\n").await;
    let counts: [&Value; 2] = [&told["unchanged"], &told["create"]];
    assert_eq!((status, counts), (200, [&json!(1), &json!(1)]), "it goes on: {told}");
}
