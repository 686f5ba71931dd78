//! What a server sampled, one snapshot for each part of a range.

use fleet::{Interval, Millis, ServerId, Snapshot, hours::HOUR, series, wire::v1};
use serde_json::{Map, Value, json};

use super::{Elastic, client::unavailable};
use crate::HistoryError;

impl Elastic {
    /// See [`crate::History::samples`].
    pub async fn samples(
        &self,
        server: ServerId,
        from: Millis,
        to: Millis,
        points: u32,
    ) -> Result<Vec<Snapshot>, HistoryError> {
        let _open = self.under_way().await?;
        if from >= to {
            return Ok(Vec::new());
        }
        let oldest = self.known().oldest;
        let mut starts = series::starts(from, to, points);
        // A bucket of length 0 begins where the next one begins.
        starts.dedup();
        let ends = starts.iter().skip(1).chain([&to]).copied();
        let ranges: Vec<[Millis; 2]> = starts
            .iter()
            .zip(ends)
            .map(|(from, to)| [(*from).max(oldest), to])
            .filter(|[from, to]| from < to)
            .collect();
        let (Some([first, _]), Some([_, last])) = (ranges.first(), ranges.last()) else {
            return Ok(Vec::new());
        };
        let indices = self.0.layout.indices(*first, last - 1);
        self.refresh(&indices).await?;
        let newest = json!({"top_hits": {
            "size": 1, "sort": [{"sampled_at": {"order": "desc"}}], "_source": ["body"],
        }});
        let aggregations = Map::from_iter([("newest".to_owned(), newest)]);
        // The longest interval admits what any interval admits.
        let interval = Interval::try_from(HOUR).map_err(|_| unavailable("an hour is no interval"))?;
        let mut samples = Vec::new();
        for mut bucket in self.in_ranges(&indices, server, "sampled_at", &ranges, aggregations).await? {
            // Of a bucket without snapshots, and where no index is there, nothing is at this place.
            let body = bucket.pointer_mut("/newest/hits/hits/0/_source/body").map(Value::take);
            let Some(body) = body else { continue };
            let corrupt = |reason: String| HistoryError::Corrupt {
                table: indices.clone(),
                row: format!("{server}"),
                reason,
            };
            let raw: v1::Snapshot =
                serde_json::from_value(body).map_err(|error| corrupt(error.to_string()))?;
            samples.push(Snapshot::check(raw, interval).map_err(|fault| corrupt(fault.to_string()))?);
        }
        Ok(samples)
    }
}
