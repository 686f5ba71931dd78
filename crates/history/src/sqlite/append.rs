//! Appending: the only way in which snapshots get into the file.
//!
//! A batch takes one statement for each day (keys) and for each hour (bodies), whatever its size, because every
//! statement is a hop to the thread that owns the connection. Keys are written first, so that the body of a snapshot
//! that is stored already takes no space.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::Entry},
    fmt::Write,
};

use fleet::{Record, ServerId};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    Sqlite, Writing, blocks,
    known::{Known, Server, stretch},
    layout::{self, INDEX_BITS, MAX_NUMBER, TIME_BITS},
    pack::{self, Filling},
    processes,
};
use crate::{Extent, HistoryError, Rejected};

/// How many bits a body's place has in the number that a statement gets: `covers` and the place in one.
const PLACE_BITS: u32 = 40;
const PLACE_MASK: i64 = (1 << PLACE_BITS) - 1;
/// Mask of a body's position within its pack.
const INDEX_MASK: i64 = (1 << INDEX_BITS) - 1;
/// After this many packs the task yields, so that others on the same thread can run.
const PACKS_AT_A_STRETCH: usize = 8;

/// A record that is about to be written.
pub struct Row {
    pub day: i64,
    pub key: i64,
    /// Position in the batch.
    pub record: usize,
    /// Pack and position in it.
    place: i64,
}

/// The packs of one hour, in order of their ids from `first`.
struct Packs {
    hour: i64,
    first: i64,
    packs: Vec<Vec<u8>>,
}

/// A batch in order of the keys, each key once.
struct Sorted {
    rows: Vec<Row>,
    rejected: Vec<Rejected>,
    /// Servers that the file does not know yet.
    fresh: HashMap<ServerId, i64>,
}

impl Sqlite {
    /// See [`crate::History::append`].
    pub async fn append(&self, records: &[Record]) -> Result<Vec<Rejected>, HistoryError> {
        let mut writing = self.write().await?;
        let Sorted { mut rows, rejected, fresh } = Sorted::of(records, &self.known());
        if rows.is_empty() {
            return Ok(rejected);
        }
        let (days, hours) = missing_tables(&rows, records, &self.known());
        writing.settled = false;
        let mut transaction = self.0.writer.begin_with("BEGIN IMMEDIATE").await?;
        for statement in
            days.iter().copied().map(layout::make_day).chain(hours.iter().copied().map(layout::make_hour))
        {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
        }
        let packed_until = self.known().packed_until;
        leave_packed(&mut transaction, &mut rows, records, packed_until).await?;
        let mut packed = pack_bodies(&mut transaction, &mut rows, records, &writing).await?;
        let mut lasts = self.lasts(&mut transaction, &rows, records).await?;
        let repeated = write_keys(&mut transaction, &mut rows, records).await?;
        if rows.is_empty() {
            transaction.rollback().await?;
            writing.settled = true;
            return Ok(rejected);
        }
        leave_out(&mut packed, &repeated, records)?;
        write_bodies(&mut transaction, packed, &mut writing).await?;
        processes::write_commands(&mut transaction, rows.iter().map(|row| &records[row.record])).await?;
        let outdated = outdated(&rows, records, &fresh, &self.known());
        write_ends(&mut transaction, &outdated).await?;
        self.doubt(&mut transaction, &rows, records, &mut lasts).await?;
        self.soil(&mut transaction, &rows, records).await?;
        transaction.commit().await?;
        let mut known = self.known_mut();
        known.days.extend(days);
        known.hours.extend(hours);
        known.adopt(outdated, lasts);
        writing.settled = true;
        Ok(rejected)
    }
}

impl Sorted {
    fn of(records: &[Record], known: &Known) -> Self {
        let mut sorted =
            Self { rows: Vec::with_capacity(records.len()), rejected: Vec::new(), fresh: HashMap::new() };
        for (index, record) in records.iter().enumerate() {
            match sorted.number(record, known) {
                Ok(number) => {
                    let at = record.snapshot.sampled_at();
                    let key = layout::key(number, at);
                    sorted.rows.push(Row { day: layout::day(at), key, record: index, place: 0 });
                }
                Err(reason) => sorted.rejected.push(Rejected { index, reason }),
            }
        }
        // The first of two with one identity is kept.
        sorted.rows.sort_unstable_by_key(|row| (row.day, row.key, row.record));
        sorted.rows.dedup_by_key(|row| (row.day, row.key));
        sorted
    }

    fn number(&mut self, record: &Record, known: &Known) -> Result<i64, String> {
        if record.snapshot.sampled_at() < known.oldest {
            return Err("its day is no longer kept".into());
        }
        if let Some(server) = known.servers.get(&record.server) {
            return Ok(server.number);
        }
        let next = known.last_number + i64::try_from(self.fresh.len()).unwrap_or(MAX_NUMBER) + 1;
        match self.fresh.entry(record.server) {
            Entry::Occupied(number) => Ok(*number.get()),
            Entry::Vacant(number) if next <= MAX_NUMBER => Ok(*number.insert(next)),
            Entry::Vacant(_) => Err("the history file has no number left for another server".into()),
        }
    }
}

/// The days and hours that have no table yet.
fn missing_tables(rows: &[Row], records: &[Record], known: &Known) -> (BTreeSet<i64>, BTreeSet<i64>) {
    let days = rows.iter().map(|row| row.day).filter(|day| !known.days.contains(day)).collect();
    let hours =
        rows.iter().map(|row| hour(row, records)).filter(|hour| !known.hours.contains(hour)).collect();
    (days, hours)
}

fn hour(row: &Row, records: &[Record]) -> i64 {
    layout::hour(records[row.record].snapshot.sampled_at())
}

/// Leaves out rows that are in a block already: a snapshot has one identity, whatever form it has. What comes in time is
/// of hours that have no blocks yet.
async fn leave_packed(
    connection: &mut SqliteConnection,
    rows: &mut Vec<Row>,
    records: &[Record],
    packed_until: i64,
) -> Result<(), HistoryError> {
    let mut late: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| hour(row, records) < packed_until) {
        late.entry(hour(row, records)).or_default().insert((row.key >> TIME_BITS) & MAX_NUMBER);
    }
    let mut there: HashSet<(i64, i64)> = HashSet::new();
    for (hour, numbers) in late {
        let numbers: Vec<i64> = numbers.into_iter().collect();
        match blocks::times_of(connection, hour, &numbers).await {
            // Whoever reads that block is told. What comes in has to go on.
            Err(HistoryError::Corrupt { row, reason, .. }) => {
                tracing::warn!(
                    row,
                    reason,
                    "a damaged block: what comes late for its hour is kept beside it"
                );
            }
            found => there.extend(found?),
        }
    }
    if !there.is_empty() {
        rows.retain(|row| {
            let number = (row.key >> TIME_BITS) & MAX_NUMBER;
            !there.contains(&(number, records[row.record].snapshot.sampled_at()))
        });
    }
    Ok(())
}

/// Packs the bodies and notes the place of each, before anything is written.
async fn pack_bodies(
    connection: &mut SqliteConnection,
    rows: &mut [Row],
    records: &[Record],
    writing: &Writing,
) -> Result<Vec<Packs>, HistoryError> {
    let mut packed = Vec::new();
    for rows in rows.chunk_by_mut(|a, b| hour(a, records) == hour(b, records)) {
        let hour = hour(&rows[0], records);
        let first = match writing.packs.get(&hour) {
            Some(next) => *next,
            None => next_pack(connection, hour).await?,
        };
        packed.push(Packs { hour, first, packs: fill(rows, records, first).await? });
    }
    Ok(packed)
}

/// Empties the lines of snapshots whose key was there already. The others keep their places, so nothing is packed anew;
/// a pack of which nothing is left is not written.
fn leave_out(packed: &mut [Packs], repeated: &[Row], records: &[Record]) -> Result<(), HistoryError> {
    let mut lines: HashMap<(i64, i64), HashSet<usize>> = HashMap::new();
    for row in repeated {
        let index = usize::try_from(row.place & INDEX_MASK).unwrap_or(usize::MAX);
        lines.entry((hour(row, records), row.place >> INDEX_BITS)).or_default().insert(index);
    }
    for Packs { hour, first, packs } in packed.iter_mut().filter(|_| !lines.is_empty()) {
        for (id, pack) in (*first..).zip(packs) {
            let Some(repeated) = lines.get(&(*hour, id)) else { continue };
            *pack = pack::without(pack, repeated).map_err(|reason| HistoryError::Corrupt {
                table: "a batch".into(),
                row: format!("pack {id} of hour {hour}"),
                reason,
            })?;
        }
    }
    Ok(())
}

/// Writes the packs of a batch. An empty one is left out, and its id stays unused.
async fn write_bodies(
    connection: &mut SqliteConnection,
    packed: Vec<Packs>,
    writing: &mut Writing,
) -> Result<(), HistoryError> {
    for Packs { hour, first, packs } in packed {
        let mut bytes = Vec::new();
        let mut slices = String::from("[");
        for (id, pack) in (first..).zip(&packs).filter(|(_, pack)| !pack.is_empty()) {
            let comma = if bytes.is_empty() { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(slices, "{comma}[{id},{},{}]", bytes.len() + 1, pack.len());
            bytes.extend_from_slice(pack);
        }
        if bytes.is_empty() {
            continue;
        }
        slices.push(']');
        let statement = format!(
            "INSERT INTO bodies_{hour} (id, pack) \
             SELECT value ->> 0, substr($2, value ->> 1, value ->> 2) FROM json_each($1)"
        );
        sqlx::query(AssertSqlSafe(statement)).bind(slices).bind(bytes).execute(&mut *connection).await?;
        writing.packs.insert(hour, first + i64::try_from(packs.len()).unwrap_or(i64::MAX));
    }
    Ok(())
}

async fn next_pack(connection: &mut SqliteConnection, hour: i64) -> Result<i64, HistoryError> {
    let statement = format!("SELECT COALESCE(MAX(id) + 1, 0) FROM bodies_{hour}");
    Ok(sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(connection).await?)
}

/// The packs of one hour, in order of their ids from `first`.
async fn fill(rows: &mut [Row], records: &[Record], first: i64) -> Result<Vec<Vec<u8>>, HistoryError> {
    let mut packs = Vec::new();
    let mut filling = Filling::default();
    let mut id = first;
    for row in rows {
        let record = &records[row.record];
        let index = filling.add(&record.snapshot).map_err(|error| HistoryError::Corrupt {
            table: "a batch".into(),
            row: format!("{} at {}", record.server, record.snapshot.sampled_at()),
            reason: error.to_string(),
        })?;
        row.place = (id << INDEX_BITS) | i64::try_from(index).unwrap_or(0);
        if filling.full() {
            packs.extend(filling.close());
            id += 1;
            if packs.len() % PACKS_AT_A_STRETCH == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
    packs.extend(filling.close());
    Ok(packs)
}

/// Writes the keys; moves those rows whose key was there already from `rows` to the answer.
async fn write_keys(
    connection: &mut SqliteConnection,
    rows: &mut Vec<Row>,
    records: &[Record],
) -> Result<Vec<Row>, HistoryError> {
    let mut there = HashSet::new();
    for rows in rows.chunk_by(|a, b| a.day == b.day) {
        let day = rows[0].day;
        let keys = keys(rows, records);
        let statement = format!(
            "INSERT INTO day_{day} (key, covers, place) \
             SELECT key, value >> {PLACE_BITS}, value & {PLACE_MASK} FROM json_each($1) WHERE true \
             ON CONFLICT DO NOTHING"
        );
        let insert = sqlx::query(AssertSqlSafe(statement)).bind(&keys);
        let written = insert.execute(&mut *connection).await?.rows_affected();
        if usize::try_from(written).is_ok_and(|written| written == rows.len()) {
            continue;
        }
        let statement = format!(
            "SELECT kept.key FROM json_each($1) AS ours CROSS JOIN day_{day} AS kept \
             ON kept.key = CAST(ours.key AS INTEGER) WHERE kept.place <> ours.value & {PLACE_MASK}"
        );
        let others: Vec<i64> =
            sqlx::query_scalar(AssertSqlSafe(statement)).bind(&keys).fetch_all(&mut *connection).await?;
        there.extend(others.into_iter().map(|key| (day, key)));
    }
    if there.is_empty() {
        return Ok(Vec::new());
    }
    Ok(rows.extract_if(.., |row| there.contains(&(row.day, row.key))).collect())
}

/// `{key: covers and place}`.
fn keys(rows: &[Row], records: &[Record]) -> String {
    let mut keys = String::with_capacity(40 * rows.len());
    for row in rows {
        let comma = if keys.is_empty() { '{' } else { ',' };
        let covers = records[row.record].snapshot.covers();
        let _ = write!(keys, "{comma}\"{}\":{}", row.key, (covers << PLACE_BITS) | row.place);
    }
    keys.push('}');
    keys
}

/// The new ends of those servers whose ends in the file are out of date, as [`Server::outdated_by`] says.
fn outdated(
    rows: &[Row],
    records: &[Record],
    fresh: &HashMap<ServerId, i64>,
    known: &Known,
) -> HashMap<ServerId, Server> {
    let mut ends = HashMap::new();
    for row in rows {
        let Record { server: id, snapshot, .. } = &records[row.record];
        let was = known.servers.get(id).copied().or_else(|| {
            let ends = Extent { oldest_start: snapshot.from(), newest: snapshot.sampled_at() };
            fresh.get(id).map(|number| Server { number: *number, ends, last: None, rolled: None })
        });
        if let Some(was) = was {
            stretch(&mut ends, *id, was, snapshot);
        }
    }
    ends.retain(|id, server| known.servers.get(id).is_none_or(|was| was.outdated_by(server.ends)));
    ends
}

async fn write_ends(
    connection: &mut SqliteConnection,
    outdated: &HashMap<ServerId, Server>,
) -> Result<(), HistoryError> {
    if outdated.is_empty() {
        return Ok(());
    }
    let mut sorted: Vec<_> = outdated.iter().collect();
    sorted.sort_unstable_by_key(|(_, server)| server.number);
    let mut ids = Vec::with_capacity(16 * sorted.len());
    let mut ends = String::from("[");
    for (id, Server { number, ends: Extent { oldest_start, newest }, .. }) in sorted {
        let comma = if ids.is_empty() { "" } else { "," };
        let _ = write!(ends, "{comma}[{number},{},{oldest_start},{newest}]", ids.len() + 1);
        ids.extend_from_slice(id.as_bytes());
    }
    ends.push(']');
    sqlx::query(
        "INSERT INTO servers (number, id, oldest_start, newest) \
         SELECT value ->> 0, substr($2, value ->> 1, 16), value ->> 2, value ->> 3 FROM json_each($1) WHERE true \
         ON CONFLICT (number) DO UPDATE SET oldest_start = excluded.oldest_start, newest = excluded.newest",
    )
    .bind(ends)
    .bind(ids)
    .execute(connection)
    .await?;
    Ok(())
}
