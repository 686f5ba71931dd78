use fleet::{Interval, Millis, Record, ServerId, Snapshot, wire::v1};
use serde_json::{Value, json};

use crate::{
    place::Place,
    suite::{HOUR, MINUTE, NOW, SECOND, Suite, record},
};

const STEP: Millis = 30 * SECOND;

/// A sample with a database, which tells who it is in the first of twenty, and what else ran.
fn ran(server: ServerId, at: Millis, nth: i64, cpu: f32) -> Record {
    let text = "postgres -D /srv/data --password=***";
    let keyframe = nth % 20 == 0;
    let told = |text: &str| keyframe.then(|| text.to_owned());
    let row = v1::Process {
        pid: 4_711,
        start_ms: 120,
        cpu,
        rss: 1_000_000 * (1 + nth.unsigned_abs()),
        name: told("postgres"),
        user: told("db"),
        command: keyframe.then(|| fleet::processes::hash(text)),
        unit: told("postgresql.service"),
        ..v1::Process::default()
    };
    let section = v1::Processes {
        level: Some("basic".to_owned()),
        keyframe,
        count: 112,
        running: 2,
        rows: vec![row],
        users: vec![v1::UserTotal { user: "db".to_owned(), cpu, rss: 5, count: 9 }],
        other: Some(v1::OtherProcesses { cpu: 10.0, ..v1::OtherProcesses::default() }),
        commands: keyframe
            .then(|| v1::Command { hash: fleet::processes::hash(text), text: text.to_owned() })
            .into_iter()
            .collect(),
        ..v1::Processes::default()
    };
    let bare = record(server, at, STEP);
    let raw = v1::Snapshot { processes: Some(Box::new(section)), ..bare.snapshot.as_wire().clone() };
    Record { snapshot: Snapshot::check(raw, Interval::DEFAULT).unwrap(), ..bare }
}

/// Twenty minutes of samples that end at [`NOW`].
async fn filled(suite: &Suite) -> ServerId {
    let server = suite.enrol("web-1").await;
    let records: Vec<Record> =
        (0..40).map(|n| ran(server, NOW - (39 - n) * STEP, n, if n < 20 { 50.0 } else { 100.0 })).collect();
    suite.history.append(&records).await.unwrap();
    server
}

pub async fn a_moment_is_the_nearest_sample_with_who_its_rows_are(place: Place) {
    let suite = Suite::spawn(place).await;
    let server = filled(&suite).await;
    let at = async |query: &str| suite.read(&format!("/servers/{server}/processes{query}")).await;
    let last = at("").await;
    assert_eq!(
        last,
        json!({
            "sampled_at": NOW, "level": "basic", "count": 112, "running": 2, "blocked": 0,
            "rows": [{
                "pid": 4711, "start_ms": 120, "pin": null, "cpu": 100.0, "children": 0.0, "rss": 40_000_000, "pss": null,
                "read": null, "written": null, "received": null, "sent": null, "threads": 1, "state": "S",
                "name": "postgres", "ppid": null, "user": "db", "executable": null,
                "command": "postgres -D /srv/data --password=***", "unit": "postgresql.service",
            }],
            "pinned": [], "users": [{"user": "db", "cpu": 100.0, "rss": 5, "count": 9}],
            "other": {"cpu": 10.0}, "sessions": [], "units": [],
        })
    );
    for (moment, nearest) in [
        (NOW - STEP, NOW - STEP),
        (NOW - STEP + 10 * SECOND, NOW - STEP),
        (NOW - STEP + 20 * SECOND, NOW),
        (NOW - 2 * HOUR, NOW - 39 * STEP),
    ] {
        let found = at(&format!("?at={moment}")).await;
        assert_eq!((&found["sampled_at"], &found["rows"][0]["name"]), (&json!(nearest), &json!("postgres")));
    }
    let nothing = at(&format!("?at={}", NOW - 48 * HOUR)).await;
    assert_eq!((&nothing["sampled_at"], &nothing["rows"]), (&Value::Null, &json!([])));
    let none = suite.get("/servers/01a0c450-6c00-7909-8909-090909090900/processes").await;
    assert_eq!(none.status, 404, "{none:?}");
    let both = suite.get(&format!("/servers/{server}/processes?at={NOW}&sort=cpu")).await;
    assert_eq!((both.status, &both.body["code"]), (400, &json!("invalid_parameter")));
}

pub async fn a_range_is_who_used_how_much_of_it(place: Place) {
    let suite = Suite::spawn(place).await;
    let server = filled(&suite).await;
    let (from, to) = (NOW - 14 * MINUTE, NOW + 1);
    let read = suite.read(&format!("/servers/{server}/processes?from={from}&to={to}&sort=cpu")).await;
    // Samples 11 to 39: nine at 50 %, twenty at 100 %, 30 s each; who it is was told before the range.
    let row = json!({
        "name": "postgres", "user": "db", "command": "postgres -D /srv/data --password=***",
        "cpu_ms": 9 * 15_000 + 20 * 30_000, "rss_max": 40_000_000, "read": 0, "written": 0, "received": 0, "sent": 0,
        "samples": 29,
    });
    let other = json!({"cpu_ms": 29 * 3_000, "read": 0, "written": 0, "received": 0, "sent": 0});
    assert_eq!(read, json!({"from": from, "to": to, "samples": 29, "rows": [row], "other": other}));
    let long = suite.get(&format!("/servers/{server}/processes?from={}&to={to}", to - 25 * HOUR)).await;
    assert_eq!((long.status, &long.body["code"]), (400, &json!("invalid_parameter")), "{long:?}");
}

pub async fn command_lines_are_for_whoever_may_read_them(place: Place) {
    let suite = Suite::spawn(place).await;
    let server = filled(&suite).await;
    let moment = format!("/servers/{server}/processes");
    let range = format!("/servers/{server}/processes?sort=memory");
    suite.give(&["server:read", "process:read"]).await;
    for (path, name) in [(&moment, "postgres"), (&range, "postgres")] {
        let read = suite.read(path).await;
        assert_eq!((&read["rows"][0]["name"], &read["rows"][0]["command"]), (&json!(name), &Value::Null));
        assert!(!read.to_string().contains("srv/data"), "{read}");
    }
    suite.give(&["server:read"]).await;
    let refused = suite.get(&moment).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("insufficient_scope")));
}
