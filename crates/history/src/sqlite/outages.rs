//! Gaps of one server from the narrow rows alone, and from blocks where there are any.

use std::cmp::Reverse;

use fleet::{
    Millis,
    retention::DAY,
    uptime::{Gaps, Piece},
};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    blocks::{self, Reach},
    layout,
};
use crate::{HistoryError, LONGEST_COVERS};

/// Passes to `gaps` what one server vouches for within `window`, the latest first. `days` have a table.
pub async fn pass_window(
    connection: &mut SqliteConnection,
    days: &[i64],
    number: i64,
    window: Piece,
    gaps: &mut Gaps,
) -> Result<(), HistoryError> {
    let packed = Reach::of(connection).await?.reaching(window);
    if !packed.is_empty() {
        let mut found = blocks::stretches_of(connection, number, packed).await?;
        if !found.is_empty() {
            found.extend(rows_of(connection, days, number, window).await?);
            found.sort_unstable_by_key(|(at, _)| Reverse(*at));
            for (at, covers) in found {
                gaps.pass((at - covers).max(window.from), at.min(window.to));
            }
            return Ok(());
        }
    }
    for day in days.iter().rev() {
        let Some(Piece { from, to }) = gaps.open() else { break };
        let window = Piece { from: from.max(window.from), to: to.min(window.to) };
        let midnight = day * DAY;
        // Of interest are snapshots sampled after the window begins, and before the time from which no snapshot can
        // reach back into it.
        let first = window.from.saturating_add(1).max(midnight);
        let last = window.to.saturating_add(LONGEST_COVERS).min(midnight + DAY - 1);
        if window.from < window.to && first <= last {
            pass_day(connection, *day, number, [first, last], window, gaps).await?;
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
    window: Piece,
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
        gaps.pass((at - covers).max(window.from), at.min(window.to));
        if gaps.open().is_none_or(|open| open.to <= window.from) {
            break;
        }
    }
    Ok(())
}

/// `sampled_at` and `covers` of the rows that vouch for some of this window, or may.
async fn rows_of(
    connection: &mut SqliteConnection,
    days: &[i64],
    number: i64,
    window: Piece,
) -> Result<Vec<(Millis, Millis)>, HistoryError> {
    let (first, last) = (window.from.saturating_add(1), window.to.saturating_add(LONGEST_COVERS));
    let mut all = Vec::new();
    for day in days.iter().copied().filter(|day| (layout::day(first)..=layout::day(last)).contains(day)) {
        let midnight = day * DAY;
        let statement = format!(
            "SELECT kept.key, kept.covers FROM {} WHERE slots.slot BETWEEN $2 AND $3",
            layout::rows_of("$1", day)
        );
        let found: Vec<(i64, Millis)> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(number)
            .bind(layout::slot(first.max(midnight)))
            .bind(layout::slot(last.min(midnight + DAY - 1)))
            .fetch_all(&mut *connection)
            .await?;
        all.extend(found.into_iter().map(|(key, covers)| (layout::sampled_at(day, key), covers)));
    }
    Ok(all)
}
