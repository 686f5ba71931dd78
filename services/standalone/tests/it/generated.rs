//! The OpenAPI document as a generator of clients reads it: one for Python is made of it, and used on a running suite.

use std::{fs, path::Path};

use testkit::{python, tempdir};
use tokio::process::Command;

use crate::{binary::Running, suite::Client};

const GENERATOR: &str = "openapi-python-client==0.29.1";

async fn run(command: &mut Command) {
    let output = command.kill_on_drop(true).output().await.unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{failed}");
}

#[tokio::test]
async fn a_generated_client_sends_snapshots_manages_servers_and_asks_for_a_report() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let suite = Running::start(&data, &["--no-agent"]);
    Client::new(suite.address).log_in(&data).await;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bin = python(Path::new(env!("CARGO_TARGET_TMPDIR")), GENERATOR);
    // It formats what it made by a program beside it.
    let path = std::env::join_paths([bin.as_path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let mut generate = Command::new(bin.join("openapi-python-client"));
    generate.args(["generate", "--meta", "none", "--fail-on-warning"]).env("PATH", path);
    generate.arg("--path").arg(here.join("../../docs/openapi.json"));
    run(generate.arg("--output-path").arg(dir.path().join("rollcall"))).await;
    let mut program = Command::new(bin.join("python"));
    program.arg(here.join("tests/it/generated.py")).env("PYTHONPATH", dir.path());
    let password = fs::read_to_string(data.join("admin-password")).unwrap();
    run(program.arg(format!("http://{}", suite.address)).arg(password.trim())).await;
}
