//! The agents' own alert, in the whole suite.

use chassis::Clock;
use serde_json::{Value, json};
use testkit::{Proxy, Receiver, Service, eventually, tempdir};

use crate::suite::Suite;

/// The agent as it is, elected by the suite, on a way to it that is cut.
#[tokio::test(flavor = "multi_thread")]
async fn an_elected_agent_tells_once_that_no_gate_answers_and_once_that_one_does() {
    let (dir, clock, receiver) = (tempdir().unwrap(), Clock::system(), Receiver::start(Service::Slack).await);
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    let way = Proxy::start(suite.client.address()).await;
    let channel = dir.path().join("channel.json");
    let secret = json!({"url": format!("{}/hook", receiver.url())});
    private_file(&channel, &json!({"kind": "slack", "language": "vi", "secret": secret}));
    let (status, token) =
        suite.client.post("/server-management/v1/enrolment-tokens", &json!({"uses": 1})).await;
    assert_eq!(status, 201, "{token}");
    let args = rollcall_agent::Args {
        url: Some(format!("http://{}", way.addr())),
        state_dir: Some(dir.path().join("state").display().to_string()),
        interval: Some("1".to_owned()),
        name: Some("web-1".to_owned()),
        processes: Some("off".to_owned()),
        watch_file: Some(channel.display().to_string()),
        watch_allow: Some(receiver.address().to_string()),
        ..rollcall_agent::Args::default()
    };
    let token = token["token"].as_str().unwrap().to_owned();
    let settings = rollcall_agent::Settings::read(&args, Some(token)).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let agent = tokio::spawn(rollcall_agent::run(settings, stop.clone()));
    let state = || {
        let text = std::fs::read(dir.path().join("state/state.json")).unwrap_or_default();
        serde_json::from_slice::<Value>(&text).unwrap_or_default()
    };
    eventually("it is elected", async || state()["lease"].is_object()).await;
    assert_eq!(receiver.count(), 0);

    way.cut();
    eventually("it tells", async || receiver.count() == 1).await;
    eventually("and knows that it did", async || state()["outage"]["stage"] == "told").await;
    let held = async || std::fs::read_dir(dir.path().join("state/spool")).unwrap().count();
    eventually("it goes on sampling", async || held().await > 0).await;
    way.mend();
    eventually("it tells that it is over", async || receiver.count() == 2).await;
    eventually("and that is all", async || state()["outage"].is_null()).await;
    let told: Vec<String> = receiver.taken().iter().map(testkit::Taken::text).collect();
    assert!(
        told[0].starts_with("NGHIÊM TRỌNG: Máy chủ này không kết nối được với Rollcall · web-1"),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("ĐÃ KHÔI PHỤC: Máy chủ này không kết nối được với Rollcall · web-1"),
        "{told:?}"
    );
    assert_eq!(told.len(), 2);
    stop.cancel();
    agent.await.unwrap().unwrap();
    suite.stop().await;
}

/// A file for its owner alone.
fn private_file(path: &std::path::Path, body: &Value) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, body.to_string()).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
