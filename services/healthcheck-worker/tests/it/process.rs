//! The worker as a process: readiness, metrics, signals, `redrive`.

use std::{
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use serde_json::Value;
use testkit::{eventually, http};

use crate::{
    app::{BEAT, NOW, beat, server},
    fleet::{self, Fleet, free_port},
};

/// `healthcheck-worker`, killed when it is dropped.
struct Process {
    child: Child,
    listen: SocketAddr,
}

fn command(fleet: &Fleet) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_healthcheck-worker"));
    command.env_clear().env("ROLLCALL_PREFIX", fleet.prefix()).env("AMQP_URL", &fleet.servers.rabbitmq().url);
    command
}

/// On a thread of its own: the proxies run on this one.
async fn redrive(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.arg("redrive").output().unwrap()).await.unwrap()
}

impl Process {
    /// By way of the proxies.
    fn start(fleet: &Fleet) -> Self {
        let listen = free_port();
        let child = command(fleet)
            .env("DATABASE_URL", &fleet.servers.postgresql().url)
            .env("ELASTICSEARCH_URL", &fleet.servers.elasticsearch().url)
            .env("REDIS_URL", &fleet.servers.redis().url)
            .env("LISTEN", listen.to_string())
            .env("DRAIN_SECONDS", "0")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, listen }
    }

    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = http().get(format!("http://{}{path}", self.listen)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// What it was not ready for; empty once it is ready.
    async fn missing(&self) -> Option<Vec<String>> {
        let (status, body) = self.get("/health/ready").await?;
        if status == 200 {
            return Some(Vec::new());
        }
        let problem: Value = serde_json::from_str(&body).unwrap();
        let missing = problem["missing"].as_array().unwrap();
        Some(missing.iter().map(|part| part.as_str().unwrap().to_owned()).collect())
    }

    async fn until_missing(&self, parts: &[&str]) {
        eventually("readiness", async || self.missing().await.is_some_and(|missing| missing == parts)).await;
    }

    /// The value of a metric; 0 for one that is not told.
    async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or_default()
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    async fn ended(&mut self) -> ExitStatus {
        let mut ended = None;
        eventually("it ends", async || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        ended.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn it_is_ready_when_all_were_reached_and_consumes_as_soon_as_it_can_store() {
    fleet::with(async |fleet| {
        for door in [fleet.servers.rabbitmq(), fleet.servers.redis(), fleet.servers.elasticsearch()] {
            door.proxy.cut();
        }
        let process = Process::start(fleet);
        process.until_missing(&["registry", "history", "cache", "queue"]).await;
        fleet.enrol([1]).await;
        process.until_missing(&["history", "cache", "queue"]).await;
        fleet.servers.elasticsearch().proxy.mend();
        process.until_missing(&["cache", "queue"]).await;
        fleet.servers.rabbitmq().proxy.mend();
        process.until_missing(&["cache"]).await;
        fleet.publish(vec![beat(1, NOW)]).await;
        fleet.until_stored(1).await;
        process.until_missing(&["cache"]).await;
        fleet.servers.redis().proxy.mend();
        process.until_missing(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn a_short_outage_is_held_and_stored_once() {
    fleet::with(async |fleet| {
        fleet.enrol([1, 9]).await;
        fleet.registry.revoke(server(9), &registry::Actor::system(), NOW).await.unwrap().unwrap();
        let mut process = Process::start(fleet);
        process.until_missing(&[]).await;
        let stores = [(fleet.servers.postgresql(), "registry"), (fleet.servers.elasticsearch(), "history")];
        for (round, (door, store)) in stores.into_iter().enumerate() {
            let calls = format!("rollcall_worker_store_seconds_count{{store=\"{store}\"}}");
            let before = process.metric(&calls).await;
            door.proxy.cut();
            let at = NOW + round as i64 * BEAT;
            fleet.publish(vec![beat(1, at), beat(9, at)]).await;
            eventually("it tries again", async || process.metric(&calls).await >= before + 2.0).await;
            assert_eq!(fleet.ready(&fleet.queue()).await, 0, "it is held");
            assert_eq!(process.metric("rollcall_worker_settled_total").await, round as f64);
            door.proxy.mend();
            let settled =
                async || process.metric("rollcall_worker_settled_total").await == 1.0 + round as f64;
            eventually("it is settled", settled).await;
        }
        for (name, expected) in [
            ("rollcall_worker_received_total", 2.0),
            ("rollcall_worker_handed_back_total", 0.0),
            ("rollcall_worker_snapshots_total{outcome=\"stored\"}", 2.0),
            ("rollcall_worker_snapshots_total{outcome=\"revoked\"}", 2.0),
            ("rollcall_worker_snapshots_total{outcome=\"refused\"}", 0.0),
        ] {
            assert_eq!(process.metric(name).await, expected, "{name}");
        }
        assert!(process.metric("rollcall_worker_lag_seconds").await > 0.0);
        process.signal("-TERM");
        assert_eq!(process.ended().await.code(), Some(0));
        assert_eq!(fleet.stored().await, 2);
        fleet.nothing_is_left().await;
    })
    .await;
}

#[tokio::test]
async fn sigterm_finishes_what_is_in_hand() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        let mut process = Process::start(fleet);
        process.until_missing(&[]).await;
        fleet.servers.elasticsearch().proxy.stall();
        for number in 0..5 {
            fleet.publish(vec![beat(1, NOW + number)]).await;
        }
        let in_hand = async || process.metric("rollcall_worker_received_total").await >= 1.0;
        eventually("some is in hand", in_hand).await;
        process.signal("-TERM");
        eventually("it is not ready", async || process.missing().await.is_none_or(|m| !m.is_empty())).await;
        fleet.servers.elasticsearch().proxy.mend();
        assert_eq!(process.ended().await.code(), Some(0));
        let rows = fleet.registry.progress().await.unwrap();
        assert!(rows[0].newest_settled.is_some() && rows[0].oldest_in_hand.is_none(), "{rows:?}");
        let waiting = u64::from(fleet.ready(&fleet.queue()).await);
        assert_eq!(fleet.stored().await + waiting, 5, "acked is stored, the rest waits");
        assert!(waiting < 5);
        assert_eq!(fleet.ready(&fleet.dead()).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_second_signal_lets_go_of_what_is_not_stored() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        let mut process = Process::start(fleet);
        process.until_missing(&[]).await;
        fleet.servers.elasticsearch().proxy.stall();
        fleet.publish(vec![beat(1, NOW)]).await;
        eventually("it is in hand", async || process.metric("rollcall_worker_received_total").await == 1.0)
            .await;
        process.signal("-TERM");
        eventually("it stops", async || process.get("/health/live").await.is_none()).await;
        assert!(process.child.try_wait().unwrap().is_none(), "it waits for history");
        process.signal("-TERM");
        process.ended().await;
        eventually("it is back", async || fleet.ready(&fleet.queue()).await == 1).await;
        assert_eq!(fleet.ready(&fleet.dead()).await, 0);
        // The snapshot that was being written when the worker stopped is written twice, and stored once.
        fleet.servers.elasticsearch().proxy.mend();
        let _next = Process::start(fleet);
        fleet.until_stored(1).await;
    })
    .await;
}

#[tokio::test]
async fn redrive_sends_dead_letters_through_again_and_needs_the_broker_alone() {
    fleet::with(async |fleet| {
        fleet.enrol([1]).await;
        let index = format!("{}-snapshots-2026.09.20", fleet.prefix());
        fleet.elasticsearch("PUT", &index, Some(fleet::foreign_index())).await;
        let yesterday = beat(1, NOW - 86_400_000);
        fleet.publish(vec![beat(1, NOW), yesterday, beat(1, NOW + BEAT)]).await;
        fleet.put(b"hopeless").await;
        let process = Process::start(fleet);
        let dead = fleet.dead();
        eventually("both are dead", async || fleet.ready(&dead).await == 2).await;
        fleet.elasticsearch("DELETE", &index, None).await;
        let output = redrive(command(fleet)).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"2 dead letters went through the queue again\n");
        fleet.until_stored(3).await;
        let letters = fleet.take_dead(1).await;
        assert_eq!(letters[0].payload, b"hopeless");
        assert_eq!(process.metric("rollcall_worker_snapshots_total{outcome=\"refused\"}").await, 1.0);
        fleet.servers.rabbitmq().proxy.cut();
        let output = redrive(command(fleet)).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("nothing was moved") && told.contains("AMQP_URL"), "{told}");
        let mut without = command(fleet);
        without.env_remove("AMQP_URL");
        let unset = redrive(without).await;
        assert!(String::from_utf8(unset.stderr).unwrap().contains("AMQP_URL: is not set"));
    })
    .await;
}
