use cache::Denylist;
use serde_json::{Value, json};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::{
    place::Place,
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
        "name",
        "paused",
        "status",
        "updated_at",
    ];
    assert_eq!(fields, expected);
    assert_eq!(suite.read("/servers").await["items"][0], read);

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
