//! The dashboard in a real browser: `web/tests` on a suite that was just started, with Debian's Chromium and a Node that runs it.

use std::{path::Path, process::Output};

use testkit::tempdir;
use tokio::process::Command;

use crate::{binary::Running, suite::Client};

async fn run(command: &mut Command) -> Output {
    command.kill_on_drop(true).output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_keeps_its_promises_in_a_browser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Installs what the machine lacks, and says which Node to use.
    let tools = run(Command::new(root.join("dev/web")).arg("tools")).await;
    assert!(tools.status.success(), "{}", String::from_utf8_lossy(&tools.stderr));
    let node = Path::new(String::from_utf8_lossy(&tools.stdout).trim()).join("node");

    let dir = tempdir().unwrap();
    let suite = Running::start(dir.path(), &["--no-agent", "--mail-allowed-domains", "example.org"]);
    Client::new(suite.address).log_in(dir.path()).await;
    let mut tests = Command::new(node);
    tests
        .args(["--test", "--test-force-exit", "--test-reporter=spec", "tests/dashboard.test.mjs"])
        .current_dir(root.join("web"));
    tests.env("ROLLCALL_URL", format!("http://{}", suite.address));
    tests.env("ROLLCALL_PASSWORD_FILE", dir.path().join("admin-password"));
    let output = run(&mut tests).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
