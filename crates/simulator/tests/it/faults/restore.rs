//! PostgreSQL is restored from a backup, as the documentation says.

use std::process::Stdio;

use chassis::Clock;
use serde_json::{Value, json};
use simulator::{
    Fleet, Kind, Operator, Simulated, enrol, indexed::indexed_snapshots, services::ADMIN_PASSWORD,
};
use testkit::{Server, TempDir, eventually_within, tempdir};
use tokio::process::Command;

use crate::stage::{PATIENCE, binary, fleet};

const PAGE: &str = include_str!("../../../../../docs/operations.md");
const HEADING: &str = "## Back up and restore the registry";

/// The tools of PostgreSQL take no option of the connection that names a schema.
const BY_ITS_SCHEMA: &str =
    r#"server-management() { DATABASE_URL="$OWN_URL" command server-management "$@"; }"#;

/// The examples of the page below the heading, with what makes them those of this test's schema in a database of many.
fn documented(fleet: &Fleet) -> Vec<String> {
    let (_, section) = PAGE.split_once(&format!("\n{HEADING}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let examples = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let schema = fleet.prefix().replace('-', "_");
    examples.map(|lines| lines.replace("pg_dump ", &format!("pg_dump --schema={schema} "))).collect()
}

/// Runs lines as a person does who has the settings of management, and answers what they print.
async fn run(lines: &str, folder: &TempDir, fleet: &Fleet) -> String {
    let binary = binary("server-management").await;
    let programs = binary.parent().unwrap().to_str().unwrap();
    let mut bash = Command::new("bash");
    bash.env_clear().current_dir(folder.path()).args(["-euc", &format!("{BY_ITS_SCHEMA}\n{lines}")]);
    bash.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()));
    bash.env("DATABASE_URL", Server::PostgreSql.url()).env("OWN_URL", &fleet.urls.database);
    bash.env("REDIS_URL", &fleet.urls.redis).env("ROLLCALL_PREFIX", fleet.prefix());
    let output = bash.stdin(Stdio::null()).output().await.unwrap();
    assert!(output.status.success(), "{lines}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a gate says to a snapshot of now, and when that was.
async fn beat(fleet: &Fleet, gate: &str, server: &Simulated) -> (u16, Value, i64) {
    let now = Clock::system().now();
    let body = json!({"interval_ms": 1_000, "snapshots": [{"sampled_at": now, "covers_ms": 1_000}]});
    let request = fleet.http.post(format!("{gate}/healthcheck/v1/snapshots")).bearer_auth(&server.credential);
    let answer = request.json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default(), now)
}

/// How many of these snapshots of a server are stored.
async fn stored(fleet: &Fleet, server: &Simulated, of: &[i64]) -> usize {
    let found = indexed_snapshots(&fleet.http, &fleet.urls.elasticsearch, fleet.prefix()).await.unwrap();
    of.iter().filter(|at| found.contains(&(server.id, **at))).count()
}

/// Sends the dead letters through again, as the documentation says.
async fn redrive(fleet: &Fleet) {
    let mut worker = Command::new(binary("healthcheck-worker").await);
    worker.env_clear().env("AMQP_URL", &fleet.urls.amqp).env("ROLLCALL_PREFIX", fleet.prefix());
    assert!(worker.arg("redrive").status().await.unwrap().success());
}

#[tokio::test]
async fn the_restore_of_the_documentation_refuses_what_was_revoked_since_and_loses_nothing_of_who_enrolled_since()
 {
    let (fleet, folder) = (fleet().await, tempdir().unwrap());
    let [backup, restore]: [String; 2] = documented(&fleet).try_into().unwrap();
    let management = fleet.start(Kind::Management).await.unwrap();
    let (gate, worker) = (fleet.start(Kind::Gate).await.unwrap(), fleet.start(Kind::Worker).await.unwrap());
    let stolen = enrol(&management.url, ADMIN_PASSWORD, 1).await.unwrap().remove(0);
    let before = Operator::log_in(&management).await.unwrap();
    run(&backup, &folder, &fleet).await;

    let new = enrol(&management.url, ADMIN_PASSWORD, 1).await.unwrap().remove(0);
    let revoke = format!("servers/{}/revoke", stolen.id);
    assert_eq!(before.post(&revoke, &json!(null)).await.unwrap().0, 204);
    eventually_within(PATIENCE, "the gate refuses what is revoked", async || {
        beat(&fleet, &gate.url, &stolen).await.0 == 401
    })
    .await;
    let mut acknowledged = Vec::new();
    let mut send = async || {
        let (status, answer, at) = beat(&fleet, &gate.url, &new).await;
        if status == 202 {
            acknowledged.push(at);
        }
        (status, answer["code"].clone())
    };
    assert_eq!(send().await.0, 202);
    for service in [worker, management] {
        service.stop().await.unwrap();
    }
    assert_eq!(send().await.0, 202, "the gate goes on while the others are stopped");
    let told = run(&restore, &folder, &fleet).await;
    assert!(told.contains("that was revoked since the backup: 1\n"), "{told}");
    assert!(told.contains("stay refused"), "{told}");

    let management = fleet.start(Kind::Management).await.unwrap();
    let _worker = fleet.start(Kind::Worker).await.unwrap();
    let before = before.at(&management);
    assert_eq!(before.get("status").await.unwrap().0, 401, "a session of the time before");
    let operator = Operator::log_in(&management).await.unwrap();
    eventually_within(PATIENCE, "the gate keeps out whom nobody knows", async || {
        send().await == (503, json!("unknown_server"))
    })
    .await;
    let listed = operator.get("servers/unknown").await.unwrap().1;
    assert_eq!(listed["items"][0]["id"], json!(new.id), "{listed}");
    let adopt = format!("servers/unknown/{}/adopt", new.id);
    assert_eq!(operator.post(&adopt, &json!({"name": "new"})).await.unwrap().0, 201);
    eventually_within(PATIENCE, "its spool arrives", async || send().await.0 == 202).await;
    redrive(&fleet).await;
    eventually_within(PATIENCE, "all that was acknowledged is stored", async || {
        stored(&fleet, &new, &acknowledged).await == acknowledged.len()
    })
    .await;
    // By now management has written its denylist several times.
    assert_eq!(beat(&fleet, &gate.url, &stolen).await.0, 401);
    let another = fleet.start(Kind::Gate).await.unwrap();
    assert_eq!(beat(&fleet, &another.url, &stolen).await.0, 401, "a gate that has seen nothing before");
}
