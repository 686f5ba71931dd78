use cache::Denylist;
use fleet::{Interval, Snapshot, wire::v1};
use serde_json::{Value, json};
use sheets::Format;
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::{
    place::Place,
    sheets::{export, names as exported},
    suite::{MINUTE, NOW, SECOND, Suite, record},
};

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

pub async fn a_server_shows_its_facts_its_latest_and_when_it_was_seen(place: Place) {
    let suite = Suite::spawn(place).await;
    let server = suite.enrol("web-1").await;
    let (sighted, latest) = (record(server, NOW, 0), record(server, NOW + MINUTE, 30 * SECOND));
    suite.sight(&sighted, sighted.silent_at()).await;
    suite.see(&latest).await;
    suite.settle(NOW + MINUTE, NOW).await;
    let read = suite.read(&format!("/servers/{server}")).await;
    assert_eq!((&read["status"], &read["last_seen_at"]), (&json!("up"), &json!(NOW + MINUTE)));
    assert_eq!(read["facts"]["hostname"], "host.internal");
    assert_eq!(read["latest"], serde_json::to_value(&latest.snapshot).unwrap());
    let mut fields: Vec<_> = read.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let expected = [
        "address",
        "conflict",
        "created_at",
        "enrolled_at",
        "facts",
        "id",
        "interval_ms",
        "labels",
        "last_seen_at",
        "latest",
        "maintenance",
        "name",
        "open_incidents",
        "paused",
        "status",
        "updated_at",
    ];
    assert_eq!(fields, expected);
    let mut listed = read;
    for alone in ["maintenance", "open_incidents"] {
        listed.as_object_mut().unwrap().remove(alone);
    }
    assert_eq!(suite.read("/servers").await["items"][0], listed);

    let suite = suite.restart_without_cache().await;
    let read = suite.read(&format!("/servers/{server}")).await;
    assert_eq!((&read["latest"], &read["last_seen_at"]), (&json!(null), &json!(NOW)));
}

pub async fn what_is_not_there_is_404(place: Place) {
    let suite = Suite::spawn(place).await;
    for id in
        ["0190a5c2-7b5e-7c3d-8e4f-0123456789ab", "nonsense", "0190A5C2-7B5E-7C3D-8E4F-0123456789AB", "%FF"]
    {
        for path in ["", "/snapshots", "/uptime", "/outages"] {
            let answer = suite.get(&format!("/servers/{id}{path}")).await;
            assert_eq!((answer.status, &answer.body["code"]), (404, &json!("not_found")), "{id}{path}");
        }
        for what in ["revoke", "pause", "resume", "enrolment-tokens"] {
            assert_eq!(suite.post(&format!("/servers/{id}/{what}"), json!({})).await.status, 404, "{what}");
        }
        assert_eq!(suite.patch(&format!("/servers/{id}"), "*", json!({})).await.status, 404);
        assert_eq!(suite.delete(&format!("/servers/{id}")).await.status, 404);
    }
}

pub async fn the_list_is_filtered_sorted_and_paged(place: Place) {
    let mut suite = Suite::spawn(place).await;
    let mut enrolled = Vec::new();
    for name in ["beta", "Alpha", "delta", "gamma"] {
        enrolled.push(suite.enrol(name).await);
        suite.clock.advance(SECOND);
    }
    let (beta, delta) = (enrolled[0], enrolled[2]);
    let down = suite.enrol("omega").await;
    suite.hear(down, &[(NOW, 0)]).await;
    suite.at(NOW + 20 * MINUTE).await;
    suite.settle(NOW + 20 * MINUTE, NOW).await;
    suite.label(beta, &[("site", "eu")]).await;
    suite.label(delta, &[("site", "eu"), ("tier", "a:b")]).await;

    let everyone = suite.read("/servers?status=&name=&address=&q=&label=&sort=&page=&page_size=").await;
    assert_eq!(names(&everyone), ["Alpha", "beta", "delta", "gamma", "omega"]);
    assert_eq!(
        (&everyone["total"], &everyone["page"], &everyone["page_size"]),
        (&json!(5), &json!(1), &json!(50))
    );
    let page = suite.read("/servers?sort=-name&page=2&page_size=2").await;
    assert_eq!(names(&page), ["delta", "beta"]);
    assert_eq!((&page["total"], &page["page"], &page["page_size"]), (&json!(5), &json!(2), &json!(2)));
    let cases: [(&str, &[&str]); 10] = [
        ("sort=-created_at", &["omega", "gamma", "delta", "Alpha", "beta"]),
        ("sort=status,-name&page_size=1", &["omega"]),
        ("name=ALPHA", &["Alpha"]),
        ("address=beta.example", &["beta"]),
        ("q=LTA", &["delta"]),
        ("q=host.internal", &["omega"]),
        ("label=site:eu", &["beta", "delta"]),
        ("label=site:eu&label=tier:a:b", &["delta"]),
        ("status=down", &["omega"]),
        ("q=%25", &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(names(&suite.read(&format!("/servers?{query}")).await), expected, "{query}");
    }
    assert_eq!(suite.read("/servers?status=unknown&page_size=3").await["total"], 4);
    assert_eq!(names(&suite.read("/servers?page=9").await), Vec::<&str>::new());
}

pub async fn revoking_denies_at_once_and_an_emptied_cache_has_it_again(place: Place) {
    let suite = Suite::spawn(place).await;
    let (revoked, other) = (suite.enrol("web-1").await, suite.enrol("web-2").await);
    let before = suite.registry.standing(&[revoked]).await.unwrap()[&revoked].generation;
    assert_eq!(suite.post(&format!("/servers/{revoked}/revoke"), json!(null)).await.status, 204);
    let denylist = suite.cache.denylist().await.unwrap().unwrap();
    assert_eq!(denylist.lowest.get(&revoked), Some(&(before + 1)));
    assert_eq!(denylist.lowest.get(&other), None);

    let suite = suite.restart_without_cache().await;
    assert_eq!(suite.cache.denylist().await.unwrap(), None);
    let shutdown = CancellationToken::new();
    let running =
        actix_web::rt::spawn(suite.management.clone().run(crate::suite::nobody(), shutdown.clone()));
    eventually("the denylist is in the cache", async || {
        suite.cache.denylist().await.unwrap() == Some(Denylist { ..denylist.clone() })
    })
    .await;
    shutdown.cancel();
    running.await.unwrap();
}

/// A server that is heard now, with these percentages of cpu, memory and of its disks.
async fn measured(suite: &Suite, name: &str, cpu: f32, memory: u64, disks: &[u64]) -> fleet::ServerId {
    let server = suite.enrol(name).await;
    let mut record = record(server, suite.clock.now(), 30 * SECOND);
    let mut raw = record.snapshot.as_wire().clone();
    raw.cpu = Some(v1::Cpu { total: Some(cpu), ..v1::Cpu::default() });
    raw.memory = Some(v1::Memory { total: Some(100), used: Some(memory), ..v1::Memory::default() });
    let disk = |used: &u64| v1::Disk { total: Some(100), used: Some(*used), ..v1::Disk::default() };
    raw.disks = disks.iter().map(disk).collect();
    record.snapshot = Snapshot::check(raw, Interval::DEFAULT).unwrap();
    suite.sight(&record, record.silent_at()).await;
    suite.see(&record).await;
    server
}

pub async fn the_whole_fleet_is_a_picture_of_which_only_what_changed_is_sent_again(place: Place) {
    let suite = Suite::spawn(place).await;
    let first = measured(&suite, "b", 12.6, 50, &[10, 90]).await;
    let never = suite.enrol("a").await;
    suite.label(first, &[("site", "eu")]).await;
    suite.settle(NOW, NOW - MINUTE).await;
    let whole = suite.read("/servers/cells?group=site").await;
    let version = whole["version"].as_str().unwrap().to_owned();
    let expected = json!({"version": version, "ids": [never, first], "names": ["a", "b"], "groups": ["", "eu"], "group": [0, 1],
        "changed": null, "state": "nu", "cpu": [null, 13], "memory": [null, 50], "disk": [null, 90]});
    assert_eq!(whole, expected);

    let since = async |version: &str| suite.read(&format!("/servers/cells?group=site&since={version}")).await;
    let nothing =
        json!({"version": version, "changed": [], "state": "", "cpu": [], "memory": [], "disk": []});
    assert_eq!(since(&version).await, nothing);
    suite.clock.advance(5 * SECOND);
    suite.post(&format!("/servers/{never}/pause"), json!({})).await;
    let third = since(&version).await;
    assert_eq!(
        (&third["changed"], &third["state"], &third["cpu"]),
        (&json!(null), &json!("pu"), &json!([null, 13]))
    );
    assert!(third["ids"].is_null(), "{third}");
    let of_another_process = format!("{}.1", version.split('.').next().unwrap());
    assert_eq!(since(&of_another_process).await["state"], "pu");
    for unknown in ["x", "x.y", "."] {
        assert_eq!(since(unknown).await["names"], json!(["a", "b"]), "{unknown}");
    }
    suite.clock.advance(5 * SECOND);
    suite.enrol("c").await;
    assert_eq!(since(third["version"].as_str().unwrap()).await["names"], json!(["a", "b", "c"]));
}

pub async fn servers_are_sorted_and_filtered_by_what_was_measured_last(place: Place) {
    let suite = Suite::spawn(place).await;
    measured(&suite, "calm", 3.0, 90, &[20]).await;
    measured(&suite, "busy", 97.0, 50, &[30, 95]).await;
    measured(&suite, "even", 97.0, 10, &[30]).await;
    suite.enrol("mute").await;
    suite.settle(NOW, NOW - MINUTE).await;
    for (query, expected) in [
        ("sort=-cpu,-name", vec!["even", "busy", "calm", "mute"]),
        ("sort=cpu,name", vec!["calm", "busy", "even", "mute"]),
        ("sort=-memory", vec!["calm", "busy", "even", "mute"]),
        ("sort=status,-disk", vec!["mute", "busy", "even", "calm"]),
        ("sort=-disk&page_size=2&page=2", vec!["calm", "mute"]),
        ("cpu_above=96", vec!["busy", "even"]),
        ("cpu_above=97", vec![]),
        ("cpu_above=50&disk_above=90", vec!["busy"]),
        ("memory_above=0&q=ven&sort=-cpu", vec!["even"]),
        ("sort=-cpu&page=9", vec![]),
    ] {
        assert_eq!(names(&suite.read(&format!("/servers?{query}")).await), expected, "{query}");
    }
    assert_eq!(suite.read("/servers?cpu_above=50&page_size=1").await["total"], 2);
    let (sheet, _) = export(&suite, "format=csv&cpu_above=96").await;
    assert_eq!(exported(&sheet, Format::Csv), ["busy", "even"], "an export is of whom the list shows");
    let (sheet, _) = export(&suite, "format=csv&cpu_above=97").await;
    assert_eq!(exported(&sheet, Format::Csv), Vec::<String>::new());
    for wrong in [
        "sort=-cpu,address",
        "sort=uptime,-uptime",
        "sort=uptime,address",
        "sort=cpu,-cpu",
        "cpu_above=100",
        "cpu_above=-1",
        "disk_above=x",
    ] {
        let refused = suite.get(&format!("/servers?{wrong}")).await;
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("invalid_parameter")), "{wrong}");
    }
}
