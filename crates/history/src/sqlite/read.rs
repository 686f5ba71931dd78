//! Reading. Each call sees one state of the file, however many statements it runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    ops::RangeInclusive,
};

use fleet::{
    Millis, ServerId, Snapshot,
    retention::DAY,
    series::{Figures, Reduction},
    uptime::{Gaps, Piece},
};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, SqliteConnection, Transaction};

use super::{
    Sqlite,
    blocks::{self, Reach},
    known::{Server, horizon},
    layout::{self, HOUR, INDEX_BITS, SLOT, SLOT_SHIFT, TIME_MASK},
    outages::pass_window,
    overlaps::{self, Unsure},
    pack,
};
use crate::{
    Covered, Extent, HistoryError, LONGEST_COVERS,
    block::{self, Wanted},
};

/// One piece whose coverage is asked for: index in the answer, number of the server, piece.
pub type Asked = (usize, i64, Piece);

impl Sqlite {
    /// See [`crate::History::extents`].
    pub async fn extents(&self, servers: &[ServerId]) -> Result<Vec<Option<Extent>>, HistoryError> {
        let (known, days): (Vec<Option<Server>>, Vec<i64>) = {
            let known = self.known();
            let servers = servers.iter().map(|id| known.servers.get(id).copied()).collect();
            (servers, known.days.iter().copied().collect())
        };
        let (mut transaction, oldest) = self.reading().await?;
        let newest = newest(&mut transaction, &known, &days, oldest).await?;
        let extent = |(server, newest): (Option<Server>, Option<Millis>)| {
            let ends = server?.ends;
            Some(Extent { newest: newest.map_or(ends.newest, |newest| newest.max(ends.newest)), ..ends })
        };
        Ok(known.into_iter().zip(newest).map(extent).collect())
    }

    /// Adds how much of the pieces the snapshots themselves vouch for, to what is covered at the index of each.
    pub(super) async fn add_raw(
        &self,
        connection: &mut SqliteConnection,
        days: &[i64],
        oldest: Millis,
        wanted: &[Asked],
        covered: &mut [Covered],
    ) -> Result<(), HistoryError> {
        let reach = overlaps::days_of(wanted.iter().map(|(_, _, piece)| piece));
        let Some((first, last)) = reach else { return Ok(()) };
        let unsure = Unsure::of(connection, first, last).await?;
        let packed = Reach::of(connection).await?;
        let (mixed, wanted): (Vec<Asked>, Vec<Asked>) =
            wanted.iter().partition(|(_, _, piece)| !packed.reaching(*piece).is_empty());
        let kept: Vec<i64> = days.iter().copied().filter(|day| day * DAY >= oldest).collect();
        for (index, number, piece) in mixed {
            let mut gaps = Gaps::measured(vec![piece]);
            pass_window(connection, &kept, number, piece, &mut gaps).await?;
            covered[index].covered += piece.length().max(0) - gaps.missing().total;
        }
        for day in kept.into_iter().filter(|day| (first..=last).contains(day)) {
            let (overlap, apart): (Vec<Asked>, Vec<Asked>) =
                wanted.iter().partition(|(_, number, _)| unsure.contains(day, *number));
            let mut sums = covered_of_day(connection, day, &apart).await?;
            let next = days.binary_search(&(day + 1)).is_ok();
            sums.extend(overlaps::covered_of_day(connection, day, next, &overlap).await?);
            for (index, sum) in sums {
                if let Some(covered) = usize::try_from(index).ok().and_then(|index| covered.get_mut(index)) {
                    covered.covered += sum;
                }
            }
        }
        Ok(())
    }

    /// A view of the file that does not change, and the oldest midnight that is kept in it. In the view tables of
    /// earlier days may be missing; every other table that was known before this call is there.
    pub(super) async fn reading(&self) -> Result<(Transaction<'static, sqlx::Sqlite>, Millis), HistoryError> {
        let mut transaction = self.0.readers.begin().await?;
        let oldest = horizon(&mut transaction).await?;
        Ok((transaction, oldest))
    }
}

/// The newest `sampled_at` of each server in the file; `None` where it is no later than the written one.
pub async fn newest(
    connection: &mut SqliteConnection,
    servers: &[Option<Server>],
    days: &[i64],
    oldest: Millis,
) -> Result<Vec<Option<Millis>>, HistoryError> {
    // The true newest sample is in the slot of the written one, or in the next slot.
    let mut slots: BTreeMap<i64, Vec<[i64; 3]>> = BTreeMap::new();
    for (index, server) in (0..).zip(servers) {
        for after in [0, SLOT] {
            let Some(Server { number, ends, .. }) = server else { continue };
            let at = ends.newest + after;
            slots.entry(layout::day(at)).or_default().push([index, *number, layout::slot(at)]);
        }
    }
    let mut newest: Vec<Option<Millis>> = vec![None; servers.len()];
    for (day, slots) in slots {
        if day * DAY < oldest || days.binary_search(&day).is_err() {
            continue;
        }
        for (index, key) in newest_keys(connection, day, &slots).await? {
            if let Some(newest) = usize::try_from(index).ok().and_then(|index| newest.get_mut(index)) {
                *newest = (*newest).max(Some(layout::sampled_at(day, key)));
            }
        }
    }
    Ok(newest)
}

/// The greatest key of each server in its slot, with the server's index in the answer.
async fn newest_keys(
    connection: &mut SqliteConnection,
    day: i64,
    slots: &[[i64; 3]],
) -> Result<Vec<(i64, i64)>, HistoryError> {
    let first = format!("(asked.slot << {SLOT_SHIFT}) | (asked.number << {})", layout::TIME_BITS);
    let statement = format!(
        "WITH asked AS MATERIALIZED (
             SELECT value ->> 0 AS position, value ->> 1 AS number, value ->> 2 AS slot FROM json_each($1)
         ), newest AS MATERIALIZED (
             SELECT position,
                 (SELECT MAX(key) FROM day_{day} WHERE key BETWEEN ({first}) AND ({first} | {TIME_MASK})) AS key
             FROM asked
         )
         SELECT position, key FROM newest WHERE key IS NOT NULL"
    );
    let slots = list(slots.iter().map(|slot| slot.as_slice()));
    Ok(sqlx::query_as(AssertSqlSafe(statement)).bind(slots).fetch_all(connection).await?)
}

/// How much of the pieces the snapshots of `day` cover, each with the index in the answer.
async fn covered_of_day(
    connection: &mut SqliteConnection,
    day: i64,
    wanted: &[Asked],
) -> Result<Vec<(i64, Millis)>, HistoryError> {
    let (mut within, mut at_edges) = (Vec::new(), Vec::new());
    for (index, number, piece) in wanted {
        let Some((slots, inner)) = slots_of(day, *piece) else { continue };
        let index = i64::try_from(*index).unwrap_or(i64::MAX);
        let (from, to) = (piece.from.saturating_sub(day * DAY), piece.to.saturating_sub(day * DAY));
        let ask = |list: &mut Vec<[i64; 6]>, first, last| {
            if first <= last {
                list.push([index, *number, first, last, from, to]);
            }
        };
        ask(&mut at_edges, *slots.start(), *inner.start() - 1);
        ask(&mut within, *inner.start(), *inner.end());
        ask(&mut at_edges, *inner.end() + 1, *slots.end());
    }
    let at = format!("(slots.slot * {SLOT} + (kept.key & {TIME_MASK}))");
    let overlap = format!("MAX(0, MIN({at}, asked.stop) - MAX({at} - kept.covers, asked.start))");
    let mut sums = sums_of_day(connection, day, "kept.covers", &within).await?;
    sums.extend(sums_of_day(connection, day, &overlap, &at_edges).await?);
    Ok(sums)
}

/// Two ranges of slots of `day`: those whose snapshots may reach into the piece, and of them those whose snapshots
/// lie wholly in it. The second may be empty; then it stands where such slots would be. `None` when no snapshot of
/// the day can reach into the piece.
pub fn slots_of(day: i64, Piece { from, to }: Piece) -> Option<(RangeInclusive<i64>, RangeInclusive<i64>)> {
    let midnight = day * DAY;
    // Of interest are snapshots sampled after the piece begins, and before the time from which none can reach back
    // into it.
    let first = from.saturating_add(1).max(midnight);
    let last = to.saturating_add(LONGEST_COVERS).min(midnight + DAY - 1);
    if first > last || from >= to {
        return None;
    }
    let (first, last) = (layout::slot(first), layout::slot(last));
    let begins = from.saturating_add(LONGEST_COVERS + SLOT - 1).max(midnight).saturating_sub(midnight) / SLOT;
    let ends = to.saturating_add(1).clamp(midnight, midnight + DAY) - midnight;
    let inner_first = begins.clamp(first, last + 1);
    let inner_last = (ends / SLOT - 1).clamp(inner_first - 1, last);
    Some((first..=last, inner_first..=inner_last))
}

/// Sums `summand` for each of `asked`: index in the answer, number of the server, first slot, last slot, start, stop.
/// Times count from midnight.
async fn sums_of_day(
    connection: &mut SqliteConnection,
    day: i64,
    summand: &str,
    asked: &[[i64; 6]],
) -> Result<Vec<(i64, Millis)>, HistoryError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let rows = layout::rows_of("asked.number", day);
    let statement = format!(
        "WITH asked AS MATERIALIZED (
             SELECT value ->> 0 AS position, value ->> 1 AS number, value ->> 2 AS first, value ->> 3 AS last,
                 value ->> 4 AS start, value ->> 5 AS stop
             FROM json_each($1)
         )
         SELECT position, COALESCE((
             SELECT SUM({summand}) FROM {rows} WHERE slots.slot BETWEEN asked.first AND asked.last
         ), 0) FROM asked"
    );
    let asked = list(asked.iter().map(|asked| asked.as_slice()));
    Ok(sqlx::query_as(AssertSqlSafe(statement)).bind(asked).fetch_all(connection).await?)
}

/// Those of these hours that have a table of bodies in this view of the file.
pub async fn bodies_of(
    connection: &mut SqliteConnection,
    hours: RangeInclusive<i64>,
) -> Result<BTreeSet<i64>, HistoryError> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'bodies_[0-9]*'",
    )
    .fetch_all(connection)
    .await?;
    let hour = |table: String| table.strip_prefix("bodies_").and_then(|hour| hour.parse::<i64>().ok());
    Ok(tables.into_iter().filter_map(hour).filter(|hour| hours.contains(hour)).collect())
}

/// Adds to `reduction` what the block of a server's hour holds, if it has one.
pub async fn reduce_block(
    connection: &mut SqliteConnection,
    hour: i64,
    number: i64,
    reduction: &mut Reduction,
) -> Result<(), HistoryError> {
    let Some(block) = blocks::block_of(connection, hour, number).await? else { return Ok(()) };
    let add = |snapshot: Snapshot| reduction.add(snapshot.sampled_at(), &Figures::of(&snapshot));
    let read = block::read(hour * HOUR, &block, Wanted::Figures, add);
    read.map_err(|reason| blocks::corrupt(hour, number, reason))
}

/// Adds to `reduction` what one server sampled within `[first, last]`, which lies in this hour.
pub async fn reduce(
    connection: &mut SqliteConnection,
    hour: i64,
    number: i64,
    [first, last]: [Millis; 2],
    reduction: &mut Reduction,
) -> Result<(), HistoryError> {
    let day = layout::day(first);
    let rows = layout::rows_of("$1", day);
    let statement = format!(
        "SELECT kept.key, kept.place, bodies.pack FROM {rows}
         LEFT JOIN bodies_{hour} AS bodies ON bodies.id = kept.place >> {INDEX_BITS}
         WHERE slots.slot BETWEEN $2 AND $3"
    );
    let mut found = sqlx::query_as::<_, (i64, i64, Option<Vec<u8>>)>(AssertSqlSafe(statement))
        .bind(number)
        .bind(layout::slot(first))
        .bind(layout::slot(last))
        .fetch(connection);
    // Back-filled snapshots of one server share a pack.
    let mut opened: Option<(i64, Vec<u8>)> = None;
    while let Some((key, place, pack)) = found.try_next().await? {
        let at = layout::sampled_at(day, key);
        if at < first || at > last {
            continue;
        }
        let corrupt = |reason: String| HistoryError::Corrupt {
            table: format!("bodies_{hour}"),
            row: format!("number {number} at {at}"),
            reason,
        };
        let (id, index) = (place >> INDEX_BITS, place & ((1 << INDEX_BITS) - 1));
        let lines = match opened.take() {
            Some((open, lines)) if open == id => lines,
            _ => pack::open(&pack.ok_or_else(|| corrupt("missing".into()))?).map_err(corrupt)?,
        };
        let snapshot =
            pack::figures(&lines, usize::try_from(index).unwrap_or(usize::MAX)).map_err(corrupt)?;
        reduction.add(at, &Figures::of(&snapshot));
        opened = Some((id, lines));
    }
    Ok(())
}

/// Rows of numbers as JSON.
pub fn list<'a>(rows: impl Iterator<Item = &'a [i64]>) -> String {
    let mut json = String::from("[");
    for row in rows {
        json.push_str(if json.len() > 1 { ",[" } else { "[" });
        for (index, number) in row.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(json, "{comma}{number}");
        }
        json.push(']');
    }
    json.push(']');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_slots_are_those_that_no_edge_can_cut() {
        let day = 20_000;
        for from in (-2..50).map(|hours| day * DAY + hours * 1_800_007) {
            for length in [1, 299_999, 7_500_000, 9_000_000, 50_000_000, DAY, 3 * DAY] {
                let piece = Piece { from, to: from + length };
                let Some((slots, inner)) = slots_of(day, piece) else { continue };
                for slot in 0..288 {
                    let (begins, ends) = (day * DAY + slot * SLOT, day * DAY + slot * SLOT + SLOT - 1);
                    let reached = ends > piece.from && begins < piece.to + LONGEST_COVERS;
                    let whole = begins - LONGEST_COVERS >= piece.from && ends <= piece.to;
                    assert!(slots.contains(&slot) || !reached, "{piece:?} {slot}");
                    assert_eq!(inner.contains(&slot), whole, "{piece:?} {slot}");
                }
                assert!(*inner.start() >= *slots.start() && *inner.end() <= *slots.end());
            }
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        for (from, to) in [(i64::MIN, i64::MAX), (i64::MIN, 0), (0, i64::MAX), (i64::MAX, i64::MIN)] {
            let _ = slots_of(20_000, Piece { from, to });
        }
    }
}
