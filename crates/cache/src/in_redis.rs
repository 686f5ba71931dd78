//! The variant for a fleet: Redis, shared by all.
//!
//! | key | what |
//! |---|---|
//! | `<prefix>:silent` | sorted set: server by silent_at |
//! | `<prefix>:latest:<server>` | `latest 1 <received_at> <sampled_at> <snapshot>` |
//! | `<prefix>:denylist` | `denylist 1 <version> <servers>`, then a line `<server> <generation>` each |
//! | `<prefix>:failures:<key>` | list of times |
//! | `<prefix>:unknown` | sorted set: `<server> <generation>` by when it was seen last |
//! | `<prefix>:reporters` | sorted set: servers whose agents would tell when the suite is away, by when they said so last |
//! | `<prefix>:reporter` | `reporter 1 <server> <until>`: which of them is to |
//! | `<prefix>:writers` | hash: by worker `writers 1 <at>`, then a line `<server> <bytes> <snapshots>` each |
//! | `<prefix>:notices` | hash: by server what gates tell it, as JSON |
//! | `<prefix>:noticed` | sorted set: servers by when that changed last, Unix ms by Redis' clock |
//!
//! Writes are scripts: "older never wins" compares and writes in one step, whichever of two workers is last, and a key
//! of a wrong type is replaced in the same step. All keys expire. Whatever else is found under them is not there.

mod notices;

use std::{collections::HashMap, fmt::Display, str::FromStr, sync::Arc};

use fleet::{
    Millis, ServerId,
    alert::lease::{LEASE, Lease},
    liveness::FROM_A_WRONG_CLOCK,
    snapshot::MAX_TIME,
};
use redis::{Cmd, FromRedisValue, RedisResult, Value};
use serde_json::value::RawValue;

use crate::{
    Denylist, Latest, RedisUrl, Seen, Unavailable, Unknown, Writer,
    connection::Connection,
    failures::{MOST_COUNTED, young},
    reporters,
    roll::KEEP,
    unknown::{MOST, REMEMBERED, Strangers},
    writers::{self, FRESH},
};

/// Servers written by one run of the script, so that Redis serves others between two of them.
const CHUNK: usize = 200;

/// Keys of failures outlive their window by this much: the clocks of two processes differ.
const SKEW: Millis = 60_000;

/// A cache in Redis.
pub struct InRedis {
    connection: Connection,
    prefix: String,
}

impl InRedis {
    pub(crate) fn open(url: &RedisUrl, prefix: &str) -> Self {
        Self { connection: Connection::open(url), prefix: prefix.to_owned() }
    }

    pub(crate) async fn see(&self, seen: &[Seen]) -> Result<(), Unavailable> {
        // The batch's own time, as in process.
        let Some(newest) = seen.iter().map(|one| one.received_at).max() else { return Ok(()) };
        let mut batch = redis::pipe();
        for chunk in seen.chunks(CHUNK) {
            batch.add_command(self.see_chunk(chunk, newest)).ignore();
        }
        self.connection.ask(async |redis| batch.query_async(redis).await).await
    }

    fn see_chunk(&self, seen: &[Seen], newest: Millis) -> Cmd {
        let mut script = redis::cmd("EVAL");
        script.arg(include_str!("lua/see.lua")).arg(1 + seen.len()).arg(self.silent_key());
        for one in seen {
            script.arg(self.latest_key(&one.server));
        }
        script.arg(KEEP).arg(newest - KEEP).arg(FROM_A_WRONG_CLOCK);
        for Seen { server, received_at, silent_at, latest, sampled_at } in seen {
            script.arg(server.to_string()).arg(silent_at).arg(received_at).arg(sampled_at).arg(&**latest);
        }
        script
    }

    pub(crate) async fn correct(&self) -> Result<(), Unavailable> {
        let mut cursor = "0".to_owned();
        loop {
            let mut script = redis::cmd("EVAL");
            script.arg(include_str!("lua/correct.lua")).arg(1).arg(self.silent_key());
            script.arg(&cursor).arg(CHUNK).arg(FROM_A_WRONG_CLOCK).arg(self.latest_key(&""));
            cursor = self.connection.ask(async |redis| script.query_async(redis).await).await?;
            if cursor == "0" {
                return Ok(());
            }
        }
    }

    pub(crate) async fn silent(
        &self,
        from: Millis,
        to: Millis,
    ) -> Result<Vec<(ServerId, Millis)>, Unavailable> {
        let mut range = redis::cmd("ZRANGEBYSCORE");
        range.arg(self.silent_key()).arg(from).arg(format!("({to}")).arg("WITHSCORES");
        let found: Vec<(Vec<u8>, f64)> = self.read(&range).await?;
        Ok(found.iter().filter_map(|(member, score)| Some((parse(member)?, moment(*score)?))).collect())
    }

    pub(crate) async fn silent_at(
        &self,
        servers: &[ServerId],
    ) -> Result<HashMap<ServerId, Millis>, Unavailable> {
        if servers.is_empty() {
            return Ok(HashMap::new());
        }
        let mut scores = redis::cmd("ZMSCORE");
        scores.arg(self.silent_key());
        for server in servers {
            scores.arg(server.to_string());
        }
        let found: Vec<Option<f64>> = self.read(&scores).await?;
        let known = servers.iter().zip(&found);
        Ok(known.filter_map(|(server, score)| Some((*server, moment((*score)?)?))).collect())
    }

    pub(crate) async fn latest(
        &self,
        servers: &[ServerId],
    ) -> Result<HashMap<ServerId, Latest>, Unavailable> {
        if servers.is_empty() {
            return Ok(HashMap::new());
        }
        let mut get = redis::cmd("MGET");
        for server in servers {
            get.arg(self.latest_key(server));
        }
        let found: Vec<Option<Vec<u8>>> = self.read(&get).await?;
        let known = servers.iter().zip(&found);
        Ok(known.filter_map(|(server, text)| Some((*server, read_latest(text.as_deref()?)?))).collect())
    }

    pub(crate) async fn put_denylist(&self, denylist: &Denylist) -> Result<(), Unavailable> {
        let mut script = redis::cmd("EVAL");
        script.arg(include_str!("lua/put_denylist.lua")).arg(1).arg(self.denylist_key());
        script.arg(denylist.version).arg(write_denylist(denylist)).arg(KEEP);
        self.connection.ask(async |redis| script.query_async(redis).await).await
    }

    pub(crate) async fn denylist(&self) -> Result<Option<Denylist>, Unavailable> {
        let text: Option<Vec<u8>> = self.read(redis::cmd("GET").arg(self.denylist_key())).await?;
        Ok(text.and_then(|text| read_denylist(&text)))
    }

    pub(crate) async fn note_unknown(&self, unknown: &[Unknown]) -> Result<(), Unavailable> {
        // A call for each chunk: a fleet that nobody knows may take longer than one call may.
        for chunk in unknown.chunks(CHUNK) {
            let newest = chunk.iter().map(|one| one.last_seen).max().unwrap_or_default();
            let mut script = redis::cmd("EVAL");
            script.arg(include_str!("lua/note_unknown.lua")).arg(1).arg(self.unknown_key());
            script.arg(REMEMBERED).arg(newest - REMEMBERED).arg(format!("-{}", MOST + 1));
            for Unknown { server, generation, last_seen } in chunk {
                script.arg(last_seen).arg(format!("{server} {generation}"));
            }
            let () = self.connection.ask(async |redis| script.query_async(redis).await).await?;
        }
        Ok(())
    }

    pub(crate) async fn unknown(&self, now: Millis) -> Result<Vec<Unknown>, Unavailable> {
        let mut strangers = Strangers::default();
        let members = self.unknown_members().await?;
        strangers.note(&members.iter().filter_map(|(member, at)| stranger(member, *at)).collect::<Vec<_>>());
        Ok(strangers.list(now))
    }

    pub(crate) async fn forget_unknown(&self, servers: &[ServerId]) -> Result<(), Unavailable> {
        let mut remove = redis::cmd("ZREM");
        remove.arg(self.unknown_key());
        let mut members = self.unknown_members().await?;
        members.retain(|(member, at)| stranger(member, *at).is_some_and(|one| servers.contains(&one.server)));
        if members.is_empty() {
            return Ok(());
        }
        for (member, _) in members {
            remove.arg(member);
        }
        self.connection.ask(async |redis| remove.query_async(redis).await).await
    }

    async fn unknown_members(&self) -> Result<Vec<(Vec<u8>, f64)>, Unavailable> {
        let mut range = redis::cmd("ZRANGEBYSCORE");
        self.read(range.arg(self.unknown_key()).arg(0).arg("+inf").arg("WITHSCORES")).await
    }

    pub(crate) async fn note_reporters(&self, said: &[(ServerId, Millis)]) -> Result<(), Unavailable> {
        for chunk in said.chunks(CHUNK) {
            let newest = chunk.iter().map(|(_, at)| *at).max().unwrap_or_default();
            let mut script = redis::cmd("EVAL");
            script.arg(include_str!("lua/note_unknown.lua")).arg(1).arg(self.reporters_key());
            script.arg(reporters::REMEMBERED).arg(newest - reporters::REMEMBERED);
            script.arg(format!("-{}", reporters::MOST + 1));
            for (server, at) in chunk {
                script.arg(at).arg(server.to_string());
            }
            let () = self.connection.ask(async |redis| script.query_async(redis).await).await?;
        }
        Ok(())
    }

    pub(crate) async fn reporters(&self, now: Millis) -> Result<Vec<ServerId>, Unavailable> {
        let mut range = redis::cmd("ZRANGEBYSCORE");
        range.arg(self.reporters_key()).arg(now - reporters::REMEMBERED).arg("+inf");
        let members: Vec<Vec<u8>> = self.read(&range).await?;
        let mut known: Vec<ServerId> = members.iter().filter_map(|member| parse(member)).collect();
        known.sort_unstable();
        Ok(known)
    }

    pub(crate) async fn put_reporter_lease(&self, lease: &Lease) -> Result<(), Unavailable> {
        let mut set = redis::cmd("SET");
        set.arg(self.reporter_key()).arg(reporters::write(lease)).arg("PX").arg(2 * LEASE);
        self.connection.ask(async |redis| set.query_async(redis).await).await
    }

    pub(crate) async fn reporter_lease(&self) -> Result<Option<Lease>, Unavailable> {
        let text: Option<Vec<u8>> = self.read(redis::cmd("GET").arg(self.reporter_key())).await?;
        Ok(text.and_then(|text| reporters::read(&text)))
    }

    pub(crate) async fn put_writers(
        &self,
        worker: &str,
        writers: &[Writer],
        now: Millis,
    ) -> Result<(), Unavailable> {
        let mut script = redis::cmd("EVAL");
        script.arg(include_str!("lua/put_writers.lua")).arg(1).arg(self.writers_key());
        script.arg(worker).arg(writers::write(now, writers)).arg(now - FRESH).arg(FRESH);
        self.connection.ask(async |redis| script.query_async(redis).await).await
    }

    pub(crate) async fn writers(&self, now: Millis) -> Result<Vec<Writer>, Unavailable> {
        let told: Vec<Vec<u8>> = self.read(redis::cmd("HVALS").arg(self.writers_key())).await?;
        let told = told.iter().filter_map(|text| writers::read(text));
        let told = told.filter(|(at, _)| writers::fresh(*at, now)).flat_map(|(_, writers)| writers);
        Ok(writers::most(told))
    }

    pub(crate) async fn fail(&self, key: &str, now: Millis, window: Millis) -> Result<(), Unavailable> {
        let mut script = redis::cmd("EVAL");
        script.arg(include_str!("lua/fail.lua")).arg(1).arg(self.failures_key(key));
        script.arg(now).arg(format!("-{MOST_COUNTED}")).arg(window + SKEW);
        self.connection.ask(async |redis| script.query_async(redis).await).await
    }

    pub(crate) async fn failures(
        &self,
        key: &str,
        now: Millis,
        window: Millis,
    ) -> Result<(usize, Option<Millis>), Unavailable> {
        let mut range = redis::cmd("LRANGE");
        let newest: Vec<Vec<u8>> =
            self.read(range.arg(self.failures_key(key)).arg(format!("-{MOST_COUNTED}")).arg(-1)).await?;
        let times = newest.iter().filter_map(|at| parse(at)).filter(|at| (0..=MAX_TIME).contains(at));
        let young: Vec<Millis> = times.filter(|at| young(*at, now, window)).collect();
        Ok((young.len(), young.iter().min().copied()))
    }

    pub(crate) async fn clock(&self) -> Result<Millis, Unavailable> {
        let (seconds, micros): (Millis, Millis) = self.read(&redis::cmd("TIME")).await?;
        Ok(seconds * 1_000 + micros / 1_000)
    }

    /// A key of a wrong type, or an answer of a wrong shape, is as good as none.
    async fn read<T: FromRedisValue + Default>(&self, question: &Cmd) -> Result<T, Unavailable> {
        let answered = self.connection.ask(async |redis| {
            let answer: RedisResult<Value> = question.query_async(redis).await;
            match answer {
                Err(error) if error.code() == Some("WRONGTYPE") => Ok(Value::Nil),
                answer => answer,
            }
        });
        Ok(redis::from_redis_value(answered.await?).unwrap_or_default())
    }

    fn silent_key(&self) -> String {
        format!("{}:silent", self.prefix)
    }

    fn latest_key(&self, server: &impl Display) -> String {
        format!("{}:latest:{server}", self.prefix)
    }

    fn denylist_key(&self) -> String {
        format!("{}:denylist", self.prefix)
    }

    fn unknown_key(&self) -> String {
        format!("{}:unknown", self.prefix)
    }

    fn reporters_key(&self) -> String {
        format!("{}:reporters", self.prefix)
    }

    fn reporter_key(&self) -> String {
        format!("{}:reporter", self.prefix)
    }

    fn writers_key(&self) -> String {
        format!("{}:writers", self.prefix)
    }

    fn failures_key(&self, key: &str) -> String {
        format!("{}:failures:{key}", self.prefix)
    }
}

fn parse<T: FromStr>(text: &[u8]) -> Option<T> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// What a member of the sorted set tells, if it is one of ours.
fn stranger(member: &[u8], score: f64) -> Option<Unknown> {
    let (server, generation) = str::from_utf8(member).ok()?.split_once(' ')?;
    Some(Unknown {
        server: server.parse().ok()?,
        generation: generation.parse().ok()?,
        last_seen: moment(score)?,
    })
}

/// A score that is a time.
fn moment(score: f64) -> Option<Millis> {
    let at = score as Millis;
    ((0..=MAX_TIME).contains(&at) && at as f64 == score).then_some(at)
}

fn read_latest(text: &[u8]) -> Option<Latest> {
    let text = str::from_utf8(text).ok()?.strip_prefix("latest 1 ")?;
    let (received_at, text) = text.split_once(' ')?;
    let (sampled_at, json) = text.split_once(' ')?;
    let time = |text: &str| text.parse().ok().filter(|at| (0..=MAX_TIME).contains(at));
    // An object, and nothing after it.
    serde_json::from_str::<&RawValue>(json).ok().filter(|json| json.get().starts_with('{'))?;
    Some(Latest { received_at: time(received_at)?, sampled_at: time(sampled_at)?, snapshot: Arc::from(json) })
}

fn write_denylist(denylist: &Denylist) -> String {
    let mut text = format!("denylist 1 {} {}\n", denylist.version, denylist.lowest.len());
    for (server, generation) in &denylist.lowest {
        text += &format!("{server} {generation}\n");
    }
    text
}

/// All of it or nothing: with a part missing, a revoked server would be let in.
fn read_denylist(text: &[u8]) -> Option<Denylist> {
    let text = str::from_utf8(text).ok()?.strip_prefix("denylist 1 ")?.strip_suffix('\n')?;
    let mut lines = text.split('\n');
    let (version, count) = lines.next()?.split_once(' ')?;
    let entries = lines.map(|line| {
        let (server, generation) = line.split_once(' ')?;
        Some((server.parse().ok()?, generation.parse().ok()?))
    });
    let denylist = Denylist { version: version.parse().ok()?, lowest: entries.collect::<Option<_>>()? };
    (denylist.lowest.len() == count.parse::<usize>().ok()?).then_some(denylist)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ServerId {
        ServerId::from_bytes([byte; 16])
    }

    #[test]
    fn a_denylist_reads_as_it_was_written() {
        for lowest in [[].into(), [(id(1), 2)].into(), [(id(1), 2), (id(2), u32::MAX)].into()] {
            let denylist = Denylist { version: 41, lowest };
            assert_eq!(read_denylist(write_denylist(&denylist).as_bytes()), Some(denylist));
        }
    }

    #[test]
    fn a_denylist_is_read_whole_or_not_at_all() {
        let text = write_denylist(&Denylist { version: 41, lowest: [(id(1), 25), (id(2), 33)].into() });
        for cut in 0..text.len() {
            assert_eq!(read_denylist(&text.as_bytes()[..cut]), None, "{}", &text[..cut]);
        }
    }

    #[test]
    fn what_is_not_a_snapshot_is_not_the_latest() {
        assert!(read_latest(b"latest 1 5 4 {\"sampled_at\":4}").is_some());
        let garbage: [&[u8]; 10] = [
            b"",
            b"garbage",
            b"latest 1 ",
            b"latest 1 5 4 ",
            b"latest 1 5 4 {\"sampled_at\":",
            b"latest 1 5 4 {}{}",
            b"latest 1 5 4 [1]",
            b"latest 1 -5 4 {}",
            b"latest 1 5 99999999999999999999 {}",
            b"latest 1 5 4 {\"\xff\":1}",
        ];
        for text in garbage {
            assert_eq!(read_latest(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_score_that_is_no_time_is_no_silence() {
        assert_eq!(moment(1_790_000_000_000.0), Some(1_790_000_000_000));
        for score in [-1.0, 0.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e300] {
            assert_eq!(moment(score), None, "{score}");
        }
    }
}
