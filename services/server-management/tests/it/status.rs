use fleet::{MailJob, Message};
use queue::{Consumer, rabbitmq};
use serde_json::{Value, json};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::{
    place::{Place, fleet},
    suite::{HOUR, MINUTE, NOW, SECOND, Suite, record},
};

async fn state(suite: &Suite, server: fleet::ServerId) -> String {
    suite.read(&format!("/servers/{server}")).await["status"].as_str().unwrap().to_owned()
}

/// Time passes and the pipeline keeps up; gates have been open since `open_since`.
async fn pass(suite: &mut Suite, now: i64, open_since: i64) {
    suite.at(now).await;
    suite.settle(now, open_since).await;
}

pub async fn before_anything_was_settled_monitoring_is_late_and_nobody_is_down(place: Place) {
    let suite = Suite::spawn(place).await;
    suite.enrol("web-1").await;
    let status = suite.read("/status").await;
    let expected = json!({"up": 0, "down": 0, "unknown": 1, "paused": 0, "total": 1, "pipeline_lag_ms": null, "late": true,
        "dead_letters": null, "mail_dead_letters": null, "watermark": null, "open_since": null, "writers": [], "disk": null, "now": NOW});
    assert_eq!(status, expected);
}

pub async fn who_writes_most_is_told_by_name(place: Place) {
    let suite = Suite::spawn(place).await;
    let (loud, quiet, deleted) =
        (suite.enrol("loud").await, suite.enrol("quiet").await, suite.enrol("deleted").await);
    let writer = |server, bytes| cache::Writer { server, bytes, snapshots: 1 };
    suite.cache.put_writers("a", &[writer(deleted, 900), writer(quiet, 20)], NOW).await.unwrap();
    suite.cache.put_writers("b", &[writer(loud, 70), writer(quiet, 9)], NOW).await.unwrap();
    suite.registry.delete_server(deleted, None, &registry::Actor::system(), NOW).await.unwrap().unwrap();
    let expected = json!([
        {"id": loud, "name": "loud", "bytes": 70, "snapshots": 1},
        {"id": quiet, "name": "quiet", "bytes": 29, "snapshots": 2},
    ]);
    assert_eq!(suite.read("/status").await["writers"], expected);
}

pub async fn a_server_is_down_after_four_intervals_of_silence(place: Place) {
    let mut suite = Suite::spawn(place).await;
    let (silent, paused) = (suite.enrol("silent").await, suite.enrol("paused").await);
    suite.enrol("never-heard").await;
    suite.hear(silent, &[(NOW, 0)]).await;
    suite.hear(paused, &[(NOW, 0)]).await;
    let by = registry::Actor::system();
    suite.registry.pause(paused, &registry::Pause::default(), &by, NOW).await.unwrap().unwrap();
    pass(&mut suite, NOW + 120 * SECOND, NOW - HOUR).await;
    assert_eq!(state(&suite, silent).await, "up");
    pass(&mut suite, NOW + 120 * SECOND + 1, NOW - HOUR).await;
    assert_eq!(state(&suite, silent).await, "down");
    assert_eq!(state(&suite, paused).await, "paused");
    let status = suite.read("/status").await;
    let counts = |status: &Value| {
        ["up", "down", "unknown", "paused", "total"].map(|state| status[state].as_i64().unwrap())
    };
    assert_eq!(counts(&status), [0, 1, 1, 1, 3]);
    assert_eq!((&status["pipeline_lag_ms"], &status["late"]), (&json!(0), &json!(false)));
    suite.hear(silent, &[(NOW + 130 * SECOND, 0)]).await;
    pass(&mut suite, NOW + 130 * SECOND, NOW - HOUR).await;
    assert_eq!(counts(&suite.read("/status").await), [1, 0, 1, 1, 3]);
}

pub async fn a_stall_of_the_pipeline_is_one_fact_and_downs_nobody(place: Place) {
    let mut suite = Suite::spawn(place).await;
    let server = suite.enrol("web-1").await;
    suite.hear(server, &[(NOW, 0)]).await;
    suite.settle(NOW, NOW - HOUR).await;
    suite.at(NOW + HOUR).await;
    let status = suite.read("/status").await;
    assert_eq!((&status["late"], &status["pipeline_lag_ms"]), (&json!(true), &json!(HOUR)));
    assert_eq!((&status["down"], state(&suite, server).await.as_str()), (&json!(0), "up"));
}

pub async fn a_restart_of_monitoring_downs_nobody_who_answers_within_one_interval(place: Place) {
    let suite = Suite::spawn(place).await;
    let (alive, silent) = (suite.enrol("alive").await, suite.enrol("silent").await);
    suite.hear(alive, &[(NOW, 0)]).await;
    suite.hear(silent, &[(NOW, 0)]).await;
    suite.settle(NOW, NOW - HOUR).await;
    let restart = NOW + HOUR;
    let mut suite = suite.restart_without_cache().await;
    pass(&mut suite, restart + 5 * SECOND, restart).await;
    assert_eq!(suite.read("/status").await["down"], 0);
    suite.hear(alive, &[(restart + 30 * SECOND, 0)]).await;
    pass(&mut suite, restart + 120 * SECOND, restart).await;
    assert_eq!(suite.read("/status").await["down"], 0);
    suite.hear(alive, &[(restart + 120 * SECOND, 0)]).await;
    pass(&mut suite, restart + 121 * SECOND, restart).await;
    assert_eq!(state(&suite, alive).await, "up");
    assert_eq!(state(&suite, silent).await, "down");
}

pub async fn losing_the_cache_finds_silence_later_and_never_falsely(place: Place) {
    let mut suite = Suite::spawn(place).await;
    let server = suite.enrol("web-1").await;
    // The registry knows of the first beat alone, as it does for up to five minutes.
    let (first, last) = (record(server, NOW, 0), record(server, NOW + 4 * MINUTE, 0));
    suite.sight(&first, first.silent_at()).await;
    suite.see(&last).await;
    let silent_at = last.silent_at();
    pass(&mut suite, silent_at, NOW - HOUR).await;
    assert_eq!(state(&suite, server).await, "up");
    pass(&mut suite, silent_at + 1, NOW - HOUR).await;
    assert_eq!(state(&suite, server).await, "down");

    let mut suite = suite.restart_without_cache().await;
    assert_eq!(state(&suite, server).await, "up");
    pass(&mut suite, first.silent_at() + 5 * MINUTE, NOW - HOUR).await;
    assert_eq!(state(&suite, server).await, "up");
    pass(&mut suite, first.silent_at() + 5 * MINUTE + 1, NOW - HOUR).await;
    assert_eq!(state(&suite, server).await, "down");
}

/// Of snapshots, and of mail.
async fn dead_letters(suite: &Suite) -> Value {
    let status = suite.read("/status").await;
    json!([status["dead_letters"], status["mail_dead_letters"]])
}

/// Runs what is done in the background until `status` tells what the broker tells, which is `told`.
async fn count_dead_letters(suite: &Suite, told: impl AsyncFn() -> [u32; 2]) {
    let shutdown = CancellationToken::new();
    let running =
        actix_web::rt::spawn(suite.management.clone().run(crate::suite::nobody(), shutdown.clone()));
    eventually("the dead letters are counted", async || dead_letters(suite).await == json!(told().await))
        .await;
    shutdown.cancel();
    running.await.unwrap();
}

pub async fn a_count_of_dead_letters_is_told_for_a_minute(place: Place) {
    let suite = Suite::spawn(place).await;
    count_dead_letters(&suite, async || [0, 0]).await;
    suite.clock.advance(MINUTE);
    assert_eq!(dead_letters(&suite).await, json!([0, 0]));
    suite.clock.advance(1);
    assert_eq!(dead_letters(&suite).await, json!([null, null]));
}

#[actix_web::test]
async fn what_nobody_takes_is_counted_by_its_queue() {
    fleet(async |place| {
        let (snapshots, mail) = (place.real().queue("snapshots"), place.real().queue("mail"));
        let worker: Consumer<Message> = rabbitmq::consumer(&snapshots);
        let sender: Consumer<MailJob> = rabbitmq::consumer(&mail);
        let letters = async || {
            let count = async |queue| rabbitmq::dead_letters(queue).await.unwrap();
            [count(&snapshots).await, count(&mail).await]
        };
        let stranger = rabbitmq::publisher::<Value>(&mail);
        for _ in 0..2 {
            eventually("it is queued", async || stranger.publish(json!("no job")).await.is_ok()).await;
        }
        eventually("they are dead", async || letters().await[1] > 1).await;
        let suite = Suite::spawn(place).await;
        count_dead_letters(&suite, letters).await;
        let other = rabbitmq::publisher::<Value>(&snapshots);
        eventually("it is queued", async || other.publish(json!("no message")).await.is_ok()).await;
        eventually("it is dead", async || letters().await[0] > 0).await;
        count_dead_letters(&suite, letters).await;
        // They would make the queues again.
        drop((worker, sender, stranger, other));
        suite.place.real().remove_queues().await;
    })
    .await;
}
