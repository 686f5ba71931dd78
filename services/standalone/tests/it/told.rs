//! From a host that breaks a rule to the phone of whoever is told, in the suite as it is run.

use std::process::{Child, Command, Stdio};

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

/// A load on this host, until it is dropped: mostly the kernel's, which little else on a busy machine is.
struct Burning(Vec<Child>);

impl Burning {
    fn start() -> Self {
        let cores = std::thread::available_parallelism().unwrap().get();
        let burn = |_| {
            let mut command = Command::new("dd");
            command.args(["if=/dev/zero", "of=/dev/null", "bs=1M"]).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        Self((0..2 * cores).map(burn).collect())
    }
}

impl Drop for Burning {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The real agent, a rule on its own processor, a load that breaks it.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_on_this_host_is_told_at_wecom_and_its_end_too() {
    let (dir, receiver) = (tempdir().unwrap(), Receiver::start(Service::Wecom).await);
    let suite = Running::start_telling(receiver.address(), dir.path());
    let mut client = Client::new(suite.address);
    client.log_in(dir.path()).await;
    let made = async |path: &str, body| {
        let (status, made) = client.post(&format!("/server-management/v1{path}"), &body).await;
        assert_eq!(status, 201, "{path}: {made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let channel = made("/channels", json!({"name": "ops", "kind": "wecom", "secret": {"key": "k-1"}})).await;
    let steps = json!([{"after_ms": 0, "channels": [channel]}]);
    let rule = json!({"name": "kernel", "kind": "value", "metric": "cpu.system", "op": "above", "critical": 50.0,
        "critical_clear": 40.0, "hold_ms": 2_000, "clear_hold_ms": 2_000});
    let rule = made("/alert-rules", rule).await;
    made("/alert-routes", json!({"match": {"rules": [rule]}, "steps": steps})).await;

    let burning = Burning::start();
    eventually("it is told", async || receiver.count() > 0).await;
    drop(burning);
    let told = &receiver.taken()[0];
    assert_eq!(
        (told.path.as_str(), &told.body["msgtype"]),
        ("/cgi-bin/webhook/send?key=k-1", &json!("markdown"))
    );
    let text = told.text();
    assert!(text.contains("CRITICAL: kernel · ") && text.contains("cpu.system"), "{text}");
    let is_over = async || receiver.taken().iter().any(|taken| taken.text().contains("RECOVERED: kernel · "));
    eventually("its end is told", is_over).await;
}
