//! Removing the rollups of one server.

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{DAY_SHIFT, HOUR_BITS, HOURS_A_DAY, NUMBER_BITS, SPAN_DAYS, bundles};
use crate::HistoryError;

/// Removes what these spans have of a server of the hours before `end`. The hour `end` itself and the two before have to
/// be made again if they are rolled up, as a part of what they are made of may be gone, and another part is not.
pub async fn forget_rollups(
    connection: &mut SqliteConnection,
    spans: &[i64],
    number: i64,
    end: i64,
) -> Result<(), HistoryError> {
    let hours = (1 << HOUR_BITS) - 1;
    for span in spans {
        let begin = span * SPAN_DAYS * HOURS_A_DAY;
        if begin >= end {
            continue;
        }
        let day = format!("((slots.slot << {DAY_SHIFT}) | ($1 << {HOUR_BITS}))");
        let hour = format!("($2 + (kept.key >> {DAY_SHIFT}) * {HOURS_A_DAY} + (kept.key & {hours}))");
        let rollups = format!(
            "DELETE FROM rollups_{span} WHERE key IN (
                 SELECT kept.key FROM slots CROSS JOIN rollups_{span} AS kept
                     ON kept.key BETWEEN {day} AND ({day} | {hours})
                 WHERE slots.slot < {SPAN_DAYS} AND {hour} < $3
             )"
        );
        let days =
            format!("SELECT (slots.slot << {NUMBER_BITS}) | $1 FROM slots WHERE slots.slot < {SPAN_DAYS}");
        // Nothing is left of a sum, or a part of it.
        let sums = format!(
            "UPDATE covered_{span} SET covered = (
                 SELECT COALESCE(SUM(kept.covered), 0) FROM (
                     SELECT key, covered FROM rollups_{span} UNION ALL SELECT key, covered FROM bundles_{span}
                 ) AS kept WHERE kept.key
                     BETWEEN covered_{span}.key << {HOUR_BITS} AND (covered_{span}.key << {HOUR_BITS}) | {hours}
             ) WHERE key IN ({days} AND $2 + slots.slot * {HOURS_A_DAY} < $3)"
        );
        let empty = format!(
            "DELETE FROM covered_{span}
             WHERE key IN ({days} AND $2 + (slots.slot + 1) * {HOURS_A_DAY} <= $3)"
        );
        bundles::forget(connection, *span, number, end).await?;
        for statement in [rollups, sums, empty] {
            sqlx::query(AssertSqlSafe(statement))
                .bind(number)
                .bind(begin)
                .bind(end)
                .execute(&mut *connection)
                .await?;
        }
    }
    sqlx::query("DELETE FROM dirty WHERE number = $1 AND hour < $2")
        .bind(number)
        .bind(end)
        .execute(&mut *connection)
        .await?;
    // What is left may vouch for time before it, of up to two hours.
    for hour in end - 2..=end {
        sqlx::query(
            "INSERT INTO dirty (hour, number) SELECT $2, number FROM rolled WHERE number = $1 AND $2 >= first \
             AND $2 < until ON CONFLICT DO NOTHING",
        )
        .bind(number)
        .bind(hour)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
