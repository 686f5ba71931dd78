//! Coverage, from sums that the store computes.
//!
//! Up to a time `t` a server is covered for `F(t) = Σ covers[sampled_at ≤ t] + Σ (t − from)[from < t < sampled_at]`.
//! Within a piece `(a, b]` it is covered for `F(b) − F(a)`, which is a sum over the inside of the piece, and a count
//! and a sum at each of its edges. One search asks for all servers that share a piece, a whole day or an edge.

use std::collections::{BTreeMap, BTreeSet};

use fleet::{Millis, ServerId, retention::DAY, uptime::Piece};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Elastic,
    read::{Ask, Buckets, Number, pages},
};
use crate::{HistoryError, LONGEST_COVERS};

/// A part of `F(b) − F(a)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// `Σ covers` of the snapshots sampled in `(after, to]`.
    Within { after: Millis, to: Millis },
    /// `Σ (at − from)` of the snapshots with `from < at < sampled_at`.
    Across { at: Millis },
}

/// Who needs a part: index in the answer, server, and 1 or −1, by which the part counts there.
type Asker = (usize, ServerId, i64);

#[derive(Deserialize)]
struct Found {
    inside: Buckets<Inside>,
}

#[derive(Deserialize)]
struct Inside {
    covers: Option<Number>,
    across: Option<Buckets<Across>>,
}

#[derive(Deserialize)]
struct Across {
    doc_count: i64,
    starts: Number,
}

/// What is found of a stretch in which the ends of many servers lie.
#[derive(Deserialize)]
struct FoundTail {
    inside: Buckets<Tail>,
}

#[derive(Deserialize)]
struct Tail {
    covers: Number,
    last: Number,
}

/// The sums that are known, by part and server.
type Sums = BTreeMap<(Part, ServerId), Millis>;

impl Elastic {
    /// See [`crate::History::covered`].
    pub async fn covered(&self, asked: &[(ServerId, Vec<Piece>)]) -> Result<Vec<Millis>, HistoryError> {
        let _open = self.under_way().await?;
        let parts = parts_of(asked);
        self.refresh_for(parts.keys()).await?;
        let mut sums = self.tails(&parts).await?;
        let mut asks = Vec::new();
        for (part, askers) in &parts {
            let servers: BTreeSet<ServerId> = askers.iter().map(|(_, server, _)| *server).collect();
            let servers: Vec<ServerId> =
                servers.into_iter().filter(|server| !sums.contains_key(&(*part, *server))).collect();
            let (first, last) = part.reach();
            for page in pages(&servers) {
                let indices = self.0.layout.indices(first, last);
                asks.push((
                    *part,
                    Ask { indices, servers: page.to_vec(), aggregations: part.aggregations() },
                ));
            }
        }
        let (of, asks): (Vec<Part>, Vec<Ask>) = asks.into_iter().unzip();
        for (part, found) in of.into_iter().zip(self.ask::<Found>(&asks).await?) {
            sums.extend(found.into_iter().map(|(server, found)| ((part, server), part.sum(&found))));
        }
        let mut covered = vec![0; asked.len()];
        for (part, askers) in &parts {
            for (position, server, sign) in askers {
                covered[*position] += sign * sums.get(&(*part, *server)).unwrap_or(&0);
            }
        }
        Ok(covered)
    }

    /// The last parts of many servers, by a few searches.
    ///
    /// The pieces of each server that is up end at its own newest sample, so no two servers share their last part.
    /// Asking all of them up to a time after the latest such end gives the same sums, provided that nothing of the
    /// server was sampled after its own end; then nothing reaches across that end either. Parts for which this does
    /// not hold are left out.
    async fn tails(&self, parts: &BTreeMap<Part, Vec<Asker>>) -> Result<Sums, HistoryError> {
        let mut alike: BTreeMap<Millis, BTreeMap<ServerId, Millis>> = BTreeMap::new();
        for (part, askers) in parts {
            let ([(_, server, _)], Part::Within { after, to }) = (askers.as_slice(), part) else { continue };
            if parts.get(&Part::Across { at: *to }).is_some_and(|askers| askers.len() == 1) {
                alike.entry(*after).or_default().insert(*server, *to);
            }
        }
        let (mut of, mut asks) = (Vec::new(), Vec::new());
        for (after, ends) in alike.iter().filter(|(_, ends)| ends.len() > 1) {
            let first = after.saturating_add(1);
            let last = ends.values().max().map_or(first, |last| last.saturating_add(LONGEST_COVERS));
            let servers: Vec<ServerId> = ends.keys().copied().collect();
            for page in pages(&servers) {
                let indices = self.0.layout.indices(first, last);
                of.push((*after, ends, page.to_vec()));
                asks.push(Ask { indices, servers: page.to_vec(), aggregations: tail(first, last) });
            }
        }
        let mut sums = Sums::new();
        for ((after, ends, servers), found) in of.into_iter().zip(self.ask::<FoundTail>(&asks).await?) {
            for server in servers {
                let to = ends[&server];
                let inside = || found.get(&server).into_iter().flat_map(|found| &found.inside.buckets);
                if inside().all(|tail| tail.last.whole() <= to) {
                    let covers = inside().map(|tail| tail.covers.whole()).sum();
                    sums.insert((Part::Within { after, to }, server), covers);
                    sums.insert((Part::Across { at: to }, server), 0);
                }
            }
        }
        Ok(sums)
    }

    async fn refresh_for(&self, parts: impl Iterator<Item = &Part>) -> Result<(), HistoryError> {
        let reach = parts.map(Part::reach).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let Some((first, last)) = reach else { return Ok(()) };
        self.refresh(&self.0.layout.indices(first, last)).await
    }
}

fn tail(first: Millis, last: Millis) -> Value {
    let inner = json!({"covers": {"sum": {"field": "covers"}}, "last": {"max": {"field": "sampled_at"}}});
    let range = json!({"field": "sampled_at", "ranges": [{"from": first, "to": last.saturating_add(1)}]});
    json!({"inside": {"range": range, "aggs": inner}})
}

/// Every part, each once, and who needs it.
fn parts_of(asked: &[(ServerId, Vec<Piece>)]) -> BTreeMap<Part, Vec<Asker>> {
    let mut parts: BTreeMap<Part, Vec<Asker>> = BTreeMap::new();
    // The pieces of many servers seldom end at the same time, but they have whole days in common.
    let by_days = asked.len() > 1;
    for (position, (server, pieces)) in asked.iter().enumerate() {
        for Piece { from, to } in pieces.iter().copied().filter(|piece| piece.from < piece.to) {
            let mut add = |part, sign| parts.entry(part).or_default().push((position, *server, sign));
            add(Part::Across { at: to }, 1);
            add(Part::Across { at: from }, -1);
            let mut after = from;
            for border in whole_days(from, to).into_iter().filter(|_| by_days).flatten().chain([to]) {
                if after < border {
                    add(Part::Within { after, to: border }, 1);
                }
                after = border;
            }
        }
    }
    parts
}

/// The last millisecond before the first whole day in `(from, to]`, and the last millisecond of the last whole day.
fn whole_days(from: Millis, to: Millis) -> Option<[Millis; 2]> {
    let before = from.saturating_add(DAY).div_euclid(DAY).saturating_mul(DAY).saturating_sub(1);
    let last = to.saturating_add(1).div_euclid(DAY).saturating_mul(DAY).saturating_sub(1);
    (from <= before && before < last && last <= to).then_some([before, last])
}

impl Part {
    /// The first and the last `sampled_at` of the snapshots that it is about.
    fn reach(&self) -> (Millis, Millis) {
        match self {
            Self::Within { after, to } => (after.saturating_add(1), *to),
            Self::Across { at } => (at.saturating_add(1), at.saturating_add(LONGEST_COVERS)),
        }
    }

    fn aggregations(&self) -> Value {
        let (first, last) = self.reach();
        let inner = match self {
            Self::Within { .. } => json!({"covers": {"sum": {"field": "covers"}}}),
            Self::Across { at } => json!({"across": {
                "range": {"field": "from", "ranges": [{"to": at}]},
                "aggs": {"starts": {"sum": {"field": "from"}}},
            }}),
        };
        let range = json!({"field": "sampled_at", "ranges": [{"from": first, "to": last.saturating_add(1)}]});
        json!({"inside": {"range": range, "aggs": inner}})
    }

    fn sum(&self, found: &Found) -> Millis {
        let inside = found.inside.buckets.iter();
        match self {
            Self::Within { .. } => inside.filter_map(|inside| inside.covers).map(Number::whole).sum(),
            Self::Across { at } => inside
                .filter_map(|inside| inside.across.as_ref())
                .flat_map(|across| &across.buckets)
                .map(|across| across.doc_count.saturating_mul(*at).saturating_sub(across.starts.whole()))
                .sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(n: u8) -> ServerId {
        ServerId::new(1, [n; 10])
    }

    #[test]
    fn whole_days_are_borders_within_the_piece() {
        assert_eq!(whole_days(-1, DAY - 1), Some([-1, DAY - 1]));
        assert_eq!(whole_days(0, DAY - 1), None);
        assert_eq!(whole_days(0, 2 * DAY - 1), Some([DAY - 1, 2 * DAY - 1]));
        assert_eq!(whole_days(0, 2 * DAY - 2), None);
        assert_eq!(whole_days(5, 4 * DAY), Some([DAY - 1, 4 * DAY - 1]));
        for (from, to) in [(i64::MIN, i64::MAX), (0, i64::MAX), (i64::MIN, 0), (i64::MAX, i64::MIN)] {
            let _ = whole_days(from, to);
        }
    }

    #[test]
    fn parts_of_a_piece_meet_and_servers_share_what_is_alike() {
        let piece = |to| vec![Piece { from: 7, to }];
        let asked = [(server(1), piece(3 * DAY + 5)), (server(2), piece(3 * DAY + 6))];
        let parts = parts_of(&asked);
        let shared = Part::Within { after: DAY - 1, to: 3 * DAY - 1 };
        assert_eq!(parts[&shared].len(), 2);
        assert_eq!(parts[&Part::Across { at: 7 }], [(0, server(1), -1), (1, server(2), -1)]);
        assert_eq!(parts[&Part::Within { after: 3 * DAY - 1, to: 3 * DAY + 5 }], [(0, server(1), 1)]);
        assert_eq!(parts.len(), 1 + 1 + 1 + 2 + 2);
        assert_eq!(parts_of(&asked[..1]).len(), 3, "one server is not worth the parting");
        assert_eq!(parts_of(&[(server(1), vec![Piece { from: 9, to: 9 }])]).len(), 0);
    }
}
