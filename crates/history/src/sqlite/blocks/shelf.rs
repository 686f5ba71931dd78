//! Shelves: the rows in which blocks stand, and how they are changed.

use std::{collections::BTreeMap, fmt::Write, ops::Range};

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{NUMBER_BITS, corrupt, first_key};
use crate::{
    HistoryError,
    block::{
        Damage,
        bytes::{Input, put_number},
    },
};

/// A shelf takes another block as long as it has fewer bytes.
const FULL: usize = 32 * 1024;

/// The number of each block of a shelf, and where it stands.
pub fn members(first: i64, members: &[u8]) -> Result<Vec<(i64, Range<usize>)>, Damage> {
    let (mut input, mut number, mut begin) = (Input(members), first, 0_usize);
    let mut all = Vec::new();
    while !input.0.is_empty() {
        number = number.saturating_add(i64::try_from(input.number()?).unwrap_or(i64::MAX));
        let end = begin.saturating_add(input.count(usize::MAX)?);
        all.push((number, begin..end));
        begin = end;
    }
    Ok(all)
}

/// Puts blocks of an hour on their shelves; `None` takes one away. What is there already of a number is replaced.
pub async fn change(
    connection: &mut SqliteConnection,
    hour: i64,
    changes: BTreeMap<i64, Option<Vec<u8>>>,
) -> Result<(), HistoryError> {
    let numbers: Vec<i64> = changes.keys().copied().collect();
    let rows: Vec<(i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "SELECT key, members, shelf FROM blocks WHERE key IN (
             SELECT (SELECT MAX(key) FROM blocks WHERE key BETWEEN $2 AND $2 | asked.value) FROM json_each($1) AS asked
         ) ORDER BY key",
    )
    .bind(serde_json::Value::from(numbers).to_string())
    .bind(first_key(hour))
    .fetch_all(&mut *connection)
    .await?;
    let mut before: BTreeMap<i64, BTreeMap<i64, Vec<u8>>> = BTreeMap::new();
    let mut gone = Vec::new();
    for (key, members, shelf) in rows {
        let first = key - first_key(hour);
        before.insert(first, blocks(first, &members, &shelf).map_err(|reason| corrupt(hour, first, reason))?);
        gone.push(key);
    }
    for (number, block) in changes {
        // Before the first shelf there is none yet: this one becomes the first.
        let first = before.range(..=number).next_back().map_or(number, |(first, _)| *first);
        let shelf = before.entry(first).or_default();
        match block {
            Some(block) => drop(shelf.insert(number, block)),
            None => drop(shelf.remove(&number)),
        }
    }
    sqlx::query("DELETE FROM blocks WHERE key IN (SELECT value FROM json_each($1))")
        .bind(serde_json::Value::from(gone).to_string())
        .execute(&mut *connection)
        .await?;
    write(connection, hour, before.into_values().flat_map(split).collect()).await
}

fn blocks(first: i64, told: &[u8], shelf: &[u8]) -> Result<BTreeMap<i64, Vec<u8>>, Damage> {
    let block = |(number, place): (i64, Range<usize>)| {
        Ok((number, shelf.get(place).ok_or("a shelf is shorter than its members")?.to_vec()))
    };
    members(first, told)?.into_iter().map(block).collect()
}

/// Shelves of these blocks, none of which is much longer than [`FULL`].
fn split(blocks: BTreeMap<i64, Vec<u8>>) -> Vec<(i64, Vec<u8>, Vec<u8>)> {
    let mut shelves: Vec<(i64, Vec<u8>, Vec<u8>)> = Vec::new();
    let mut last = 0;
    for (number, block) in blocks {
        let (_, members, shelf) = match shelves.last_mut().filter(|(_, _, shelf)| shelf.len() < FULL) {
            Some(shelf) => shelf,
            None => {
                last = number;
                shelves.push((number, Vec::new(), Vec::new()));
                let Some(shelf) = shelves.last_mut() else { break };
                shelf
            }
        };
        put_number(members, (number - last).unsigned_abs());
        put_number(members, block.len() as u64);
        shelf.extend_from_slice(&block);
        last = number;
    }
    shelves
}

async fn write(
    connection: &mut SqliteConnection,
    hour: i64,
    shelves: Vec<(i64, Vec<u8>, Vec<u8>)>,
) -> Result<(), HistoryError> {
    let (mut bytes, mut rows) = (Vec::new(), String::from("["));
    for (first, members, shelf) in shelves {
        let comma = if bytes.is_empty() { "" } else { "," };
        let (key, begin) = (first_key(hour) | first, bytes.len() + 1);
        // Writing to a string cannot fail.
        let _ = write!(rows, "{comma}[{key},{begin},{},{}]", members.len(), shelf.len());
        bytes.extend_from_slice(&members);
        bytes.extend_from_slice(&shelf);
    }
    rows.push(']');
    let statement = "INSERT INTO blocks (key, members, shelf)
        SELECT value ->> 0, substr($2, value ->> 1, value ->> 2), substr($2, (value ->> 1) + (value ->> 2), value ->> 3)
        FROM json_each($1)";
    sqlx::query(AssertSqlSafe(statement)).bind(rows).bind(bytes).execute(connection).await?;
    Ok(())
}

/// The number of the first server of a shelf.
pub fn first_of(key: i64) -> i64 {
    key & ((1 << NUMBER_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shelves_hold_every_block_and_are_split() {
        let blocks: BTreeMap<i64, Vec<u8>> =
            (0..100).map(|n| (3 + n * n, vec![n as u8; 1_000 + 10 * n as usize])).collect();
        let shelves = split(blocks.clone());
        assert!(shelves.len() > 3);
        let mut all = BTreeMap::new();
        for (first, members, shelf) in shelves {
            assert!(shelf.len() < FULL + 2_000);
            let found = super::blocks(first, &members, &shelf).unwrap();
            assert_eq!(found.first_key_value().map(|(number, _)| *number), Some(first));
            all.extend(found);
        }
        assert_eq!(all, blocks);
        assert!(split(BTreeMap::new()).is_empty());
    }

    #[test]
    fn damaged_members_are_an_error() {
        assert!(members(0, &[0x80]).is_err());
        assert!(blocks(0, &[0, 200, 1], &[0; 100]).is_err());
    }
}
