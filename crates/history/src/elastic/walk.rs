//! What snapshots vouch for, and the gaps that they leave: by sums where snapshots lie end to end, by reading the times
//! of the others.
//!
//! First one search tells of each server whether all its snapshots of the days in question are one chain, see
//! [`chain`](super::chain). Of a server whose snapshots are none, the days are looked at by themselves, then the
//! hours, and only in hours that are no chain the snapshots are read. What was read of past days is remembered. So a server that was up costs one bucket of an
//! answer, one with an outage some dozen more, and one whose stretches overlap a look at its rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleet::{
    Millis, ServerId,
    retention::DAY,
    uptime::{Gaps, Piece},
};
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Elastic,
    chain::Sums,
    layout,
    read::{Ask, Buckets, Number, PAGE, pages},
    rows::Union,
};
use crate::{HistoryError, LONGEST_COVERS};

const HOUR: Millis = 3_600_000;
/// Most buckets in the answer to one search. By default Elasticsearch gives at most 65,536.
const MOST_BUCKETS: usize = 30_000;
/// How many days may have an index besides those that are kept.
const SPARE_DAYS: usize = 8;
/// Servers that are walked at the same time.
const AT_ONCE: usize = 8;

/// First and last day of the snapshots that matter to a server.
type Days = (i64, i64);

#[derive(Deserialize)]
struct Found {
    times: Buckets<Bucket>,
}

#[derive(Deserialize)]
struct Bucket {
    key: f64,
    #[serde(flatten)]
    sums: Sums,
}

/// A server whose snapshots are no single chain.
struct Broken<'a> {
    server: ServerId,
    gaps: &'a mut Gaps,
    /// In order of time.
    days: Vec<Day>,
}

/// What one server sampled in a day.
#[derive(Debug, Clone)]
struct Day {
    part: Part,
    /// What it vouches for, the latest piece first, once that is known.
    pieces: Option<Vec<Piece>>,
    /// Its hours in order of time, where they are needed and told of.
    hours: Vec<Part>,
}

/// A day or an hour of one server.
#[derive(Debug, Clone, Copy)]
struct Part {
    begins: Millis,
    length: Millis,
    sums: Sums,
}

impl Elastic {
    /// What the snapshots of each leave of its pieces, which are in order.
    pub async fn gaps(&self, asked: &[(ServerId, Vec<Piece>)]) -> Result<Vec<Gaps>, HistoryError> {
        let gaps = asked.iter().map(|(server, pieces)| (*server, Gaps::measured(pieces.clone())));
        self.walk(gaps.collect()).await
    }

    /// Passes to each of the gaps what its server sampled, the latest first.
    pub async fn walk(&self, asked: Vec<(ServerId, Gaps)>) -> Result<Vec<Gaps>, HistoryError> {
        let (servers, mut gaps): (Vec<ServerId>, Vec<Gaps>) = asked.into_iter().unzip();
        let mut alike: BTreeMap<Days, BTreeSet<ServerId>> = BTreeMap::new();
        for (server, gaps) in servers.iter().zip(&gaps) {
            if let Some(days) = days_of(gaps) {
                alike.entry(days).or_default().insert(*server);
            }
        }
        let Some((first, last)) = alike.keys().copied().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
            return Ok(gaps);
        };
        self.refresh(&self.indices((first, last))).await?;
        let whole = self.whole(&alike).await?;
        let mut broken = Vec::new();
        let mut to_part: BTreeMap<Days, BTreeSet<ServerId>> = BTreeMap::new();
        for (server, gaps) in servers.into_iter().zip(&mut gaps) {
            let Some(days) = days_of(gaps) else { continue };
            let Some(sums) = whole.get(&(days, server)) else { continue };
            match sums.chain() {
                Some(chain) => gaps.pass(chain.from, chain.to),
                None => {
                    to_part.entry(days).or_default().insert(server);
                    broken.push((days, Broken { server, gaps, days: Vec::new() }));
                }
            }
        }
        let parts = self.by_day(&to_part).await?;
        let mut broken: Vec<Broken<'_>> = broken
            .into_iter()
            .map(|(days, broken)| {
                let parts = parts.get(&(days, broken.server)).map_or(&[][..], Vec::as_slice);
                Broken { days: parts.iter().map(|part| self.day(broken.server, *part)).collect(), ..broken }
            })
            .collect();
        for some in broken.chunks_mut(AT_ONCE) {
            self.part_into_hours(some).await?;
            try_join_all(some.iter_mut().map(|broken| self.walk_one(broken))).await?;
        }
        Ok(gaps)
    }

    /// The sums over all snapshots of each server in its days; nothing of servers without any.
    async fn whole(
        &self,
        alike: &BTreeMap<Days, BTreeSet<ServerId>>,
    ) -> Result<HashMap<(Days, ServerId), Sums>, HistoryError> {
        let (mut of, mut asks) = (Vec::new(), Vec::new());
        for (days, servers) in alike {
            let servers: Vec<ServerId> = servers.iter().copied().collect();
            for page in pages(&servers) {
                of.push(*days);
                let (indices, aggregations) = (self.indices(*days), Sums::aggregations());
                asks.push(Ask { indices, servers: page.to_vec(), filter: None, aggregations });
            }
        }
        let found = of.into_iter().zip(self.ask::<Sums>(&asks).await?);
        Ok(found
            .flat_map(|(days, found)| found.into_iter().map(move |(server, sums)| ((days, server), sums)))
            .collect())
    }

    /// The days of each server, in order.
    async fn by_day(
        &self,
        alike: &BTreeMap<Days, BTreeSet<ServerId>>,
    ) -> Result<HashMap<(Days, ServerId), Vec<Part>>, HistoryError> {
        let (mut of, mut asks) = (Vec::new(), Vec::new());
        for (days, servers) in alike {
            let kept = usize::from(self.0.kept.raw) + SPARE_DAYS;
            let each = usize::try_from(days.1 - days.0).map_or(kept, |days| kept.min(days + 1));
            let servers: Vec<ServerId> = servers.iter().copied().collect();
            for page in servers.chunks((MOST_BUCKETS / each).clamp(1, PAGE)) {
                of.push(*days);
                let (indices, aggregations) = (self.indices(*days), parted(DAY));
                asks.push(Ask { indices, servers: page.to_vec(), filter: None, aggregations });
            }
        }
        let found = of.into_iter().zip(self.ask::<Found>(&asks).await?);
        Ok(found
            .flat_map(|(days, found)| {
                found.into_iter().map(move |(server, found)| ((days, server), found.parts(DAY)))
            })
            .collect())
    }

    /// What is known of a day without reading more.
    fn day(&self, server: ServerId, part: Part) -> Day {
        let chain = part.sums.chain().map(|chain| vec![chain]);
        let known = || self.known().remembered.get(layout::day(part.begins), server, &part.sums);
        Day { part, pieces: chain.or_else(known), hours: Vec::new() }
    }

    /// Asks about the hours of those days that matter and have to be read. In a day without any link no hour can be
    /// told to be a chain.
    async fn part_into_hours(&self, broken: &mut [Broken<'_>]) -> Result<(), HistoryError> {
        let (mut of, mut asks) = (Vec::new(), Vec::new());
        for (position, Broken { server, gaps, days }) in broken.iter().enumerate() {
            let to_part = days.iter().filter(|day| {
                day.pieces.is_none() && day.part.sums.has_links() && day.part.can_reach(gaps.open())
            });
            let names: Vec<String> =
                to_part.map(|day| self.0.layout.index(layout::day(day.part.begins))).collect();
            if !names.is_empty() {
                of.push(position);
                let aggregations = parted(HOUR);
                let indices = names.join(",");
                asks.push(Ask { indices, servers: vec![*server], filter: None, aggregations });
            }
        }
        for (position, mut found) in of.into_iter().zip(self.ask::<Found>(&asks).await?) {
            let Broken { server, days, .. } = &mut broken[position];
            let hours = found.remove(server).map_or_else(Vec::new, |found| found.parts(HOUR));
            for day in days {
                let own =
                    hours.iter().filter(|hour| layout::day(hour.begins) == layout::day(day.part.begins));
                day.hours = own.copied().collect();
            }
        }
        Ok(())
    }

    /// Passes the days of one server, the latest first, and remembers what had to be read of past ones.
    async fn walk_one(&self, Broken { server, gaps, days }: &mut Broken<'_>) -> Result<(), HistoryError> {
        let last = days.last().map(|day| day.part.begins);
        while let Some(Day { part, pieces, hours }) = days.pop() {
            if !part.can_reach(gaps.open()) {
                continue;
            }
            let pieces = match pieces {
                Some(pieces) => pieces,
                None => {
                    let pieces = self.read_day(*server, part, hours).await?;
                    if Some(part.begins) < last {
                        let day = layout::day(part.begins);
                        self.known().remembered.put(day, *server, part.sums, pieces.clone());
                    }
                    pieces
                }
            };
            for piece in pieces {
                gaps.pass(piece.from, piece.to);
            }
        }
        Ok(())
    }

    /// What a day vouches for, the latest piece first. Neighbouring hours that are no chain are read together.
    async fn read_day(
        &self,
        server: ServerId,
        part: Part,
        mut hours: Vec<Part>,
    ) -> Result<Vec<Piece>, HistoryError> {
        let mut union = Union::default();
        if hours.is_empty() {
            hours.push(part);
        }
        while let Some(hour) = hours.pop() {
            if let Some(chain) = hour.sums.chain() {
                union.add(chain.from, chain.to);
                continue;
            }
            let (mut first, mut count) = (hour.begins, hour.sums.count);
            while let Some(earlier) = hours.pop_if(|hour| hour.sums.chain().is_none()) {
                (first, count) = (earlier.begins, count + earlier.sums.count);
            }
            self.read_between(server, [first, hour.begins + hour.length], count, &mut union).await?;
        }
        Ok(union.pieces())
    }

    fn indices(&self, (first, last): Days) -> String {
        self.0.layout.indices(first.saturating_mul(DAY), last.saturating_mul(DAY))
    }
}

/// The days in which snapshots lie that can reach into what is open.
fn days_of(gaps: &Gaps) -> Option<Days> {
    let Piece { from, to } = gaps.open()?;
    Some((layout::day(from.saturating_add(1)), layout::day(to.saturating_add(LONGEST_COVERS))))
}

/// The sums over days, or hours, by themselves.
fn parted(length: Millis) -> Value {
    json!({"times": {
        "histogram": {"field": "sampled_at", "interval": length, "min_doc_count": 1},
        "aggs": Sums::aggregations(),
    }})
}

impl Found {
    fn parts(self, length: Millis) -> Vec<Part> {
        let part = |Bucket { key, sums }: Bucket| {
            let begins = Number::from(key).whole();
            Part { begins, length, sums }
        };
        self.times.buckets.into_iter().map(part).collect()
    }
}

impl Part {
    /// Whether a snapshot of this part can reach into what is open.
    fn can_reach(&self, open: Option<Piece>) -> bool {
        open.is_some_and(|Piece { from, to }| {
            self.begins + self.length > from && self.begins <= to.saturating_add(LONGEST_COVERS)
        })
    }
}
