//! Removing what one server sent, and giving space back.

use std::collections::{BTreeMap, HashMap, HashSet};

use fleet::{
    Millis, ServerId,
    hours::{HOUR, hour},
    retention::DAY,
};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    Sqlite,
    blocks::{self, Reach},
    layout::{self, INDEX_BITS},
    pack,
    read::list,
    rollups::forget_rollups,
};
use crate::{
    HistoryError,
    block::{self, Wanted},
};

/// Mask of a body's position within its pack.
const INDEX_MASK: i64 = (1 << INDEX_BITS) - 1;
/// Pages that are given back by one transaction.
const PAGES_AT_ONCE: i64 = 512;
/// So many unused pages are no reason to make the file smaller, as snapshots will fill them again.
const FEW_PAGES: i64 = 256;
/// Nor is this part of the file: in a file of as many days as are kept, a day that goes is less.
const FEW_OF: i64 = 8;

impl Sqlite {
    /// See [`crate::History::forget`]. A step is an hour of the server.
    pub async fn forget(
        &self,
        server: ServerId,
        before: Millis,
        from: Millis,
    ) -> Result<Option<Millis>, HistoryError> {
        let Some(number) = self.known().servers.get(&server).map(|server| server.number) else {
            return Ok(None);
        };
        let mut writing = self.write().await?;
        let Some(first) = self.first_from(number, from, before).await? else {
            let forgotten = self.forget_ends(server, number, before).await;
            writing.settled = forgotten.is_ok();
            return forgotten.map(|()| None);
        };
        writing.settled = false;
        self.spoil(number);
        let mut transaction = self.0.writer.begin_with("BEGIN IMMEDIATE").await?;
        let hour = hour(first);
        forget_rows(&mut transaction, number, hour, before).await?;
        transaction.commit().await?;
        writing.settled = true;
        Ok(Some((hour + 1) * HOUR))
    }

    /// When the oldest snapshot of a server within `[from, before)` was sampled; of one in a block, when its hour begins.
    async fn first_from(
        &self,
        number: i64,
        from: Millis,
        before: Millis,
    ) -> Result<Option<Millis>, HistoryError> {
        let days: Vec<i64> = {
            let known = self.known();
            let first = layout::day(from.max(known.oldest));
            known.days.range(first..).copied().collect()
        };
        let mut connection = self.0.writer.acquire().await?;
        let end = hour(before.saturating_sub(1).max(from));
        let packed = Reach::of(&mut connection).await?.within(hour(from)..=end);
        let packed = blocks::hours_of(&mut connection, number, packed).await?;
        let packed = packed.first().map(|hour| (hour * HOUR).max(from)).filter(|at| *at < before);
        for day in days.into_iter().take_while(|day| day * DAY < before) {
            let rows = layout::rows_of("$1", day);
            let statement = format!(
                "SELECT kept.key FROM {rows} WHERE slots.slot >= $2 ORDER BY slots.slot, kept.key LIMIT 1"
            );
            let first: Option<i64> = sqlx::query_scalar(AssertSqlSafe(statement))
                .bind(number)
                .bind(if from > day * DAY { layout::slot(from) } else { 0 })
                .fetch_optional(&mut *connection)
                .await?;
            if let Some(key) = first {
                let at = layout::sampled_at(day, key);
                return Ok([packed, (at < before).then_some(at)].into_iter().flatten().min());
            }
        }
        Ok(packed)
    }

    /// The file does not remember the start of what is gone, nor a server of which nothing is left.
    async fn forget_ends(&self, server: ServerId, number: i64, before: Millis) -> Result<(), HistoryError> {
        let left = self.first_from(number, before, Millis::MAX).await?.is_some();
        self.spoil(number);
        let spans: Vec<i64> = self.known().spans.iter().copied().collect();
        let mut transaction = self.0.writer.begin_with("BEGIN IMMEDIATE").await?;
        forget_rollups(&mut transaction, &spans, number, hour(before)).await?;
        if left {
            sqlx::query("UPDATE servers SET oldest_start = MAX(oldest_start, $2) WHERE number = $1")
                .bind(number)
                .bind(before)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            if let Some(server) = self.known_mut().servers.get_mut(&server) {
                server.ends.oldest_start = server.ends.oldest_start.max(before);
            }
            return Ok(());
        }
        for statement in [
            "DELETE FROM servers WHERE number = $1",
            "DELETE FROM overlaps WHERE number = $1",
            "DELETE FROM rolled WHERE number = $1",
            "DELETE FROM dirty WHERE number = $1",
        ] {
            sqlx::query(statement).bind(number).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.known_mut().servers.remove(&server);
        Ok(())
    }

    /// See [`crate::History::give_back`].
    pub async fn give_back(&self) -> Result<bool, HistoryError> {
        let (mode, pages, free): (i64, i64, i64) = sqlx::query_as(
            "SELECT auto_vacuum, page_count, freelist_count \
             FROM pragma_auto_vacuum, pragma_page_count, pragma_freelist_count",
        )
        .fetch_one(&self.0.readers)
        .await?;
        // 2: incremental, which a file is from its beginning or never.
        if mode != 2 || free <= FEW_PAGES.max(pages / FEW_OF) {
            return Ok(false);
        }
        let _writing = self.write().await?;
        // It gives back a page a row of the answer.
        let statement = format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})");
        sqlx::query(AssertSqlSafe(statement)).fetch_all(&self.0.writer).await?;
        Ok(true)
    }
}

/// Removes what a server sampled in an hour before this time, keys and bodies.
async fn forget_rows(
    connection: &mut SqliteConnection,
    number: i64,
    hour: i64,
    before: Millis,
) -> Result<(), HistoryError> {
    let (first, day) = (hour * HOUR, layout::day(hour * HOUR));
    let rows = layout::rows_of("$1", day);
    let statement = format!("SELECT kept.key, kept.place FROM {rows} WHERE slots.slot BETWEEN $2 AND $3");
    let found: Vec<(i64, i64)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(number)
        .bind(layout::slot(first))
        .bind(layout::slot(first + HOUR - 1))
        .fetch_all(&mut *connection)
        .await?;
    let found: Vec<[i64; 2]> = found
        .into_iter()
        .filter(|(key, _)| layout::sampled_at(day, *key) < before)
        .map(|(key, place)| [key, place])
        .collect();
    let statement = format!("DELETE FROM day_{day} WHERE key IN (SELECT value ->> 0 FROM json_each($1))");
    sqlx::query(AssertSqlSafe(statement))
        .bind(list(found.iter().map(|row| row.as_slice())))
        .execute(&mut *connection)
        .await?;
    let mut positions: HashMap<i64, HashSet<usize>> = HashMap::new();
    for [_, place] in found {
        let index = usize::try_from(place & INDEX_MASK).unwrap_or(usize::MAX);
        positions.entry(place >> INDEX_BITS).or_default().insert(index);
    }
    forget_bodies(connection, hour, positions).await?;
    forget_block(connection, number, hour, before).await
}

/// Removes what a block has from before this time.
async fn forget_block(
    connection: &mut SqliteConnection,
    number: i64,
    hour: i64,
    before: Millis,
) -> Result<(), HistoryError> {
    let Some(block) = blocks::block_of(connection, hour, number).await? else { return Ok(()) };
    let mut left = Vec::new();
    if (hour + 1) * HOUR > before {
        // Of one that is damaged what can be read stays.
        let read = block::read(hour * HOUR, &block, Wanted::All, |snapshot| left.push(snapshot));
        if let Err(reason) = read {
            tracing::warn!(
                hour,
                number,
                reason,
                "a block cannot be read, and goes with what is forgotten of its hour"
            );
        }
        left.retain(|snapshot| snapshot.sampled_at() >= before);
    }
    let left = (!left.is_empty()).then(|| block::write(hour * HOUR, &left));
    blocks::change(connection, hour, BTreeMap::from([(number, left)])).await
}

/// Empties these positions of packs of an hour; a pack of which nothing is left goes.
async fn forget_bodies(
    connection: &mut SqliteConnection,
    hour: i64,
    positions: HashMap<i64, HashSet<usize>>,
) -> Result<(), HistoryError> {
    let select = format!("SELECT pack FROM bodies_{hour} WHERE id = $1");
    let update = format!("UPDATE bodies_{hour} SET pack = $2 WHERE id = $1");
    let delete = format!("DELETE FROM bodies_{hour} WHERE id = $1");
    for (id, positions) in positions {
        let pack: Option<Vec<u8>> =
            sqlx::query_scalar(AssertSqlSafe(&*select)).bind(id).fetch_optional(&mut *connection).await?;
        let Some(pack) = pack else { continue };
        // A pack that cannot be read cannot be told apart either: it goes with the last day of its hour.
        let Ok(left) = pack::without(&pack, &positions) else { continue };
        if left.is_empty() {
            sqlx::query(AssertSqlSafe(&*delete)).bind(id).execute(&mut *connection).await?;
        } else {
            sqlx::query(AssertSqlSafe(&*update)).bind(id).bind(left).execute(&mut *connection).await?;
        }
    }
    Ok(())
}
