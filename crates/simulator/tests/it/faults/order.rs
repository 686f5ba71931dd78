//! Snapshots that come twice, out of order, and hours late.

use chassis::Clock;
use fleet::{Interval, Message, Millis, Record, Snapshot, wire::v1};
use serde_json::{Value, json};
use simulator::{Entry, Journal, Simulated, enrol, services::ADMIN_PASSWORD};
use testkit::eventually;

use crate::stage::Stage;

const SECOND: Millis = 1_000;
const HOUR: Millis = 3_600 * SECOND;
/// Snapshots of each server; together they cover as many seconds.
const SAMPLES: Millis = 60;

fn entry(server: &Simulated, sampled_at: Millis) -> Entry {
    Entry { server: server.id, sampled_at, sent: sampled_at, status: Some(202), took_us: 0 }
}

async fn post(stage: &Stage, gate: usize, server: &Simulated, sampled_at: Millis) -> Entry {
    let snapshot = json!({"sampled_at": sampled_at, "covers_ms": SECOND, "cpu": {"total": 1.0}});
    let body = json!({"interval_ms": SECOND, "snapshots": [snapshot]});
    let url = format!("{}/healthcheck/v1/snapshots", stage.gates[gate].url);
    let answer = stage.fleet.http.post(url).bearer_auth(&server.credential).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    entry(server, sampled_at)
}

async fn server(stage: &Stage, id: &str) -> Value {
    stage.operator().await.get(&format!("servers/{id}")).await.unwrap().1
}

#[tokio::test]
async fn twice_and_out_of_order_is_as_once_and_in_order() {
    let stage = Stage::new(2, 2).await;
    let server = enrol(&stage.management.url, ADMIN_PASSWORD, 1).await.unwrap().remove(0);
    let newest = Clock::system().now();
    let mut journal = Journal::default();
    // The odd ones backwards to one gate, then all of them to both.
    for back in (0..SAMPLES).filter(|back| back % 2 == 1).rev() {
        journal.entries.push(post(&stage, 0, &server, newest - back * SECOND).await);
    }
    for back in 0..SAMPLES {
        let at = newest - back * SECOND;
        let (one, other) = tokio::join!(post(&stage, 0, &server, at), post(&stage, 1, &server, at));
        journal.entries.extend([one, other]);
    }
    let operator = stage.operator().await;
    let range = format!("from={}&to={newest}", newest - SAMPLES * SECOND);
    let uptime = format!("servers/{}/uptime?{range}", server.id);
    eventually("all of it is covered, and no second twice", async || {
        let (_, body) = operator.get(&uptime).await.unwrap();
        assert!(body["covered_ms"].as_i64() <= Some(SAMPLES * SECOND), "{body}");
        body["covered_ms"] == SAMPLES * SECOND && body["uptime"] == 1.0
    })
    .await;
    let (_, points) =
        operator.get(&format!("servers/{}/snapshots?{range}&points=1", server.id)).await.unwrap();
    // The newest is not in the range: it ends before it.
    assert_eq!(points["points"][0]["count"], SAMPLES - 1, "{points}");
    let latest = self::server(&stage, &server.id.to_string()).await;
    assert_eq!(latest["latest"]["sampled_at"], newest, "{latest}");
    stage.finish(&journal).await;
}

#[tokio::test]
async fn what_is_hours_late_in_the_pipeline_fills_history_and_flips_no_status() {
    let mut stage = Stage::new(1, 1).await;
    let driving = stage.drive().await;
    stage.all_up().await;
    let [up, down] = enrol(&stage.management.url, ADMIN_PASSWORD, 2).await.unwrap().try_into().unwrap();
    let now = Clock::system().now();
    let mut others = vec![post(&stage, 0, &down, now).await];
    let state =
        async |server: &Simulated| self::server(&stage, &server.id.to_string()).await["status"].clone();
    eventually("one is down", async || state(&down).await == "down").await;

    let url = stage.fleet.urls.amqp.parse().unwrap();
    let settings = queue::rabbitmq::Settings::new(url, stage.fleet.prefix(), "snapshots");
    let publisher = queue::rabbitmq::publisher::<Message>(&settings);
    publisher.reached().await;
    others.push(post(&stage, 0, &up, Clock::system().now()).await);
    eventually("one is up", async || state(&up).await == "up").await;
    for server in [&up, &down] {
        others.push(entry(server, now - 6 * HOUR));
        publisher.publish(Message::Snapshots(vec![late(server, now - 6 * HOUR)])).await.unwrap();
    }
    let range = format!("from={}&to={}&points=1", now - 7 * HOUR, now - 5 * HOUR);
    let operator = stage.operator().await;
    for server in [&up, &down] {
        eventually("the late one is in the history", async || {
            let path = format!("servers/{}/snapshots?{range}", server.id);
            operator.get(&path).await.unwrap().1["points"][0]["count"] == 1
        })
        .await;
    }
    assert_eq!(state(&down).await, "down");
    let status = operator.status().await.unwrap();
    assert_eq!(status["late"], false, "{status}");
    let mut journal = driving.end(&mut stage).await;
    journal.entries.extend(others);
    stage.finish(&journal).await;
}

fn late(server: &Simulated, at: Millis) -> Record {
    let interval = Interval::try_from(SECOND).unwrap();
    let raw = v1::Snapshot { sampled_at: at, covers_ms: SECOND, ..v1::Snapshot::default() };
    let snapshot = Snapshot::check(raw, interval).unwrap();
    let generation = server.credential.split('.').nth(2).unwrap().parse().unwrap();
    Record { server: server.id, generation, received_at: at, interval, snapshot }
}
