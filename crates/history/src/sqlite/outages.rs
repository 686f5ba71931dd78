//! The gaps of one server, from the narrow rows alone.

use fleet::{
    Millis, ServerId,
    retention::DAY,
    uptime::{Gaps, Outages, Piece},
};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{Sqlite, layout};
use crate::{HistoryError, LONGEST_COVERS};

impl Sqlite {
    /// See [`crate::History::outages`].
    pub async fn outages(
        &self,
        server: ServerId,
        pieces: Vec<Piece>,
        most: usize,
    ) -> Result<Outages, HistoryError> {
        let mut gaps = Gaps::new(pieces, most);
        let (number, days) = {
            let known = self.known();
            let Some(server) = known.servers.get(&server) else { return Ok(gaps.finish()) };
            (server.number, known.days.iter().copied().collect::<Vec<i64>>())
        };
        let (mut transaction, oldest) = self.reading().await?;
        let days: Vec<i64> = days.into_iter().filter(|day| day * DAY >= oldest).collect();
        pass_all(&mut transaction, &days, number, &mut gaps).await?;
        Ok(gaps.finish())
    }
}

/// Passes to `gaps` what one server sampled in these days, the latest first.
pub async fn pass_all(
    connection: &mut SqliteConnection,
    days: &[i64],
    number: i64,
    gaps: &mut Gaps,
) -> Result<(), HistoryError> {
    for day in days.iter().rev() {
        let Some(Piece { from, to }) = gaps.open() else { break };
        let midnight = day * DAY;
        // Of interest are snapshots sampled after the first piece begins, and before the time from which no
        // snapshot can reach back into the last piece.
        let first = from.saturating_add(1).max(midnight);
        let last = to.saturating_add(LONGEST_COVERS).min(midnight + DAY - 1);
        if first <= last {
            pass_day(connection, *day, number, [first, last], gaps).await?;
        }
    }
    Ok(())
}

/// Passes to `gaps` what one server sampled in the slots of `[first, last]`, which lies in this day, the latest first.
async fn pass_day(
    connection: &mut SqliteConnection,
    day: i64,
    number: i64,
    [first, last]: [Millis; 2],
    gaps: &mut Gaps,
) -> Result<(), HistoryError> {
    let rows = layout::rows_of("$1", day);
    let statement = format!(
        "SELECT kept.key, kept.covers FROM {rows}
         WHERE slots.slot BETWEEN $2 AND $3 ORDER BY slots.slot DESC, kept.key DESC"
    );
    let mut found = sqlx::query_as::<_, (i64, Millis)>(AssertSqlSafe(statement))
        .bind(number)
        .bind(layout::slot(first))
        .bind(layout::slot(last))
        .fetch(connection);
    while let Some((key, covers)) = found.try_next().await? {
        let at = layout::sampled_at(day, key);
        gaps.pass(at - covers, at);
        if gaps.open().is_none() {
            break;
        }
    }
    Ok(())
}
