//! From a host that breaks a rule to the phone of whoever is told, in the suite as it is run.

use serde_json::json;
use testkit::{Receiver, Service, eventually, tempdir};

use crate::{binary::Running, suite::Client};

#[tokio::test(flavor = "multi_thread")]
async fn what_this_host_breaks_is_told_and_its_end_too() {
    let (dir, receiver) = (tempdir().unwrap(), Receiver::start(Service::Webhook).await);
    let (data, allowed) = (dir.path().join("data"), receiver.address().to_string());
    let suite = Running::start(&data, &["--notify-allow", &allowed]);
    let mut client = Client::new(suite.address);
    client.log_in(&data).await;
    let made = async |path: &str, body| {
        let (status, made) = client.post(&format!("/server-management/v1{path}"), &body).await;
        assert!(status == 201 || status == 202, "{path}: {status} {made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let secret = json!({"url": format!("http://{allowed}/hook")});
    let channel = made("/channels", json!({"name": "ops", "kind": "slack", "secret": secret})).await;
    let steps = json!([{"after_ms": 0, "channels": [channel]}]);
    made("/alert-routes", json!({"match": {}, "steps": steps})).await;
    let rule = json!({"name": "any memory", "kind": "value", "metric": "memory.used_percent", "op": "above", "warning": 0.0});
    let rule = made("/alert-rules", rule).await;
    eventually("it is told", async || receiver.count() > 0).await;
    let told = receiver.taken()[0].text();
    assert!(told.contains("WARNING: any memory · ") && told.contains("memory.used_percent"), "{told}");
    assert!(told.contains(&format!("http://{}/#/incidents/", suite.address)), "{told}");
    assert_eq!(client.delete(&format!("alert-rules/{rule}")).await, 204);
    eventually("that it is not watched any more", async || receiver.count() > 1).await;
    assert!(receiver.taken()[1].text().contains("No longer watched: any memory"), "{:?}", receiver.taken());
    let key = std::fs::metadata(data.join("channel-key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
}
