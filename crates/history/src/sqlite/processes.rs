//! What ran on a host, and the command lines that rows name by their hash.

use std::collections::{BTreeSet, HashMap};

use fleet::{Millis, Record, ServerId, processes::Sampled};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    Sqlite,
    blocks::{self, Reach},
    layout::{self, HOUR, INDEX_BITS},
    pack,
    read::bodies_of,
};
use crate::{HistoryError, Order, block};

/// Command lines that are removed by one statement.
const COMMANDS_AT_ONCE: i64 = 1_000;

/// Makes the table of command lines. A release before leaves it alone, so the schema's number stays.
pub async fn begin(connection: &mut SqliteConnection) -> Result<(), HistoryError> {
    // `seen` is the last day on which a host sent the text.
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS commands (hash TEXT PRIMARY KEY, text TEXT NOT NULL, seen INTEGER NOT NULL) \
         WITHOUT ROWID",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the command lines that came with these records.
pub async fn write_commands(
    connection: &mut SqliteConnection,
    records: impl Iterator<Item = &Record>,
) -> Result<(), HistoryError> {
    let mut commands = Vec::new();
    for record in records {
        let wire = record.snapshot.as_wire();
        let Some(section) = &wire.processes else { continue };
        let day = layout::day(wire.sampled_at);
        commands.extend(section.commands.iter().map(|one| (&one.hash, &one.text, day)));
    }
    if commands.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO commands (hash, text, seen) \
         SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1) WHERE true \
         ON CONFLICT (hash) DO UPDATE SET seen = excluded.seen WHERE excluded.seen > commands.seen",
    )
    .bind(serde_json::json!(commands).to_string())
    .execute(connection)
    .await?;
    Ok(())
}

impl Sqlite {
    /// See [`crate::History::processes`].
    pub async fn processes(
        &self,
        server: ServerId,
        [from, to]: [Millis; 2],
        order: Order,
        most: usize,
    ) -> Result<Vec<Sampled>, HistoryError> {
        let number = self.known().servers.get(&server).map(|server| server.number);
        let (mut transaction, oldest) = self.reading().await?;
        let (first, last) = (from.max(oldest), to.saturating_sub(1));
        let Some(number) = number.filter(|_| first <= last) else { return Ok(Vec::new()) };
        let hours = layout::hour(first)..=layout::hour(last);
        let packed = Reach::of(&mut transaction).await?.within(hours.clone());
        let packed: BTreeSet<i64> =
            blocks::hours_of(&mut transaction, number, packed).await?.into_iter().collect();
        let open = bodies_of(&mut transaction, hours).await?;
        let mut hours: Vec<i64> = packed.union(&open).copied().collect();
        if order == Order::Latest {
            hours.reverse();
        }
        let mut all = Vec::new();
        for hour in hours {
            let mut found = Vec::new();
            if packed.contains(&hour) {
                found = of_block(&mut transaction, hour, number).await?;
            }
            if open.contains(&hour) {
                let begin = hour * HOUR;
                let within = [first.max(begin), last.min(begin + HOUR - 1)];
                found.extend(of_rows(&mut transaction, hour, number, within).await?);
            }
            found.retain(|sample| (first..=last).contains(&sample.at));
            found.sort_by_key(|sample| sample.at);
            found.dedup_by_key(|sample| sample.at);
            if order == Order::Latest {
                found.reverse();
            }
            all.extend(found);
            if all.len() >= most {
                break;
            }
        }
        all.truncate(most);
        if order == Order::Latest {
            all.reverse();
        }
        Ok(all)
    }

    /// See [`crate::History::commands`].
    pub async fn commands(&self, hashes: &[String]) -> Result<HashMap<String, String>, HistoryError> {
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        let found: Vec<(String, String)> =
            sqlx::query_as("SELECT hash, text FROM commands WHERE hash IN (SELECT value FROM json_each($1))")
                .bind(serde_json::json!(hashes).to_string())
                .fetch_all(&self.0.readers)
                .await?;
        Ok(found.into_iter().collect())
    }

    /// Removes command lines that no sample from this day on can name: each is sent again within a day.
    pub(super) async fn expire_commands(&self, day: i64) -> Result<(), HistoryError> {
        loop {
            let _writing = self.write().await?;
            let removed = sqlx::query(
                "DELETE FROM commands WHERE hash IN (SELECT hash FROM commands WHERE seen < $1 LIMIT $2)",
            )
            .bind(day - 1)
            .bind(COMMANDS_AT_ONCE)
            .execute(&self.0.writer)
            .await?;
            if removed.rows_affected() == 0 {
                return Ok(());
            }
        }
    }
}

async fn of_block(
    connection: &mut SqliteConnection,
    hour: i64,
    number: i64,
) -> Result<Vec<Sampled>, HistoryError> {
    let Some(block) = blocks::block_of(connection, hour, number).await? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let read = block::processes(hour * HOUR, &block, |sample| found.push(sample));
    read.map_err(|reason| blocks::corrupt(hour, number, reason))?;
    Ok(found)
}

/// Of the rows that were sampled within `[first, last]`, which lies in this hour.
async fn of_rows(
    connection: &mut SqliteConnection,
    hour: i64,
    number: i64,
    [first, last]: [Millis; 2],
) -> Result<Vec<Sampled>, HistoryError> {
    let day = layout::day(first);
    let rows = layout::rows_of("$1", day);
    let statement = format!(
        "SELECT kept.key, kept.place, bodies.pack FROM {rows}
         JOIN bodies_{hour} AS bodies ON bodies.id = kept.place >> {INDEX_BITS}
         WHERE slots.slot BETWEEN $2 AND $3"
    );
    let found: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(number)
        .bind(layout::slot(first))
        .bind(layout::slot(last))
        .fetch_all(connection)
        .await?;
    let mut samples = Vec::new();
    for (key, place, pack) in found {
        let at = layout::sampled_at(day, key);
        if !(first..=last).contains(&at) {
            continue;
        }
        let index = usize::try_from(place & ((1 << INDEX_BITS) - 1)).unwrap_or(usize::MAX);
        let read = pack::open(&pack).and_then(|lines| pack::processes(&lines, index));
        let corrupt = |reason: String| HistoryError::Corrupt {
            table: format!("bodies_{hour}"),
            row: format!("number {number} at {at}"),
            reason,
        };
        samples.extend(read.map_err(corrupt)?);
    }
    Ok(samples)
}
