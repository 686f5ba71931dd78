//! Packing: a step at a time, each of which reads beside what is written, and writes one small transaction.

use std::collections::{BTreeMap, HashSet, VecDeque};

use fleet::{Millis, ServerId, Snapshot, hours::HOUR, retention::DAY};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    blocks_of, change,
    find::{numbers_from, packable, slots},
};
use crate::{
    HistoryError, Packed,
    block::{self, Wanted},
    sqlite::{
        Sqlite,
        layout::{self, INDEX_BITS},
        pack,
        read::{bodies_of, list},
        rollups,
    },
};

/// Snapshots after which a step takes no further server.
const MOST_SNAPSHOTS: usize = 2_048;
/// An hour with more snapshots than one each 50 ms is no host's. It stays as it is.
const TOO_MANY: usize = 72_000;
/// Packs that are read by one statement.
const PACKS: usize = 128;

/// How far the present round over the hours has come.
#[derive(Debug, Default)]
pub struct Rounds {
    /// Still to look at, the latest first.
    hours: VecDeque<i64>,
    /// In the first of them, the next number.
    number: i64,
    /// Once hours are done, how far bundling has come.
    bundling: Option<rollups::Cursor>,
    /// Hours of servers that cannot be packed, which was said once.
    left: HashSet<(i64, i64)>,
}

/// A block that is made.
struct Block {
    bytes: Vec<u8>,
    /// How many snapshots of it were rows.
    late: u64,
    /// When its newest one was sampled.
    newest: Millis,
}

/// What a step has made.
struct Made {
    blocks: BTreeMap<i64, Block>,
    rows: Vec<Row>,
    /// The first number that is left for the next step.
    next: Option<i64>,
}

/// A snapshot that is to be packed.
struct Row {
    number: i64,
    key: i64,
    place: i64,
}

impl Sqlite {
    /// See [`crate::History::pack`].
    pub async fn pack(&self) -> Result<Packed, HistoryError> {
        let mut rounds = self.0.packing.lock().await;
        if rounds.bundling.is_some() {
            return self.bundle(&mut rounds.bundling).await;
        }
        if rounds.hours.is_empty() {
            let hours = self.hours_to_pack();
            rounds.left.retain(|(hour, _)| hours.contains(hour));
            rounds.hours = hours;
            rounds.number = 0;
        }
        let Some(hour) = rounds.hours.front().copied() else {
            return self.bundle(&mut rounds.bundling).await;
        };
        let (mut transaction, oldest) = self.reading().await?;
        let found = match hour * HOUR >= oldest {
            true => numbers_from(&mut transaction, hour, rounds.number).await?,
            false => Vec::new(),
        };
        drop(transaction);
        let Some(last) = found.last().copied() else {
            self.drop_bodies(hour).await?;
            rounds.hours.pop_front();
            rounds.number = 0;
            if rounds.hours.is_empty() {
                rounds.bundling = Some(rollups::FIRST);
            }
            return Ok(Packed { more: true, ..Packed::default() });
        };
        let numbers = found.into_iter().filter(|number| !rounds.left.contains(&(hour, *number))).collect();
        let (packed, next) = self.pack_some(hour, numbers, &mut rounds.left).await?;
        rounds.number = next.unwrap_or(last + 1);
        Ok(packed)
    }

    /// The hours that some server has closed and of which there are rows, the latest first.
    fn hours_to_pack(&self) -> VecDeque<i64> {
        let known = self.known();
        let until =
            known.servers.values().filter_map(|server| server.rolled).map(|rolled| rolled.until).max();
        until.map_or_else(VecDeque::new, |until| known.hours.range(..until).rev().copied().collect())
    }

    /// Packs what of these servers can be packed. Returns the number from which to go on, if not all were looked at.
    async fn pack_some(
        &self,
        hour: i64,
        numbers: Vec<i64>,
        left: &mut HashSet<(i64, i64)>,
    ) -> Result<(Packed, Option<i64>), HistoryError> {
        if numbers.is_empty() {
            return Ok((Packed { more: true, ..Packed::default() }, None));
        }
        let ticket = self.begin_making(hour..hour + 1, numbers.iter().copied().collect()).await?;
        let mut made = self.make_blocks(hour, &numbers, left).await?;
        let mut writing = self.write().await?;
        for spoilt in ticket.spoilt() {
            made.blocks.remove(&spoilt);
        }
        let Made { blocks, rows, next } = made;
        let snapshots = blocks.values().map(|block| block.late).sum();
        let packed = Packed { hours: blocks.len() as u64, snapshots, more: true };
        if blocks.is_empty() {
            return Ok((packed, next));
        }
        writing.settled = false;
        let ends = self.move_rows(hour, &rows, blocks).await?;
        let mut known = self.known_mut();
        known.packed_until = known.packed_until.max(hour + 1);
        for (id, newest) in ends {
            if let Some(server) = known.servers.get_mut(&id) {
                server.ends.newest = server.ends.newest.max(newest);
            }
        }
        writing.settled = true;
        Ok((packed, next))
    }

    /// Reads what these servers sampled in an hour, and makes blocks of it. What cannot be packed is added to `left`.
    async fn make_blocks(
        &self,
        hour: i64,
        numbers: &[i64],
        left: &mut HashSet<(i64, i64)>,
    ) -> Result<Made, HistoryError> {
        let (mut transaction, _) = self.reading().await?;
        let numbers = packable(&mut transaction, hour, numbers).await?;
        let (rows, next) = rows_of(&mut transaction, hour, &numbers, left).await?;
        let read = read_bodies(&mut transaction, hour, &rows).await?;
        let before = blocks_of(&mut transaction, hour, &numbers).await;
        drop(transaction);
        let mut before = match before {
            Err(HistoryError::Corrupt { row, reason, .. }) => {
                tracing::warn!(
                    row,
                    reason,
                    "a damaged block stays as it is, and so do those that came with it"
                );
                left.extend(numbers.iter().map(|number| (hour, *number)));
                return Ok(Made { blocks: BTreeMap::new(), rows, next });
            }
            read => read?,
        };
        let mut blocks = BTreeMap::new();
        for (number, read) in read {
            match read.and_then(|late| Block::merged(hour, before.remove(&number), late)) {
                Ok(block) => drop(blocks.insert(number, block)),
                Err(reason) => {
                    tracing::warn!(
                        hour,
                        number,
                        reason,
                        "an hour of a server cannot be packed, and stays as it is"
                    );
                    left.insert((hour, number));
                }
            }
            // Others on the same thread can run.
            tokio::task::yield_now().await;
        }
        Ok(Made { blocks, rows, next })
    }

    /// Moves rows into blocks in one transaction. Returns the servers whose newest sample is among them, as then no row
    /// tells of it any more.
    async fn move_rows(
        &self,
        hour: i64,
        rows: &[Row],
        blocks: BTreeMap<i64, Block>,
    ) -> Result<Vec<(ServerId, Millis)>, HistoryError> {
        let day = hour.div_euclid(DAY / HOUR);
        let keys: Vec<[i64; 1]> =
            rows.iter().filter(|row| blocks.contains_key(&row.number)).map(|row| [row.key]).collect();
        let newest: Vec<[i64; 2]> = blocks.iter().map(|(number, block)| [*number, block.newest]).collect();
        let mut transaction = self.0.writer.begin_with("BEGIN IMMEDIATE").await?;
        let delete = format!("DELETE FROM day_{day} WHERE key IN (SELECT value ->> 0 FROM json_each($1))");
        let deleted = sqlx::query(AssertSqlSafe(delete))
            .bind(list(keys.iter().map(|key| key.as_slice())))
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if usize::try_from(deleted).is_ok_and(|deleted| deleted != keys.len()) {
            // Somebody has removed rows in between. What was read is no longer what is there.
            transaction.rollback().await?;
            return Err(HistoryError::Unavailable("rows have changed while they were packed".into()));
        }
        let blocks = blocks.into_iter().map(|(number, block)| (number, Some(block.bytes))).collect();
        change(&mut transaction, hour, blocks).await?;
        let ends: Vec<(Vec<u8>, Millis)> = sqlx::query_as(
            "UPDATE servers SET newest = told.newest
             FROM (SELECT value ->> 0 AS number, value ->> 1 AS newest FROM json_each($1)) AS told
             WHERE servers.number = told.number AND servers.newest < told.newest
             RETURNING servers.id, servers.newest",
        )
        .bind(list(newest.iter().map(|newest| newest.as_slice())))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let end = |(id, newest): (Vec<u8>, Millis)| Some((ServerId::from_bytes(id.try_into().ok()?), newest));
        Ok(ends.into_iter().filter_map(end).collect())
    }

    /// Drops the bodies of an hour of which no row is left.
    async fn drop_bodies(&self, hour: i64) -> Result<(), HistoryError> {
        let mut writing = self.write().await?;
        if !self.known().hours.contains(&hour) || hour * HOUR < self.known().oldest {
            return Ok(());
        }
        let mut connection = self.0.writer.acquire().await?;
        let left = !numbers_from(&mut connection, hour, 0).await?.is_empty();
        drop(connection);
        if left {
            return Ok(());
        }
        self.run(&mut writing, format!("DROP TABLE IF EXISTS bodies_{hour}")).await?;
        writing.packs.remove(&hour);
        self.known_mut().hours.remove(&hour);
        Ok(())
    }
}

/// The rows of these numbers in an hour, in order of number and time, as many as a step takes; and the first number that
/// is left for the next one.
async fn rows_of(
    connection: &mut SqliteConnection,
    hour: i64,
    numbers: &[i64],
    left: &mut HashSet<(i64, i64)>,
) -> Result<(Vec<Row>, Option<i64>), HistoryError> {
    let (day, slots) = (hour.div_euclid(DAY / HOUR), slots(hour));
    let statement = format!(
        "SELECT kept.key, kept.place FROM {} WHERE slots.slot BETWEEN $2 AND $3 ORDER BY slots.slot, kept.key LIMIT {}",
        layout::rows_of("$1", day),
        TOO_MANY + 1
    );
    let mut rows = Vec::new();
    for number in numbers {
        if rows.len() >= MOST_SNAPSHOTS {
            return Ok((rows, Some(*number)));
        }
        let found: Vec<(i64, i64)> = sqlx::query_as(AssertSqlSafe(&*statement))
            .bind(number)
            .bind(*slots.start())
            .bind(*slots.end())
            .fetch_all(&mut *connection)
            .await?;
        if found.len() > TOO_MANY {
            tracing::warn!(hour, number, "too many snapshots of a server in an hour: they stay as they are");
            left.insert((hour, *number));
            continue;
        }
        rows.extend(found.into_iter().map(|(key, place)| Row { number: *number, key, place }));
    }
    Ok((rows, None))
}

/// The snapshots of these rows by number, in order of time; or why one of them cannot be read.
async fn read_bodies(
    connection: &mut SqliteConnection,
    hour: i64,
    rows: &[Row],
) -> Result<BTreeMap<i64, Result<Vec<Snapshot>, String>>, HistoryError> {
    let mut snapshots: Vec<Option<Result<Snapshot, String>>> = rows.iter().map(|_| None).collect();
    if rows.is_empty() || !bodies_of(connection, hour..=hour).await?.contains(&hour) {
        return Ok(BTreeMap::new());
    }
    let mut places: Vec<usize> = (0..rows.len()).collect();
    places.sort_unstable_by_key(|place| rows[*place].place);
    let by_pack: Vec<&[usize]> =
        places.chunk_by(|a, b| rows[*a].place >> INDEX_BITS == rows[*b].place >> INDEX_BITS).collect();
    let statement = format!(
        "SELECT bodies.pack FROM json_each($1) AS asked LEFT JOIN bodies_{hour} AS bodies ON bodies.id = asked.value
         ORDER BY asked.key"
    );
    for some in by_pack.chunks(PACKS) {
        let ids: Vec<i64> = some.iter().map(|places| rows[places[0]].place >> INDEX_BITS).collect();
        let packs: Vec<Option<Vec<u8>>> = sqlx::query_scalar(AssertSqlSafe(&*statement))
            .bind(serde_json::Value::from(ids).to_string())
            .fetch_all(&mut *connection)
            .await?;
        for (places, pack) in some.iter().zip(packs) {
            let opened = pack.ok_or_else(|| "missing".to_owned()).and_then(|pack| pack::open(&pack));
            let lines = opened.as_ref().map(|opened| opened.split(|byte| *byte == b'\n').collect::<Vec<_>>());
            for place in *places {
                let index = rows[*place].place & ((1 << INDEX_BITS) - 1);
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                let line = lines.as_ref().map(|lines| lines.get(index).copied().unwrap_or_default());
                snapshots[*place] = Some(line.map_err(|reason| (*reason).clone()).and_then(pack::read));
            }
            // Others on the same thread can run.
            tokio::task::yield_now().await;
        }
    }
    let mut by_number: BTreeMap<i64, Result<Vec<Snapshot>, String>> = BTreeMap::new();
    for (row, snapshot) in rows.iter().zip(snapshots) {
        let all = by_number.entry(row.number).or_insert_with(|| Ok(Vec::new()));
        match (all, snapshot.unwrap_or_else(|| Err("missing".to_owned()))) {
            (Ok(all), Ok(snapshot)) => all.push(snapshot),
            (Err(_), _) => {}
            (all, Err(reason)) => *all = Err(reason),
        }
    }
    Ok(by_number)
}

impl Block {
    /// What is in a block already, and what came late.
    fn merged(hour: i64, before: Option<Vec<u8>>, late: Vec<Snapshot>) -> Result<Self, String> {
        let (start, count) = (hour * HOUR, late.len() as u64);
        let mut all = Vec::with_capacity(late.len());
        if let Some(before) = before {
            let read = block::read(start, &before, Wanted::All, |snapshot| all.push(snapshot));
            read.map_err(str::to_owned)?;
        }
        all.extend(late);
        // Of one identity the first that was stored stays: the sort keeps their order.
        all.sort_by_key(Snapshot::sampled_at);
        all.dedup_by_key(|snapshot| snapshot.sampled_at());
        let newest = all.last().map_or(Millis::MIN, Snapshot::sampled_at);
        Ok(Self { bytes: block::write(start, &all), late: count, newest })
    }
}
