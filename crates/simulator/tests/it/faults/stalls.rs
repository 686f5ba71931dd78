//! Workers that stop, and workers that only seem to.

use std::time::Duration;

use testkit::{eventually, eventually_within};

use crate::stage::{Stage, nobody_is_down};

/// A broker gives up a silent client after two heartbeats of ten seconds, and looks only so often.
const TAKEN_FOR_DEAD: Duration = Duration::from_secs(180);

#[tokio::test]
async fn a_worker_that_is_stopped_past_its_timeouts_and_woken_changes_nothing() {
    let mut stage = Stage::new(1, 2).await;
    let driving = stage.drive().await;
    stage.all_up().await;
    let operator = stage.operator().await;
    stage.workers[0].halt().unwrap();
    driving.more(300).await;
    // All that it holds is stored by the other one, and no server went down for it.
    let journal = driving.end(&mut stage).await;
    let found = stage.fleet.settled(&journal, TAKEN_FOR_DEAD).await.unwrap();
    assert!(found.clean(), "{found}");
    let driving = stage.drive().await;
    driving.more(300).await;
    nobody_is_down(&operator.status().await.unwrap());
    stage.workers[0].wake().unwrap();
    driving.more(600).await;
    nobody_is_down(&operator.status().await.unwrap());
    let mut all = driving.end(&mut stage).await;
    all.extend(journal);
    stage.finish(&all).await;
}

#[tokio::test]
async fn without_workers_monitoring_is_late_and_no_server_changes_its_state() {
    let mut stage = Stage::new(1, 2).await;
    let driving = stage.drive().await;
    stage.all_up().await;
    let operator = stage.operator().await;
    for worker in std::mem::take(&mut stage.workers) {
        worker.stop().await.unwrap();
    }
    eventually_within(TAKEN_FOR_DEAD, "monitoring is late", async || {
        let status = operator.status().await.unwrap();
        nobody_is_down(&status);
        status["late"] == true
    })
    .await;
    let status = operator.status().await.unwrap();
    assert!(status["pipeline_lag_ms"].as_i64().unwrap() > 30_000, "{status}");
    assert_eq!(status["up"], status["total"], "{status}");
    // Ten times the interval later, with a worker again: who reports was never down.
    stage.workers.push(stage.fleet.start(simulator::Kind::Worker).await.unwrap());
    eventually("it has caught up", async || {
        let status = operator.status().await.unwrap();
        nobody_is_down(&status);
        status["late"] == false
    })
    .await;
    driving.more(300).await;
    nobody_is_down(&operator.status().await.unwrap());
    let journal = driving.end(&mut stage).await;
    stage.finish(&journal).await;
}
