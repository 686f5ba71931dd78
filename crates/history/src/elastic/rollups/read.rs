//! Reading: rollups of closed hours, and the snapshots themselves of all others.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use fleet::{
    Millis, ServerId,
    hours::{self, HOUR, of_hour},
    uptime::{Gaps, Outages, Piece},
};
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{State, raw};
use crate::{
    Covered, HistoryError,
    elastic::{
        Elastic,
        client::unavailable,
        layout::hour_id,
        read::{Ask, LENIENT, Number, pages},
    },
    timeline::{Segment, Timeline},
};

/// A window of at most this length is read from the snapshots alone, if they are kept.
const SHORT: Millis = 6 * HOUR;
/// Hits in one page. By default Elasticsearch gives no more at once.
pub const PAGE: usize = 10_000;
/// Servers that are walked at the same time.
const AT_ONCE: usize = 8;

#[derive(Deserialize)]
struct Sum {
    covered: Number,
}

#[derive(Deserialize)]
pub struct Hit {
    #[serde(default)]
    pub fields: Map<String, Value>,
}

/// What is vouched for in a closed hour; `None` where only the sum is known.
struct OfHour {
    hour: i64,
    covered: Millis,
    stretches: Option<Vec<Piece>>,
}

impl OfHour {
    fn of(hour: i64, covered: Millis, stretches: Option<&str>) -> Self {
        Self { hour, covered, stretches: raw::read(hour, covered, stretches) }
    }

    fn pieces(self) -> Vec<Piece> {
        let from = of_hour(self.hour).from;
        self.stretches.unwrap_or_else(|| vec![Piece { from, to: from + self.covered }])
    }
}

impl Elastic {
    /// See [`crate::History::measured`].
    pub async fn measured(&self, asked: &[(ServerId, Vec<Piece>)]) -> Result<Vec<Covered>, HistoryError> {
        let _open = self.under_way().await?;
        let asked: Vec<(ServerId, Vec<Piece>)> = asked
            .iter()
            .map(|(server, pieces)| {
                let mut pieces: Vec<Piece> = pieces.iter().copied().filter(|p| p.from < p.to).collect();
                pieces.sort_unstable_by_key(|piece| piece.from);
                (*server, pieces)
            })
            .collect();
        let timelines = self.timelines(&asked).await?;
        let mut covered = vec![Covered::default(); asked.len()];
        let mut raw: Vec<(ServerId, Vec<Piece>)> =
            asked.iter().map(|(server, _)| (*server, Vec::new())).collect();
        let mut whole: BTreeMap<(i64, i64), BTreeMap<ServerId, Vec<usize>>> = BTreeMap::new();
        let mut cuts: Vec<(usize, i64, Piece)> = Vec::new();
        for (index, (server, pieces)) in asked.iter().enumerate() {
            for segment in segments(&timelines, *server, pieces) {
                match segment {
                    Segment::Raw(piece) => raw[index].1.push(piece),
                    Segment::Cut(hour, piece) => cuts.push((index, hour, piece)),
                    Segment::Hours(hours) => {
                        let servers = whole.entry((hours.start, hours.end)).or_default();
                        servers.entry(*server).or_default().push(index);
                    }
                }
            }
        }
        self.add_whole(&whole, &mut covered).await?;
        self.add_cuts(&asked, &cuts, &mut raw, &mut covered).await?;
        for (place, gaps) in self.gaps(&raw).await?.into_iter().enumerate() {
            let length: Millis = raw[place].1.iter().map(Piece::length).sum();
            covered[place].covered += length - gaps.missing().total;
        }
        Ok(covered)
    }

    async fn add_whole(
        &self,
        whole: &BTreeMap<(i64, i64), BTreeMap<ServerId, Vec<usize>>>,
        covered: &mut [Covered],
    ) -> Result<(), HistoryError> {
        let (mut of, mut asks) = (Vec::new(), Vec::new());
        for ((first, until), servers) in whole {
            let ids: Vec<ServerId> = servers.keys().copied().collect();
            for page in pages(&ids) {
                of.push(servers);
                asks.push(Ask {
                    indices: self.0.layout.rollups_of(&(*first..*until)),
                    servers: page.to_vec(),
                    filter: Some(json!({"range": {"hour": {"gte": first, "lt": until}}})),
                    aggregations: json!({"covered": {"sum": {"field": "covered"}}}),
                });
            }
        }
        for (servers, found) in of.into_iter().zip(self.ask::<Sum>(&asks).await?) {
            for (server, sum) in found {
                for index in servers.get(&server).into_iter().flatten() {
                    covered[*index].covered += sum.covered.whole();
                }
            }
        }
        Ok(())
    }

    /// Adds hours that a piece cuts. Of which only a sum is kept, the snapshots tell while they are there.
    async fn add_cuts(
        &self,
        asked: &[(ServerId, Vec<Piece>)],
        cuts: &[(usize, i64, Piece)],
        raw: &mut [(ServerId, Vec<Piece>)],
        covered: &mut [Covered],
    ) -> Result<(), HistoryError> {
        let oldest = self.known().oldest;
        let docs = cuts
            .iter()
            .map(|(index, hour, _)| (self.0.layout.rollups(*hour), hour_id(asked[*index].0, *hour)));
        let found = self.get_all(docs.collect(), "covered,stretches").await?;
        for ((index, hour, piece), source) in cuts.iter().zip(found) {
            let Some(source) = source else { continue };
            let (sum, stretches) = (source["covered"].as_i64().unwrap_or(0), source["stretches"].as_str());
            let of = OfHour::of(*hour, sum, stretches);
            if of.stretches.is_none() && hour * HOUR >= oldest {
                let pieces = &mut raw[*index].1;
                pieces.push(*piece);
                pieces.sort_unstable_by_key(|piece| piece.from);
                continue;
            }
            covered[*index].rounded |= of.stretches.is_none();
            covered[*index].covered +=
                of.pieces().iter().map(|of| piece.overlap(of.from, of.to)).sum::<Millis>();
        }
        Ok(())
    }

    /// See [`crate::History::outages`].
    pub async fn outages(
        &self,
        server: ServerId,
        pieces: Vec<Piece>,
        most: usize,
    ) -> Result<Outages, HistoryError> {
        let _open = self.under_way().await?;
        let asked = [(server, pieces.clone())];
        let timelines = self.timelines(&asked).await?;
        let mut gaps = Gaps::new(pieces, most);
        let rounded = self.pass_all(server, timelines.get(&server), &mut gaps).await?;
        Ok(Outages { rounded, ..gaps.finish() })
    }

    /// See [`crate::History::longest_gaps`].
    pub async fn longest_gaps(
        &self,
        asked: &[(ServerId, Vec<Piece>)],
    ) -> Result<Vec<Option<Piece>>, HistoryError> {
        let _open = self.under_way().await?;
        let timelines = self.timelines(asked).await?;
        if timelines.is_empty() {
            let walked = self.gaps(asked).await?;
            return Ok(walked.into_iter().map(|gaps| gaps.missing().longest).collect());
        }
        let mut longest = Vec::with_capacity(asked.len());
        for some in asked.chunks(AT_ONCE) {
            let each = some.iter().map(async |(server, pieces)| {
                let mut gaps = Gaps::measured(pieces.clone());
                self.pass_all(*server, timelines.get(server), &mut gaps).await?;
                Ok::<_, HistoryError>(gaps.missing().longest)
            });
            longest.extend(try_join_all(each).await?);
        }
        Ok(longest)
    }

    /// Passes to `gaps` what one server vouches for, the latest first. Returns whether an hour had to be taken as a whole.
    async fn pass_all(
        &self,
        server: ServerId,
        timeline: Option<&Timeline>,
        gaps: &mut Gaps,
    ) -> Result<bool, HistoryError> {
        let Some(open) = gaps.open() else { return Ok(false) };
        let segments = timeline.map_or_else(|| vec![Segment::Raw(open)], |timeline| timeline.segments(open));
        let (mut raw, mut vouched, mut rounded) = (Vec::new(), Vec::new(), false);
        let oldest = self.known().oldest;
        for segment in segments {
            let hours = match segment {
                Segment::Raw(piece) => {
                    raw.push(piece);
                    continue;
                }
                Segment::Cut(hour, _) => hour..hour + 1,
                Segment::Hours(hours) => hours,
            };
            for of in self.hours_of(server, &hours).await? {
                if of.stretches.is_none() && of.hour * HOUR >= oldest {
                    raw.push(of_hour(of.hour));
                    continue;
                }
                rounded |= of.stretches.is_none();
                vouched.extend(of.pieces());
            }
        }
        raw.sort_unstable_by_key(|piece| piece.from);
        let walked = self.walk(vec![(server, Gaps::new(raw.clone(), usize::MAX))]).await?;
        for walked in walked {
            vouched.extend(between(&raw, &walked.finish().gaps));
        }
        vouched.sort_unstable_by_key(|piece| piece.to);
        for piece in vouched.into_iter().rev() {
            gaps.pass(piece.from, piece.to);
        }
        Ok(rounded)
    }

    /// What is vouched for in these hours, in any order; nothing of hours without a rollup.
    async fn hours_of(&self, server: ServerId, hours: &Range<i64>) -> Result<Vec<OfHour>, HistoryError> {
        let indices = self.0.layout.rollups_of(hours);
        let (mut found, mut first) = (Vec::new(), hours.start);
        loop {
            let search = json!({
                "size": PAGE, "track_total_hits": false, "_source": false,
                "docvalue_fields": ["hour", "covered", "stretches"],
                "query": {"bool": {"filter": [
                    {"term": {"server": server}}, {"range": {"hour": {"gte": first, "lt": hours.end}}},
                ]}},
                "sort": [{"hour": {"order": "asc", "unmapped_type": "long"}}],
            });
            let path = format!(
                "{indices}/_search?{LENIENT}&allow_partial_search_results=false&filter_path=hits.hits.fields"
            );
            let hits: Vec<Hit> = self.found(&path, search).await?;
            let full = hits.len() == PAGE;
            for Hit { fields } in hits {
                let number = |name: &str| fields.get(name).and_then(|value| value[0].as_i64());
                let hour = number("hour").ok_or_else(|| unavailable("a rollup does not tell its hour"))?;
                let stretches = fields.get("stretches").and_then(|value| value[0].as_str());
                found.push(OfHour::of(hour, number("covered").unwrap_or(0), stretches));
                first = hour + 1;
            }
            if !full {
                return Ok(found);
            }
        }
    }

    /// See [`crate::History::rolled_from`].
    pub async fn rolled_from(&self, servers: &[ServerId]) -> Result<Vec<Option<Millis>>, HistoryError> {
        let _open = self.under_way().await?;
        let (states, kept) = (self.states(servers).await?, self.known().oldest_rolled);
        let from = |server: &ServerId| {
            let state = states.get(server)?;
            // Before the first snapshot there is nothing to roll up.
            let all = state.first <= hours::hour(state.oldest_start);
            Some(if all { kept } else { kept.max(state.first * HOUR) })
        };
        Ok(servers.iter().map(from).collect())
    }

    /// Which hours of these servers are read from rollups; nothing of servers of which none is.
    pub async fn timelines(
        &self,
        asked: &[(ServerId, Vec<Piece>)],
    ) -> Result<HashMap<ServerId, Timeline>, HistoryError> {
        let pieces = asked.iter().flat_map(|(_, pieces)| pieces);
        let reach = pieces.copied().reduce(|a, b| Piece { from: a.from.min(b.from), to: a.to.max(b.to) });
        let (oldest, kept) = {
            let known = self.known();
            (known.oldest, known.oldest_rolled)
        };
        let Some(reach) =
            reach.filter(|reach| reach.from < oldest || reach.to.saturating_sub(reach.from) > SHORT)
        else {
            return Ok(HashMap::new());
        };
        let mut servers: Vec<ServerId> = asked.iter().map(|(server, _)| *server).collect();
        servers.sort_unstable();
        servers.dedup();
        // Marks first: one that is gone by then has been seen to, and the rollup is read after it.
        let mut dirty = self.marks(&servers, reach).await?;
        let states = self.states(&servers).await?;
        if !states.is_empty() {
            self.refresh(&self.0.layout.rollups_of(&(hours::hour(reach.from)..hours::hour(reach.to) + 1)))
                .await?;
        }
        let timeline = |(server, state): (ServerId, State)| {
            let rolled = state.rolled();
            let rolled = rolled.first.max(hours::hour(kept))..rolled.until;
            (server, Timeline { rolled, dirty: dirty.remove(&server).unwrap_or_default(), end: Millis::MAX })
        };
        Ok(states.into_iter().map(timeline).collect())
    }
}

fn segments<'a>(
    timelines: &'a HashMap<ServerId, Timeline>,
    server: ServerId,
    pieces: &'a [Piece],
) -> impl Iterator<Item = Segment> + 'a {
    pieces.iter().flat_map(move |piece| match timelines.get(&server) {
        Some(timeline) => timeline.segments(*piece),
        None => vec![Segment::Raw(*piece)],
    })
}

/// What is left of the windows without these gaps; both are in order.
fn between(windows: &[Piece], gaps: &[Piece]) -> Vec<Piece> {
    let mut left = Vec::new();
    let mut gaps = gaps.iter().peekable();
    for window in windows {
        let mut from = window.from;
        while let Some(gap) = gaps.next_if(|gap| gap.to <= window.to) {
            if from < gap.from {
                left.push(Piece { from, to: gap.from });
            }
            from = gap.to;
        }
        if from < window.to {
            left.push(Piece { from, to: window.to });
        }
    }
    left
}
