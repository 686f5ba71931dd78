//! The binary as it is deployed.

use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Row;
use testkit::{Proxy, eventually};

use crate::{
    real::{Proxies, Real, with, with_proxies},
    suite::PASSWORD,
};

const BINARY: &str = env!("CARGO_BIN_EXE_server-management");

/// A running process, killed with -9 when it is dropped.
pub struct Running {
    address: SocketAddr,
    child: Child,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// With all that it needs but a password for the first user.
fn command(real: &Real, address: SocketAddr) -> Command {
    let mut command = Command::new(BINARY);
    command
        .env_clear()
        .env("LISTEN", address.to_string())
        .env("ROLLCALL_PREFIX", &real.prefix)
        .env("DRAIN_SECONDS", "0")
        .env("DATABASE_URL", real.database_url())
        .env("ELASTICSEARCH_URL", real.elasticsearch_url())
        .env("REDIS_URL", real.redis_url())
        .env("AMQP_URL", real.rabbitmq_url())
        .env("AGENT_KEY", "a".repeat(64))
        .env("TOKEN_KEY", "t".repeat(64));
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Running {
    pub fn start(real: &Real) -> Self {
        let address = free_address();
        let mut command = command(real, address);
        let child = command.env("ADMIN_PASSWORD", PASSWORD).stdout(Stdio::null()).spawn().unwrap();
        Self { address, child }
    }

    async fn status(&self, path: &str) -> Option<u16> {
        let answer = testkit::http().get(format!("http://{}{path}", self.address)).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    }

    async fn lives(&self) {
        eventually("it serves", async || self.status("/health/live").await == Some(200)).await;
    }

    pub async fn becomes_ready(&self) {
        eventually("it is ready", async || self.status("/health/ready").await == Some(200)).await;
    }

    /// What is not there yet.
    async fn missing(&self) -> Value {
        let answer = testkit::http().get(format!("http://{}/health/ready", self.address)).send().await;
        answer.unwrap().json::<Value>().await.unwrap()["missing"].take()
    }

    /// Status and body of an answer of the interface.
    async fn ask(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        let mut request = testkit::http().get(format!("http://{}/server-management/v1{path}", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn log_in(&self) -> String {
        let url = format!("http://{}/server-management/v1/sessions", self.address);
        let body = json!({"username": "admin", "password": PASSWORD});
        let answer = testkit::http().post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned()
    }

    fn terminate(mut self) -> ExitStatus {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a start that must fail says.
fn refused(command: &mut Command) -> String {
    let output = command.stdout(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    said(&output)
}

fn cut(proxies: &Proxies) {
    proxies.postgresql.cut();
    proxies.elasticsearch.cut();
    proxies.redis.cut();
}

#[test]
fn all_mistakes_in_the_settings_are_told_at_once_and_no_secret_prints() {
    let mut command = Command::new(BINARY);
    command.env_clear();
    let settings = [
        ("AMQP_URL", "rabbit:hunter2@broker"),
        ("DATABASE_URL", "mysql://rollcall:hunter2@database"),
        ("ELASTICSEARCH_URL", "ftp://rollcall:hunter2@history"),
        ("REDIS_URL", "rollcall:hunter2@cache"),
        ("AGENT_KEY", "hunter2"),
        ("TOKEN_KEY", "hunter2"),
        ("ADMIN_PASSWORD", "hunter2"),
    ];
    let said = refused(command.envs(settings));
    for (name, _) in settings {
        assert!(said.contains(&format!("\n  {name}: ")), "{name}: {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");

    let said = refused(Command::new(BINARY).env_clear());
    for name in ["AMQP_URL", "DATABASE_URL", "ELASTICSEARCH_URL", "REDIS_URL", "AGENT_KEY", "TOKEN_KEY"] {
        assert!(said.contains(&format!("\n  {name}: is not set")), "{name}: {said}");
    }
}

#[actix_web::test]
async fn it_starts_before_its_servers_and_becomes_ready() {
    with_proxies(async |real, proxies| {
        cut(proxies);
        let process = Running::start(&real);
        process.lives().await;
        assert_eq!(process.missing().await, json!(["registry", "history", "cache"]));
        let (status, problem) = process.ask("/status", None).await;
        assert_eq!((status, &problem["code"]), (503, &json!("unavailable")));
        assert_eq!(process.status("/").await, Some(200));

        // States and lists need the registry alone; a figure would have to know what history has forgotten.
        proxies.postgresql.mend();
        eventually("the registry is reached", async || {
            process.missing().await == json!(["history", "cache"])
        })
        .await;
        let token = process.log_in().await;
        assert_eq!(process.ask("/status", Some(&token)).await.0, 200);
        let (status, problem) = process.ask("/uptime", Some(&token)).await;
        assert_eq!((status, &problem["code"]), (503, &json!("unavailable")));

        proxies.elasticsearch.mend();
        proxies.redis.mend();
        process.becomes_ready().await;
        eventually("uptime is known", async || process.ask("/uptime", Some(&token)).await.0 == 200).await;
        let check = || command(&real, process.address).arg("healthcheck").output().unwrap();
        assert!(check().status.success(), "{}", said(&check()));

        // One that is lost later is no reason to send people elsewhere.
        cut(proxies);
        assert_eq!(process.ask("/status", Some(&token)).await.0, 503);
        assert_eq!(process.status("/health/ready").await, Some(200));
        proxies.postgresql.mend();
        eventually("the registry is back", async || process.ask("/status", Some(&token)).await.0 == 200)
            .await;
        let address = process.address;
        assert_eq!(process.terminate().code(), Some(0));
        let nobody = command(&real, address).arg("healthcheck").output().unwrap();
        assert!(!nobody.status.success() && said(&nobody).contains("nothing answers"), "{}", said(&nobody));
    })
    .await;
}

#[actix_web::test]
async fn it_stops_when_asked_while_it_waits() {
    with_proxies(async |real, proxies| {
        for how in [Proxy::cut, Proxy::stall] {
            how(&proxies.postgresql);
            let process = Running::start(&real);
            process.lives().await;
            let check = command(&real, process.address).arg("healthcheck").output().unwrap();
            assert!(!check.status.success() && said(&check).contains("not ready"), "{}", said(&check));
            assert_eq!(process.terminate().code(), Some(0));
        }
    })
    .await;
}

#[actix_web::test]
async fn a_first_start_without_a_password_for_the_first_user_says_so() {
    with(async |real| {
        let said = refused(&mut command(&real, free_address()));
        assert!(said.contains("set ADMIN_PASSWORD"), "{said}");
        let process = Running::start(&real);
        process.becomes_ready().await;
        assert_eq!(process.terminate().code(), Some(0));

        let address = free_address();
        let child = command(&real, address).stdout(Stdio::null()).spawn().unwrap();
        let later = Running { address, child };
        later.becomes_ready().await;
        later.log_in().await;
    })
    .await;
}

#[actix_web::test]
async fn several_that_start_at_once_make_one_schema_and_one_user() {
    with(async |real| {
        let processes = [(); 3].map(|()| Running::start(&real));
        join_all(processes.iter().map(Running::becomes_ready)).await;
        let token = processes[0].log_in().await;
        for process in &processes {
            assert_eq!(process.ask("/status", Some(&token)).await.0, 200);
        }
        assert_eq!(real.sql("SELECT COUNT(*) FROM users").await[0].get::<i64, _>(0), 1);
        for process in processes {
            assert_eq!(process.terminate().code(), Some(0));
        }
    })
    .await;
}

#[actix_web::test]
async fn a_later_schema_is_served_and_one_that_does_not_fit_is_refused() {
    with(async |real| {
        let process = Running::start(&real);
        process.becomes_ready().await;
        assert_eq!(process.terminate().code(), Some(0));
        real.sql("ALTER TABLE servers ADD COLUMN of_a_later_release TEXT NOT NULL DEFAULT ''").await;
        real.sql(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'of a later release', true, 'x', 1)",
        )
        .await;
        let process = Running::start(&real);
        process.becomes_ready().await;
        let token = process.log_in().await;
        assert_eq!(process.ask("/servers", Some(&token)).await.0, 200);
        assert_eq!(process.terminate().code(), Some(0));

        real.sql("UPDATE _sqlx_migrations SET checksum = 'x'").await;
        let said = refused(&mut command(&real, free_address()));
        assert!(said.contains("schema does not fit this release"), "{said}");
    })
    .await;
}

#[actix_web::test]
async fn metrics_tell_of_each_route_by_its_pattern() {
    with(async |real| {
        let process = Running::start(&real);
        process.becomes_ready().await;
        let token = process.log_in().await;
        for id in ["0190a5c2-7b5e-7c3d-8e4f-0123456789ab", "nonsense"] {
            assert_eq!(process.ask(&format!("/servers/{id}"), Some(&token)).await.0, 404);
        }
        let metrics =
            testkit::http().get(format!("http://{}/metrics", process.address)).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let labels = r#"{method="GET",path="/server-management/v1/servers/{id}",status="404""#;
        for line in [
            format!("rollcall_management_requests_total{labels}}} 2"),
            format!("rollcall_management_request_seconds_bucket{labels},le=\"10\"}} 2"),
            "# HELP rollcall_management_request_seconds How long".to_owned(),
        ] {
            assert!(metrics.contains(&line), "{line} in {metrics}");
        }
        assert!(!metrics.contains("nonsense"), "{metrics}");
    })
    .await;
}

#[actix_web::test]
async fn after_a_restore_the_cache_is_asked_what_was_revoked_unless_it_is_lost_too() {
    with_proxies(async |real, proxies| {
        let process = Running::start(&real);
        process.becomes_ready().await;
        let token = process.log_in().await;
        // On another thread, since the proxies are on this one.
        let after_restore = async |arguments: &[&str]| {
            let mut command = command(&real, free_address());
            command.arg("after-restore").args(arguments);
            tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
        };
        proxies.redis.cut();
        let without = after_restore(&[]).await;
        assert_eq!(without.status.code(), Some(1), "{}", said(&without));
        assert!(said(&without).contains("--without-cache"), "{}", said(&without));
        assert_eq!(process.ask("/status", Some(&token)).await.0, 200, "nothing is done then");
        let lost = after_restore(&["--without-cache"]).await;
        let told = String::from_utf8_lossy(&lost.stdout).into_owned();
        assert!(lost.status.success() && told.contains("sessions ended: 1\n"), "{told}{}", said(&lost));
        assert!(told.contains("Revoke again each server that was revoked since"), "{told}");
        assert_eq!(process.ask("/status", Some(&token)).await.0, 401, "while management runs");

        proxies.redis.mend();
        eventually("the denylist of the cache is taken over", async || {
            let remembered = after_restore(&[]).await;
            let told = String::from_utf8_lossy(&remembered.stdout).into_owned();
            told.contains("sessions ended: 0\n") && told.contains("stay refused")
        })
        .await;
    })
    .await;
}
