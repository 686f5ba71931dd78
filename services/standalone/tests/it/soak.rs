//! A fleet of 1,000 servers at 500 snapshots/s: for 15 s, and with ROLLCALL_PROVE=1 for 20 min.

use std::time::Duration;

use simulator::{Load, drive, enrol, oracle};
use testkit::{eventually, tempdir};
use tokio_util::sync::CancellationToken;

use crate::{binary::Running, suite::Client};

const SERVERS: usize = 1_000;
const RATE: f64 = 500.0;

/// What memory may grow by from the first quarter to the end: pages of the stores that are not full yet.
const GROWTH: u64 = 16 * 1024 * 1024;

fn lasting() -> Duration {
    Duration::from_secs(if std::env::var_os("ROLLCALL_PROVE").is_some() { 1_200 } else { 15 })
}

#[tokio::test]
async fn a_fleet_at_500_snapshots_a_second_loses_and_doubles_nothing_and_takes_no_more_memory_with_time() {
    let dir = tempdir().unwrap();
    let rollcall = Running::start(dir.path(), &["--no-agent"]);
    let client = Client::new(rollcall.address);
    eventually("it is ready", async || client.ready().await).await;
    let password = std::fs::read_to_string(dir.path().join("admin-password")).unwrap();
    let url = format!("http://{}", rollcall.address);
    let mut servers = enrol(&url, password.trim(), SERVERS).await.unwrap();

    let load = Load { connections: 32, rate: Some(RATE), lasting: lasting(), ..Load::default() };
    let driving =
        tokio::spawn(
            async move { drive(&[&url], &mut servers, &load, &CancellationToken::new()).await.unwrap() },
        );
    let mut memory = Vec::new();
    for _ in 0..4 {
        let _ = tokio::time::timeout(lasting() / 4, std::future::pending::<()>()).await;
        memory.push(rollcall.memory("VmRSS"));
    }
    let journal = driving.await.unwrap();
    let found = oracle(&journal, &dir.path().join("history.db")).await.unwrap();
    println!(
        "{} acknowledged in {:?}; {found}; bytes of memory by quarter {memory:?}",
        journal.acknowledged(),
        lasting()
    );
    // A busy machine may take less than it is sent; far less would prove nothing.
    let sent = RATE * lasting().as_secs_f64();
    assert!(journal.acknowledged() as f64 > sent / 4.0, "{} acknowledged", journal.acknowledged());
    assert!(found.clean(), "{found}");
    assert!(memory[3] < memory[0] + GROWTH, "{memory:?}");
}
