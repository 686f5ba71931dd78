//! A person ends a process of a host: the suite, the real agent, and what carries it out, as far as the host's owner allows.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use rollcall_agent::{Args, HandPlace, Settings};
use serde_json::{Value, json};
use testkit::{eventually, eventually_within, tempdir};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{binary::Running, suite::Client};

/// Far less than the interval of the agent: only the request that it holds brings an order by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that its owner allows to end.
struct Shop(Child);

impl Shop {
    fn open(program: &Path) -> Self {
        Self(Command::new(program).arg("600").spawn().unwrap())
    }

    /// As an order names it: its number, and when it began.
    fn target(&self) -> Value {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let (_, after) = stat.rsplit_once(") ").unwrap();
        let ticks: u64 = after.split(' ').nth(19).unwrap().parse().unwrap();
        json!({"pid": self.0.id(), "start_ms": ticks * 10})
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// A host whose owner lets this suite end what runs `program`.
fn hand_conf(dir: &Path, program: &Path, keys: &str) -> PathBuf {
    let conf = dir.join("hand.conf");
    let text =
        format!("signals = term\nexecutables = {}\nusers = 0-60000\nkeys = {keys}\n", program.display());
    fs::write(&conf, text).unwrap();
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o644)).unwrap();
    conf
}

/// The agent of a host that reports once an hour: what comes to it comes by its poll. Until the guard is dropped.
async fn agent(client: &Client, dir: &Path, url: String, conf: PathBuf) -> DropGuard {
    let (status, token) = client.post("/server-management/v1/enrolment-tokens", &json!({"uses": 1})).await;
    assert_eq!(status, 201, "{token}");
    let arguments = Args {
        url: Some(url),
        state_dir: Some(dir.join("agent").to_str().unwrap().to_owned()),
        interval: Some("3600".to_owned()),
        processes: Some("off".to_owned()),
        ..Args::default()
    };
    let mut settings = Settings::read(&arguments, token["token"].as_str().map(str::to_owned)).unwrap();
    settings.hand.conf = conf;
    settings.hand.place = HandPlace::Here(dir.join("hand"));
    let stop = CancellationToken::new();
    let until = stop.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(rollcall_agent::run(settings, until)).unwrap();
    });
    stop.drop_guard()
}

/// Asks for an order, and shows it once its host has said what became of it.
async fn ended(client: &Client, path: &str, body: &Value) -> Value {
    let (status, order) = client.post(path, body).await;
    assert_eq!(status, 201, "{order}");
    let shown = format!("orders/{}", order["id"].as_str().unwrap());
    let mut ended = Value::Null;
    eventually_within(PATIENCE, "the host says what became of it", async || {
        ended = client.get(&shown).await;
        ended["state"] != "pending"
    })
    .await;
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_ends_a_process_of_a_host_and_nothing_else() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: hand.conf has to belong to root, and this is not root");
        return;
    }
    let dir = tempdir().unwrap();
    let (data, program) = (dir.path().join("data"), dir.path().join("shop"));
    fs::copy("/usr/bin/sleep", &program).unwrap();
    let suite = Running::start(&data, &["--no-agent"]);
    let mut client = Client::new(suite.address);
    client.log_in(&data).await;
    client.elevate(&data).await;
    let key = client.get("order-key").await;
    let conf = hand_conf(dir.path(), &program, key["keys"].as_str().unwrap());
    let _agent = agent(&client, dir.path(), format!("http://{}", suite.address), conf).await;

    let mut server = Value::Null;
    eventually_within(PATIENCE, "the host says what it takes", async || {
        server = client.get("servers").await["items"][0].clone();
        server["latest"]["agent"]["hand"] == json!(["process.terminate"])
    })
    .await;
    let path = format!("/server-management/v1/servers/{}/orders", server["id"].as_str().unwrap());
    let order = async |body: Value| ended(&client, &path, &body).await;
    let terminate = |shop: &Shop, dry_run: bool| {
        let process = shop.target();
        json!({"kind": "process.terminate", "process": process, "reason": "it fills the disk", "dry_run": dry_run})
    };

    let (mut one, mut other) = (Shop::open(&program), Shop::open(&program));
    let tried = order(terminate(&one, true)).await;
    assert_eq!((&tried["state"], &tried["result"]["dry_run"]), (&json!("done"), &json!(true)), "{tried}");
    assert_eq!(one.0.try_wait().unwrap(), None, "a trial ends nothing");
    let done = order(terminate(&one, false)).await;
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(one.0.wait().unwrap().signal(), Some(15));
    assert_eq!(other.0.try_wait().unwrap(), None);

    // What its owner does not allow, or is another process by now, is refused by its code.
    let mut elsewhere = Command::new("/usr/bin/sleep").arg("600").spawn().map(Shop).unwrap();
    let refused = order(terminate(&elsewhere, false)).await;
    assert_eq!((&refused["state"], &refused["result"]["code"]), (&json!("refused"), &json!("not_allowed")));
    assert_eq!(elsewhere.0.try_wait().unwrap(), None);
    let mut later = terminate(&other, false);
    later["process"]["start_ms"] = json!(later["process"]["start_ms"].as_u64().unwrap() + 1_000);
    let mistaken = order(later).await;
    assert_eq!((&mistaken["state"], &mistaken["result"]["code"]), (&json!("refused"), &json!("mismatch")));
    assert_eq!(other.0.try_wait().unwrap(), None);
    let log = client.get("audit?object=order&page_size=50").await;
    let count = |action: &str| {
        let entries = log["items"].as_array().unwrap().iter();
        entries.filter(|entry| entry["action"] == action).count()
    };
    assert_eq!((count("order.create"), count("order.end")), (4, 4), "{log}");
    eventually("the gate has nothing more to hand out", async || {
        client.get("orders?state=pending").await["total"] == 0
    })
    .await;
}
