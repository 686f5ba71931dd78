//! What rollups are made of: sums over the snapshots of each hour, and the times of those that are no chain.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use fleet::{
    ServerId,
    hours::{HOUR, of_hour},
    rollup::{MOST_STRETCHES, Rollup},
    series::{Figures, Summary},
    uptime::Piece,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    HistoryError, LONGEST_COVERS,
    elastic::{
        Elastic,
        chain::Sums,
        layout::{self, Kind},
        read::{Ask, pages, summaries},
        rows::Union,
    },
};

/// Hours after an hour whose snapshots may reach back into it.
const REACH: i64 = LONGEST_COVERS / HOUR;

/// A rollup, and how many snapshots were seen when it was made.
pub struct Made {
    pub server: ServerId,
    pub hour: i64,
    pub rollup: Rollup,
    pub seen: i64,
    /// The greatest `sampled_at`, where the hour has any.
    pub newest: Option<i64>,
}

#[derive(Deserialize)]
struct Found {
    hours: Hours,
}

/// By name.
#[derive(Deserialize)]
struct Hours {
    buckets: HashMap<String, Value>,
}

impl Elastic {
    /// The rollups of these hours, which lie in one day, of these servers; those of hours without any snapshot are left
    /// out, unless they are made `again`.
    pub async fn make_rollups(
        &self,
        hours: &Range<i64>,
        servers: &[ServerId],
        again: bool,
    ) -> Result<Vec<Made>, HistoryError> {
        let whole = hours.start..hours.end + REACH;
        let indices = self.0.layout.indices(whole.start * HOUR, whole.end * HOUR - 1);
        self.refresh(&indices).await?;
        let range =
            |hour: i64| json!({"key": hour.to_string(), "from": hour * HOUR, "to": (hour + 1) * HOUR});
        let ranges: Vec<Value> = whole.clone().map(range).collect();
        let mut each = Sums::aggregations();
        for name in Figures::NAMES {
            each[name] = json!({"stats": {"field": name}});
        }
        let aggregations = json!({"hours": {
            "range": {"field": "sampled_at", "keyed": true, "ranges": ranges}, "aggs": each,
        }});
        let asks: Vec<Ask> = pages(servers)
            .map(|page| Ask {
                indices: indices.clone(),
                servers: page.to_vec(),
                filter: None,
                aggregations: aggregations.clone(),
            })
            .collect();
        let mut made = Vec::new();
        for found in self.ask::<Found>(&asks).await? {
            for (server, mut found) in found {
                let buckets = whole.clone().map(|hour| found.hours.buckets.remove(&hour.to_string()));
                let buckets: Vec<Value> = buckets.map(Option::unwrap_or_default).collect();
                self.make_of(server, hours, &buckets, &mut made).await?;
            }
        }
        if again {
            let found: HashSet<(ServerId, i64)> = made.iter().map(|made| (made.server, made.hour)).collect();
            let each = servers.iter().flat_map(|server| hours.clone().map(|hour| (*server, hour)));
            made.extend(each.filter(|hour| !found.contains(hour)).map(|(server, hour)| Made {
                server,
                hour,
                rollup: Rollup::EMPTY,
                seen: 0,
                newest: None,
            }));
        }
        Ok(made)
    }

    /// `buckets` are those of the hours and of [`REACH`] hours after them.
    async fn make_of(
        &self,
        server: ServerId,
        hours: &Range<i64>,
        buckets: &[Value],
        made: &mut Vec<Made>,
    ) -> Result<(), HistoryError> {
        let mut parts: Vec<(i64, Sums)> = Vec::new();
        for (hour, bucket) in (hours.start..).zip(buckets) {
            let sums = Sums::deserialize(bucket).map_err(crate::elastic::client::unavailable)?;
            parts.push((hour, sums));
        }
        let mut union = Union::default();
        let mut open: Option<[i64; 3]> = None;
        // The latest first; neighbours that are no chain are read together.
        for (hour, sums) in parts.iter().rev().chain([&(i64::MIN, Sums::NONE)]) {
            let chain = if sums.count == 0 { Some(None) } else { sums.chain().map(Some) };
            match chain {
                None => {
                    let [_, end, count] = open.unwrap_or([0, hour + 1, 0]);
                    open = Some([*hour, end, count + sums.count]);
                }
                Some(chain) => {
                    if let Some([first, end, count]) = open.take() {
                        self.read_between(server, [first * HOUR, end * HOUR], count, &mut union).await?;
                    }
                    if let Some(Piece { from, to }) = chain {
                        union.add(from, to);
                    }
                }
            }
        }
        let mut pieces = union.pieces();
        pieces.reverse();
        for (place, hour) in hours.clone().enumerate() {
            let seen = parts[place..].iter().take(1 + REACH as usize).map(|(_, sums)| sums.count).sum();
            let whole = of_hour(hour);
            let within =
                |piece: &Piece| Piece { from: piece.from.max(whole.from), to: piece.to.min(whole.to) };
            let stretches: Vec<Piece> =
                pieces.iter().map(within).filter(|piece| piece.from < piece.to).collect();
            let (sums, figures) = (&parts[place].1, summaries(&buckets[place]));
            let rollup = Rollup {
                count: sums.count.unsigned_abs(),
                covered: stretches.iter().map(Piece::length).sum(),
                stretches: (stretches.len() <= MOST_STRETCHES).then_some(stretches),
                figures,
            };
            if !rollup.is_empty() {
                let newest = (sums.count > 0).then(|| sums.newest());
                made.push(Made { server, hour, rollup, seen, newest });
            }
        }
        Ok(())
    }
}

/// As a document has it, besides server and hour.
pub fn document(Made { server, hour, rollup, .. }: &Made) -> Value {
    let mut document = Map::new();
    document.insert("server".into(), json!(server));
    document.insert("hour".into(), json!(hour));
    document.insert("covered".into(), json!(rollup.covered));
    document.insert("count".into(), json!(rollup.count));
    // What is covered as a whole, or not at all, has but one form.
    if (1..HOUR).contains(&rollup.covered)
        && let Some(stretches) = &rollup.stretches
    {
        document.insert("stretches".into(), json!(write(*hour, stretches)));
    }
    for (name, summary) in Figures::NAMES.iter().zip(&rollup.figures) {
        let Some(Summary { count, sum, max, min }) = summary else { continue };
        let columns = layout::summary_columns(name);
        let extreme = |value: f64| match layout::kind(name) {
            Kind::Float => json!(value as f32),
            Kind::Long => json!(value as i64),
            Kind::Double => json!(value),
        };
        for (column, value) in
            columns.into_iter().zip([json!(count), json!(sum), extreme(*max), extreme(*min)])
        {
            document.insert(column, value);
        }
    }
    Value::Object(document)
}

/// Each as its start within the hour and its length.
fn write(hour: i64, stretches: &[Piece]) -> String {
    let begin = of_hour(hour).from;
    let each = stretches.iter().map(|piece| format!("{}+{}", piece.from - begin, piece.length()));
    each.collect::<Vec<_>>().join(",")
}

/// What is vouched for in an hour; `None` where only the sum is known.
pub fn read(hour: i64, covered: i64, stretches: Option<&str>) -> Option<Vec<Piece>> {
    let whole = of_hour(hour);
    if covered == HOUR {
        return Some(vec![whole]);
    }
    if covered == 0 {
        return Some(Vec::new());
    }
    let piece = |text: &str| {
        let (from, length) = text.split_once('+')?;
        let from = whole.from + from.parse::<u32>().ok().map(i64::from)?;
        Some(Piece { from, to: from + length.parse::<u32>().ok().map(i64::from)? })
    };
    stretches?.split(',').map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_read_back_and_a_sum_alone_is_none() {
        let hour = 497_222;
        let at = of_hour(hour).from;
        let stretches = vec![Piece { from: at, to: at + 7 }, Piece { from: at + 9, to: at + 3_000_000 }];
        let text = write(hour, &stretches);
        assert_eq!(text, "0+7,9+2999991");
        assert_eq!(read(hour, 2_999_998, Some(&text)), Some(stretches));
        assert_eq!(read(hour, HOUR, None), Some(vec![of_hour(hour)]));
        assert_eq!(read(hour, 0, None), Some(Vec::new()));
        assert_eq!(read(hour, 5, None), None);
        assert_eq!(read(hour, 5, Some("5")), None);
    }
}
