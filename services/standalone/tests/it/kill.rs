//! Killed with -9, again and again, under load: what was acknowledged is there.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use simulator::{Load, drive, enrol, oracle};
use testkit::{eventually, tempdir};
use tokio_util::sync::CancellationToken;

use crate::{binary::Running, suite::Client};

/// How often, unless ROLLCALL_KILLS says otherwise.
const KILLS: u32 = 25;

/// Sooner than this it has hardly begun; later than this there is nothing new.
const LIFE_MS: std::ops::Range<u64> = 20..600;

fn kills() -> u32 {
    std::env::var("ROLLCALL_KILLS").map_or(KILLS, |kills| kills.parse().unwrap())
}

/// Lets it live for a random while, then kills it and starts it again; waits until it serves.
async fn kill_and_start(mut rollcall: Running, dir: &Path) -> Running {
    let moment = u64::from_le_bytes(chassis::random()) % (LIFE_MS.end - LIFE_MS.start) + LIFE_MS.start;
    let _ = tokio::time::timeout(Duration::from_millis(moment), std::future::pending::<()>()).await;
    rollcall.kill();
    let rollcall = Running::start_at(rollcall.address, dir, &["--no-agent"]);
    let client = Client::new(rollcall.address);
    eventually("it serves again", async || client.ready().await).await;
    rollcall
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_doubled() {
    let dir = tempdir().unwrap();
    let mut rollcall = Running::start(dir.path(), &["--no-agent"]);
    let client = Client::new(rollcall.address);
    eventually("it is ready", async || client.ready().await).await;
    let password = std::fs::read_to_string(dir.path().join("admin-password")).unwrap();
    let url = format!("http://{}", rollcall.address);
    let mut servers = enrol(&url, password.trim(), 200).await.unwrap();

    let stop = CancellationToken::new();
    let load = Load { connections: 16, rate: Some(2_000.0), ..Load::default() };
    let driving = {
        let (url, stop) = (url.clone(), stop.clone());
        tokio::spawn(async move { drive(&[&url], &mut servers, &load, &stop).await.unwrap() })
    };
    let begun = Instant::now();
    for _ in 0..kills() {
        rollcall = kill_and_start(rollcall, dir.path()).await;
    }
    stop.cancel();
    let journal = driving.await.unwrap();
    rollcall.kill();

    let found = oracle(&journal, &dir.path().join("history.db")).await.unwrap();
    println!("{} acknowledged in {:?}; {found}", journal.acknowledged(), begun.elapsed());
    assert!(journal.acknowledged() > 100, "hardly anything was acknowledged: the test proves nothing");
    assert!(found.clean(), "{found}");
}
