//! What a batch tells of each server, and which part of it the registry has to be told. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use cache::Seen;
use fleet::{
    Interval, Millis, Record, ServerId,
    liveness::{Beat, SIGHTING_SLACK},
    processes,
    wire::v1::Host,
};
use registry::{Marks, Sighting, Standing};

/// Most servers whose facts are remembered. Beyond it all facts are forgotten, which costs one more write a server.
const MOST_REMEMBERED: usize = 2_000_000;

/// What a batch tells of one server.
pub struct Heard<'a> {
    pub beat: Beat,
    /// The interval of that beat.
    interval: Interval,
    /// The one with the greatest `sampled_at`.
    newest: &'a Record,
    /// The newest facts and when they were sampled.
    facts: Option<(Millis, &'a Host)>,
}

/// For each server, the facts that this worker wrote to the registry: their `sampled_at` and a hash. Agents send the
/// same facts again and again, and equal ones need not be written.
#[derive(Default)]
pub struct Facts(HashMap<ServerId, (Millis, u64)>);

impl<'a> Heard<'a> {
    /// By server, in the order of ids. `now` is what beats are [judged by](Beat::replaces).
    pub fn all(records: impl Iterator<Item = &'a Record>, now: Millis) -> BTreeMap<ServerId, Self> {
        let mut heard = BTreeMap::new();
        for record in records {
            heard
                .entry(record.server)
                .and_modify(|held: &mut Self| held.add(record, now))
                .or_insert_with(|| Self::of(record));
        }
        heard
    }

    fn of(record: &'a Record) -> Self {
        let host = record.snapshot.as_wire().host.as_ref();
        Self {
            beat: Beat { received_at: record.received_at, silent_at: record.silent_at() },
            interval: record.interval,
            newest: record,
            facts: host.map(|host| (record.snapshot.sampled_at(), host)),
        }
    }

    fn add(&mut self, record: &'a Record, now: Millis) {
        let other = Self::of(record);
        if other.beat.replaces(self.beat, now) {
            (self.beat, self.interval) = (other.beat, other.interval);
        }
        if record.snapshot.sampled_at() > self.newest.snapshot.sampled_at() {
            self.newest = record;
        }
        if other.facts.map(|(at, _)| at) > self.facts.map(|(at, _)| at) {
            self.facts = other.facts;
        }
    }

    /// The snapshot that was sampled last.
    pub fn newest(&self) -> &'a Record {
        self.newest
    }

    /// For the cache, without what runs on the host: whoever may read a server may read that, and it would be most of it.
    /// `None` only if the snapshot cannot be written as JSON, which a checked one can.
    pub fn seen(&self, server: ServerId) -> Option<Seen> {
        let whole = serde_json::to_string(&self.newest.snapshot).ok()?;
        let latest = processes::without(&whole).unwrap_or(whole).into();
        let Beat { received_at, silent_at } = self.beat;
        Some(Seen { server, received_at, silent_at, latest, sampled_at: self.newest.snapshot.sampled_at() })
    }

    /// What the registry has to be told of `server`, if anything: at most once in [`SIGHTING_SLACK`] that it lives; at once
    /// that it is silent earlier than the registry says, or reports at another interval; and facts when they change.
    pub fn sighting(
        &self,
        server: ServerId,
        standing: &Standing,
        facts: &Facts,
        now: Millis,
    ) -> Option<Sighting> {
        let sampled_at = self.newest.snapshot.sampled_at();
        let news = self.facts.filter(|(at, host)| facts.are_news(server, standing.sighting, *at, host));
        let due = standing.sighting.is_none_or(|marks| {
            let Beat { silent_at, .. } = marks.beat;
            let as_told = (silent_at..silent_at + SIGHTING_SLACK).contains(&self.beat.silent_at)
                && self.interval == marks.interval;
            (!as_told && self.beat.replaces(marks.beat, now))
                || sampled_at >= marks.sampled_at + SIGHTING_SLACK
        });
        let Beat { received_at, silent_at } = self.beat;
        (due || news.is_some()).then(|| Sighting {
            server,
            received_at,
            silent_at,
            interval: self.interval,
            sampled_at,
            facts: news.map(|(at, host)| (at, host.clone())),
        })
    }
}

impl Facts {
    /// These were written.
    pub fn note(&mut self, sightings: &[Sighting]) {
        for sighting in sightings {
            if let Some((at, host)) = &sighting.facts {
                if self.0.len() >= MOST_REMEMBERED {
                    self.0.clear();
                }
                self.0.insert(sighting.server, (*at, hash(host)));
            }
        }
    }

    /// Whether these facts are newer than those in the registry and not known to be equal to them. If another worker
    /// wrote the ones in the registry, their time differs from the time that is remembered here, and nothing is known
    /// of them.
    fn are_news(&self, server: ServerId, marks: Option<Marks>, at: Millis, host: &Host) -> bool {
        let Some(written) = marks.and_then(|marks| marks.facts_at) else { return true };
        at > written && self.0.get(&server) != Some(&(written, hash(host)))
    }
}

fn hash(host: &Host) -> u64 {
    let mut hasher = DefaultHasher::new();
    host.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use fleet::{Interval, Snapshot, wire::v1};

    use super::*;

    const BEAT: Millis = 30_000;

    fn server() -> ServerId {
        ServerId::from_bytes([1; 16])
    }

    fn host(name: &str) -> Host {
        Host { hostname: Some(name.to_owned()), ..Host::default() }
    }

    fn record(received_at: Millis, sampled_at: Millis, host: Option<Host>) -> Record {
        let raw = v1::Snapshot { sampled_at, covers_ms: BEAT, host, ..v1::Snapshot::default() };
        Record {
            server: server(),
            generation: 1,
            received_at,
            interval: Interval::DEFAULT,
            snapshot: Snapshot::check(raw, Interval::DEFAULT).unwrap(),
        }
    }

    fn written(sighting: &Sighting, before: Option<Marks>) -> Marks {
        let facts_at = sighting.facts.as_ref().map(|(at, _)| *at).or(before.and_then(|marks| marks.facts_at));
        let beat = Beat { received_at: sighting.received_at, silent_at: sighting.silent_at };
        Marks { beat, interval: sighting.interval, sampled_at: sighting.sampled_at, facts_at }
    }

    /// Feeds records one by one and counts the rows written.
    fn rows(records: impl Iterator<Item = Record>, facts: &mut Facts, marks: &mut Option<Marks>) -> usize {
        let mut rows = 0;
        for record in records {
            let heard = Heard::all(std::iter::once(&record), record.received_at);
            let standing = Standing { generation: 1, sighting: *marks, has_states: false };
            if let Some(sighting) = heard[&server()].sighting(server(), &standing, facts, record.received_at)
            {
                *marks = Some(written(&sighting, *marks));
                facts.note(std::slice::from_ref(&sighting));
                rows += 1;
            }
        }
        rows
    }

    #[test]
    fn a_steady_server_costs_a_row_in_five_minutes_even_if_it_repeats_its_facts() {
        let (mut facts, mut marks) = (Facts::default(), None);
        let beats = (0..1_200).map(|beat| record(beat * BEAT, beat * BEAT, Some(host("web-1"))));
        let rows = rows(beats, &mut facts, &mut marks);
        assert_eq!(rows, 120);
        assert!(rows as f64 <= 0.12 * 1_200.0);
    }

    #[test]
    fn the_registry_is_never_five_minutes_behind() {
        let (mut facts, mut marks) = (Facts::default(), None);
        for beat in 0..100 {
            let record = record(beat * BEAT, beat * BEAT, None);
            let silent_at = record.silent_at();
            rows(std::iter::once(record), &mut facts, &mut marks);
            assert!(silent_at < marks.unwrap().beat.silent_at + SIGHTING_SLACK);
        }
    }

    #[test]
    fn facts_are_written_when_they_change_and_older_ones_never() {
        let (mut facts, mut marks) = (Facts::default(), None);
        let told = |at, name| record(at, at, Some(host(name)));
        assert_eq!(rows(std::iter::once(told(1_000, "a")), &mut facts, &mut marks), 1);
        assert_eq!(rows(std::iter::once(told(2_000, "a")), &mut facts, &mut marks), 0);
        assert_eq!(rows(std::iter::once(told(3_000, "b")), &mut facts, &mut marks), 1);
        assert_eq!(rows(std::iter::once(told(2_500, "a")), &mut facts, &mut marks), 0, "older");
        assert_eq!(rows(std::iter::once(told(4_000, "a")), &mut facts, &mut marks), 1);
    }

    #[test]
    fn facts_that_another_worker_wrote_are_not_taken_for_ours() {
        let (mut facts, mut marks) = (Facts::default(), None);
        rows(std::iter::once(record(1_000, 1_000, Some(host("a")))), &mut facts, &mut marks);
        marks.as_mut().unwrap().facts_at = Some(2_000);
        assert_eq!(rows(std::iter::once(record(3_000, 3_000, Some(host("a")))), &mut facts, &mut marks), 1);
    }

    #[test]
    fn back_fill_is_heard_now_and_changes_neither_latest_nor_facts() {
        let now = 10 * BEAT;
        let records = [
            record(now, now, Some(host("new"))),
            record(now + 1, BEAT, Some(host("old"))),
            record(now, now, None),
        ];
        let heard = &Heard::all(records.iter(), now)[&server()];
        assert_eq!(heard.beat, Beat { received_at: now + 1, silent_at: now + 1 + 4 * BEAT });
        assert_eq!(heard.newest.snapshot.sampled_at(), now);
        assert_eq!(heard.facts, Some((now, &host("new"))));
        let seen = heard.seen(server()).unwrap();
        assert_eq!((seen.sampled_at, seen.received_at), (now, now + 1));
        assert!(seen.latest.contains("\"new\""));
    }

    #[test]
    fn what_runs_on_a_host_is_not_in_its_latest() {
        let mut raw = record(1_000, 1_000, Some(host("web-1"))).snapshot.as_wire().clone();
        let bare = serde_json::to_string(&raw).unwrap();
        let row = v1::Process { name: Some("secret".to_owned()), ..Default::default() };
        raw.processes = Some(Box::new(v1::Processes { rows: vec![row], ..Default::default() }));
        let snapshot = Snapshot::check(raw, Interval::DEFAULT).unwrap();
        let record = Record { snapshot, ..record(1_000, 1_000, None) };
        let heard = &Heard::all(std::iter::once(&record), 1_000)[&server()];
        assert_eq!(&*heard.seen(server()).unwrap().latest, bare);
    }

    #[test]
    fn an_interval_that_changes_is_told_at_once_and_a_beat_that_comes_late_is_not() {
        let (mut facts, mut marks) = (Facts::default(), None);
        let hourly = Interval::try_from(3_600_000).unwrap();
        let every = |interval, at| Record { interval, ..record(at, at, None) };
        let mut told = |record| rows(std::iter::once(record), &mut facts, &mut marks);
        assert_eq!(told(every(hourly, 1_000)), 1);
        assert_eq!(told(every(Interval::DEFAULT, 2_000)), 1, "it is silent earlier now");
        assert_eq!(told(every(Interval::DEFAULT, 3_000)), 0);
        assert_eq!(told(every(hourly, 1_500)), 0, "heard before");
        assert_eq!(told(every(Interval::try_from(60_000).unwrap(), 4_000)), 1, "another interval");
    }
}
