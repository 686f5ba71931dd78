//! Stores that are away, slow, or keep their answers to themselves.

use std::time::Duration;

use simulator::{Fleet, Urls};
use testkit::{Proxy, Server, eventually_within};

use crate::stage::{Stage, Ways, fleet, nobody_is_down, nobody_noticed};

/// For how long a worker holds what a store does not take.
const HELD: Duration = Duration::from_secs(60);

/// Workers reach their stores by way of the proxies, all others directly.
fn ways(fleet: &Fleet) -> Ways {
    let worker = Urls { amqp: fleet.urls.amqp.clone(), ..Urls::proxied(&fleet.servers) };
    Ways { gate: fleet.urls.clone(), worker, management: fleet.urls.clone() }
}

/// Three workers' worth of faults on one after the other; what is acknowledged meanwhile waits in the queue.
#[tokio::test]
async fn each_store_away_slow_or_silent_in_turn_costs_nothing() {
    let fleet = fleet().await;
    let ways = ways(&fleet);
    let mut stage = Stage::on(fleet, &ways, 1, 2).await;
    let driving = stage.drive().await;
    stage.all_up().await;
    for server in [Server::PostgreSql, Server::Elasticsearch, Server::Redis] {
        for fault in [Proxy::cut, Proxy::stall, Proxy::swallow_replies] {
            fault(&stage.fleet.servers.door(server).proxy);
            driving.more(600).await;
            stage.fleet.servers.door(server).proxy.mend();
            driving.more(300).await;
        }
    }
    stage.all_up().await;
    let journal = driving.end(&mut stage).await;
    nobody_noticed(&journal);
    stage.finish(&journal).await;
}

#[tokio::test]
async fn stores_away_for_longer_than_a_worker_holds_on_lose_nothing_and_down_nobody() {
    let fleet = fleet().await;
    let ways = ways(&fleet);
    let mut stage = Stage::on(fleet, &ways, 1, 1).await;
    let driving = stage.drive().await;
    stage.all_up().await;
    let operator = stage.operator().await;
    stage.fleet.servers.elasticsearch().proxy.cut();
    stage.fleet.servers.postgresql().proxy.cut();
    eventually_within(HELD * 2, "the batch is handed back", async || {
        nobody_is_down(&operator.status().await.unwrap());
        stage.workers[0].metric("rollcall_worker_handed_back_total").await.unwrap() >= 1.0
    })
    .await;
    assert_eq!(operator.status().await.unwrap()["late"], true);
    stage.fleet.servers.postgresql().proxy.mend();
    driving.more(300).await;
    stage.fleet.servers.elasticsearch().proxy.mend();
    eventually_within(HELD * 2, "it has caught up", async || {
        let status = operator.status().await.unwrap();
        nobody_is_down(&status);
        status["late"] == false
    })
    .await;
    let journal = driving.end(&mut stage).await;
    stage.finish(&journal).await;
}

#[tokio::test]
async fn a_cache_that_is_flushed_or_full_of_garbage_is_only_slower() {
    let mut stage = Stage::new(1, 1).await;
    let driving = stage.drive().await;
    stage.all_up().await;
    let operator = stage.operator().await;
    let servers = operator.get("servers?page_size=1").await.unwrap().1;
    let server = servers["items"][0]["id"].as_str().unwrap().to_owned();
    for round in 0..6 {
        stage.fleet.servers.forget_keys().await;
        if round % 2 == 1 {
            garbage(&stage.fleet, &server).await;
        }
        driving.more(200).await;
        nobody_is_down(&operator.status().await.unwrap());
        let uptime = format!("servers/{server}/uptime");
        for path in ["servers?page_size=100", &format!("servers/{server}"), &uptime, "uptime"] {
            let (status, body) = operator.get(path).await.unwrap();
            assert_eq!(status, 200, "{path}: {body}");
        }
    }
    let journal = driving.end(&mut stage).await;
    nobody_noticed(&journal);
    stage.finish(&journal).await;
}

/// What never was there, under the names of what was.
async fn garbage(fleet: &Fleet, server: &str) {
    let mut cache = fleet.servers.redis_connection().await;
    let prefix = fleet.prefix();
    for (key, value) in [("silent", "no set"), ("denylist", "denylist 1 99999999999999999999 ☠")] {
        let set = redis::cmd("SET").arg(format!("{prefix}:{key}")).arg(value).query_async(&mut cache).await;
        let () = set.unwrap();
    }
    let latest = format!("{prefix}:latest:{server}");
    // In one step: a worker that writes in between makes a text of it, which no field can be set in.
    let mut instead = redis::pipe();
    instead.atomic().cmd("DEL").arg(&latest).ignore().cmd("HSET").arg(&latest).arg("a").arg("b").ignore();
    let () = instead.query_async(&mut cache).await.unwrap();
}
