//! The binary as a person starts it.

use std::{
    ffi::OsString,
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use testkit::{eventually, tempdir};

use crate::suite::Client;

/// The binary under test: the one that was just built, or the one that ROLLCALL_BINARY names.
pub fn binary() -> OsString {
    std::env::var_os("ROLLCALL_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_rollcall").into())
}

/// A running `rollcall`, killed with -9 when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    child: Child,
}

impl Running {
    pub fn start(dir: &Path, arguments: &[&str]) -> Self {
        Self::start_at(free_address(), dir, arguments)
    }

    pub fn start_at(address: SocketAddr, dir: &Path, arguments: &[&str]) -> Self {
        let mut command = rollcall(dir, address);
        command.args(arguments).stdout(Stdio::null()).env("ROLLCALL_INTERVAL", "1");
        Self { address, child: command.spawn().unwrap() }
    }

    /// One that may have so many bytes of memory to write to; it ends if it asks for more.
    pub fn start_limited(most: u64, dir: &Path, arguments: &[&str]) -> Self {
        let address = free_address();
        let mut command = Command::new("sh");
        command.env_clear().arg("-c").arg("ulimit -d \"$0\" && exec \"$@\"").arg((most / 1024).to_string());
        let rollcall = rollcall(dir, address);
        command.arg(rollcall.get_program()).args(rollcall.get_args()).args(arguments).stdout(Stdio::null());
        Self { address, child: command.spawn().unwrap() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes, by their name in `/proc/<pid>/status`: `VmRSS` is what it has, `VmHWM` the most that it had.
    pub fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// One that finds WeCom where this address is.
    pub fn start_telling(wecom: SocketAddr, dir: &Path) -> Self {
        let address = free_address();
        let mut command = rollcall(dir, address);
        command.args(["--notify-allow", &wecom.to_string(), "--interval", "1"]).stdout(Stdio::null());
        command.env("NOTIFY_BASE_WECOM", format!("http://{wecom}"));
        Self { address, child: command.spawn().unwrap() }
    }

    /// One that logs to this file, at this level.
    pub fn start_logging(log: &Path, level: &str, dir: &Path, arguments: &[&str]) -> Self {
        let address = free_address();
        let mut command = rollcall(dir, address);
        command.args(arguments).env("LOG_LEVEL", level).stdout(fs::File::create(log).unwrap());
        Self { address, child: command.spawn().unwrap() }
    }

    fn terminate(&mut self) -> Option<i32> {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn rollcall(dir: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(binary());
    command.env_clear().arg("--data").arg(dir).arg("--listen").arg(address.to_string());
    // Nobody outside of this host is asked.
    for kind in ["WECOM", "TELEGRAM"] {
        command.env(format!("NOTIFY_BASE_{kind}"), "https://127.0.0.1:9");
    }
    command
}

pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn this_very_machine_is_up_with_its_measurements_history_and_uptime() {
    let dir = tempdir().unwrap();
    let mut rollcall = Running::start(dir.path(), &[]);
    let mut client = Client::new(rollcall.address);
    client.log_in(dir.path()).await;
    let two_beats = async || {
        let uptime = client.get("uptime").await;
        uptime["items"][0]["covered_ms"].as_i64() >= Some(1_000)
    };
    eventually("this host has an uptime figure", two_beats).await;

    let servers = client.get("servers?status=up").await;
    assert_eq!(servers["total"], 1, "{servers}");
    let host = &servers["items"][0];
    assert_eq!(host["facts"]["arch"], std::env::consts::ARCH, "{host}");
    assert!(host["latest"]["memory"]["total"].as_u64() > Some(0), "{host}");
    assert!(!host["latest"]["cpu"]["cores"].as_array().unwrap().is_empty(), "{host}");
    let id = host["id"].as_str().unwrap();
    let points = client.get(&format!("servers/{id}/snapshots?points=10")).await;
    assert!(points["points"][0]["memory"]["max"].as_f64() > Some(0.0), "{points}");
    let at = host["latest"]["sampled_at"].as_i64().unwrap();
    let from = at - host["latest"]["covers_ms"].as_i64().unwrap();
    assert_eq!(client.get(&format!("servers/{id}/uptime?from={from}&to={at}")).await["uptime"], 1.0);
    assert_eq!(rollcall.terminate(), Some(0));
}

/// The newest sample of this host, once there is one after `earlier`.
async fn sampled_after(client: &Client, earlier: i64) -> i64 {
    let newest = async || client.get("servers").await["items"][0]["latest"]["sampled_at"].as_i64();
    eventually("this host is sampled", async || newest().await > Some(earlier)).await;
    newest().await.unwrap()
}

#[tokio::test]
async fn a_restart_is_no_outage_of_its_own_host() {
    let dir = tempdir().unwrap();
    let interval = ["--interval", "30"];
    let mut rollcall = Running::start(dir.path(), &interval);
    let mut client = Client::new(rollcall.address);
    client.log_in(dir.path()).await;
    let first = sampled_after(&client, 0).await;
    let mut newest = first;
    for killed in [false, true] {
        match killed {
            true => rollcall.kill(),
            false => assert_eq!(rollcall.terminate(), Some(0)),
        }
        rollcall = Running::start(dir.path(), &interval);
        client = Client::new(rollcall.address);
        client.log_in(dir.path()).await;
        newest = sampled_after(&client, newest).await;
    }
    let host = client.get("servers").await["items"][0]["id"].as_str().unwrap().to_owned();
    let range = format!("from={first}&to={newest}");
    let uptime = client.get(&format!("servers/{host}/uptime?{range}")).await;
    assert_eq!(
        (&uptime["uptime"], &uptime["expected_ms"]),
        (&1.0.into(), &(newest - first).into()),
        "{uptime}"
    );
    let outages = client.get(&format!("servers/{host}/outages?{range}")).await;
    assert_eq!(outages["outages"], serde_json::json!([]), "{outages}");
}

#[tokio::test]
async fn a_second_instance_on_the_same_data_refuses_to_start() {
    let dir = tempdir().unwrap();
    let first = Running::start(dir.path(), &["--no-agent"]);
    let client = Client::new(first.address);
    eventually("the first is ready", async || client.ready().await).await;
    let second = rollcall(dir.path(), free_address()).output().unwrap();
    assert!(!second.status.success());
    assert!(said(&second).contains("already runs"), "{}", said(&second));
    assert!(client.ready().await);
}

#[tokio::test]
async fn a_lost_password_has_a_way_back_on_the_machine() {
    let dir = tempdir().unwrap();
    let reset = |given: Option<&str>| {
        let mut command = rollcall(dir.path(), free_address());
        command.arg("reset-password").envs(given.map(|password| ("NEW_PASSWORD", password)));
        command.output().unwrap()
    };
    let nowhere = reset(None);
    assert!(!nowhere.status.success() && said(&nowhere).contains("no registry.db"), "{}", said(&nowhere));
    assert!(!dir.path().join("lock").exists(), "nothing is made of a folder's misspelt name");

    let mut running = Running::start(dir.path(), &["--no-agent"]);
    Client::new(running.address).log_in(dir.path()).await;
    let meanwhile = reset(None);
    assert!(!meanwhile.status.success() && said(&meanwhile).contains("already runs"), "{}", said(&meanwhile));
    assert_eq!(running.terminate(), Some(0));

    let weak = reset(Some("password"));
    assert!(!weak.status.success() && said(&weak).contains("tried first"), "{}", said(&weak));
    let file = dir.path().join("admin-password");
    assert!(file.exists());
    let made = reset(None);
    assert!(made.status.success(), "{}", said(&made));
    assert!(!file.exists(), "it held the password before");

    // The client reads the password from this file.
    fs::write(&file, made.stdout).unwrap();
    let running = Running::start(dir.path(), &["--no-agent"]);
    Client::new(running.address).log_in(dir.path()).await;
}

#[tokio::test]
async fn compact_says_what_it_gave_back_and_leaves_a_running_suite_alone() {
    let dir = tempdir().unwrap();
    let compact = || rollcall(dir.path(), free_address()).arg("compact").output().unwrap();
    let nowhere = compact();
    assert!(!nowhere.status.success() && said(&nowhere).contains("no history.db"), "{}", said(&nowhere));
    let mut running = Running::start(dir.path(), &["--no-agent"]);
    Client::new(running.address).log_in(dir.path()).await;
    let meanwhile = compact();
    assert!(!meanwhile.status.success() && said(&meanwhile).contains("already runs"), "{}", said(&meanwhile));
    assert_eq!(running.terminate(), Some(0));
    let done = compact();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && told.contains("MB are free again"), "{told} {}", said(&done));
    let running = Running::start(dir.path(), &["--no-agent"]);
    Client::new(running.address).log_in(dir.path()).await;
}

#[tokio::test]
async fn healthcheck_tells_whether_it_is_ready() {
    let dir = tempdir().unwrap();
    let running = Running::start(dir.path(), &["--no-agent"]);
    let client = Client::new(running.address);
    eventually("it is ready", async || client.ready().await).await;
    let check = |address| rollcall(dir.path(), address).arg("healthcheck").output().unwrap();
    assert!(check(running.address).status.success());
    let nobody = check(free_address());
    assert!(!nobody.status.success() && said(&nobody).contains("nothing answers"), "{}", said(&nobody));
}

#[test]
fn all_mistakes_in_the_settings_are_told_at_once_and_no_secret_prints() {
    let dir = tempdir().unwrap();
    let mut command = rollcall(dir.path(), free_address());
    command
        .env("AGENT_KEY", "short-agent-key")
        .env("TOKEN_KEY", "short-token-key")
        .env("ADMIN_PASSWORD", "password")
        .env("SMTP_CA_FILE", "/dev/null");
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let said = said(&output);
    for setting in [
        "AGENT_KEY: ",
        "TOKEN_KEY: ",
        "ADMIN_PASSWORD: is one of those",
        "SMTP_CA_FILE: /dev/null holds no certificate",
    ] {
        assert!(said.contains(setting), "{said}");
    }
    assert!(!said.contains("short-agent-key") && !said.contains("short-token-key"), "{said}");
}

/// Starts it, waits until it has said so much, and ends it. Returns all that it said.
async fn what_it_says(dir: &Path, address: SocketAddr, last: &str) -> String {
    let file = dir.with_extension("said");
    let mut command = rollcall(dir, address);
    command.arg("--no-agent").stdout(fs::File::create(&file).unwrap());
    let _running = Running { address, child: command.spawn().unwrap() };
    let said = || fs::read_to_string(&file).unwrap();
    eventually("it says how to begin", async || said().contains(last)).await;
    said()
}

#[tokio::test]
async fn a_password_file_is_named_only_while_its_password_is_the_one() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let last = "  program ";
    let start = async || what_it_says(&data, free_address(), last).await;
    let file = data.join("admin-password");
    let named = format!("as admin, with the password in {}", file.display());
    for _ in 0..2 {
        let said = start().await;
        assert!(said.contains(&named), "{said}");
    }
    // As after a restore, or a change of the password: the file has another one than the registry.
    fs::write(&file, "the password of another folder\n").unwrap();
    let said = start().await;
    assert!(!said.contains(&named) && said.contains("is not admin's (any more)"), "{said}");
    // As of a backup without the file: nobody has set ADMIN_PASSWORD.
    fs::remove_file(&file).unwrap();
    let said = start().await;
    assert!(said.contains("with the passwords in force") && !said.contains("ADMIN_PASSWORD"), "{said}");
}

#[tokio::test]
async fn a_listener_without_tls_says_what_goes_in_clear_and_what_to_do() {
    let dir = tempdir().unwrap();
    let last = "  program ";
    let everywhere = SocketAddr::new([0, 0, 0, 0].into(), free_address().port());
    let said = what_it_says(&dir.path().join("open"), everywhere, last).await;
    for word in
        ["without TLS", "passwords, tokens, credentials", "TRUSTED_PROXIES=1", &everywhere.to_string()]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    let said = what_it_says(&dir.path().join("local"), free_address(), last).await;
    assert!(!said.contains("without TLS"), "{said}");
}

#[tokio::test]
async fn localhost_is_an_address_to_listen_on() {
    let dir = tempdir().unwrap();
    let address = free_address();
    let mut command = Command::new(binary());
    command.env_clear().arg("--no-agent").arg("--data").arg(dir.path()).stdout(Stdio::null());
    let child = command.arg("--listen").arg(format!("localhost:{}", address.port())).spawn().unwrap();
    let running = Running { address, child };
    let client = Client::new(running.address);
    eventually("it is ready", async || client.ready().await).await;
    let output = Command::new(binary()).env_clear().args(["--listen", "8199"]).output().unwrap();
    assert!(!output.status.success() && said(&output).contains("127.0.0.1:8199"), "{}", said(&output));
}

#[tokio::test]
async fn the_dashboard_is_served_and_runs_nothing_but_its_own_files() {
    let dir = tempdir().unwrap();
    let running = Running::start(dir.path(), &["--no-agent"]);
    let client = Client::new(running.address);
    eventually("it is ready", async || client.ready().await).await;
    let page = testkit::http().get(format!("http://{}/", running.address)).send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    let text = page.text().await.unwrap();
    assert!(text.contains("<title>Rollcall</title>") && !text.contains("<script>"), "{text}");
}

#[tokio::test]
async fn keys_and_passwords_are_for_their_owner_alone() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let running = Running::start(&data, &[]);
    let client = Client::new(running.address);
    eventually("it is ready", async || client.ready().await).await;
    let mode = |name: &str| fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    for name in ["agent-key", "token-key", "admin-password"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

#[test]
fn an_empty_registry_beside_a_history_is_told_and_stays_as_it_is() {
    let dir = tempdir().unwrap();
    for (name, text) in [("registry.db", ""), ("history.db", "a history")] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let output = rollcall(dir.path(), free_address()).output().unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("registry.db is empty, and history.db is beside it"), "{}", said(&output));
    assert_eq!(fs::metadata(dir.path().join("registry.db")).unwrap().len(), 0);
}

#[test]
fn a_damaged_database_is_an_error_that_names_the_file() {
    let dir = tempdir().unwrap();
    fs::write(
        dir.path().join("registry.db"),
        "this is no database, and longer than a page header".repeat(99),
    )
    .unwrap();
    let output = rollcall(dir.path(), free_address()).env("AGENT_KEY", "k".repeat(64)).output().unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("registry.db"), "{}", said(&output));
}
