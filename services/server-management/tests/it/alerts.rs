//! Rules of alerts and incidents by the interface, and the judge.

use fleet::{Millis, ServerId};
use serde_json::{Value, json};

use crate::{
    place::Place,
    suite::{HOUR, MINUTE, NOW, SECOND, Suite, record, steady},
};

/// Time passes, the pipeline keeps up, and the judge works.
async fn pass(suite: &mut Suite, now: Millis) {
    suite.at(now).await;
    suite.settle(now, NOW - HOUR).await;
    suite.management.judge().await.unwrap();
}

async fn suite(place: Place) -> Suite {
    let suite = Suite::spawn(place).await;
    suite.management.ship_alert_rules().await.unwrap();
    suite
}

/// Incidents as the server or the check that they are about, their state and how they ended.
async fn incidents(suite: &Suite) -> Vec<(String, String, Option<String>)> {
    let listed = suite.read("/incidents").await;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut incidents: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let about = text(&one["server"]).or(text(&one["metric"])).unwrap();
            (about, text(&one["state"]).unwrap(), text(&one["resolution"]))
        })
        .collect();
    incidents.sort_unstable();
    incidents
}

fn open(about: &str) -> (String, String, Option<String>) {
    (about.to_owned(), "open".to_owned(), None)
}

fn resolved(about: &str, resolution: &str) -> (String, String, Option<String>) {
    (about.to_owned(), "resolved".to_owned(), Some(resolution.to_owned()))
}

pub async fn who_falls_silent_is_an_incident_until_heard_again(place: Place) {
    let mut suite = suite(place).await;
    let (silent, paused) = (suite.enrol("silent").await, suite.enrol("paused").await);
    suite.hear(silent, &[(NOW, 0)]).await;
    suite.hear(paused, &[(NOW, 0)]).await;
    let by = registry::Actor::system();
    suite.registry.pause(paused, &registry::Pause::default(), &by, NOW).await.unwrap().unwrap();
    pass(&mut suite, NOW + 120 * SECOND).await;
    assert_eq!(incidents(&suite).await, []);
    pass(&mut suite, NOW + 120 * SECOND + 1).await;
    assert_eq!(incidents(&suite).await, [open("silent")]);
    let shown = suite.read(&format!("/servers/{silent}")).await;
    assert_eq!(shown["open_incidents"][0]["kind"], "silent");
    assert_eq!(shown["open_incidents"][0]["began_at"], json!(NOW + 120 * SECOND));
    pass(&mut suite, NOW + 3 * MINUTE).await;
    assert_eq!(incidents(&suite).await, [open("silent")], "once");

    // The beat is too young to be in the registry: the cache knows it.
    suite.see(&record(silent, NOW + 3 * MINUTE, 0)).await;
    pass(&mut suite, NOW + 3 * MINUTE + SECOND).await;
    assert_eq!(incidents(&suite).await, [resolved("silent", "recovered")]);

    // After a pause there are four intervals until it is missed.
    suite.registry.resume(paused, &by, NOW + 10 * MINUTE).await.unwrap().unwrap();
    suite.see(&record(silent, NOW + 10 * MINUTE, 0)).await;
    pass(&mut suite, NOW + 12 * MINUTE).await;
    assert_eq!(incidents(&suite).await, [resolved("silent", "recovered")]);
    pass(&mut suite, NOW + 12 * MINUTE + 1).await;
    assert_eq!(incidents(&suite).await.len(), 3);
}

pub async fn silence_is_found_and_ended_without_the_cache(place: Place) {
    let mut suite = suite(place).await.restart_without_cache().await;
    let server = suite.enrol("web").await;
    suite.sight(&record(server, NOW, 0), NOW + 2 * MINUTE).await;
    pass(&mut suite, NOW + 7 * MINUTE).await;
    assert_eq!(incidents(&suite).await, []);
    pass(&mut suite, NOW + 7 * MINUTE + 1).await;
    assert_eq!(incidents(&suite).await, [open("web")]);
    let beat = record(server, NOW + 8 * MINUTE, 0);
    suite.sight(&beat, beat.silent_at()).await;
    pass(&mut suite, NOW + 8 * MINUTE).await;
    assert_eq!(incidents(&suite).await, [resolved("web", "recovered")]);
}

pub async fn while_monitoring_is_late_that_is_the_one_thing_that_is_told(place: Place) {
    let mut suite = suite(place).await;
    let (silent, well) = (suite.enrol("silent").await, suite.enrol("well").await);
    suite.hear(silent, &[(NOW, 0)]).await;
    suite.hear(well, &[(NOW, 0)]).await;
    pass(&mut suite, NOW + 121 * SECOND).await;
    assert_eq!(incidents(&suite).await, [open("silent"), open("well")]);
    // Workers are away for ten minutes.
    for minute in 2..=12 {
        suite.at(NOW + 121 * SECOND + minute * MINUTE).await;
        suite.management.judge().await.unwrap();
    }
    assert_eq!(incidents(&suite).await, [open("late"), open("silent"), open("well")]);
    // One was heard meanwhile. Gates were open all the time.
    let now = NOW + 15 * MINUTE;
    suite.see(&record(well, now, 0)).await;
    pass(&mut suite, now).await;
    assert_eq!(
        incidents(&suite).await,
        [resolved("late", "recovered"), open("silent"), resolved("well", "recovered")]
    );
}

pub async fn the_edge_cut_with_a_canary_is_one_deafness_and_no_storm_when_it_is_back(place: Place) {
    let mut suite = suite(place).await;
    let (web, gone) = (suite.enrol("web").await, suite.enrol("gone").await);
    let (canary, slow) = (suite.enrol("canary").await, suite.enrol("slow").await);
    suite.label(canary, &[("rollcall", "canary")]).await;
    let five_minutes = 5 * MINUTE;
    let beat = |server, at| {
        let mut record = record(server, at, 0);
        if server == slow {
            record.interval = five_minutes.try_into().unwrap();
        }
        record
    };
    // The way is cut at 30 s: the web counts as silent 25 s before the canary does.
    for (server, at) in [(web, 4), (gone, 5), (canary, 29), (slow, 1)] {
        let beat = beat(server, NOW + at * SECOND);
        suite.sight(&beat, beat.silent_at()).await;
        suite.see(&beat).await;
    }
    for second in (90..=149).step_by(10) {
        pass(&mut suite, NOW + second * SECOND).await;
        assert_eq!(incidents(&suite).await, [], "after {second} s");
    }
    for second in [150, 151, 300, 1_201, 1_800, 3_599] {
        pass(&mut suite, NOW + second * SECOND).await;
        assert_eq!(incidents(&suite).await, [open("deaf")], "after {second} s");
    }

    // It is back for a moment, which is not enough, and then for good.
    suite.see(&beat(canary, NOW + HOUR)).await;
    for second in [1, 119, 121, 200] {
        pass(&mut suite, NOW + HOUR + second * SECOND).await;
        assert_eq!(incidents(&suite).await, [open("deaf")], "{second} s after one beat");
    }
    let back = NOW + 2 * HOUR;
    for second in (0..=690).step_by(30) {
        let now = back + second * SECOND;
        suite.see(&beat(canary, now)).await;
        suite.see(&beat(web, now)).await;
        if second % 300 == 270 {
            suite.see(&beat(slow, now)).await;
        }
        pass(&mut suite, now).await;
        let expected = match second {
            0..120 => vec![open("deaf")],
            120 => vec![resolved("deaf", "recovered")],
            // Who does not come back is found, and nobody else.
            _ => vec![resolved("deaf", "recovered"), open("gone")],
        };
        assert_eq!(incidents(&suite).await, expected, "{second} s after it is back");
    }

    // A canary that dies alone is a server like any other.
    let died = back + 690 * SECOND;
    for second in (0..=150).step_by(30) {
        suite.see(&beat(web, died + second * SECOND)).await;
        pass(&mut suite, died + second * SECOND).await;
    }
    let found = incidents(&suite).await;
    assert_eq!(found, [open("canary"), resolved("deaf", "recovered"), open("gone")]);
}

pub async fn who_enrolled_and_is_not_heard_for_an_hour_is_told(place: Place) {
    let mut suite = suite(place).await;
    let server = suite.enrol("web").await;
    suite
        .registry
        .make_server(
            ServerId::new(NOW, [9; 10]),
            &registry::Profile { name: "made".to_owned(), ..Default::default() },
            &registry::Actor::system(),
            NOW,
        )
        .await
        .unwrap()
        .unwrap();
    pass(&mut suite, NOW + HOUR - 1).await;
    assert_eq!(incidents(&suite).await, []);
    pass(&mut suite, NOW + HOUR).await;
    assert_eq!(incidents(&suite).await, [open("web")]);
    suite.hear(server, &[(NOW + HOUR, 0)]).await;
    pass(&mut suite, NOW + HOUR + SECOND).await;
    assert_eq!(incidents(&suite).await, [resolved("web", "recovered")]);
}

pub async fn a_rule_that_no_longer_binds_ends_its_incidents(place: Place) {
    let mut suite = suite(place).await;
    let (web, db) = (suite.enrol("web").await, suite.enrol("db").await);
    suite.label(db, &[("role", "db")]).await;
    for server in [web, db] {
        suite.hear(server, &[(NOW, 0)]).await;
    }
    pass(&mut suite, NOW + 3 * MINUTE).await;
    assert_eq!(incidents(&suite).await, [open("db"), open("web")]);
    let rules = suite.read("/alert-rules").await;
    let rule = rules["items"].as_array().unwrap().iter().find(|rule| rule["kind"] == "silent").unwrap();
    let path = format!("/alert-rules/{}", rule["id"].as_str().unwrap());
    let changed = suite.patch(&path, "\"1\"", json!({"excludes": ["role:db"]})).await;
    assert_eq!((changed.status, &changed.body["excludes"]), (200, &json!(["role:db"])), "{changed:?}");
    pass(&mut suite, NOW + 4 * MINUTE).await;
    assert_eq!(incidents(&suite).await, [resolved("db", "rule_gone"), open("web")]);
    assert_eq!(suite.delete(&path).await.status, 204);
    pass(&mut suite, NOW + 5 * MINUTE).await;
    assert_eq!(incidents(&suite).await, [resolved("db", "rule_gone"), resolved("web", "rule_gone")]);
}

pub async fn a_rule_that_cannot_work_is_refused_by_its_field(place: Place) {
    let suite = suite(place).await;
    let rule = json!({"name": "disk", "kind": "value", "metric": "disk.used_percent", "op": "above", "critical": 90.0});
    let made = suite.post("/alert-rules", rule.clone()).await;
    assert_eq!(
        (made.status, &made.body["critical_clear"], &made.body["instance"]),
        (201, &json!(85.5), &json!("*"))
    );
    let path = format!("/alert-rules/{}", made.body["id"].as_str().unwrap());
    let with = |field: &str, value: Value| {
        let mut rule = rule.clone();
        rule["name"] = json!("another");
        rule[field] = value;
        rule
    };
    for (field, value) in [
        ("kind", json!("values")),
        ("metric", json!("disk")),
        ("instance", json!("x\0")),
        ("op", json!("over")),
        ("level", json!("critical")),
        ("critical", json!(null)),
        ("critical_clear", json!(91.0)),
        ("hold_ms", json!(-1)),
        ("needs", json!(["db"])),
        ("excludes", json!([":db"])),
        ("exclude_servers", json!([ServerId::new(1, [1; 10])])),
    ] {
        let refused = suite.post("/alert-rules", with(field, value)).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{refused:?}");
    }
    assert_eq!(suite.post("/alert-rules", rule).await.body["code"], "name_taken");
    let refused = suite.patch(&path, "\"1\"", json!({"critical": 80.0, "critical_clear": 81.0})).await;
    assert_eq!((refused.status, &refused.body["field"]), (422, &json!("critical_clear")));
    let moved = suite.patch(&path, "\"1\"", json!({"critical": 80.0})).await;
    assert_eq!((moved.status, &moved.body["critical_clear"]), (200, &json!(76.0)), "{moved:?}");
    assert_eq!(suite.patch(&path, "\"1\"", json!({"enabled": false})).await.status, 412);
}

pub async fn a_preview_counts_how_often_a_rule_would_have_fired_and_what_it_did_not_look_at(place: Place) {
    let mut suite = Suite::spawn(place).await;
    let (web, db) = (suite.enrol("web").await, suite.enrol("db").await);
    suite.enrol("never heard").await;
    suite.at(NOW + 5 * HOUR).await;
    for server in [web, db] {
        suite.hear(server, &steady(NOW, NOW + 5 * HOUR)).await;
    }
    suite.settle(NOW + 5 * HOUR, NOW).await;
    let preview = async |metric: &str, critical: f64| {
        let rule =
            json!({"name": "x", "kind": "value", "metric": metric, "op": "above", "critical": critical});
        let answer = suite.post("/alert-rules/preview", rule).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let of = |field: &str| answer.body[field].clone();
        assert_eq!((of("binds"), of("looked_at")), (json!(3), json!(3)));
        [of("fired"), of("fired_looked_at"), of("fired_not_held")]
    };
    // They were over for five hours on end: that is once each.
    assert_eq!(preview("cpu.total", 12.0).await, [json!(2), json!(3), json!(0)]);
    assert_eq!(preview("cpu.total", 13.0).await, [json!(0), json!(3), json!(0)]);
    // They have no disks; of who was never heard nothing is known.
    assert_eq!(preview("disk.used_percent", 90.0).await, [json!(0), json!(3), json!(1)]);
    assert_eq!(preview("memory.used_percent", 90.0).await, [json!(null), json!(3), json!(3)]);
    assert_eq!(preview("agent.spooled", 1.0).await, [json!(null), json!(0), json!(0)]);
}

pub async fn nobody_in_maintenance_is_missed_and_their_uptime_does_not_fall(place: Place) {
    let mut suite = suite(place).await;
    let (web, db) = (suite.enrol("web").await, suite.enrol("db").await);
    suite.label(db, &[("role", "db")]).await;
    for server in [web, db] {
        suite.hear(server, &[(NOW, 30 * SECOND)]).await;
    }
    // It began ten minutes ago, which nobody said then.
    let (starts_at, ends_at) = (NOW - 10 * MINUTE, NOW + 20 * MINUTE);
    let asked = json!({"name": "patches", "starts_at": starts_at, "ends_at": ends_at, "match": {"labels": ["role:db"]}});
    let preview = suite.post("/maintenance-windows/preview", asked.clone()).await;
    let opening = json!([{"local": "2026-09-21T14:03:20Z", "starts_at": starts_at, "ends_at": ends_at}]);
    assert_eq!((preview.status, &preview.body), (200, &json!({"servers": 1, "openings": opening})));
    let made = suite.post("/maintenance-windows", asked).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/maintenance-windows/{}", made.body["id"].as_str().unwrap());
    suite.management.maintain().await.unwrap();
    suite.management.maintain().await.unwrap();
    let shown = suite.read(&format!("/servers/{db}")).await;
    assert_eq!((&shown["status"], &shown["paused"]), (&json!("paused"), &Value::Null));
    let maintenance = json!({"window": made.body["id"], "name": "patches", "until": ends_at});
    assert_eq!(shown["maintenance"], maintenance);
    assert_eq!(suite.read(&format!("/servers/{web}")).await["maintenance"], Value::Null);
    assert_eq!(suite.read("/status").await["paused"], 1);
    assert_eq!(suite.read("/servers?status=paused").await["items"][0]["name"], "db");

    pass(&mut suite, NOW + 5 * MINUTE).await;
    assert_eq!(incidents(&suite).await, [open("web")]);
    let uptime = suite.read(&format!("/servers/{db}/uptime?from={}&to={}", NOW, NOW + 5 * MINUTE)).await;
    assert_eq!((&uptime["expected_ms"], &uptime["uptime"]), (&json!(0), &Value::Null));
    suite.at(ends_at).await;
    suite.management.maintain().await.unwrap();
    assert_eq!(suite.read(&format!("/servers/{db}")).await["status"], "up", "the pipeline has not got there");
    pass(&mut suite, ends_at + 2 * MINUTE).await;
    assert_eq!(incidents(&suite).await, [open("web")], "it has four intervals to report");
    pass(&mut suite, ends_at + 2 * MINUTE + 1).await;
    assert_eq!(incidents(&suite).await, [open("db"), open("web")]);

    // Another run, while it is missed.
    let longer = suite.patch(&path, "\"1\"", json!({"ends_at": ends_at + HOUR})).await;
    assert_eq!((longer.status, &longer.body["starts_at"]), (200, &json!(starts_at)), "{longer:?}");
    suite.management.maintain().await.unwrap();
    pass(&mut suite, ends_at + 3 * MINUTE).await;
    assert_eq!(incidents(&suite).await, [resolved("db", "paused"), open("web")]);
    assert_eq!(suite.delete(&path).await.status, 204);
    assert_eq!(suite.read(&format!("/servers/{db}")).await["status"], "down");
}

pub async fn a_window_that_cannot_work_is_refused_by_its_field(place: Place) {
    let suite = suite(place).await;
    let weekly =
        json!({"name": "weekly", "cron": "30 2 * * 0", "duration_ms": HOUR, "time_zone": "Europe/Berlin"});
    let with = |fields: Value| {
        let mut window = weekly.clone();
        window.as_object_mut().unwrap().append(&mut fields.as_object().unwrap().clone());
        window
    };
    for (field, fields) in [
        ("cron", json!({"cron": "30 2 * *"})),
        ("cron", json!({"cron": "0 0 30 2 *"})),
        ("cron", json!({"starts_at": NOW, "ends_at": NOW + 1})),
        ("cron", json!({"cron": null})),
        ("duration_ms", json!({"duration_ms": 0})),
        ("duration_ms", json!({"duration_ms": null})),
        ("time_zone", json!({"time_zone": "Berlin"})),
        ("starts_at", json!({"cron": null, "duration_ms": null})),
        ("starts_at", json!({"starts_at": NOW - 36 * 24 * HOUR, "ends_at": NOW})),
        ("ends_at", json!({"starts_at": NOW, "ends_at": NOW})),
        ("match.labels", json!({"match": {"labels": ["db"]}})),
        ("match.servers", json!({"match": {"servers": ["db"]}})),
    ] {
        let refused = suite.post("/maintenance-windows", with(fields.clone())).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{fields}: {refused:?}");
    }
    let made = suite.post("/maintenance-windows", weekly.clone()).await;
    assert_eq!((made.status, &made.body["next"][0]["local"]), (201, &json!("2026-09-27T02:30")), "{made:?}");
    assert_eq!(suite.post("/maintenance-windows", weekly).await.body["code"], "name_taken");
    let path = format!("/maintenance-windows/{}", made.body["id"].as_str().unwrap());
    let once = suite.patch(&path, "\"1\"", json!({"starts_at": NOW, "ends_at": NOW + HOUR})).await;
    assert_eq!(
        (once.status, &once.body["cron"], &once.body["ends_at"]),
        (200, &Value::Null, &json!(NOW + HOUR)),
        "{once:?}"
    );
    assert_eq!(suite.patch(&path, "\"1\"", json!({"enabled": false})).await.status, 412);
    assert_eq!(suite.read("/maintenance-windows").await["total"], 1);
}
