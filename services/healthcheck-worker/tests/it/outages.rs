//! A store that is away for longer than what is in hand is held, replies that never come, and a cache that is gone.

use std::time::Duration;

use sqlx::Connection;
use testkit::eventually;

use crate::{
    app::{BEAT, NOW, beat, record, server},
    fleet::{self, Fleet, foreign_index},
};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_long_outage_is_handed_back_probed_and_gone_on_from() {
    fleet::with(async |fleet| {
        fleet.enrol([1, 9]).await;
        fleet.registry.revoke(server(9), &registry::Actor::system(), NOW).await.unwrap().unwrap();
        let worker = fleet.worker("worker", SHORT);
        fleet.publish(vec![beat(1, NOW - 9 * BEAT)]).await;
        fleet.until_settled(NOW - 9 * BEAT).await;
        for (round, door) in
            [fleet.servers.postgresql(), fleet.servers.elasticsearch()].into_iter().enumerate()
        {
            door.proxy.cut();
            let at = NOW - (2 - round as i64) * BEAT;
            fleet.publish(vec![beat(1, at), beat(9, at)]).await;
            fleet.publish(Vec::new()).await;
            let queue = fleet.queue();
            eventually("both are back", async || fleet.ready(&queue).await == 2).await;
            door.proxy.mend();
            fleet.until_stored(2 + round as u64).await;
            fleet.until_settled(at).await;
        }
        worker.stop().await;
        fleet.nothing_is_left().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_held_shows_in_the_row_and_stays_with_the_worker() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        let worker = fleet.worker("worker", LONG);
        fleet.publish(vec![beat(1, NOW - BEAT)]).await;
        fleet.until_settled(NOW - BEAT).await;
        fleet.servers.elasticsearch().proxy.cut();
        fleet.publish(vec![beat(1, NOW)]).await;
        let held = async || {
            let rows = fleet.registry.progress().await.unwrap();
            rows[0].oldest_in_hand == Some(NOW) && rows[0].newest_settled == Some(NOW - BEAT)
        };
        eventually("the row tells of it", held).await;
        assert_eq!(fleet.ready(&fleet.queue()).await, 0);
        fleet.servers.elasticsearch().proxy.mend();
        fleet.until_stored(2).await;
        worker.stop().await;
        fleet.nothing_is_left().await;
        let rows = fleet.registry.progress().await.unwrap();
        assert_eq!((rows[0].oldest_in_hand, rows[0].newest_settled), (None, Some(NOW)));
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_in_an_outage_hands_back() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        let worker = fleet.worker("worker", LONG);
        fleet.publish(vec![beat(1, NOW - BEAT)]).await;
        fleet.until_settled(NOW - BEAT).await;
        fleet.servers.elasticsearch().proxy.cut();
        fleet.publish(vec![beat(1, NOW)]).await;
        let in_hand = async || fleet.registry.progress().await.unwrap()[0].oldest_in_hand == Some(NOW);
        eventually("it is in hand", in_hand).await;
        worker.stop().await;
        eventually("it is back", async || fleet.ready(&fleet.queue()).await == 1).await;
        assert_eq!(fleet.ready(&fleet.dead()).await, 0);
        fleet.servers.elasticsearch().proxy.mend();
        let next = fleet.worker("next", LONG);
        fleet.until_stored(2).await;
        next.stop().await;
        fleet.nothing_is_left().await;
    })
    .await;
}

#[tokio::test]
async fn a_reply_of_history_that_never_comes_makes_one_record() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        let worker = fleet.worker("worker", LONG);
        fleet.publish(vec![beat(1, NOW - BEAT)]).await;
        fleet.until_settled(NOW - BEAT).await;
        fleet.servers.elasticsearch().proxy.swallow_replies();
        fleet.publish(vec![beat(1, NOW)]).await;
        fleet.until_stored(2).await;
        assert_eq!(fleet.marks(1).await.unwrap().sampled_at, NOW - BEAT, "it does not know yet");
        fleet.servers.elasticsearch().proxy.drop_connections().await;
        let far = NOW + 100 * BEAT;
        fleet.publish(vec![beat(1, far)]).await;
        eventually("the next is stored too", async || fleet.marks(1).await.unwrap().sampled_at == far).await;
        worker.stop().await;
        assert_eq!(fleet.stored().await, 3);
        fleet.nothing_is_left().await;
    })
    .await;
}

/// By the process that holds the lock, since tests of others share the database.
async fn someone_waits_for(holder: i32, fleet: &Fleet) {
    const BLOCKED: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))";
    let mut database = fleet.database().await;
    eventually("the sighting waits for a lock", async || {
        let blocked: i64 = sqlx::query_scalar(BLOCKED).bind(holder).fetch_one(&mut database).await.unwrap();
        blocked > 0
    })
    .await;
}

#[tokio::test]
async fn a_commit_of_the_registry_that_is_never_told_changes_nothing() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        let worker = fleet.worker("worker", LONG);
        fleet.publish(vec![beat(1, NOW - 20 * BEAT)]).await;
        fleet.until_settled(NOW - 20 * BEAT).await;
        let mut database = fleet.database().await;
        let mut lock = database.begin().await.unwrap();
        sqlx::query("SELECT 1 FROM sightings FOR UPDATE").execute(&mut *lock).await.unwrap();
        let holder = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *lock).await.unwrap();
        fleet.publish(vec![beat(1, NOW)]).await;
        someone_waits_for(holder, fleet).await;
        fleet.servers.postgresql().proxy.swallow_replies();
        lock.rollback().await.unwrap();
        eventually("it is committed", async || fleet.marks(1).await.unwrap().sampled_at == NOW).await;
        let rows = fleet.registry.progress().await.unwrap();
        assert_eq!(rows[0].newest_settled, Some(NOW - 20 * BEAT), "it does not know yet");
        fleet.servers.postgresql().proxy.drop_connections().await;
        fleet.until_settled(NOW).await;
        worker.stop().await;
        assert_eq!(fleet.stored().await, 2);
        fleet.nothing_is_left().await;
    })
    .await;
}

/// The registry alone gives a sound verdict: what it knows is less than five minutes behind.
async fn the_registry_knows(fleet: &Fleet, silent_at: i64) {
    let known = fleet.marks(1).await.unwrap().beat.silent_at;
    assert!(known + ::fleet::liveness::SIGHTING_SLACK > silent_at, "{known} for {silent_at}");
}

#[tokio::test]
async fn a_cache_that_is_away_flushed_or_full_of_garbage_delays_nothing() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        let worker = fleet.worker("worker", LONG);
        let silent_at = |at: i64| at + 4 * BEAT;
        let cached = async |at: i64| {
            let silent = fleet.cache.silent(0, i64::MAX).await.unwrap();
            silent == [(server(1), silent_at(at))]
        };
        fleet.publish(vec![beat(1, NOW)]).await;
        eventually("the cache has it", async || cached(NOW).await).await;

        fleet.servers.redis().proxy.cut();
        for round in 1..=15 {
            fleet.publish(vec![beat(1, NOW + round * BEAT)]).await;
            fleet.until_stored(1 + round as u64).await;
            let settled = async || fleet.ready(&fleet.queue()).await == 0;
            eventually("nothing waits", settled).await;
        }
        let at = NOW + 15 * BEAT;
        eventually("all is settled", async || fleet.marks(1).await.unwrap().sampled_at >= NOW + 10 * BEAT)
            .await;
        the_registry_knows(fleet, silent_at(at)).await;
        assert!(cached(NOW).await, "the cache was away");

        fleet.servers.redis().proxy.mend();
        fleet.servers.forget_keys().await;
        let mut at = at;
        let mut count = 16;
        let heals = async || {
            at += BEAT;
            count += 1;
            fleet.publish(vec![beat(1, at)]).await;
            fleet.until_stored(count).await;
            cached(at).await
        };
        eventually("a flushed cache fills again", heals).await;

        let (silent, latest) =
            (format!("{}:silent", fleet.prefix()), format!("{}:latest:{}", fleet.prefix(), server(1)));
        fleet.redis(redis::cmd("SET").arg(silent).arg("garbage")).await;
        fleet.redis(redis::cmd("DEL").arg(&latest)).await;
        fleet.redis(redis::cmd("LPUSH").arg(&latest).arg("garbage")).await;
        at += BEAT;
        fleet.publish(vec![beat(1, at)]).await;
        eventually("garbage is replaced", async || cached(at).await).await;
        let healed = fleet.cache.latest(&[server(1)]).await.unwrap();
        assert_eq!(healed[&server(1)].sampled_at, at);
        worker.stop().await;
        assert_eq!(fleet.stored().await, count + 1);
        the_registry_knows(fleet, silent_at(at)).await;
        fleet.nothing_is_left().await;
    })
    .await;
}

#[tokio::test]
async fn a_day_that_history_refuses_keeps_no_other_out() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        // NOW is in 2026-09-21.
        let index = format!("{}-snapshots-2026.09.20", fleet.prefix());
        fleet.elasticsearch("PUT", &index, Some(foreign_index())).await;
        let yesterday = NOW - 86_400_000;
        fleet.publish(vec![beat(1, NOW), record(1, NOW, yesterday, None), beat(1, NOW + BEAT)]).await;
        let worker = fleet.worker("worker", LONG);
        let letters = fleet.take_dead(1).await;
        assert!(letters[0].reason.contains("choose another prefix"), "{}", letters[0].reason);
        assert!(String::from_utf8_lossy(&letters[0].payload).contains(&yesterday.to_string()));
        fleet.until_stored(2).await;
        worker.stop().await;
        fleet.nothing_is_left().await;
    })
    .await;
}

#[tokio::test]
async fn what_a_person_has_to_mend_is_kept_until_then() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        let index = format!("{}-snapshots-2026.09.21", fleet.prefix());
        fleet.elasticsearch("PUT", &index, Some(foreign_index())).await;
        fleet.publish(vec![beat(1, NOW), beat(1, NOW + BEAT)]).await;
        let worker = fleet.worker("worker", SHORT);
        let taken = async || fleet.ready(&fleet.queue()).await == 0;
        eventually("it is in hand", taken).await;
        let back = async || fleet.ready(&fleet.queue()).await == 1;
        eventually("it is back", back).await;
        fleet.elasticsearch("DELETE", &index, None).await;
        fleet.until_stored(2).await;
        fleet.until_settled(NOW).await;
        worker.stop().await;
        fleet.nothing_is_left().await;
    })
    .await;
}
