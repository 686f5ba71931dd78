//! Channels, routes, silences and messages by the interface.

use serde_json::{Value, json};

use crate::{
    place::Place,
    suite::{Answer, HOUR, MINUTE, NOW, SECOND, Suite},
};

const MARKER: &str = "m4rkerOfASecret";

/// A channel of each kind, with a secret that is found again.
fn channels() -> Vec<Value> {
    let url = format!("https://hooks.example.org/{MARKER}?{MARKER}");
    vec![
        json!({"name": "wecom", "kind": "wecom", "secret": {"key": MARKER}}),
        json!({"name": "telegram", "kind": "telegram", "config": {"chat_id": -5}, "secret": {"token": format!("1:{MARKER}")}}),
        json!({"name": "slack", "kind": "slack", "secret": {"url": url}}),
        json!({"name": "discord", "kind": "discord", "secret": {"url": url}}),
        json!({"name": "webhook", "kind": "webhook", "secret": {"url": url}}),
        json!({"name": "mail", "kind": "mail", "config": {"recipients": ["ops@example.org"]}}),
    ]
}

async fn make(suite: &Suite, path: &str, body: Value) -> Answer {
    let made = suite.post(path, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made
}

fn id(answer: &Answer) -> String {
    answer.body["id"].as_str().unwrap().to_owned()
}

fn etag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

pub async fn a_secret_goes_in_and_never_comes_out(place: Place) {
    let suite = Suite::spawn(place).await;
    let mut told = Vec::new();
    for body in channels() {
        let made = make(&suite, "/channels", body).await;
        let path = format!("/channels/{}", id(&made));
        let read = suite.get(&path).await;
        let changed = suite.patch(&path, &etag(&read), json!({"language": "vi"})).await;
        assert_eq!((changed.status, &changed.body["language"]), (200, &json!("vi")), "{changed:?}");
        let tested = suite.post(&format!("{path}/test"), json!({})).await;
        assert_eq!((tested.status, &tested.body["state"]), (202, &json!("queued")), "{tested:?}");
        let id = id(&read).parse().unwrap();
        told.extend([made.body, read.body, changed.body, tested.body]);
        let kept = suite.registry.channel(id).await.unwrap().unwrap();
        assert_eq!(kept.secret.is_some(), kept.kind().has_secret());
        assert!(!format!("{kept:?}").contains(MARKER));
    }
    for path in ["/channels", "/audit", "/notifications"] {
        told.push(suite.read(path).await);
    }
    let text = Value::from(told).to_string();
    assert!(!text.contains(MARKER), "{text}");
    // Of a hook's URL its origin alone.
    assert!(text.contains("\"secret_origin\":\"https://hooks.example.org\""), "{text}");
}

pub async fn what_cannot_work_is_refused_by_its_field(place: Place) {
    let suite = Suite::spawn(place).await;
    let url = |url: &str| json!({"name": "x", "kind": "webhook", "secret": {"url": url}});
    for (body, field) in [
        (json!({"name": "x", "kind": "pager"}), "kind"),
        (json!({"name": "x", "kind": "slack"}), "secret"),
        (json!({"name": "x", "kind": "slack", "secret": {"key": "x"}}), "secret"),
        (json!({"name": "x", "kind": "telegram", "secret": {"token": "1:a"}}), "config.chat_id"),
        (
            json!({"name": "x", "kind": "mail", "config": {"recipients": ["ops@elsewhere.org"]}}),
            "config.recipients",
        ),
        (json!({"name": "x", "kind": "wecom", "language": "xx", "secret": {"key": "a"}}), "language"),
        (json!({"name": "x", "kind": "wecom", "time_zone": "Mars", "secret": {"key": "a"}}), "time_zone"),
        (json!({"name": "x", "kind": "wecom", "template": "{name}", "secret": {"key": "a"}}), "template"),
        (url("https://127.0.0.1/"), "secret.url"),
        (url("https://[::1]/"), "secret.url"),
        (url("https://0x7f000001/"), "secret.url"),
        (url("http://example.org/"), "secret.url"),
    ] {
        let refused = suite.post("/channels", body.clone()).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{body} {refused:?}");
    }
    // What NOTIFY_ALLOW names is allowed, and the answer says how.
    let refused = suite.post("/channels", url("https://127.0.0.1:8/")).await;
    assert!(refused.body["detail"].as_str().unwrap().contains("NOTIFY_ALLOW=127.0.0.1:8"), "{refused:?}");
    make(&suite, "/channels", url("http://127.0.0.1:9/")).await;
    let taken = suite.post("/channels", json!({"name": "X", "kind": "wecom", "secret": {"key": "a"}})).await;
    assert_eq!((taken.status, &taken.body["code"]), (409, &json!("name_taken")));
    let nobody = "01a0c450-6c00-7909-8909-000000000000";
    let step = |after: i64| json!({"after_ms": after, "channels": []});
    for (body, field) in [
        (json!({"match": {}, "steps": [{"after_ms": 0, "channels": [nobody]}]}), "steps"),
        (json!({"match": {}, "steps": [step(5), step(5)]}), "steps"),
        (json!({"match": {}, "steps": [step(-1)]}), "steps"),
        (json!({"match": {}, "steps": [], "reminder_ms": 1_000}), "reminder_ms"),
        (json!({"match": {}, "steps": [], "min_level": "info"}), "min_level"),
        (json!({"match": {"label": {}}, "steps": []}), "match.label"),
    ] {
        let refused = suite.post("/alert-routes", body.clone()).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{body} {refused:?}");
    }
    for ends_at in [NOW, NOW - 1, NOW + 31 * 24 * HOUR, i64::MAX] {
        let refused = suite.post("/silences", json!({"match": {}, "ends_at": ends_at})).await;
        assert_eq!((refused.status, &refused.body["field"]), (422, &json!("ends_at")), "{refused:?}");
    }
}

pub async fn channels_routes_and_silences_are_changed_by_who_saw_them(place: Place) {
    let suite = Suite::spawn(place).await;
    let channel = make(&suite, "/channels", channels().remove(2)).await;
    let steps = json!([{"after_ms": 0, "channels": [id(&channel)]}]);
    let route =
        make(&suite, "/alert-routes", json!({"match": {"labels": {"site": "eu"}}, "steps": steps})).await;
    let silence =
        make(&suite, "/silences", json!({"match": {}, "ends_at": NOW + HOUR, "reason": "works"})).await;
    for (path, made, change, field, value) in [
        ("/channels", &channel, json!({"name": "ops"}), "name", json!("ops")),
        (
            "/alert-routes",
            &route,
            json!({"continue": true, "min_level": "critical"}),
            "min_level",
            json!("critical"),
        ),
        ("/silences", &silence, json!({"ends_at": NOW + 2 * HOUR}), "ends_at", json!(NOW + 2 * HOUR)),
    ] {
        let one = format!("{path}/{}", id(made));
        let changed = suite.patch(&one, &etag(made), change.clone()).await;
        assert_eq!((changed.status, &changed.body[field]), (200, &value), "{changed:?}");
        assert_eq!(suite.patch(&one, &etag(made), change.clone()).await.status, 412);
        let missing = suite
            .send(suite.call(reqwest::Method::PATCH, &one).bearer_auth(&suite.token).json(&change))
            .await;
        assert_eq!(missing.status, 428);
        assert_eq!(suite.read(path).await["total"], 1);
        assert_eq!(suite.delete(&one).await.status, 204);
        assert_eq!(suite.get(&one).await.status, 404);
    }
    let actions = suite.read("/audit?page_size=100").await.to_string();
    for action in
        ["channel.create", "channel.change", "channel.delete", "alert_route.change", "silence.delete"]
    {
        assert!(actions.contains(action), "{action}");
    }
}

/// The cache knows who is about to fall silent.
pub async fn who_falls_silent_among_others_is_told_with_them_and_who_does_alone_at_once(place: Place) {
    let mut suite = Suite::spawn(place).await;
    suite.management.ship_alert_rules().await.unwrap();
    let channel = make(&suite, "/channels", channels().remove(2)).await;
    let steps = json!([{"after_ms": 0, "channels": [id(&channel)]}]);
    make(&suite, "/alert-routes", json!({"match": {}, "steps": steps})).await;
    suite.at(NOW + 30 * SECOND).await;
    for number in 0..6 {
        let server = suite.enrol(&format!("web-{number}")).await;
        suite.hear(server, &[(NOW + number * 5 * SECOND, 0)]).await;
    }
    let alone = suite.enrol("alone").await;
    let turn = async |suite: &mut Suite, now| {
        suite.at(now).await;
        suite.settle(now, NOW - HOUR).await;
        suite.management.judge().await.unwrap();
        suite.management.tell().await.unwrap();
        let told = suite.read("/notifications").await;
        told["items"].as_array().unwrap().iter().map(|one| one["incidents"].clone()).collect::<Vec<_>>()
    };
    for second in [121, 126, 131, 136, 141] {
        assert_eq!(turn(&mut suite, NOW + second * SECOND).await, [0; 0], "after {second} s");
    }
    assert_eq!(suite.read("/incidents").await["total"], 5);
    assert_eq!(turn(&mut suite, NOW + 146 * SECOND).await, [json!(6)]);
    suite.at(NOW + 300 * SECOND).await;
    suite.hear(alone, &[(NOW + 300 * SECOND, 0)]).await;
    assert_eq!(turn(&mut suite, NOW + 421 * SECOND).await, [json!(1), json!(6)]);
}

pub async fn who_falls_silent_is_told_once_by_all_replicas_and_its_return_too(place: Place) {
    let mut suite = Suite::spawn(place).await;
    suite.management.ship_alert_rules().await.unwrap();
    let channel = make(&suite, "/channels", channels().remove(2)).await;
    let steps = json!([{"after_ms": 0, "channels": [id(&channel)]}]);
    make(&suite, "/alert-routes", json!({"match": {}, "steps": steps})).await;
    let server = suite.enrol("web-1").await;
    suite.hear(server, &[(NOW, 0)]).await;
    let replicas = [suite.replica(), suite.replica()];
    let now = NOW + 120 * SECOND + 1;
    suite.at(now).await;
    suite.settle(now, NOW - HOUR).await;
    let (a, b, c) = (&suite.management, &replicas[0].management, &replicas[1].management);
    a.judge().await.unwrap();
    let told = futures_util::join!(a.tell(), b.tell(), c.tell());
    for told in [told.0, told.1, told.2] {
        told.unwrap();
    }
    let incident = suite.read("/incidents").await["items"][0]["id"].as_str().unwrap().to_owned();
    let shown = suite.read(&format!("/incidents/{incident}")).await;
    assert_eq!(shown["notifications"].as_array().unwrap().len(), 1, "{shown}");
    let message = &shown["notifications"][0];
    assert_eq!(
        (&message["state"], &message["channel"], &message["incidents"]),
        (&json!("queued"), &json!("slack"), &json!(1))
    );
    let path = format!("/notifications/{}", message["id"].as_str().unwrap());
    assert_eq!(suite.read(&path).await, *message);
    let again = suite.post(&format!("{path}/resend"), json!({})).await;
    assert_eq!((again.status, &again.body["code"]), (409, &json!("not_lost")));
    // Heard again before anybody was told: nobody has to be.
    let back = now + MINUTE;
    suite.hear(server, &[(back, 0)]).await;
    suite.at(back).await;
    suite.settle(back, NOW - HOUR).await;
    suite.management.judge().await.unwrap();
    suite.management.tell().await.unwrap();
    assert_eq!(suite.read(&path).await["state"], "fallen");
    assert_eq!(suite.read("/notifications?state=queued").await["total"], 0);
    assert_eq!(suite.read(&format!("/notifications?incident={incident}")).await["total"], 1);
}
