//! Charts: rollups where they lie in one point as a whole, and the snapshots of the rest.

use std::collections::BTreeSet;

use fleet::{
    Millis, ServerId,
    hours::{self, HOUR, of_hour},
    series::{self, COUNT, Figures, Reduction, Summary},
    uptime::Piece,
};
use serde_json::{Map, Value, json};

use crate::{
    Chart, HistoryError,
    elastic::{Elastic, layout::summary_columns, read::as_stored},
};

impl Elastic {
    /// See [`crate::History::chart`].
    pub async fn chart(
        &self,
        server: ServerId,
        from: Millis,
        to: Millis,
        points: u32,
    ) -> Result<Chart, HistoryError> {
        let _open = self.under_way().await?;
        if from >= to {
            return Ok(Chart::default());
        }
        let window = Piece { from, to };
        let timelines = self.timelines(&[(server, vec![window])]).await?;
        let timeline = timelines.get(&server).cloned().unwrap_or_default();
        let oldest = self.known().oldest;
        let mut reduction = Reduction::new(from, to, points);
        let mut starts = series::starts(from, to, points);
        // A bucket of length 0 begins where the next one begins.
        starts.dedup();
        let ends = starts.iter().skip(1).chain([&to]).copied();
        let (mut raw, mut rolled): (Vec<[Millis; 2]>, Vec<[i64; 2]>) = Default::default();
        let mut cut: BTreeSet<i64> = BTreeSet::new();
        for (from, to) in starts.iter().copied().zip(ends) {
            // In each bucket whole hours are read from rollups, and of the rest what snapshots are kept of.
            let mut rest = from;
            let mut upto = |raw: &mut Vec<[Millis; 2]>, moment: Millis, next: Millis| {
                if rest < moment {
                    raw.push([rest, moment]);
                }
                rest = next;
            };
            let hours = timeline.rolled.start.max(hours::hour(from))
                ..timeline.rolled.end.min(hours::hour(to - 1) + 1);
            for hour in hours.filter(|hour| timeline.contains(*hour)) {
                let of = of_hour(hour);
                let whole = from <= of.from && of.to <= to;
                if !whole && of.from >= oldest {
                    continue;
                }
                upto(&mut raw, of.from.max(from), of.to.min(to));
                if from <= of.from {
                    match rolled.last_mut().filter(|last| last[1] == hour && from <= (hour - 1) * HOUR) {
                        Some(last) => last[1] = hour + 1,
                        None => rolled.push([hour, hour + 1]),
                    }
                }
                if !whole {
                    cut.insert(hour);
                }
            }
            upto(&mut raw, to, to);
        }
        for ([from, _], (count, figures)) in raw.iter().zip(self.raw_summaries(server, &raw).await?) {
            reduction.add_all(*from, count, figures);
        }
        let mut rounded = false;
        for ([first, until], (count, figures)) in
            rolled.iter().zip(self.rolled_summaries(server, &rolled).await?)
        {
            rounded |= count > 0 && (*first..*until).any(|hour| cut.contains(&hour));
            reduction.add_all(first * HOUR, count, figures);
        }
        Ok(Chart { points: reduction.points(), rounded })
    }

    /// Of each of these ranges of hours, what their rollups give together.
    async fn rolled_summaries(
        &self,
        server: ServerId,
        ranges: &[[i64; 2]],
    ) -> Result<Vec<(u64, [Option<Summary>; COUNT])>, HistoryError> {
        let ends = ranges.iter().copied().reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])]);
        let Some([first, until]) = ends else { return Ok(Vec::new()) };
        let indices = self.0.layout.rollups_of(&(first..until));
        let mut aggregations = Map::new();
        aggregations.insert("count".into(), json!({"sum": {"field": "count"}}));
        for name in Figures::NAMES {
            for (column, kind) in summary_columns(name).into_iter().zip(["sum", "sum", "max", "min"]) {
                aggregations.insert(column.clone(), json!({kind: {"field": column}}));
            }
        }
        let buckets = self.in_ranges(&indices, server, "hour", ranges, aggregations).await?;
        let summary = |bucket: &Value| {
            let whole = |value: &Value| value["value"].as_f64().map_or(0, |value| value.round() as u64);
            let figures = Figures::NAMES.map(|name| {
                let [told, sum, max, min] = summary_columns(name).map(|column| bucket[column].clone());
                let count = Some(whole(&told)).filter(|count| *count > 0)?;
                let [max, min] = [max, min].map(|value| Some(as_stored(name, value["value"].as_f64()?)));
                Some(Summary { count, sum: sum["value"].as_f64()?, max: max?, min: min? })
            });
            (whole(&bucket["count"]), figures)
        };
        Ok(buckets.iter().map(summary).collect())
    }
}
