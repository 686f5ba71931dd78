//! Looking for what can be packed.

use std::ops::RangeInclusive;

use fleet::{hours::HOUR, retention::DAY};
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::{
    HistoryError,
    sqlite::layout::{self, MAX_NUMBER, SLOT_SHIFT, TIME_BITS},
};

/// Servers that one step looks at.
const MOST_SERVERS: i64 = 64;

/// The slots of an hour.
pub fn slots(hour: i64) -> RangeInclusive<i64> {
    layout::slot(hour * HOUR)..=layout::slot(hour * HOUR + HOUR - 1)
}

/// Some numbers from this one on that have rows in an hour, in order.
pub async fn numbers_from(
    connection: &mut SqliteConnection,
    hour: i64,
    from: i64,
) -> Result<Vec<i64>, HistoryError> {
    let (day, slots) = (hour.div_euclid(DAY / HOUR), slots(hour));
    let next = |number: &str| {
        format!(
            "(SELECT MIN(number) FROM (
                 SELECT (
                     SELECT (key >> {TIME_BITS}) & {MAX_NUMBER} FROM day_{day} WHERE key
                         BETWEEN (slots.slot << {SLOT_SHIFT}) | ({number} << {TIME_BITS})
                         AND (slots.slot << {SLOT_SHIFT}) | ((1 << {SLOT_SHIFT}) - 1)
                     ORDER BY key LIMIT 1
                 ) AS number FROM slots WHERE slots.slot BETWEEN $2 AND $3
             ))"
        )
    };
    let statement = format!(
        "WITH RECURSIVE found (number) AS (
             SELECT {} UNION ALL SELECT {} FROM found WHERE number IS NOT NULL LIMIT {MOST_SERVERS}
         )
         SELECT number FROM found WHERE number IS NOT NULL",
        next("$1"),
        next("(found.number + 1)")
    );
    if from > MAX_NUMBER {
        return Ok(Vec::new());
    }
    let found = sqlx::query_scalar(AssertSqlSafe(statement)).bind(from);
    Ok(found.bind(*slots.start()).bind(*slots.end()).fetch_all(connection).await?)
}

/// Those of these numbers whose hour is rolled up, so that it is closed, and need not be made again.
pub async fn packable(
    connection: &mut SqliteConnection,
    hour: i64,
    numbers: &[i64],
) -> Result<Vec<i64>, HistoryError> {
    Ok(sqlx::query_scalar(
        "SELECT number FROM rolled WHERE number IN (SELECT value FROM json_each($1))
             AND $2 >= first AND $2 < until
             AND NOT EXISTS (SELECT 1 FROM dirty WHERE dirty.hour = $2 AND dirty.number = rolled.number)
         ORDER BY number",
    )
    .bind(serde_json::Value::from(numbers.to_vec()).to_string())
    .bind(hour)
    .fetch_all(connection)
    .await?)
}
