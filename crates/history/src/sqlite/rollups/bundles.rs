//! Bundles in the file: the rollups of a half of a day of a server in one row of `bundles_<n>`, under the key of the first
//! hour of that half.
//!
//! An hour is a row of `rollups_<n>` while its day goes on. Once that is over, packing moves it into a bundle, and it
//! never becomes a row again: what is made again replaces what the bundle has of it. So an hour is in one place.

use std::{collections::BTreeMap, ops::Range};

use fleet::{Millis, rollup::Rollup};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    DAY_SHIFT, HOUR_BITS, HOURS_A_DAY, SPAN_DAYS,
    bundle::{self, HOURS},
    codec, hour_of, key, number_of,
};
use crate::{
    HistoryError, Packed,
    sqlite::{Sqlite, read::list},
};

/// Rows of hours that one step bundles at most: 64 servers that were heard all day.
const MOST_ROWS: i64 = 64 * HOURS_A_DAY;

/// How far bundling has come: the span, and the next key in it.
pub type Cursor = (i64, i64);
/// Where it begins.
pub const FIRST: Cursor = (i64::MIN, 0);

/// Rollups of one server by hour, of one bundle.
type Rollups = BTreeMap<i64, Rollup>;

/// The first hour of a bundle and its number, by which it is found.
pub fn bundle_key(number: i64, hour: i64) -> i64 {
    key(number, bundle::first_of(hour))
}

/// What the bundle at this key of this span has.
pub fn open(span: i64, key: i64, body: &[u8], figures: bool) -> Result<Vec<(i64, Rollup)>, HistoryError> {
    let first = hour_of(span, key);
    bundle::decode(first, body, figures).map_err(|reason| HistoryError::Corrupt {
        table: format!("bundles_{span}"),
        row: format!("number {} in hours {first} to {}", number_of(key), first + HOURS - 1),
        reason,
    })
}

/// Adds to `rollups` those that bundles have of a server in these hours, which lie in this span.
pub async fn bundled_of(
    connection: &mut SqliteConnection,
    span: i64,
    number: i64,
    hours: &Range<i64>,
    figures: bool,
    rollups: &mut Vec<(i64, Rollup)>,
) -> Result<(), HistoryError> {
    let (first, last) = (bundle_key(number, hours.start), key(number, hours.end - 1));
    let day = format!("((slots.slot << {DAY_SHIFT}) | ($1 << {HOUR_BITS}))");
    let statement = format!(
        "SELECT kept.key, kept.body FROM slots CROSS JOIN bundles_{span} AS kept
             ON kept.key BETWEEN MAX({day}, $2) AND MIN({day} | {}, $3)
         WHERE slots.slot BETWEEN $2 >> {DAY_SHIFT} AND $3 >> {DAY_SHIFT}",
        (1 << HOUR_BITS) - 1
    );
    let found: Vec<(i64, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(number)
        .bind(first)
        .bind(last)
        .fetch_all(connection)
        .await?;
    for (key, body) in found {
        rollups.extend(open(span, key, &body, figures)?.into_iter().filter(|(hour, _)| hours.contains(hour)));
    }
    Ok(())
}

/// Of each of `asked` (position, first and last key, within a day) how much of these hours is covered, as bundles have it.
pub async fn bundled_sums(
    connection: &mut SqliteConnection,
    span: i64,
    asked: &[[i64; 3]],
) -> Result<Vec<(i64, Millis)>, HistoryError> {
    let statement = format!(
        "SELECT asked.value ->> 0, asked.value ->> 2, asked.value ->> 3, kept.key, kept.covered, kept.body
         FROM json_each($1) AS asked CROSS JOIN bundles_{span} AS kept
             ON kept.key BETWEEN asked.value ->> 1 AND asked.value ->> 3"
    );
    let with_bundles: Vec<[i64; 4]> = asked
        .iter()
        .map(|[position, first, last]| {
            [*position, bundle_key(number_of(*first), hour_of(span, *first)), *first, *last]
        })
        .collect();
    let found: Vec<(i64, i64, i64, i64, Millis, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(list(with_bundles.iter().map(|asked| asked.as_slice())))
        .fetch_all(connection)
        .await?;
    let mut sums = Vec::with_capacity(found.len());
    for (position, first, last, key, covered, body) in found {
        let hours = hour_of(span, first)..=hour_of(span, last);
        let begin = hour_of(span, key);
        let sum = if hours.contains(&begin) && hours.contains(&(begin + HOURS - 1)) {
            covered
        } else {
            let rollups = open(span, key, &body, false)?;
            rollups.iter().filter(|(hour, _)| hours.contains(hour)).map(|(_, rollup)| rollup.covered).sum()
        };
        sums.push((position, sum));
    }
    Ok(sums)
}

/// The rollups that bundles have at these keys of hours, each with the number in front of its key; without figures.
pub async fn bundled_at(
    connection: &mut SqliteConnection,
    span: i64,
    asked: &[[i64; 2]],
) -> Result<Vec<(usize, Rollup)>, HistoryError> {
    let keys: Vec<[i64; 3]> = asked
        .iter()
        .map(|[which, key]| [*which, *key, bundle_key(number_of(*key), hour_of(span, *key))])
        .collect();
    let statement = format!(
        "SELECT asked.value ->> 0, asked.value ->> 1, kept.key, kept.body FROM json_each($1) AS asked
         CROSS JOIN bundles_{span} AS kept ON kept.key = asked.value ->> 2"
    );
    let found: Vec<(i64, i64, i64, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(list(keys.iter().map(|key| key.as_slice())))
        .fetch_all(connection)
        .await?;
    let mut rollups = Vec::with_capacity(found.len());
    for (which, at, key, body) in found {
        let hour = hour_of(span, at);
        let rollup = open(span, key, &body, false)?.into_iter().find(|(of, _)| *of == hour);
        rollups.extend(rollup.map(|(_, rollup)| (usize::try_from(which).unwrap_or(usize::MAX), rollup)));
    }
    Ok(rollups)
}

/// Puts those of these rollups into bundles whose bundle is there already; returns the others. An empty one is taken
/// out.
pub async fn replace<'a>(
    connection: &mut SqliteConnection,
    span: i64,
    rollups: &'a [(i64, i64, Rollup)],
) -> Result<Vec<&'a (i64, i64, Rollup)>, HistoryError> {
    let mut keys: Vec<[i64; 1]> =
        rollups.iter().map(|(number, hour, _)| [bundle_key(*number, *hour)]).collect();
    keys.sort_unstable();
    keys.dedup();
    let statement = format!(
        "SELECT kept.key, kept.body FROM json_each($1) AS asked CROSS JOIN bundles_{span} AS kept
             ON kept.key = asked.value ->> 0"
    );
    let found: Vec<(i64, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(list(keys.iter().map(|key| key.as_slice())))
        .fetch_all(&mut *connection)
        .await?;
    let mut bundles: BTreeMap<i64, Rollups> = BTreeMap::new();
    for (key, body) in found {
        match open(span, key, &body, true) {
            Ok(rollups) => drop(bundles.insert(key, rollups.into_iter().collect())),
            // What is in it cannot be told from what is to be made again: whoever reads it is told so.
            Err(error) => tracing::warn!(%error, "a damaged bundle stays as it is"),
        }
    }
    let mut others = Vec::new();
    for one in rollups {
        let (number, hour, rollup) = one;
        match bundles.get_mut(&bundle_key(*number, *hour)) {
            None => others.push(one),
            Some(bundle) if rollup.is_empty() => drop(bundle.remove(hour)),
            Some(bundle) => drop(bundle.insert(*hour, rollup.clone())),
        }
    }
    write(connection, span, bundles).await?;
    Ok(others)
}

/// Writes these bundles; one of nothing is removed.
async fn write(
    connection: &mut SqliteConnection,
    span: i64,
    bundles: BTreeMap<i64, Rollups>,
) -> Result<(), HistoryError> {
    let (write, remove) = (
        format!("INSERT OR REPLACE INTO bundles_{span} (key, covered, body) VALUES ($1, $2, $3)"),
        format!("DELETE FROM bundles_{span} WHERE key = $1"),
    );
    for (key, rollups) in bundles {
        if rollups.is_empty() {
            sqlx::query(AssertSqlSafe(&*remove)).bind(key).execute(&mut *connection).await?;
            continue;
        }
        let covered: Millis = rollups.values().map(|rollup| rollup.covered).sum();
        sqlx::query(AssertSqlSafe(&*write))
            .bind(key)
            .bind(covered)
            .bind(bundle::encode(hour_of(span, key), &rollups))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Takes out of a server's bundles of this span what they have of the hours before `end`.
pub async fn forget(
    connection: &mut SqliteConnection,
    span: i64,
    number: i64,
    end: i64,
) -> Result<(), HistoryError> {
    let statement = format!(
        "DELETE FROM bundles_{span} WHERE key IN (
             SELECT kept.key FROM slots CROSS JOIN bundles_{span} AS kept ON kept.key
                 BETWEEN (slots.slot << {DAY_SHIFT}) | ($1 << {HOUR_BITS})
                 AND (slots.slot << {DAY_SHIFT}) | ($1 << {HOUR_BITS}) | {}
             WHERE slots.slot < {SPAN_DAYS}
         ) AND $2 + (key >> {DAY_SHIFT}) * {HOURS_A_DAY} + (key & {0}) < $3 RETURNING key, body",
        (1 << HOUR_BITS) - 1
    );
    let gone: Vec<(i64, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(number)
        .bind(span * SPAN_DAYS * HOURS_A_DAY)
        .bind(end)
        .fetch_all(&mut *connection)
        .await?;
    let mut cut = BTreeMap::new();
    for (key, body) in gone.into_iter().filter(|(key, _)| hour_of(span, *key) + HOURS > end) {
        // Of one that is damaged nothing can be told apart.
        let Ok(rollups) = open(span, key, &body, true) else { continue };
        cut.insert(key, rollups.into_iter().filter(|(hour, _)| *hour >= end).collect());
    }
    write(connection, span, cut).await
}

impl Sqlite {
    /// Moves rollups of some servers of a day that is over into bundles. `cursor` is where the last step ended; `None` once
    /// there are no more.
    pub(in crate::sqlite) async fn bundle(
        &self,
        cursor: &mut Option<Cursor>,
    ) -> Result<Packed, HistoryError> {
        // Nobody makes rollups meanwhile, and nobody forgets them.
        let _rolling = self.0.rolling.lock().await;
        let mut writing = self.write().await?;
        let (spans, until): (Vec<i64>, Option<i64>) = {
            let known = self.known();
            let until =
                known.servers.values().filter_map(|server| server.rolled).map(|rolled| rolled.until).max();
            (known.spans.iter().copied().collect(), until)
        };
        let from = cursor.unwrap_or(FIRST);
        for span in spans.into_iter().filter(|span| *span >= from.0) {
            let first = if span == from.0 { from.1 } else { 0 };
            // The midnight before which every day is over.
            let end = until.unwrap_or(0).div_euclid(HOURS_A_DAY) - span * SPAN_DAYS;
            let end = end.clamp(0, SPAN_DAYS) << DAY_SHIFT;
            writing.settled = false;
            let next = self.bundle_some(span, first..end).await?;
            writing.settled = true;
            if let Some(next) = next {
                *cursor = Some((span, next));
                return Ok(Packed { more: true, ..Packed::default() });
            }
        }
        *cursor = None;
        Ok(Packed::default())
    }

    /// Moves the rows of some servers with these keys; returns the key to go on with, if there were any.
    async fn bundle_some(&self, span: i64, keys: Range<i64>) -> Result<Option<i64>, HistoryError> {
        let statement = format!(
            "SELECT key, covered, body FROM rollups_{span} WHERE key >= $1 AND key < $2 ORDER BY key LIMIT {MOST_ROWS}"
        );
        let mut transaction = self.0.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut rows: Vec<(i64, Millis, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(keys.start)
            .bind(keys.end)
            .fetch_all(&mut *transaction)
            .await?;
        let Some(last) = rows.last().map(|(key, ..)| key >> HOUR_BITS) else { return Ok(None) };
        let mut next = (last + 1) << HOUR_BITS;
        if i64::try_from(rows.len()).is_ok_and(|count| count == MOST_ROWS) {
            // There may be more of the last one.
            rows.retain(|(key, ..)| key >> HOUR_BITS != last);
            next = last << HOUR_BITS;
        }
        let mut moved: Vec<[i64; 1]> = Vec::with_capacity(rows.len());
        let mut made: Vec<(i64, i64, Rollup)> = Vec::with_capacity(rows.len());
        for (key, covered, body) in rows {
            let (number, hour) = (number_of(key), hour_of(span, key));
            match codec::decode(hour, covered, &body) {
                Ok(rollup) => {
                    moved.push([key]);
                    made.push((number, hour, rollup));
                }
                // It stays where it is.
                Err(reason) => tracing::debug!(hour, number, reason, "a damaged rollup stays as it is"),
            }
        }
        let mut bundles: BTreeMap<i64, Rollups> = BTreeMap::new();
        for (number, hour, rollup) in replace(&mut transaction, span, &made).await? {
            bundles.entry(bundle_key(*number, *hour)).or_default().insert(*hour, rollup.clone());
        }
        write(&mut transaction, span, bundles).await?;
        let statement =
            format!("DELETE FROM rollups_{span} WHERE key IN (SELECT value ->> 0 FROM json_each($1))");
        sqlx::query(AssertSqlSafe(statement))
            .bind(list(moved.iter().map(|key| key.as_slice())))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Some(next))
    }
}
