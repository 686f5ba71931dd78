//! The whole suite inside the test, on a clock that the test owns, and the client of it.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    thread::JoinHandle,
};

use chassis::{Clock, lifecycle::Shutdown};
use clap::Parser;
use serde_json::{Value, json};
use standalone::{
    data::DataDir,
    settings::{Arguments, Settings},
};

/// `rollcall --no-agent` in a thread of its own. Stop it before the test ends.
pub struct Suite {
    pub client: Client,
    shutdown: Shutdown,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Suite {
    pub fn start(dir: &Path, clock: &Clock) -> Self {
        Self::start_with(dir, clock, &[])
    }

    /// The same, with these arguments too.
    pub fn start_with(dir: &Path, clock: &Clock, more: &[&str]) -> Self {
        let arguments = ["rollcall", "--no-agent"].iter().chain(more);
        let arguments = Arguments::try_parse_from(arguments).unwrap();
        let settings = Settings::check(&arguments).unwrap();
        let data = DataDir::take(dir).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::new(listener.local_addr().unwrap());
        let (shutdown, clock) = (Shutdown::default(), clock.clone());
        let thread = std::thread::spawn({
            let shutdown = shutdown.clone();
            move || {
                let suite = standalone::run(data, settings, clock, listener, shutdown);
                actix_web::rt::System::new().block_on(suite)
            }
        });
        Self { client, shutdown, thread }
    }

    pub async fn stop(self) {
        self.shutdown.soft.cancel();
        tokio::task::spawn_blocking(|| self.thread.join().unwrap().unwrap()).await.unwrap();
    }
}

/// Talks to a suite as an operator and as an agent.
pub struct Client {
    base: String,
    http: reqwest::Client,
    token: String,
}

/// A server as its agent knows it.
pub struct Host {
    pub id: String,
    pub credential: String,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { base: format!("http://{address}"), http: testkit::http(), token: String::new() }
    }

    /// Where the suite listens.
    pub fn address(&self) -> SocketAddr {
        self.base.trim_start_matches("http://").parse().unwrap()
    }

    pub async fn ready(&self) -> bool {
        let answer = self.http.get(format!("{}/health/ready", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// Waits until it serves, and logs in with the password in the data folder.
    pub async fn log_in(&mut self, dir: &Path) {
        testkit::eventually("the suite is ready", async || self.ready().await).await;
        let password = std::fs::read_to_string(dir.join("admin-password")).unwrap();
        let body = json!({"username": "admin", "password": password.trim()});
        let (status, answer) = self.post("/server-management/v1/sessions", &body).await;
        assert_eq!(status, 200, "{answer}");
        self.token = answer["access_token"].as_str().unwrap().to_owned();
    }

    pub async fn get(&self, path: &str) -> Value {
        let url = format!("{}/server-management/v1/{path}", self.base);
        let answer = self.http.get(url).bearer_auth(&self.token).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// What a gate answers to the poll of this host: its bulletin.
    pub async fn poll(&self, host: &Host, query: &str) -> Value {
        let url = format!("{}/healthcheck/v1/bulletin?{query}", self.base);
        let answer = self.http.get(url).bearer_auth(&host.credential).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{query}");
        answer.json().await.unwrap()
    }

    /// Gives the password in the data folder again.
    pub async fn elevate(&self, dir: &Path) {
        let password = std::fs::read_to_string(dir.join("admin-password")).unwrap();
        let body = json!({"password": password.trim()});
        let (status, answer) = self.post("/server-management/v1/sessions/elevate", &body).await;
        assert_eq!(status, 200, "{answer}");
    }

    pub async fn get_as(&self, path: &str, bearer: &str) -> u16 {
        let url = format!("{}/server-management/v1/{path}", self.base);
        self.http.get(url).bearer_auth(bearer).send().await.unwrap().status().as_u16()
    }

    pub async fn delete(&self, path: &str) -> u16 {
        let url = format!("{}/server-management/v1/{path}", self.base);
        self.http.delete(url).bearer_auth(&self.token).send().await.unwrap().status().as_u16()
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_as(path, &self.token, body).await
    }

    /// Sends a sheet of servers, as a form does.
    pub async fn import(&self, file: &[u8]) -> (u16, Value) {
        let head = b"--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n";
        let body = [head.as_slice(), file, b"\r\n--edge--\r\n"].concat();
        let request = self.http.post(format!("{}/server-management/v1/servers/import", self.base));
        let request =
            request.bearer_auth(&self.token).header("content-type", "multipart/form-data; boundary=edge");
        let answer = request.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    pub async fn post_as(&self, path: &str, bearer: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(bearer).json(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    pub async fn enrol(&self, name: &str) -> Host {
        let (status, token) = self.post("/server-management/v1/enrolment-tokens", &json!({"uses": 1})).await;
        assert_eq!(status, 201, "{token}");
        let body = json!({"token": token["token"], "enrolment_key": format!("key-of-the-host-{name}"), "name": name});
        let (status, host) = self.post("/server-management/v1/enrolments", &body).await;
        assert_eq!(status, 201, "{host}");
        let text = |field: &str| host[field].as_str().unwrap().to_owned();
        Host { id: text("server_id"), credential: text("credential") }
    }

    /// One snapshot, sampled at `at`, that covers an interval of 1 s.
    pub async fn beat(&self, host: &Host, at: i64) {
        let snapshot = json!({"sampled_at": at, "covers_ms": 1_000, "cpu": {"total": 12.5}});
        let body = json!({"interval_ms": 1_000, "snapshots": [snapshot]});
        let (status, answer) = self.post_as("/healthcheck/v1/snapshots", &host.credential, &body).await;
        assert_eq!(status, 202, "{answer}");
    }

    pub async fn state(&self, host: &Host) -> String {
        self.get(&format!("servers/{}", host.id)).await["status"].as_str().unwrap().to_owned()
    }
}
