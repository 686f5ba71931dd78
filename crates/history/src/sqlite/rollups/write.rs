//! The statements that write rollups, all in one transaction.

use std::{fmt::Write, ops::Range};

use fleet::rollup::Rollup;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{HOURS_A_DAY, bundles::replace, codec, day_key, key, make::Member, span};
use crate::{HistoryError, sqlite::read::list};

/// Writes what was made of these hours. Of one in which nobody is heard any more nothing stays.
pub async fn write_rollups(
    connection: &mut SqliteConnection,
    span: i64,
    rollups: &[(i64, i64, Rollup)],
) -> Result<(), HistoryError> {
    let (mut bytes, mut rows) = (Vec::new(), String::from("["));
    let (empty, filled): (Vec<_>, Vec<_>) =
        replace(connection, span, rollups).await?.into_iter().partition(|(.., rollup)| rollup.is_empty());
    for (number, hour, rollup) in filled {
        let (comma, body) = (if bytes.is_empty() { "" } else { "," }, codec::encode(*hour, rollup));
        let (key, covered) = (key(*number, *hour), rollup.covered);
        // Writing to a string cannot fail.
        let _ = write!(rows, "{comma}[{key},{covered},{},{}]", bytes.len() + 1, body.len());
        bytes.extend_from_slice(&body);
    }
    rows.push(']');
    let statement = format!(
        "INSERT INTO rollups_{span} (key, covered, body) \
         SELECT value ->> 0, value ->> 1, substr($2, value ->> 2, value ->> 3) FROM json_each($1) WHERE true \
         ON CONFLICT (key) DO UPDATE SET covered = excluded.covered, body = excluded.body"
    );
    sqlx::query(AssertSqlSafe(statement)).bind(rows).bind(bytes).execute(&mut *connection).await?;
    let empty: Vec<[i64; 1]> = empty.into_iter().map(|(number, hour, _)| [key(*number, *hour)]).collect();
    if !empty.is_empty() {
        let statement =
            format!("DELETE FROM rollups_{span} WHERE key IN (SELECT value ->> 0 FROM json_each($1))");
        sqlx::query(AssertSqlSafe(statement))
            .bind(list(empty.iter().map(|key| key.as_slice())))
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Adds up the days of these rollups anew.
pub async fn write_sums(
    connection: &mut SqliteConnection,
    hours: &Range<i64>,
    rollups: &[(i64, i64, Rollup)],
) -> Result<(), HistoryError> {
    let (span, midnight) = (span(hours.start), hours.start - hours.start.rem_euclid(HOURS_A_DAY));
    let mut days: Vec<[i64; 2]> =
        rollups.iter().map(|(number, ..)| [day_key(*number, midnight), key(*number, midnight)]).collect();
    days.sort_unstable();
    days.dedup();
    let statement = format!(
        "INSERT INTO covered_{span} (key, covered) SELECT value ->> 0, (
             SELECT COALESCE(SUM(kept.covered), 0) FROM (
                 SELECT key, covered FROM rollups_{span} UNION ALL SELECT key, covered FROM bundles_{span}
             ) AS kept WHERE kept.key BETWEEN value ->> 1 AND (value ->> 1) + {}
         ) FROM json_each($1) WHERE true ON CONFLICT (key) DO UPDATE SET covered = excluded.covered",
        HOURS_A_DAY - 1
    );
    let days = list(days.iter().map(|day| day.as_slice()));
    sqlx::query(AssertSqlSafe(statement)).bind(days).execute(connection).await?;
    Ok(())
}

pub async fn write_rolled(
    connection: &mut SqliteConnection,
    hours: &Range<i64>,
    members: &[Member],
) -> Result<(), HistoryError> {
    let rolled: Vec<[i64; 3]> = members
        .iter()
        .filter(|member| member.before != member.after)
        .filter_map(|member| member.after.map(|after| [member.number, after.first, after.until]))
        .collect();
    if rolled.is_empty() {
        let numbers: Vec<[i64; 1]> = members.iter().map(|member| [member.number]).collect();
        sqlx::query(
            "DELETE FROM dirty WHERE hour BETWEEN $2 AND $3 \
             AND number IN (SELECT value ->> 0 FROM json_each($1))",
        )
        .bind(list(numbers.iter().map(|number| number.as_slice())))
        .bind(hours.start)
        .bind(hours.end - 1)
        .execute(connection)
        .await?;
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO rolled (number, first, until) SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1) \
         WHERE true ON CONFLICT (number) DO UPDATE SET first = excluded.first, until = excluded.until",
    )
    .bind(list(rolled.iter().map(|rolled| rolled.as_slice())))
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn write_newest(connection: &mut SqliteConnection, members: &[Member]) -> Result<(), HistoryError> {
    let newest: Vec<[i64; 2]> =
        members.iter().filter_map(|member| member.newest.map(|newest| [member.number, newest])).collect();
    if newest.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE servers SET newest = told.value ->> 1 FROM json_each($1) AS told \
         WHERE servers.number = told.value ->> 0",
    )
    .bind(list(newest.iter().map(|newest| newest.as_slice())))
    .execute(connection)
    .await?;
    Ok(())
}
