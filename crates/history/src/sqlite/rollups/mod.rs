//! Rollups in the file: how they lie there, how they are made, and how they are read.
//!
//! A table `rollups_<n>` for each span of 32 days has a row an hour, under one integer:
//!
//! ```text
//! key = day of the span, 5 bits | number, 28 bits | hour of the day, 5 bits
//! ```
//!
//! So a day of one server lies together, and a chart of a year takes a seek a day. An hour in which nobody was heard has
//! no row. Of days that are over the hours are [bundles]. `covered_<n>` has the sum of a day's `covered` under its day and number: uptime of many servers over a month
//! reads a small number for each day.
//!
//! The table `rolled` says which hours of a server are rolled up; `dirty` names those of them that a late snapshot has
//! touched since. Those are read from the snapshots themselves, until they are made again.

mod bundle;
mod bundles;
mod codec;
mod forget;
mod make;
mod raw;
mod read;
mod rows;
mod write;

pub use bundles::{Cursor, FIRST};
use fleet::hours::HOUR;
pub use forget::forget_rollups;
pub use make::Makings;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{blocks, layout::MAX_NUMBER};
use crate::HistoryError;

/// Days in one table.
pub const SPAN_DAYS: i64 = 32;
const HOURS_A_DAY: i64 = 24;
const HOUR_BITS: u32 = 5;
const NUMBER_BITS: u32 = 28;
/// Bits of the hour and the number together.
const DAY_SHIFT: u32 = HOUR_BITS + NUMBER_BITS;

/// What schema 3 has besides schema 2.
pub const SCHEMA: &str = "
    -- Of this server the hours from first to before until, counted from the epoch, are rolled up.
    CREATE TABLE rolled (number INTEGER PRIMARY KEY, first INTEGER NOT NULL, until INTEGER NOT NULL);
    -- Of these hours the rollup is to be made again.
    CREATE TABLE dirty (hour INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (hour, number)) WITHOUT ROWID;
    -- The oldest midnight for which rollups are kept.
    ALTER TABLE horizon ADD COLUMN rollups INTEGER NOT NULL DEFAULT 0;
    PRAGMA user_version = 3;
";

/// What schema 4 has besides schema 3, but for the tables of spans.
pub const BUNDLES: &str = "PRAGMA user_version = 4;";

/// Brings a file of schema 2 to schema 3. Nothing is rolled up yet.
pub async fn begin(connection: &mut SqliteConnection) -> Result<(), HistoryError> {
    let script = format!("BEGIN IMMEDIATE; {SCHEMA} {} COMMIT;", blocks::SCHEMA);
    sqlx::raw_sql(AssertSqlSafe(script)).execute(connection).await?;
    Ok(())
}

/// Brings a file of schema 3 to schema 4. Nothing is bundled yet.
pub async fn begin_bundles(connection: &mut SqliteConnection) -> Result<(), HistoryError> {
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'rollups_*'")
            .fetch_all(&mut *connection)
            .await?;
    let spans = tables.iter().filter_map(|table| table.strip_prefix("rollups_")?.parse::<i64>().ok());
    let tables: String = spans.map(|span| make_bundles(span) + ";").collect();
    let script = format!("BEGIN IMMEDIATE; {tables} {BUNDLES} COMMIT;");
    sqlx::raw_sql(AssertSqlSafe(script)).execute(connection).await?;
    Ok(())
}

/// The span of an hour.
pub fn span(hour: i64) -> i64 {
    hour.div_euclid(SPAN_DAYS * HOURS_A_DAY)
}

/// The key of a server's hour in the table of its span.
fn key(number: i64, hour: i64) -> i64 {
    let within = hour.rem_euclid(SPAN_DAYS * HOURS_A_DAY);
    ((within / HOURS_A_DAY) << DAY_SHIFT) | (number << HOUR_BITS) | (within % HOURS_A_DAY)
}

/// The hour of a key.
fn hour_of(span: i64, key: i64) -> i64 {
    (span * SPAN_DAYS + (key >> DAY_SHIFT)) * HOURS_A_DAY + (key & ((1 << HOUR_BITS) - 1))
}

/// The number in a key.
fn number_of(key: i64) -> i64 {
    (key >> HOUR_BITS) & MAX_NUMBER
}

/// The key of a server's day among the sums of its span.
fn day_key(number: i64, hour: i64) -> i64 {
    key(number, hour) >> HOUR_BITS
}

/// Statements that make the tables of a span.
pub fn make_span(span: i64) -> [String; 3] {
    [
        format!(
            "CREATE TABLE rollups_{span} (key INTEGER PRIMARY KEY, covered INTEGER NOT NULL, body BLOB NOT NULL)"
        ),
        format!("CREATE TABLE covered_{span} (key INTEGER PRIMARY KEY, covered INTEGER NOT NULL)"),
        make_bundles(span),
    ]
}

fn make_bundles(span: i64) -> String {
    format!(
        "CREATE TABLE bundles_{span} (key INTEGER PRIMARY KEY, covered INTEGER NOT NULL, body BLOB NOT NULL)"
    )
}

/// The first moment after a span.
pub fn span_ends(span: i64) -> i64 {
    (span + 1) * SPAN_DAYS * HOURS_A_DAY * HOUR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_hour_and_its_server() {
        for hour in [0, 1, 23, 24, 767, 768, 497_222] {
            for number in [0, 1, MAX_NUMBER] {
                let key = key(number, hour);
                assert_eq!((hour_of(span(hour), key), number_of(key)), (hour, number));
                assert_eq!(day_key(number, hour) & MAX_NUMBER, number);
            }
        }
        assert_eq!(span_ends(span(767)), 768 * HOUR);
    }
}
