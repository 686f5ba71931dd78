//! Whose stretches overlap, and what they cover then.
//!
//! Where the stretches of a server do not overlap, what they cover together is their sum. The table `overlaps` names
//! the servers and days where they do. A snapshot that begins no earlier than the server's newest was sampled cannot
//! overlap anything, so what comes in order costs nothing. Whatever else comes, a back-fill for one, only raises a
//! doubt about its day. Until [`Sqlite::decide_overlaps`] has looked at the day, it is treated as one with overlaps:
//! each row counts for what no later row covers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{MutexGuard, PoisonError},
};

use fleet::{Millis, Record, ServerId, retention::DAY, uptime::Piece};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    Sqlite,
    append::Row,
    known::Server,
    layout::{self, MAX_NUMBER, SLOT, TIME_BITS, TIME_MASK},
    read::{Asked, list, newest, slots_of},
};
use crate::{HistoryError, LONGEST_COVERS};

/// Servers of one day that are looked at by one statement.
const AT_ONCE: i64 = 64;
/// Before every doubt.
pub const FIRST: (i64, i64) = (i64::MIN, 0);
/// Later than any time of a day: nothing reaches back from the next day.
const NEVER: Millis = 4 * DAY;

/// The servers and days whose stretches overlap, or may.
pub struct Unsure {
    named: HashSet<(i64, i64)>,
    /// By day, the first number that has not been looked at.
    undecided: HashMap<i64, i64>,
}

impl Unsure {
    /// Reads it for these days.
    pub async fn of(connection: &mut SqliteConnection, first: i64, last: i64) -> Result<Self, HistoryError> {
        let named: Vec<(i64, i64)> =
            sqlx::query_as("SELECT day, number FROM overlaps WHERE day BETWEEN $1 AND $2")
                .bind(first)
                .bind(last)
                .fetch_all(&mut *connection)
                .await?;
        let undecided: Vec<(i64, i64)> =
            sqlx::query_as("SELECT day, next FROM undecided WHERE day BETWEEN $1 AND $2")
                .bind(first)
                .bind(last)
                .fetch_all(connection)
                .await?;
        Ok(Self { named: named.into_iter().collect(), undecided: undecided.into_iter().collect() })
    }

    /// Whether the stretches of this server and day may overlap.
    pub fn contains(&self, day: i64, number: i64) -> bool {
        self.named.contains(&(day, number)) || self.undecided.get(&day).is_some_and(|next| number >= *next)
    }
}

impl Sqlite {
    /// The newest `sampled_at` of each server in the batch, before the batch; none for servers that are new.
    pub(super) async fn lasts(
        &self,
        connection: &mut SqliteConnection,
        rows: &[Row],
        records: &[Record],
    ) -> Result<HashMap<ServerId, Millis>, HistoryError> {
        let mut lasts = HashMap::new();
        let mut unread: Vec<(ServerId, Server)> = Vec::new();
        let days: Vec<i64> = {
            let known = self.known();
            let ids: HashSet<ServerId> = rows.iter().map(|row| records[row.record].server).collect();
            for id in ids {
                match known.servers.get(&id) {
                    Some(Server { last: Some(last), .. }) => drop(lasts.insert(id, *last)),
                    Some(server) => unread.push((id, *server)),
                    None => {}
                }
            }
            known.days.iter().copied().collect()
        };
        let asked: Vec<Option<Server>> = unread.iter().map(|(_, server)| Some(*server)).collect();
        let oldest = self.known().oldest;
        let newest = newest(connection, &asked, &days, oldest).await?;
        for ((id, server), newest) in unread.into_iter().zip(newest) {
            lasts.insert(id, newest.unwrap_or(server.ends.newest));
        }
        Ok(lasts)
    }

    /// Notes where the new rows may overlap others. `lasts` are the newest samples before these rows, and after them
    /// when this returns.
    pub(super) async fn doubt(
        &self,
        connection: &mut SqliteConnection,
        rows: &[Row],
        records: &[Record],
        lasts: &mut HashMap<ServerId, Millis>,
    ) -> Result<(), HistoryError> {
        let mut doubts: BTreeSet<[i64; 2]> = BTreeSet::new();
        // Of one server, the rows are in order of time.
        for row in rows {
            let Record { server, snapshot, .. } = &records[row.record];
            let (from, at) = (snapshot.from(), snapshot.sampled_at());
            let last = lasts.entry(*server).or_insert(from);
            if from < *last && from < at {
                // Its own day, which later stretches may reach into, and the day into which it reaches itself.
                let days = layout::day(from + 1)..=row.day;
                doubts.extend(days.map(|day| [day, (row.key >> TIME_BITS) & MAX_NUMBER]));
            }
            *last = at.max(*last);
        }
        if doubts.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO overlaps (day, number, doubts) SELECT value ->> 0, value ->> 1, 1 FROM json_each($1) \
             WHERE true ON CONFLICT (day, number) DO UPDATE SET doubts = doubts + 1 WHERE doubts > 0",
        )
        .bind(list(doubts.iter().map(|doubt| doubt.as_slice())))
        .execute(connection)
        .await?;
        Ok(())
    }

    /// See [`crate::History::decide_overlaps`].
    pub async fn decide_overlaps(&self) -> Result<bool, HistoryError> {
        Ok(self.decide_doubts().await? || self.decide_a_day().await?)
    }

    /// Where the present round of looking at doubts has come to, as day and number. Doubts that are raised again and
    /// again must not keep others from being looked at.
    fn looked_at(&self) -> MutexGuard<'_, (i64, i64)> {
        self.0.looked_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn decide_doubts(&self) -> Result<bool, HistoryError> {
        let days = self.days();
        let (mut transaction, oldest) = self.reading().await?;
        let (last_day, last_number) = *self.looked_at();
        let doubts: Vec<(i64, i64, i64)> = sqlx::query_as(
            "SELECT day, number, doubts FROM overlaps
             WHERE doubts > 0 AND day >= $1 AND (day, number) > ($2, $3) ORDER BY day, number LIMIT $4",
        )
        .bind(layout::day(oldest))
        .bind(last_day)
        .bind(last_number)
        .bind(AT_ONCE)
        .fetch_all(&mut *transaction)
        .await?;
        let last = doubts.last().map(|(day, number, _)| (*day, *number));
        let mut by_day: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (day, number, _) in &doubts {
            by_day.entry(*day).or_default().push(*number);
        }
        let mut overlap = HashSet::new();
        for (day, numbers) in by_day {
            let found = overlapping(&mut transaction, &days, day, &numbers).await?;
            overlap.extend(found.into_iter().map(|number| (day, number)));
        }
        drop(transaction);
        *self.looked_at() = last.unwrap_or(FIRST);
        if doubts.is_empty() {
            return Ok(false);
        }
        let decided: Vec<[i64; 4]> = doubts
            .iter()
            .map(|(day, number, doubts)| {
                [*day, *number, *doubts, i64::from(overlap.contains(&(*day, *number)))]
            })
            .collect();
        let decided = list(decided.iter().map(|decided| decided.as_slice()));
        let _writing = self.write().await?;
        let mut transaction = self.0.writer.begin_with("BEGIN IMMEDIATE").await?;
        // Where a doubt was raised in the meantime, the look has to be repeated, unless what it found is for good.
        for statement in [
            "UPDATE overlaps SET doubts = 0 WHERE (day, number) IN \
             (SELECT value ->> 0, value ->> 1 FROM json_each($1) WHERE value ->> 3)",
            "DELETE FROM overlaps WHERE (day, number, doubts) IN \
             (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1) WHERE NOT value ->> 3)",
        ] {
            sqlx::query(statement).bind(&decided).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Looks at some servers of a day that schema 1 wrote.
    async fn decide_a_day(&self) -> Result<bool, HistoryError> {
        let days = self.days();
        let (mut transaction, _) = self.reading().await?;
        let newest: Option<(i64, i64)> =
            sqlx::query_as("SELECT day, next FROM undecided ORDER BY day DESC LIMIT 1")
                .fetch_optional(&mut *transaction)
                .await?;
        let Some((day, next)) = newest else { return Ok(false) };
        let numbers: Vec<i64> =
            sqlx::query_scalar("SELECT number FROM servers WHERE number >= $1 ORDER BY number LIMIT $2")
                .bind(next)
                .bind(AT_ONCE)
                .fetch_all(&mut *transaction)
                .await?;
        let overlap = overlapping(&mut transaction, &days, day, &numbers).await?;
        drop(transaction);
        let _writing = self.write().await?;
        let mut transaction = self.0.writer.begin_with("BEGIN IMMEDIATE").await?;
        let overlap: Vec<[i64; 2]> = overlap.into_iter().map(|number| [day, number]).collect();
        sqlx::query(
            "INSERT INTO overlaps (day, number, doubts) SELECT value ->> 0, value ->> 1, 0 FROM json_each($1) \
             WHERE true ON CONFLICT (day, number) DO UPDATE SET doubts = 0",
        )
        .bind(list(overlap.iter().map(|overlap| overlap.as_slice())))
        .execute(&mut *transaction)
        .await?;
        match numbers.last() {
            Some(last) => {
                sqlx::query("UPDATE undecided SET next = $2 WHERE day = $1").bind(day).bind(last + 1)
            }
            None => sqlx::query("DELETE FROM undecided WHERE day = $1").bind(day),
        }
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Forgets what is known of the days before this one.
    pub(super) async fn forget_overlaps(&self, day: i64) -> Result<(), HistoryError> {
        let _writing = self.write().await?;
        for statement in ["DELETE FROM overlaps WHERE day < $1", "DELETE FROM undecided WHERE day < $1"] {
            sqlx::query(statement).bind(day).execute(&self.0.writer).await?;
        }
        Ok(())
    }

    fn days(&self) -> BTreeSet<i64> {
        self.known().days.clone()
    }
}

/// Brings a file of schema 1 to schema 2. Nothing is known of its days yet.
pub async fn begin(connection: &mut SqliteConnection) -> Result<(), HistoryError> {
    let script = format!(
        "BEGIN IMMEDIATE; {}
         INSERT INTO undecided SELECT CAST(substr(name, 5) AS INTEGER), 0 FROM sqlite_schema
             WHERE type = 'table' AND name GLOB 'day_[0-9]*';
         COMMIT;",
        layout::OVERLAPS
    );
    sqlx::raw_sql(AssertSqlSafe(script)).execute(connection).await?;
    Ok(())
}

/// How much of the pieces the snapshots of `day` cover that no snapshot after them covers, each with the index in the
/// answer. `next` says whether the day after has a table.
pub async fn covered_of_day(
    connection: &mut SqliteConnection,
    day: i64,
    next: bool,
    wanted: &[Asked],
) -> Result<Vec<(i64, Millis)>, HistoryError> {
    let numbers: BTreeSet<i64> = wanted.iter().map(|(_, number, _)| *number).collect();
    let reached = reached_from_next(connection, day, next, numbers).await?;
    let mut asked = Vec::new();
    for (index, number, piece) in wanted {
        let Some((slots, _)) = slots_of(day, *piece) else { continue };
        let index = i64::try_from(*index).unwrap_or(i64::MAX);
        let (from, to) = (piece.from.saturating_sub(day * DAY), piece.to.saturating_sub(day * DAY));
        let reached = reached.get(number).copied().unwrap_or(NEVER);
        asked.push([index, *number, *slots.start(), *slots.end(), from, to, reached]);
    }
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let rows = layout::rows_of("asked.number", day);
    let at = format!("(slots.slot * {SLOT} + (kept.key & {TIME_MASK}))");
    let statement = format!(
        "WITH asked AS MATERIALIZED (
             SELECT value ->> 0 AS position, value ->> 1 AS number, value ->> 2 AS first, value ->> 3 AS last,
                 value ->> 4 AS start, value ->> 5 AS stop, value ->> 6 AS reached
             FROM json_each($1)
         )
         SELECT position, COALESCE((
             SELECT SUM(MAX(0, MIN(at, later, asked.reached, asked.stop) - MAX(begins, asked.start))) FROM (
                 SELECT at, begins, COALESCE(
                     MIN(begins) OVER (ORDER BY at DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
                     {NEVER}
                 ) AS later FROM (
                     SELECT {at} AS at, {at} - kept.covers AS begins FROM {rows}
                     WHERE slots.slot BETWEEN asked.first AND asked.last
                 )
             )
         ), 0) FROM asked"
    );
    let asked = list(asked.iter().map(|asked| asked.as_slice()));
    Ok(sqlx::query_as(AssertSqlSafe(statement)).bind(asked).fetch_all(connection).await?)
}

/// Which of these servers have stretches of `day` that others reach into.
async fn overlapping(
    connection: &mut SqliteConnection,
    days: &BTreeSet<i64>,
    day: i64,
    numbers: &[i64],
) -> Result<Vec<i64>, HistoryError> {
    if numbers.is_empty() || !days.contains(&day) {
        return Ok(Vec::new());
    }
    let next = days.contains(&(day + 1));
    let reached = reached_from_next(connection, day, next, numbers.iter().copied().collect()).await?;
    let rows = layout::rows_of("asked.number", day);
    let at = format!("(slots.slot * {SLOT} + (kept.key & {TIME_MASK}))");
    // Of neighbours that cover some time, one reaches into the other wherever any two overlap.
    let statement = format!(
        "WITH asked AS MATERIALIZED (
             SELECT value ->> 0 AS number, value ->> 1 AS reached FROM json_each($1)
         )
         SELECT number FROM asked WHERE (
             SELECT COALESCE(MAX(begins < before), 0) OR COALESCE(MAX(at) > asked.reached, 0) FROM (
                 SELECT at, begins, LAG(at) OVER (ORDER BY at) AS before FROM (
                     SELECT {at} AS at, {at} - kept.covers AS begins FROM {rows} WHERE kept.covers > 0
                 )
             )
         )"
    );
    let asked: Vec<[i64; 2]> =
        numbers.iter().map(|number| [*number, reached.get(number).copied().unwrap_or(NEVER)]).collect();
    let asked = list(asked.iter().map(|asked| asked.as_slice()));
    Ok(sqlx::query_scalar(AssertSqlSafe(statement)).bind(asked).fetch_all(connection).await?)
}

/// How far the snapshots of the next day reach back, by number; counted from midnight of `day`.
async fn reached_from_next(
    connection: &mut SqliteConnection,
    day: i64,
    next: bool,
    numbers: BTreeSet<i64>,
) -> Result<HashMap<i64, Millis>, HistoryError> {
    if !next {
        return Ok(HashMap::new());
    }
    let (rows, slots) = (layout::rows_of("asked.value", day + 1), LONGEST_COVERS / SLOT);
    let at = format!("(slots.slot * {SLOT} + (kept.key & {TIME_MASK}))");
    let statement = format!(
        "SELECT asked.value, MIN({at} - kept.covers) + {DAY} FROM json_each($1) AS asked CROSS JOIN {rows}
         WHERE slots.slot <= {slots} AND kept.covers > 0 GROUP BY asked.value"
    );
    let numbers = serde_json::Value::from(numbers.into_iter().collect::<Vec<i64>>()).to_string();
    let found: Vec<(i64, Millis)> =
        sqlx::query_as(AssertSqlSafe(statement)).bind(numbers).fetch_all(connection).await?;
    Ok(found.into_iter().collect())
}

/// The days in which the pieces, or what reaches into them, may lie.
pub fn days_of<'a>(pieces: impl Iterator<Item = &'a Piece>) -> Option<(i64, i64)> {
    pieces
        .map(|piece| (layout::day(piece.from), layout::day(piece.to.saturating_add(LONGEST_COVERS))))
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}
