//! Reading blocks. Each call is about one view of the file.

use std::{
    collections::{BTreeMap, HashMap},
    ops::{Range, RangeInclusive},
};

use fleet::{
    Millis,
    hours::{HOUR, hour},
    uptime::Piece,
};
use sqlx::SqliteConnection;

use super::{
    NUMBER_BITS, first_key,
    shelf::{first_of, members},
};
use crate::{
    HistoryError, LONGEST_COVERS,
    block::{self, Damage},
    sqlite::read::list,
};

/// Blocks that are read by one statement.
pub const AT_ONCE: usize = 64;

/// The hours of which there are blocks, of whichever servers.
#[derive(Debug, Clone, Copy)]
pub struct Reach(Option<(i64, i64)>);

impl Reach {
    /// Reads it.
    pub async fn of(connection: &mut SqliteConnection) -> Result<Self, HistoryError> {
        let (first, last): (Option<i64>, Option<i64>) =
            sqlx::query_as("SELECT (SELECT MIN(key) FROM blocks), (SELECT MAX(key) FROM blocks)")
                .fetch_one(connection)
                .await?;
        Ok(Self(first.zip(last).map(|(first, last)| (first >> NUMBER_BITS, last >> NUMBER_BITS))))
    }

    /// Those of these hours that may have blocks.
    pub fn within(&self, hours: RangeInclusive<i64>) -> RangeInclusive<i64> {
        match self.0 {
            Some((first, last)) => *hours.start().max(&first)..=*hours.end().min(&last),
            None => RangeInclusive::new(1, 0),
        }
    }

    /// The hours that may have blocks with snapshots that vouch for some of this window.
    pub fn reaching(&self, window: Piece) -> RangeInclusive<i64> {
        let last = window.to.saturating_add(LONGEST_COVERS - 1);
        self.within(hour(window.from.saturating_add(1))..=hour(last))
    }
}

/// A block that cannot be read.
pub fn corrupt(hour: i64, number: i64, reason: Damage) -> HistoryError {
    HistoryError::Corrupt {
        table: "blocks".into(),
        row: format!("number {number} in hour {hour}"),
        reason: reason.into(),
    }
}

/// Where the block of a server's hour lies.
#[derive(Debug, Clone)]
pub struct Place {
    pub hour: i64,
    /// Of its shelf.
    key: i64,
    within: Range<usize>,
}

/// Where a server's blocks of these hours lie, in order.
pub async fn places_of(
    connection: &mut SqliteConnection,
    number: i64,
    hours: RangeInclusive<i64>,
) -> Result<Vec<Place>, HistoryError> {
    if hours.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "WITH RECURSIVE hours (hour) AS (
             VALUES ($1) UNION ALL SELECT hour + 1 FROM hours WHERE hour < $2
         )
         SELECT kept.key, kept.members FROM hours CROSS JOIN blocks AS kept ON kept.key = (
             SELECT MAX(key) FROM blocks WHERE key BETWEEN hours.hour << $3 AND (hours.hour << $3) | $4
         ) ORDER BY kept.key",
    )
    .bind(*hours.start())
    .bind(*hours.end())
    .bind(NUMBER_BITS)
    .bind(number)
    .fetch_all(connection)
    .await?;
    let mut found = Vec::new();
    for (key, told) in rows {
        let (hour, first) = (key >> NUMBER_BITS, first_of(key));
        let members = members(first, &told).map_err(|reason| corrupt(hour, first, reason))?;
        if let Some((_, within)) = members.into_iter().find(|(member, _)| *member == number) {
            found.push(Place { hour, key, within });
        }
    }
    Ok(found)
}

/// The hours of these in which a server has a block, in order.
pub async fn hours_of(
    connection: &mut SqliteConnection,
    number: i64,
    hours: RangeInclusive<i64>,
) -> Result<Vec<i64>, HistoryError> {
    Ok(places_of(connection, number, hours).await?.into_iter().map(|place| place.hour).collect())
}

/// The blocks of a server at these places, each with its hour, in order. For many hours that is much quicker than to ask
/// for one after the other; the caller bounds how many there are.
pub async fn at_places(
    connection: &mut SqliteConnection,
    number: i64,
    places: &[Place],
) -> Result<Vec<(i64, Vec<u8>)>, HistoryError> {
    let length = |place: &Place| i64::try_from(place.within.len()).unwrap_or(i64::MAX);
    let asked = places.iter().map(|place| {
        // The first byte has the number 1.
        [place.key, i64::try_from(place.within.start).unwrap_or(i64::MAX).saturating_add(1), length(place)]
    });
    let asked: Vec<[i64; 3]> = asked.collect();
    let blocks: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT substr(kept.shelf, asked.value ->> 1, asked.value ->> 2)
         FROM json_each($1) AS asked CROSS JOIN blocks AS kept ON kept.key = asked.value ->> 0 ORDER BY asked.key",
    )
    .bind(list(asked.iter().map(|asked| asked.as_slice())))
    .fetch_all(connection)
    .await?;
    let short = places.iter().zip(&blocks).find(|(place, block)| place.within.len() != block.len());
    match short {
        Some((place, _)) => Err(corrupt(place.hour, number, "its shelf is too short")),
        None => Ok(places.iter().map(|place| place.hour).zip(blocks).collect()),
    }
}

/// The blocks of these servers in an hour, by their numbers.
pub async fn blocks_of(
    connection: &mut SqliteConnection,
    hour: i64,
    numbers: &[i64],
) -> Result<HashMap<i64, Vec<u8>>, HistoryError> {
    let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT asked.value, kept.key, kept.members FROM json_each($1) AS asked CROSS JOIN blocks AS kept ON kept.key = (
             SELECT MAX(key) FROM blocks WHERE key BETWEEN $2 AND $2 | asked.value
         )",
    )
    .bind(serde_json::Value::from(numbers.to_vec()).to_string())
    .bind(first_key(hour))
    .fetch_all(&mut *connection)
    .await?;
    let mut wanted: BTreeMap<i64, Vec<(i64, Range<usize>)>> = BTreeMap::new();
    for (number, key, told) in rows {
        let all = members(first_of(key), &told).map_err(|reason| corrupt(hour, number, reason))?;
        if let Some((_, place)) = all.into_iter().find(|(member, _)| *member == number) {
            wanted.entry(key).or_default().push((number, place));
        }
    }
    let mut blocks = HashMap::new();
    for (key, places) in wanted {
        let shelf: Vec<u8> = sqlx::query_scalar("SELECT shelf FROM blocks WHERE key = $1")
            .bind(key)
            .fetch_one(&mut *connection)
            .await?;
        for (number, place) in places {
            let block = shelf.get(place).ok_or("its shelf is too short");
            blocks.insert(number, block.map_err(|reason| corrupt(hour, number, reason))?.to_vec());
        }
    }
    Ok(blocks)
}

/// The block of one server in an hour.
pub async fn block_of(
    connection: &mut SqliteConnection,
    hour: i64,
    number: i64,
) -> Result<Option<Vec<u8>>, HistoryError> {
    Ok(blocks_of(connection, hour, &[number]).await?.remove(&number))
}

/// `sampled_at` and `covers` of what a server's blocks of these hours hold, in order of time.
pub async fn stretches_of(
    connection: &mut SqliteConnection,
    number: i64,
    hours: RangeInclusive<i64>,
) -> Result<Vec<(Millis, Millis)>, HistoryError> {
    let mut all = Vec::new();
    for places in places_of(connection, number, hours).await?.chunks(AT_ONCE) {
        for (hour, block) in at_places(connection, number, places).await? {
            let read = block::stretches(hour * HOUR, &block);
            all.extend(read.map_err(|reason| corrupt(hour, number, reason))?);
        }
    }
    Ok(all)
}

/// Number and `sampled_at` of all that the blocks of these servers in an hour hold.
pub async fn times_of(
    connection: &mut SqliteConnection,
    hour: i64,
    numbers: &[i64],
) -> Result<Vec<(i64, Millis)>, HistoryError> {
    let mut times = Vec::new();
    for (number, block) in blocks_of(connection, hour, numbers).await? {
        let stretches =
            block::stretches(hour * HOUR, &block).map_err(|reason| corrupt(hour, number, reason))?;
        times.extend(stretches.into_iter().map(|(at, _)| (number, at)));
    }
    Ok(times)
}
