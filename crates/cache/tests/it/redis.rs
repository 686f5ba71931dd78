//! What only a real server can do: be away, stall, forget, hold garbage, and serve two workers at once.

use std::time::{Duration, Instant};

use cache::{Cache, Denylist, RedisUrl, Seen};
use fleet::{Millis, ServerId};
use redis::aio::MultiplexedConnection;
use testkit::{Proxy, Server, Servers, eventually};

use crate::contract::{id, latest, seen, silent};

/// No call takes longer: the half second that is promised, and what a busy machine adds.
const BOUND: Duration = Duration::from_secs(3);

/// Keys of a test's own on the real server.
pub struct Fresh {
    servers: Servers,
    /// Past the cache, straight to the server.
    redis: MultiplexedConnection,
}

pub async fn fresh() -> Fresh {
    let servers = Servers::of(&[Server::Redis]).await;
    Fresh { redis: servers.redis_connection().await, servers }
}

/// An empty cache, and the place of its keys.
pub async fn opened() -> (Cache, Fresh) {
    let fresh = fresh().await;
    (fresh.cache(), fresh)
}

impl Fresh {
    /// One more cache on the same keys, as another process has it.
    pub fn cache(&self) -> Cache {
        self.cache_at(&self.servers.redis().direct)
    }

    fn cache_at(&self, url: &str) -> Cache {
        Cache::redis(&url.parse().unwrap(), self.servers.prefix())
    }

    /// One behind a proxy.
    fn behind_a_proxy(&self) -> (Cache, Proxy) {
        let door = self.servers.redis();
        (self.cache_at(&door.url), door.proxy.clone())
    }

    /// Runs a command, given as words; `{}` in them is the prefix.
    async fn run<T: redis::FromRedisValue>(&mut self, command: &[&[u8]]) -> T {
        let mut words = command.iter();
        let mut question = redis::cmd(str::from_utf8(words.next().unwrap()).unwrap());
        for word in words {
            question.arg(*word);
        }
        question.query_async(&mut self.redis).await.unwrap()
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.servers.prefix())
    }
}

fn denylist(version: i64) -> Denylist {
    Denylist { version, lowest: [(id(1), 2)].into() }
}

/// Every call once: how many failed. Each must keep the bound.
async fn failed_calls(cache: &Cache) -> usize {
    let mut failed = 0;
    let mut begun = Instant::now();
    let mut note = |ok: bool| {
        assert!(begun.elapsed() < BOUND, "a call took {:?}", begun.elapsed());
        begun = Instant::now();
        failed += usize::from(!ok);
    };
    note(cache.see(vec![seen(1, 100, 100)], 100).await.is_ok());
    note(cache.correct(100).await.is_ok());
    note(cache.silent(0, 1_000).await.is_ok());
    note(cache.latest(&[id(1)]).await.is_ok());
    note(cache.put_denylist(denylist(1)).await.is_ok());
    note(cache.denylist().await.is_ok());
    note(cache.fail("admin", 1_000, 60_000).await.is_ok());
    note(cache.failures("admin", 1_000, 60_000).await.is_ok());
    note(cache.clock().await.is_ok());
    failed
}

const CALLS: usize = 9;

/// Breaks the way to the server, sees every call refused in time, mends it, and sees them all answered.
async fn breaks_and_recovers(break_it: fn(&Proxy)) {
    let fresh = fresh().await;
    let (cache, proxy) = fresh.behind_a_proxy();
    eventually("the cache answers", async || failed_calls(&cache).await == 0).await;
    break_it(&proxy);
    assert_eq!(failed_calls(&cache).await, CALLS);
    // Once it is known to be away nobody waits.
    let begun = Instant::now();
    assert_eq!(failed_calls(&cache).await, CALLS);
    assert!(begun.elapsed() < BOUND / 2, "{CALLS} calls took {:?}", begun.elapsed());
    proxy.mend();
    eventually("the cache answers again", async || failed_calls(&cache).await == 0).await;
}

#[tokio::test]
async fn a_cut_is_refused_in_time_and_mends_by_itself() {
    breaks_and_recovers(Proxy::cut).await;
}

#[tokio::test]
async fn a_stall_is_refused_in_time_and_mends_by_itself() {
    breaks_and_recovers(Proxy::stall).await;
}

#[tokio::test]
async fn swallowed_replies_are_refused_in_time_and_mend_by_themselves() {
    breaks_and_recovers(Proxy::swallow_replies).await;
}

#[tokio::test]
async fn it_starts_before_its_server() {
    let fresh = fresh().await;
    let begun = Instant::now();
    let (cache, proxy) = fresh.behind_a_proxy();
    proxy.cut();
    assert!(begun.elapsed() < BOUND);
    eventually("the cache is known to be away", async || failed_calls(&cache).await == CALLS).await;
    proxy.mend();
    eventually("the cache answers", async || failed_calls(&cache).await == 0).await;
}

#[tokio::test]
async fn what_redis_forgets_is_not_there_and_comes_back_with_the_next_beat() {
    // A database of its own: forgetting is for all of it.
    let servers = Servers::of(&[Server::Redis]).await;
    let mut url = servers.redis().direct.clone();
    url.truncate(url.rfind('/').filter(|at| *at > 8).unwrap_or(url.len()));
    url.push_str("/9");
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut fresh = Fresh { redis: client.get_multiplexed_async_connection().await.unwrap(), servers };
    let cache = fresh.cache_at(&url);
    assert_eq!(failed_calls(&cache).await, 0);
    let () = fresh.run(&[b"FLUSHDB"]).await;
    let () = fresh.run(&[b"SCRIPT", b"FLUSH"]).await;
    assert_eq!(silent(&cache, 0, 1_000).await, []);
    assert_eq!(latest(&cache, 1).await, None);
    assert_eq!(cache.denylist().await.unwrap(), None);
    assert_eq!(cache.failures("admin", 1_000, 60_000).await.unwrap(), (0, None));
    assert_eq!(failed_calls(&cache).await, 0);
    assert_eq!(latest(&cache, 1).await.unwrap().sampled_at, 100);
    assert_eq!(cache.denylist().await.unwrap(), Some(denylist(1)));
}

#[tokio::test]
async fn garbage_of_any_type_is_not_there_and_gives_way() {
    let mut fresh = fresh().await;
    let cache = fresh.cache();
    let id_text = id(1).to_string();
    let names = ["silent", &format!("latest:{id_text}"), "denylist", "failures:admin"];
    let id_text = id_text.as_bytes();
    let garbage: [&[&[u8]]; 18] = [
        &[b"SET", b"", b""],
        &[b"SET", b"", b"\xff\xfe\0garbage"],
        &[b"SET", b"", b"latest 1 200 200 {\"cut\":"],
        &[b"SET", b"", b"latest 1 99999999999999999999 99999999999999999999 {}"],
        &[b"SET", b"", b"latest 2 200 200 {}"],
        &[b"SET", b"", b"denylist 1 9"],
        &[b"SET", b"", b"denylist 1 99999999999999999999 0\n"],
        &[b"SETBIT", b"", b"100000", b"1"],
        &[b"RPUSH", b"", b"garbage", b"", b"-5", b"1e3", b"99999999999999999999", b"\xff"],
        &[b"SADD", b"", b"garbage", b"1000"],
        &[b"SADD", b"", b"1", b"2", b"3"],
        &[b"HSET", b"", b"received_at", b"1000"],
        &[b"ZADD", b"", b"300", b"garbage", b"400", b"\xff\0", b"500", b""],
        &[b"ZADD", b"", b"0.5", id_text],
        &[b"ZADD", b"", b"-inf", id_text],
        &[b"ZADD", b"", b"-300", id_text],
        &[b"XADD", b"", b"*", b"field", b"value"],
        &[b"PFADD", b"", b"a", b"b"],
    ];
    for words in garbage {
        for name in names {
            let key = fresh.key(name);
            let mut command = words.to_vec();
            command[1] = key.as_bytes();
            let _: redis::Value = fresh.run(&command).await;
        }
        assert_eq!(silent(&cache, Millis::MIN, Millis::MAX).await, [], "{words:?}");
        assert_eq!(latest(&cache, 1).await, None, "{words:?}");
        assert_eq!(cache.denylist().await.unwrap(), None, "{words:?}");
        assert_eq!(cache.failures("admin", 1_000, 60_000).await.unwrap(), (0, None), "{words:?}");
        assert_eq!(failed_calls(&cache).await, 0);
        assert_eq!(silent(&cache, 0, Millis::MAX).await, [(id(1), 220)], "{words:?}");
        assert_eq!(latest(&cache, 1).await.unwrap().sampled_at, 100, "{words:?}");
        assert_eq!(cache.denylist().await.unwrap(), Some(denylist(1)), "{words:?}");
        assert_eq!(cache.failures("admin", 1_000, 60_000).await.unwrap(), (1, Some(1_000)), "{words:?}");
        for name in names {
            let () = fresh.run(&[b"DEL", fresh.key(name).as_bytes()]).await;
        }
    }
}

#[tokio::test]
async fn two_workers_at_once_leave_the_newest() {
    const BEATS: Millis = 300;
    let fresh = fresh().await;
    // One goes up, the other down, and both pass each other at every value.
    let up: Vec<Millis> = (1..=BEATS).collect();
    let down = up.iter().rev().copied().collect();
    let workers = [up, down].map(|beats| {
        let cache = fresh.cache();
        tokio::spawn(async move {
            for beat in beats {
                cache
                    .see((1..=3).map(|server| seen(server, 1_000 + beat, beat)).collect(), 2_000)
                    .await
                    .unwrap();
                cache.put_denylist(denylist(beat)).await.unwrap();
            }
        })
    });
    for worker in workers {
        worker.await.unwrap();
    }
    let cache = fresh.cache();
    assert_eq!(silent(&cache, 0, Millis::MAX).await, [1, 2, 3].map(|server| (id(server), 1_120 + BEATS)));
    let newest = latest(&cache, 2).await.unwrap();
    assert_eq!((newest.received_at, newest.sampled_at), (1_000 + BEATS, BEATS));
    assert_eq!(&*newest.snapshot, format!("{{\"sampled_at\":{BEATS}}}"));
    assert_eq!(cache.denylist().await.unwrap(), Some(denylist(BEATS)));
}

#[tokio::test]
async fn every_key_expires() {
    const WEEK: Millis = 7 * 86_400_000;
    let mut fresh = fresh().await;
    assert_eq!(failed_calls(&fresh.cache()).await, 0);
    let keys: Vec<String> = fresh.run(&[b"KEYS", fresh.key("*").as_bytes()]).await;
    assert_eq!(keys.len(), 4, "{keys:?}");
    for key in keys {
        let left: Millis = fresh.run(&[b"PTTL", key.as_bytes()]).await;
        let most = if key.contains("failures") { 120_000 } else { WEEK };
        assert!((1..=most).contains(&left), "{key} is left for {left} ms");
    }
}

#[tokio::test]
async fn a_large_batch_fits_the_bound() {
    let fresh = fresh().await;
    let cache = fresh.cache();
    let snapshot = format!("{{\"filler\":\"{}\"}}", "f".repeat(1_000));
    let batch = || -> Vec<Seen> {
        let seen = |server| Seen { latest: snapshot.as_str().into(), ..seen(server, 100, 100) };
        (0..4_000).map(seen).collect()
    };
    // On a busy machine not at the first try.
    eventually("it is taken in time", async || cache.see(batch(), 2_000).await.is_ok()).await;
    let servers: Vec<ServerId> = (0..4_000).map(id).collect();
    eventually("it is read in time", async || {
        cache.latest(&servers).await.is_ok_and(|latest| latest.len() == 4_000)
    })
    .await;
    assert_eq!(silent(&cache, 220, 221).await.len(), 4_000);
}

#[tokio::test]
async fn prefixes_keep_apart() {
    let (first, second) = (fresh().await, fresh().await);
    let (one, other) = (first.cache(), second.cache());
    assert_eq!(failed_calls(&one).await, 0);
    assert_eq!(latest(&other, 1).await, None);
    assert_eq!(other.denylist().await.unwrap(), None);
}

#[tokio::test]
async fn the_clock_is_the_servers() {
    let mut fresh = fresh().await;
    let (seconds, _): (Millis, Millis) = fresh.run(&[b"TIME"]).await;
    let clock = fresh.cache().clock().await.unwrap().unwrap();
    assert!((0..60_000).contains(&(clock - seconds * 1_000)), "{clock} ms, {seconds} s");
    assert_eq!(Cache::in_process().clock().await.unwrap(), None);
}

#[tokio::test]
async fn a_password_never_prints() {
    for url in ["redis://user:hunter2@", "http://user:hunter2@localhost", "hunter2"] {
        let refused = url.parse::<RedisUrl>().err().unwrap();
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    }
    let fresh = fresh().await;
    let url = fresh.servers.redis().direct.replacen("://", "://nobody:hunter2@", 1);
    let refused = fresh.cache_at(&url).denylist().await.unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{refused}");
}

#[tokio::test]
async fn tls_with_a_server_that_speaks_none_is_unavailable() {
    let fresh = fresh().await;
    let cache = fresh.cache_at(&fresh.servers.redis().direct.replacen("redis://", "rediss://", 1));
    assert_eq!(failed_calls(&cache).await, CALLS);
}
