//! Making rollups, a step at a time.

use std::{
    collections::{HashMap, HashSet},
    io::Write,
    ops::Range,
};

use fleet::{
    Millis, ServerId,
    hours::{Closing, HOUR, Rolled},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    State,
    raw::{Made, document},
};
use crate::{
    HistoryError, RollUp,
    elastic::{
        Elastic,
        client::{Method, unavailable},
        layout::{self, hour_id},
        read::{LENIENT, Number},
    },
};

/// Most hours, counted for each server, that one step makes.
pub const MOST: usize = 2_000;
/// Documents in one page of a search. By default Elasticsearch gives no more at once.
const PAGE: usize = 10_000;
/// Servers in one page of those of a day.
const SERVERS: usize = 10_000;
/// What whoever makes rollups knows of all servers.
#[derive(Debug, Default)]
pub struct Fleet {
    loaded: bool,
    pub servers: HashMap<ServerId, Entry>,
    /// The days whose servers were looked for, with the hour that was closed then.
    days: HashMap<i64, i64>,
}

#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub rolled: Option<Rolled>,
    /// The document that says so, as it was read or written last.
    pub version: Option<Version>,
    pub oldest_start: Millis,
    pub newest: Millis,
    pub forgotten: i64,
}

impl Entry {
    /// Of a server of which nothing is rolled up yet.
    pub fn new(oldest_start: Millis, newest: Millis) -> Self {
        Self { rolled: None, version: None, oldest_start, newest, forgotten: 0 }
    }
}

/// Which state of a document it is that may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Version {
    #[serde(rename = "_seq_no")]
    pub seq_no: u64,
    #[serde(rename = "_primary_term")]
    pub primary_term: u64,
}

pub struct Step {
    pub hours: Range<i64>,
    pub members: Vec<ServerId>,
    /// Where hours are made again, the marks that say so.
    pub marks: Vec<(ServerId, Version)>,
}

#[derive(Deserialize)]
pub struct Hit<S> {
    #[serde(rename = "_id")]
    pub id: String,
    #[serde(flatten)]
    pub version: Version,
    #[serde(rename = "_source")]
    pub source: S,
}

#[derive(Deserialize)]
struct ServersOfDay {
    aggregations: Option<Aggregated>,
}

#[derive(Deserialize)]
struct Aggregated {
    servers: Composite,
}

#[derive(Deserialize)]
struct Composite {
    after_key: Option<Value>,
    buckets: Vec<Seen>,
}

#[derive(Deserialize)]
struct Seen {
    key: Key,
    oldest: Number,
    newest: Number,
}

#[derive(Deserialize)]
struct Key {
    server: ServerId,
}

impl Elastic {
    /// See [`crate::History::roll_up`].
    pub async fn roll_up(&self, closing: &Closing) -> Result<RollUp, HistoryError> {
        let _open = self.under_way().await?;
        let mut fleet = self.0.fleet.lock().await;
        let done = self.step(&mut fleet, closing).await;
        if done.is_err() {
            *fleet = Fleet::default();
        }
        done
    }

    async fn step(&self, fleet: &mut Fleet, closing: &Closing) -> Result<RollUp, HistoryError> {
        self.prepare().await?;
        let oldest = self.horizon().await?;
        if !fleet.loaded {
            self.load(fleet).await?;
        }
        let mut left = self.look_for_servers(fleet, closing.before_most(), oldest).await?;
        let looked = left > 0;
        let (found, undone) = fleet.next_step(closing, oldest);
        left += undone;
        let step = match found {
            Some((step, true)) => Some(step),
            earlier => {
                let (marks, dirty) = self.marked(fleet, closing, oldest).await?;
                left += marks;
                dirty.or(earlier.map(|(step, _)| step))
            }
        };
        let Some(step) = step else { return Ok(RollUp { made: u64::from(looked), left }) };
        let made = self.make(fleet, step).await?;
        Ok(RollUp { made: made + u64::from(looked), left: left.saturating_sub(made) })
    }

    /// Reads what is rolled up of every server.
    async fn load(&self, fleet: &mut Fleet) -> Result<(), HistoryError> {
        let index = self.0.layout.rolled();
        self.refresh(&index).await?;
        let mut after: Option<String> = None;
        loop {
            let mut search = json!({
                "size": PAGE, "track_total_hits": false, "seq_no_primary_term": true,
                "sort": [{"server": {"order": "asc", "unmapped_type": "keyword"}}], "query": {"match_all": {}},
            });
            if let Some(after) = &after {
                search["search_after"] = json!([after]);
            }
            let hits = self.hits::<State>(&index, search).await?;
            let full = hits.len() == PAGE;
            after = hits.last().map(|hit| hit.id.clone());
            for Hit { id, version, source } in hits {
                let Ok(server) = id.parse() else { continue };
                let State { oldest_start, newest, forgotten, .. } = source;
                let entry = fleet.servers.entry(server).or_insert(Entry::new(oldest_start, newest));
                if forgotten > entry.forgotten {
                    entry.oldest_start = oldest_start;
                }
                (entry.rolled, entry.version, entry.forgotten) =
                    (Some(source.rolled()), Some(version), forgotten);
                entry.oldest_start = entry.oldest_start.min(oldest_start);
                entry.newest = entry.newest.max(newest);
            }
            if !full {
                fleet.loaded = true;
                return Ok(());
            }
        }
    }

    /// What a search finds in an index, which may not exist yet.
    pub async fn hits<S: for<'a> Deserialize<'a>>(
        &self,
        index: &str,
        search: Value,
    ) -> Result<Vec<Hit<S>>, HistoryError> {
        let path = format!("{index}/_search?{LENIENT}&allow_partial_search_results=false");
        self.found(&path, search).await
    }

    /// Looks for the servers of the latest day that has to be looked at, if there is one. Returns how many there were.
    async fn look_for_servers(
        &self,
        fleet: &mut Fleet,
        closed: i64,
        oldest: Millis,
    ) -> Result<u64, HistoryError> {
        let days = self.stored_days().await?;
        // A day is looked at again as its hours close, and once more after those that reach back into it.
        let again =
            |day: i64| fleet.days.get(&day).is_none_or(|then| closed > *then && *then < (day + 1) * 24 + 3);
        let open: Vec<i64> =
            days.into_iter().filter(|day| *day >= layout::day(oldest) && again(*day)).collect();
        let Some(day) = open.last().copied() else { return Ok(0) };
        let index = self.0.layout.index(day);
        self.refresh(&index).await?;
        let mut after: Option<Value> = None;
        loop {
            let mut composite =
                json!({"size": SERVERS, "sources": [{"server": {"terms": {"field": "server"}}}]});
            if let Some(after) = after.take() {
                composite["after"] = after;
            }
            let aggregations =
                json!({"oldest": {"min": {"field": "from"}}, "newest": {"max": {"field": "sampled_at"}}});
            let search = json!({
                "size": 0, "track_total_hits": false,
                "aggs": {"servers": {"composite": composite, "aggs": aggregations}},
            });
            let path = format!(
                "{index}/_search?{LENIENT}&allow_partial_search_results=false&filter_path=aggregations"
            );
            let found: ServersOfDay = self.call(Method::Post, &path, Some(search)).await?.read()?;
            let Some(Aggregated { servers: Composite { after_key, buckets } }) = found.aggregations else {
                break;
            };
            for Seen { key: Key { server }, oldest, newest } in buckets {
                let (oldest, newest) = (oldest.whole(), newest.whole());
                let entry = fleet.servers.entry(server).or_insert(Entry::new(oldest, newest));
                entry.oldest_start = entry.oldest_start.min(oldest);
                entry.newest = entry.newest.max(newest);
            }
            if after_key.is_none() {
                break;
            }
            after = after_key;
        }
        fleet.days.insert(day, closed);
        Ok(u64::try_from(open.len()).unwrap_or(u64::MAX))
    }

    /// Makes what a step is about; returns how many hours, counted for each server, are done by that.
    async fn make(&self, fleet: &mut Fleet, step: Step) -> Result<u64, HistoryError> {
        let Step { hours, members, marks } = step;
        // Before the snapshots are read: what is forgotten meanwhile makes what was made of them worthless.
        let states = self.states(&members).await?;
        let again = !marks.is_empty();
        let made = self.make_rollups(&hours, &members, again).await?;
        if self.horizon().await? > hours.start * HOUR {
            // It may have expired while it was read.
            return Ok(0);
        }
        let mut lines = Vec::new();
        for one in &made {
            let Made { server, hour, seen, .. } = one;
            let line = json!({"index": {
                "_index": self.0.layout.rollups(*hour), "_id": hour_id(*server, *hour),
                "version": states.get(server).map_or(*seen, |state| state.version(*seen)),
                "version_type": "external_gte",
            }});
            writeln!(lines, "{line}\n{}", document(one)).map_err(unavailable)?;
        }
        let newer = made.iter().zip(self.bulk(lines, made.len()).await?).filter(|(_, done)| !done);
        let newer: HashSet<ServerId> = newer.map(|(made, _)| made.server).collect();
        self.mark_forgotten(&hours, &members, &states).await?;
        if again {
            // Where another one is newer, the next step finds out of what it is made.
            let done = marks.iter().filter(|(server, _)| !newer.contains(server));
            let ids = done.map(|(server, version)| (hour_id(*server, hours.start), *version));
            let ids: Vec<_> = ids.collect();
            self.unmark(&ids).await?;
            return Ok(u64::try_from(ids.len()).unwrap_or(u64::MAX));
        }
        for Made { server, newest, .. } in &made {
            if let Some((entry, newest)) = fleet.servers.get_mut(server).zip(*newest) {
                entry.newest = entry.newest.max(newest);
            }
        }
        let done = self.put_states(fleet, &hours, &members).await?;
        Ok(done * (hours.end - hours.start).unsigned_abs())
    }

    /// Writes that these hours are rolled up. Where another process has written something meanwhile, everything is read
    /// anew before the next step.
    async fn put_states(
        &self,
        fleet: &mut Fleet,
        hours: &Range<i64>,
        members: &[ServerId],
    ) -> Result<u64, HistoryError> {
        let (mut lines, index) = (Vec::new(), self.0.layout.rolled());
        for server in members {
            let Some(Entry { rolled, version, oldest_start, newest, forgotten }) =
                fleet.servers.get(server).copied()
            else {
                continue;
            };
            let Rolled { first, until } =
                rolled.unwrap_or(Rolled { first: hours.end, until: hours.end }).with(hours);
            let line = match version {
                Some(Version { seq_no, primary_term }) => json!({"index": {
                    "_index": index, "_id": server, "if_seq_no": seq_no, "if_primary_term": primary_term,
                }}),
                None => json!({"create": {"_index": index, "_id": server}}),
            };
            let state = State { first, until, oldest_start, newest, forgotten };
            writeln!(lines, "{line}\n{}", state.document(*server)).map_err(unavailable)?;
        }
        let done = self.bulk_versions(lines, members.len()).await?;
        let mut count = 0;
        for (server, version) in members.iter().zip(done) {
            let Some(entry) = fleet.servers.get_mut(server) else { continue };
            if version.is_some() {
                let rolled = entry.rolled.unwrap_or(Rolled { first: hours.end, until: hours.end });
                (entry.rolled, entry.version) = (Some(rolled.with(hours)), version);
                count += 1;
            } else {
                fleet.loaded = false;
            }
        }
        Ok(count)
    }

    /// The versions that the documents of a bulk request have now; `None` where another was quicker.
    async fn bulk_versions(
        &self,
        lines: Vec<u8>,
        count: usize,
    ) -> Result<Vec<Option<Version>>, HistoryError> {
        #[derive(Deserialize)]
        struct Bulk {
            #[serde(default)]
            items: Vec<HashMap<String, Value>>,
        }
        const BULK: &str = "_bulk?timeout=20s&filter_path=items.*.status,items.*.error,items.*._seq_no,items.*._primary_term";
        if count == 0 {
            return Ok(Vec::new());
        }
        let answer = self
            .0
            .client
            .send(Method::Post, BULK, Some(lines), crate::elastic::client::BULK_PATIENCE)
            .await?;
        let items = answer.read::<Bulk>()?.items;
        if items.len() != count {
            return Err(unavailable("a bulk answer does not tell of every item"));
        }
        let version = |item: Value| match item["status"].as_u64() {
            Some(200..=299) => serde_json::from_value(item).map(Some).map_err(unavailable),
            Some(409) => Ok(None),
            _ => Err(unavailable(crate::elastic::client::reason(&item["error"]))),
        };
        items.into_iter().flat_map(HashMap::into_values).map(version).collect()
    }
}

impl Fleet {
    /// The most urgent step, whether it is about hours that have closed lately, and how many hours are still to do.
    fn next_step(&self, closing: &Closing, oldest: Millis) -> (Option<(Step, bool)>, u64) {
        let (mut left, mut steps) = (0, HashMap::<(bool, i64, i64), Vec<ServerId>>::new());
        for (id, entry) in &self.servers {
            let closed = closing.before(*id);
            let oldest = entry.oldest_start.max(oldest);
            let rolled = entry.rolled.unwrap_or_else(|| Rolled::none(closed, entry.newest));
            left += rolled.left(closed, oldest, entry.newest).unsigned_abs();
            let later = rolled.later(closed, entry.newest);
            let lately = later.is_some();
            let Some(hours) = later.or_else(|| rolled.earlier(oldest)) else { continue };
            steps.entry((lately, hours.start, hours.end)).or_default().push(*id);
        }
        // Of what closed lately the oldest first, else the latest.
        let order =
            |(lately, start, end): &(bool, i64, i64)| (*lately, if *lately { -start } else { *start }, *end);
        let step = steps.into_iter().max_by_key(|(which, _)| order(which));
        let step = step.map(|((lately, start, end), mut members)| {
            members.sort_unstable();
            members.truncate((MOST / usize::try_from(end - start).unwrap_or(1).max(1)).max(1));
            (Step { hours: start..end, members, marks: Vec::new() }, lately)
        });
        (step, left)
    }
}
