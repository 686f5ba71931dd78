//! Processes killed with -9, again and again, under load.

use crate::stage::{Stage, nobody_is_down, nobody_noticed};

/// How often, unless ROLLCALL_KILLS says otherwise.
const KILLS: u64 = 12;

fn kills() -> u64 {
    std::env::var("ROLLCALL_KILLS").map_or(KILLS, |kills| kills.parse().unwrap())
}

#[tokio::test]
async fn killed_gates_and_workers_lose_nothing() {
    let mut stage = Stage::new(2, 2).await;
    let driving = stage.drive().await;
    stage.all_up().await;
    for _ in 0..kills() {
        let [victim, moment] = chassis::random::<2>();
        driving.more(u64::from(moment)).await;
        let services = if victim & 1 == 0 { &mut stage.gates } else { &mut stage.workers };
        let service = services.swap_remove(usize::from(victim >> 1 & 1));
        services.push(service.kill_and_start().await.unwrap());
    }
    driving.more(300).await;
    let journal = driving.end(&mut stage).await;
    stage.finish(&journal).await;
}

#[tokio::test]
async fn a_killed_management_is_missed_by_nobody_who_reports() {
    let mut stage = Stage::new(1, 1).await;
    let driving = stage.drive().await;
    stage.all_up().await;
    let old = stage.management;
    stage.management = old.kill_and_start().await.unwrap();
    driving.more(300).await;
    nobody_is_down(&stage.operator().await.status().await.unwrap());
    let journal = driving.end(&mut stage).await;
    nobody_noticed(&journal);
    stage.finish(&journal).await;
}
