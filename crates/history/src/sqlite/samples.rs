//! What a server sampled, one snapshot for each part of a range.

use std::collections::{BTreeMap, BTreeSet};

use fleet::{
    Millis, ServerId, Snapshot,
    hours::{self, HOUR, of_hour},
    series::Reduction,
};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    Sqlite,
    blocks::{self, Reach},
    layout::{self, INDEX_BITS},
    pack,
    read::bodies_of,
};
use crate::{
    HistoryError,
    block::{self, Wanted},
};

/// The newest snapshot of each bucket that was looked at.
struct Newest {
    from: Millis,
    to: Millis,
    buckets: Reduction,
    found: BTreeMap<usize, Snapshot>,
}

impl Newest {
    /// Whether an hour may tell something, when all later ones have been looked at.
    fn wants(&self, hour: i64) -> bool {
        let of = of_hour(hour);
        let ends = [of.from.max(self.from), of.to.min(self.to) - 1].map(|at| self.buckets.bucket(at));
        let [Some(first), Some(last)] = ends else { return false };
        (first..=last).any(|bucket| !self.found.contains_key(&bucket))
    }

    /// The bucket of this moment, if nothing in it is as new.
    fn wanting(&self, at: Millis) -> Option<usize> {
        let bucket = self.buckets.bucket(at)?;
        self.found.get(&bucket).is_none_or(|found| found.sampled_at() < at).then_some(bucket)
    }

    fn take(&mut self, snapshot: Snapshot) {
        if let Some(bucket) = self.wanting(snapshot.sampled_at()) {
            self.found.insert(bucket, snapshot);
        }
    }

    /// Reads what lies in an hour as rows.
    async fn take_rows(
        &mut self,
        connection: &mut SqliteConnection,
        hour: i64,
        number: i64,
    ) -> Result<(), HistoryError> {
        let of = of_hour(hour);
        let day = layout::day(of.from);
        let rows = layout::rows_of("$1", day);
        let statement = format!(
            "SELECT kept.key, kept.place FROM {rows} WHERE slots.slot BETWEEN $2 AND $3 ORDER BY kept.key"
        );
        let keys: Vec<(i64, i64)> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(number)
            .bind(layout::slot(of.from))
            .bind(layout::slot(of.to - 1))
            .fetch_all(&mut *connection)
            .await?;
        let mut places: BTreeMap<usize, (Millis, i64)> = BTreeMap::new();
        for (key, place) in keys {
            let at = layout::sampled_at(day, key);
            if let Some(bucket) = self.wanting(at) {
                places.insert(bucket, (at, place));
            }
        }
        for (at, place) in places.into_values() {
            let corrupt = |reason: String| HistoryError::Corrupt {
                table: format!("bodies_{hour}"),
                row: format!("number {number} at {at}"),
                reason,
            };
            let (id, index) = (place >> INDEX_BITS, place & ((1 << INDEX_BITS) - 1));
            let stored: Option<Vec<u8>> =
                sqlx::query_scalar(AssertSqlSafe(format!("SELECT pack FROM bodies_{hour} WHERE id = $1")))
                    .bind(id)
                    .fetch_optional(&mut *connection)
                    .await?;
            let lines = pack::open(&stored.ok_or_else(|| corrupt("missing".into()))?).map_err(corrupt)?;
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            self.take(pack::figures(&lines, index).map_err(corrupt)?);
        }
        Ok(())
    }
}

impl Sqlite {
    /// See [`crate::History::samples`].
    pub async fn samples(
        &self,
        server: ServerId,
        from: Millis,
        to: Millis,
        points: u32,
    ) -> Result<Vec<Snapshot>, HistoryError> {
        let server = self.known().servers.get(&server).copied();
        let Some(server) = server.filter(|_| from < to) else { return Ok(Vec::new()) };
        let (mut transaction, oldest) = self.reading().await?;
        let hours = hours::hour(from.max(oldest))..=hours::hour(to - 1);
        let rows = bodies_of(&mut transaction, hours.clone()).await?;
        let packed = Reach::of(&mut transaction).await?.within(hours);
        let packed: BTreeSet<i64> =
            blocks::hours_of(&mut transaction, server.number, packed).await?.into_iter().collect();
        let buckets = Reduction::new(from, to, points);
        let mut newest = Newest { from, to, buckets, found: BTreeMap::new() };
        let hours: Vec<i64> = rows.union(&packed).copied().collect();
        for hour in hours.into_iter().rev() {
            if !newest.wants(hour) {
                continue;
            }
            if packed.contains(&hour)
                && let Some(block) = blocks::block_of(&mut transaction, hour, server.number).await?
            {
                let read = block::read(hour * HOUR, &block, Wanted::All, |snapshot| newest.take(snapshot));
                read.map_err(|reason| blocks::corrupt(hour, server.number, reason))?;
            }
            if rows.contains(&hour) {
                newest.take_rows(&mut transaction, hour, server.number).await?;
            }
        }
        Ok(newest.found.into_values().collect())
    }
}
