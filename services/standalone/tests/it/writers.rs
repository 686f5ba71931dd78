//! Who fills the disk is found before it is full.

use chassis::Clock;
use serde_json::json;
use testkit::{eventually, tempdir};

use crate::suite::Suite;

const NOW: i64 = 1_790_000_000_000;

#[tokio::test]
async fn the_host_that_writes_most_is_the_first_that_the_status_tells() {
    let dir = tempdir().unwrap();
    let clock = Clock::fixed(NOW);
    let mut suite = Suite::start(dir.path(), &clock);
    suite.client.log_in(dir.path()).await;
    let (quiet, loud) = (suite.client.enrol("quiet").await, suite.client.enrol("loud").await);
    suite.client.beat(&quiet, NOW).await;
    for beat in 0..30 {
        suite.client.beat(&loud, NOW - beat).await;
    }
    eventually("both are told of", async || {
        let status = suite.client.get("status").await;
        status["writers"].as_array().unwrap().len() == 2 && status["writers"][0]["snapshots"] == 30
    })
    .await;
    let writers = suite.client.get("status").await["writers"].clone();
    assert_eq!((&writers[0]["name"], &writers[0]["id"]), (&json!("loud"), &json!(loud.id)), "{writers}");
    assert_eq!((&writers[1]["name"], &writers[1]["snapshots"]), (&json!("quiet"), &json!(1)), "{writers}");
    assert!(writers[0]["bytes"].as_u64().unwrap() > 20 * writers[1]["bytes"].as_u64().unwrap(), "{writers}");
    suite.stop().await;
}
