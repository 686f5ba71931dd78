//! The statements that read rollups and their sums.

use std::{collections::BTreeSet, ops::Range};

use fleet::{Millis, rollup::Rollup};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    DAY_SHIFT, HOUR_BITS, HOURS_A_DAY, NUMBER_BITS, SPAN_DAYS,
    bundles::{bundled_at, bundled_of, bundled_sums},
    codec, hour_of, key, number_of, span,
};
use crate::{HistoryError, sqlite::read::list};

/// Of each of `asked` (position, number, first and last day of the span) how much is covered.
pub async fn sums_of_days(
    connection: &mut SqliteConnection,
    span: i64,
    asked: &[[i64; 4]],
) -> Result<Vec<(i64, Millis)>, HistoryError> {
    // `slots` has the numbers to join with.
    let statement = format!(
        "WITH asked AS MATERIALIZED (
             SELECT value ->> 0 AS position, value ->> 1 AS number, value ->> 2 AS first, value ->> 3 AS last
             FROM json_each($1)
         )
         SELECT position, COALESCE((
             SELECT SUM(kept.covered) FROM slots CROSS JOIN covered_{span} AS kept
                 ON kept.key = ((slots.slot << {NUMBER_BITS}) | asked.number)
             WHERE slots.slot BETWEEN asked.first AND asked.last
         ), 0) FROM asked"
    );
    let asked = list(asked.iter().map(|asked| asked.as_slice()));
    Ok(sqlx::query_as(AssertSqlSafe(statement)).bind(asked).fetch_all(connection).await?)
}

/// Of each of `asked` (position, first and last key) how much is covered.
pub async fn sums_of_hours(
    connection: &mut SqliteConnection,
    span: i64,
    asked: &[[i64; 3]],
) -> Result<Vec<(i64, Millis)>, HistoryError> {
    let statement = format!(
        "WITH asked AS MATERIALIZED (
             SELECT value ->> 0 AS position, value ->> 1 AS first, value ->> 2 AS last FROM json_each($1)
         )
         SELECT position, COALESCE((
             SELECT SUM(covered) FROM rollups_{span} WHERE key BETWEEN asked.first AND asked.last
         ), 0) FROM asked"
    );
    let keys = list(asked.iter().map(|asked| asked.as_slice()));
    let mut sums: Vec<(i64, Millis)> =
        sqlx::query_as(AssertSqlSafe(statement)).bind(keys).fetch_all(&mut *connection).await?;
    sums.extend(bundled_sums(connection, span, asked).await?);
    Ok(sums)
}

/// The rollups at these keys, each with the number in front of its key; those in bundles without figures.
pub async fn rollups_at(
    connection: &mut SqliteConnection,
    span: i64,
    asked: &[[i64; 2]],
) -> Result<Vec<(usize, Rollup)>, HistoryError> {
    let statement = format!(
        "SELECT asked.value ->> 0, kept.key, kept.covered, kept.body FROM json_each($1) AS asked
         CROSS JOIN rollups_{span} AS kept ON kept.key = asked.value ->> 1"
    );
    let keys = list(asked.iter().map(|asked| asked.as_slice()));
    let found: Vec<(i64, i64, Millis, Vec<u8>)> =
        sqlx::query_as(AssertSqlSafe(statement)).bind(keys).fetch_all(&mut *connection).await?;
    let mut rollups = bundled_at(connection, span, asked).await?;
    for (which, key, covered, body) in found {
        rollups.push((usize::try_from(which).unwrap_or(usize::MAX), read(span, key, covered, &body)?.1));
    }
    Ok(rollups)
}

/// The rollups of a server in these hours, in order; hours without one are left out. Those in bundles have no figures
/// unless these are wanted.
pub async fn rollups_of(
    connection: &mut SqliteConnection,
    spans: &BTreeSet<i64>,
    number: i64,
    hours: &Range<i64>,
    figures: bool,
) -> Result<Vec<(i64, Rollup)>, HistoryError> {
    let mut rollups = Vec::new();
    if hours.is_empty() {
        return Ok(rollups);
    }
    for span in spans.range(span(hours.start)..=span(hours.end - 1)).copied() {
        let begin = span * SPAN_DAYS * HOURS_A_DAY;
        let first = hours.start.max(begin);
        let last = (hours.end - 1).min(begin + SPAN_DAYS * HOURS_A_DAY - 1);
        let in_span = first..last + 1;
        bundled_of(connection, span, number, &in_span, figures, &mut rollups).await?;
        let (first, last) = (key(number, first), key(number, last));
        let day = format!("((slots.slot << {DAY_SHIFT}) | ($1 << {HOUR_BITS}))");
        let statement = format!(
            "SELECT kept.key, kept.covered, kept.body FROM slots CROSS JOIN rollups_{span} AS kept
                 ON kept.key BETWEEN MAX({day}, $2) AND MIN({day} | {}, $3)
             WHERE slots.slot BETWEEN $2 >> {DAY_SHIFT} AND $3 >> {DAY_SHIFT}",
            (1 << HOUR_BITS) - 1
        );
        let found: Vec<(i64, Millis, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(number)
            .bind(first)
            .bind(last)
            .fetch_all(&mut *connection)
            .await?;
        for (key, covered, body) in found {
            rollups.push(read(span, key, covered, &body)?);
        }
    }
    rollups.sort_unstable_by_key(|(hour, _)| *hour);
    Ok(rollups)
}

fn read(span: i64, key: i64, covered: Millis, body: &[u8]) -> Result<(i64, Rollup), HistoryError> {
    let hour = hour_of(span, key);
    let rollup = codec::decode(hour, covered, body).map_err(|reason| HistoryError::Corrupt {
        table: format!("rollups_{span}"),
        row: format!("number {} in hour {hour}", number_of(key)),
        reason,
    })?;
    Ok((hour, rollup))
}
