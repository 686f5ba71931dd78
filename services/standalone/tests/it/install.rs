//! The script that installs an agent, as a host runs it; below a folder, where it needs no root.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
};

use serde_json::json;
use testkit::{TempDir, eventually, tempdir};

use crate::{binary::Running, suite::Client};

const UNIT: &str = include_str!("../../../../agent/rollcall-agent.service");
const HAND_UNIT: &str = include_str!("../../../../agent/rollcall-hand.service");
/// What is to be there afterwards, and its mode.
const INSTALLED: [(&str, u32); 8] = [
    ("usr/local/bin/rollcall-agent", 0o755),
    ("etc/rollcall", 0o750),
    ("etc/rollcall/agent.env", 0o640),
    ("etc/rollcall/token", 0o600),
    ("etc/rollcall/ca.pem", 0o644),
    ("etc/systemd/system/rollcall-agent.service", 0o644),
    ("var/lib/rollcall-agent", 0o700),
    ("etc/rollcall/watch.json", 0o600),
];

/// The agent that cargo built beside `rollcall`.
fn agent() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_rollcall")).with_file_name("rollcall-agent");
    assert!(path.exists(), "build it: cargo build --package rollcall-agent");
    path
}

/// A suite that offers this agent for this architecture, and a host that is a folder.
struct Rig {
    dir: TempDir,
    suite: Running,
    client: Client,
}

/// An installed agent, ended when it is dropped.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Rig {
    async fn start(arguments: &[&str]) -> Self {
        let dir = tempdir().unwrap();
        fs::create_dir(dir.path().join("downloads")).unwrap();
        let offered = dir.path().join("downloads").join(format!("rollcall-agent-{}", std::env::consts::ARCH));
        fs::copy(agent(), offered).unwrap();
        let downloads = dir.path().join("downloads").display().to_string();
        let own = ["--no-agent", "--agent-downloads", &downloads];
        let data = dir.path().join("data");
        let suite = Running::start(&data, &[&own, arguments].concat());
        let mut client = Client::new(suite.address);
        client.log_in(&data).await;
        Self { dir, suite, client }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn put_token(&self) {
        let (status, made) = self.client.post("/server-management/v1/enrolment-tokens", &json!({})).await;
        assert_eq!(status, 201, "{made}");
        fs::write(self.path("token"), made["token"].as_str().unwrap()).unwrap();
    }

    async fn script(&self, headers: &[(&str, &str)]) -> (u16, String) {
        let request = testkit::http().get(format!("http://{}/install.sh", self.suite.address));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    fn host(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("DESTDIR", self.path("host"));
        command
    }

    fn run(&self, script: &str, settings: &[(&str, &str)]) -> Output {
        fs::write(self.path("install.sh"), script).unwrap();
        self.host("sh").arg(self.path("install.sh")).envs(settings.iter().copied()).output().unwrap()
    }

    /// By the written settings; only the paths lead to where the host's root is.
    fn start_agent(&self) -> Agent {
        let start = "set -a; . \"$DESTDIR/etc/rollcall/agent.env\"; \
            ROLLCALL_TOKEN_FILE=$DESTDIR$ROLLCALL_TOKEN_FILE ROLLCALL_CA_FILE=$DESTDIR$ROLLCALL_CA_FILE; \
            [ -z \"${ROLLCALL_WATCH_FILE:-}\" ] || ROLLCALL_WATCH_FILE=$DESTDIR$ROLLCALL_WATCH_FILE; \
            exec \"$DESTDIR/usr/local/bin/rollcall-agent\" --state-dir \"$DESTDIR/var/lib/rollcall-agent\"";
        Agent(self.host("sh").args(["-c", start]).spawn().unwrap())
    }

    fn installed(&self) -> bool {
        self.path("host").join(INSTALLED[0].0).exists()
    }

    async fn is_up(&self) {
        eventually("the host is up", async || self.client.get("servers?status=up").await["total"] == 1).await;
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn a_host_needs_the_address_and_a_token() {
    let rig = Rig::start(&[]).await;
    rig.put_token().await;
    let (_, script) = rig.script(&[]).await;
    let (token, ca) = (rig.path("token").display().to_string(), rig.path("ca.pem").display().to_string());
    fs::write(&ca, CERTIFICATE).unwrap();
    let watch = rig.path("channel.json").display().to_string();
    fs::write(&watch, r#"{"kind":"wecom","secret":{"key":"k"}}"#).unwrap();
    let settings = [
        ("ROLLCALL_TOKEN_FILE", token.as_str()),
        ("ROLLCALL_NAME", "rack 7, \"$(id)\""),
        ("ROLLCALL_INTERVAL", "1"),
        ("ROLLCALL_CA_FILE", ca.as_str()),
        ("ROLLCALL_WATCH_FILE", watch.as_str()),
        ("ROLLCALL_WATCH_ALLOW", "hooks.internal:8443"),
    ];
    let output = rig.run(&script, &settings);
    assert!(output.status.success(), "{}", said(&output));
    for (path, mode) in INSTALLED {
        let about =
            fs::metadata(rig.path("host").join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(about.permissions().mode() & 0o777, mode, "{path}");
    }
    assert_eq!(fs::read_to_string(rig.path("host").join(INSTALLED[5].0)).unwrap(), UNIT);
    let agent = rig.start_agent();
    rig.is_up().await;
    let servers = rig.client.get("servers").await;
    assert_eq!(servers["items"][0]["name"], "rack 7, \"$(id)\"", "{servers}");
    eventually("it says that it would tell when the suite is away", async || {
        let servers = rig.client.get("servers").await;
        let id = servers["items"][0]["id"].as_str().unwrap();
        rig.client.get(&format!("servers/{id}")).await["latest"]["agent"]["reporter"] == true
    })
    .await;
    drop(agent);

    // Again, as to upgrade: without a token, since it has its credential; and what a person changed stays.
    fs::remove_file(rig.path("host").join("etc/rollcall/token")).unwrap();
    let env = rig.path("host").join("etc/rollcall/agent.env");
    let changed = fs::read_to_string(&env).unwrap().replace("ROLLCALL_INTERVAL='1'", "ROLLCALL_INTERVAL=2");
    fs::write(&env, &changed).unwrap();
    fs::write(rig.path("host").join(INSTALLED[0].0), "an older one").unwrap();
    let output = rig.run(&script, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read_to_string(&env).unwrap(), changed);
    assert!(!rig.path("host").join("etc/rollcall/token").exists());
    let before = rig.client.get("servers").await["items"][0]["last_seen_at"].as_i64();
    let _agent = rig.start_agent();
    let heard = async || rig.client.get("servers").await["items"][0]["last_seen_at"].as_i64() > before;
    eventually("it reports under the credential that it had", heard).await;
    assert_eq!(rig.client.get("servers").await["total"], 1);
    let left: Vec<_> = fs::read_dir(rig.path("host").join("usr/local/bin")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn what_may_be_ordered_of_a_host_is_said_by_its_owner_alone() {
    let rig = Rig::start(&[]).await;
    rig.put_token().await;
    let token = rig.path("token").display().to_string();
    let (_, script) = rig.script(&[]).await;
    let host = |name: &str| rig.path("host").join(name);
    let output = rig.run(&script, &[("ROLLCALL_TOKEN_FILE", &token)]);
    assert!(output.status.success(), "{}", said(&output));
    let made = [
        "etc/rollcall/hand.conf",
        "etc/systemd/system/rollcall-hand.service",
        "etc/systemd/system/rollcall-hand.socket",
    ];
    assert!(made.iter().all(|name| !host(name).exists()), "nobody asked for it");

    let allow = "signals = term,kill;executables = /srv/*; users = 1000-60000 ; units = shop.service";
    let output = rig.run(&script, &[("ROLLCALL_TOKEN_FILE", &token), ("ROLLCALL_ALLOW", allow)]);
    assert!(output.status.success(), "{}", said(&output));
    for name in made {
        assert_eq!(fs::metadata(host(name)).unwrap().permissions().mode() & 0o777, 0o644, "{name}");
    }
    assert_eq!(fs::read_to_string(host(made[1])).unwrap(), HAND_UNIT);
    let conf = fs::read_to_string(host(made[0])).unwrap();
    let lines: Vec<&str> = conf.lines().filter(|line| !line.starts_with('#')).collect();
    let wanted =
        ["signals = term,kill", "executables = /srv/*", "users = 1000-60000", "units = shop.service"];
    assert_eq!(lines[..4], wanted, "{conf}");

    // Again, without a word of it: what the owner wrote stays.
    fs::write(host(made[0]), "# mine\n").unwrap();
    let output = rig.run(&script, &[("ROLLCALL_TOKEN_FILE", &token)]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read_to_string(host(made[0])).unwrap(), "# mine\n");
    let check = rig.host("sh").args(["-c", "\"$DESTDIR/usr/local/bin/rollcall-agent\" hand --check --hand-conf \"$DESTDIR/etc/rollcall/hand.conf\""]).output().unwrap();
    assert!(!check.status.success(), "{}", said(&check));
}

#[tokio::test]
async fn an_agent_that_is_not_the_offered_one_is_not_installed() {
    let rig = Rig::start(&[]).await;
    rig.put_token().await;
    let token = rig.path("token").display().to_string();
    let settings = [("ROLLCALL_TOKEN_FILE", token.as_str())];
    let (_, script) = rig.script(&[]).await;
    let offered = rig.path("downloads").join(format!("rollcall-agent-{}", std::env::consts::ARCH));
    let mut tampered = fs::read(&offered).unwrap();
    let last = tampered.len() - 1;
    tampered[last] ^= 1;
    fs::write(&offered, &tampered).unwrap();
    let output = rig.run(&script, &settings);
    assert_eq!(output.status.code(), Some(1));
    let told = said(&output);
    assert!(
        told.contains("not the agent that the suite offers") && told.contains("nothing was installed"),
        "{told}"
    );
    assert!(!rig.path("host").join("etc").exists() && !rig.installed(), "{told}");

    // One that a person replaced is another digest in the next script.
    let (_, anew) = rig.script(&[]).await;
    assert_ne!(anew, script);
    let output = rig.run(&anew, &settings);
    assert!(output.status.success() && rig.installed(), "{}", said(&output));
}

#[tokio::test]
async fn what_cannot_be_installed_is_told_before_anything_is() {
    let rig = Rig::start(&[]).await;
    let (_, script) = rig.script(&[]).await;
    let none = "/nowhere/token";
    let cases = [
        (script.clone(), vec![("ROLLCALL_TOKEN_FILE", none)], none),
        (script.clone(), vec![("ROLLCALL_NAME", "it's")], "without single quotes"),
        (script.clone(), vec![("ROLLCALL_NAME", "a\nROLLCALL_URL=x")], "one line"),
        (
            script.clone(),
            vec![("ROLLCALL_TOKEN", "t"), ("ROLLCALL_URL", "http://127.0.0.1:1")],
            "cannot fetch",
        ),
        (
            script.clone(),
            vec![("ROLLCALL_TOKEN", "t"), ("ROLLCALL_URL", "http://nowhere.invalid")],
            "warning: http://nowhere.invalid is not https: the token",
        ),
        (
            script.replace("checksums='", "checksums='none 0\n").replace(std::env::consts::ARCH, "vax"),
            vec![],
            "but for: none vax",
        ),
    ];
    for (script, settings, told) in cases {
        let output = rig.run(&script, &settings);
        assert_eq!(output.status.code(), Some(1), "{told}: {}", said(&output));
        assert!(said(&output).contains(told), "{told}: {}", said(&output));
        assert!(!rig.path("host").exists(), "{told}");
    }
    // A script that came in part does nothing.
    let (part, _) = script.rsplit_once("\nmain ").unwrap();
    let output = rig.run(part, &[]);
    assert_eq!((output.status.code(), said(&output)), (Some(0), String::new()));
}

#[tokio::test]
async fn the_script_has_no_address_that_a_stranger_made_up() {
    let rig = Rig::start(&["--trusted-proxies", "1"]).await;
    let (status, script) =
        rig.script(&[("host", "rollcall.example.org"), ("x-forwarded-proto", "https")]).await;
    assert!(status == 200 && script.contains("\nsuite='https://rollcall.example.org'\n"), "{script}");
    for host in ["a';id;'", "a b", "$(id)", "a/b", "me@a", "a:x", "`id`", "a\\"] {
        let (status, told) = rig.script(&[("host", host)]).await;
        assert!(status == 400 && told.contains("\"invalid_host\""), "{host}: {status} {told}");
    }
    // Nobody has told us of this proxy; still the token is for TLS alone.
    let rig = Rig::start(&[]).await;
    for headers in [
        &[("host", "rollcall.example.org")][..],
        &[("host", "rollcall.example.org"), ("x-forwarded-proto", "https")],
    ] {
        let (status, script) = rig.script(headers).await;
        assert!(status == 200 && script.contains("\nsuite='https://rollcall.example.org'\n"), "{script}");
    }
    let rig = Rig::start(&["--public-url", "https://suite.example.org/"]).await;
    for host in ["other.example.org", "a';id;'"] {
        let (_, script) = rig.script(&[("host", host)]).await;
        assert!(script.contains("\nsuite='https://suite.example.org'\n"), "{script}");
    }
}

#[tokio::test]
async fn agents_are_listed_and_fetched_by_their_architecture_alone() {
    let rig = Rig::start(&[]).await;
    fs::write(rig.path("downloads").join("secret"), "secret").unwrap();
    fs::write(rig.path("downloads").join("rollcall-agent-late"), "not there at the start").unwrap();
    let offered = rig.client.get("agents").await;
    let [agent] = offered["items"].as_array().unwrap().as_slice() else { panic!("{offered}") };
    assert_eq!(agent["arch"], std::env::consts::ARCH);
    let file = fs::read(self::agent()).unwrap();
    assert_eq!(agent["bytes"], file.len());
    let get = async |path: &str| {
        let url = format!("http://{}/server-management/v1/agents/{path}", rig.suite.address);
        let answer = testkit::http().get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    let (status, body) = get(std::env::consts::ARCH).await;
    assert!(status == 200 && body == file, "{status}, {} bytes", body.len());
    for stranger in ["vax", "late", "..%2Fsecret", "%2e%2e%2f%2e%2e%2fdata%2fagent-key", "x86_64%00", ".."] {
        assert_eq!(get(stranger).await.0, 404, "{stranger}");
    }
}

#[test]
fn a_folder_without_an_agent_is_a_mistake_of_the_settings() {
    let dir = tempdir().unwrap();
    for (folder, told) in
        [(dir.path().to_owned(), "has no file named"), (dir.path().join("none"), "cannot list")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command
            .env_clear()
            .env("AGENT_DOWNLOADS", folder)
            .env("AGENT_KEY", "short")
            .arg("--data")
            .arg(dir.path());
        let output = command.output().unwrap();
        let said = said(&output);
        assert!(
            !output.status.success() && said.contains("AGENT_DOWNLOADS: ") && said.contains(told),
            "{said}"
        );
        assert!(said.contains("AGENT_KEY: "), "{said}");
    }
}

/// Of an authority that nobody knows.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIURR9UXqvkQNtlFETO93r1aSFTslQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyMTE4MDAxMloYDzIxMjYxMDI4
MTgwMDEyWjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASn5YeTlKw3B0wwpjioypS8NWUZrsMKksE56yczNGtOJgU3k7ZNn8Vr
lWebcwhZGBXv8V3PQSMHwyq9qA/fBcMwo1MwUTAdBgNVHQ4EFgQUTQT0eJYjS33O
CyTbbxsg4dzjaqkwHwYDVR0jBBgwFoAUTQT0eJYjS33OCyTbbxsg4dzjaqkwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAzzwKDjv9VjId1GeH72ns
KJDIJ4hkP+6J2snEJjo48XACIQCqnzfgS7F13Lc2yxqhQC0vfYTFPoEnlYFKloBw
siFXhw==
-----END CERTIFICATE-----";
