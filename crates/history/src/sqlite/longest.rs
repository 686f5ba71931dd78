//! The longest gap of each server, from sums over the narrow rows; where stretches overlap, from a walk over them.

use std::collections::{BTreeMap, HashMap};

use fleet::{
    Millis, ServerId,
    retention::DAY,
    uptime::{Gaps, Piece},
};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    Sqlite,
    layout::{self, SLOT, TIME_MASK},
    outages::pass_all,
    overlaps::{self, Unsure},
    read::list,
};
use crate::{
    HistoryError,
    longest::{Longest, Question, Stretch},
};

/// Index of the question, count, sum of covers, least and greatest start, least and greatest `sampled_at`; times
/// counted from midnight.
type Row = (i64, i64, Millis, Millis, Millis, Millis, Millis);

impl Sqlite {
    /// See [`crate::History::longest_gaps`].
    pub async fn longest_gaps(
        &self,
        asked: &[(ServerId, Vec<Piece>)],
    ) -> Result<Vec<Option<Piece>>, HistoryError> {
        let days: Vec<i64> = self.known().days.iter().copied().collect();
        let (mut transaction, oldest) = self.reading().await?;
        let days: Vec<i64> = days.into_iter().filter(|day| day * DAY >= oldest).collect();
        let mut walked = self.walked(&mut transaction, asked, &days).await?;
        let apart: Vec<(ServerId, Vec<Piece>)> = (0..)
            .zip(asked)
            .filter(|(position, _)| !walked.contains_key(position))
            .map(|(_, asked)| asked.clone())
            .collect();
        let mut longest = Longest::new(&apart);
        while !longest.questions().is_empty() {
            let mut found = Vec::new();
            for (day, asked) in self.by_day(longest.questions(), &days) {
                found.extend(stretches_of_day(&mut transaction, day, &asked).await?);
            }
            longest.answer(found);
        }
        let mut found = longest.finish().into_iter();
        let each = (0..asked.len()).map(|position| match walked.remove(&position) {
            Some(longest) => longest,
            None => found.next().flatten(),
        });
        Ok(each.collect())
    }

    /// The longest gap of each server whose stretches may overlap, by position.
    async fn walked(
        &self,
        connection: &mut SqliteConnection,
        asked: &[(ServerId, Vec<Piece>)],
        days: &[i64],
    ) -> Result<HashMap<usize, Option<Piece>>, HistoryError> {
        let Some((first, last)) = overlaps::days_of(asked.iter().flat_map(|(_, pieces)| pieces)) else {
            return Ok(HashMap::new());
        };
        let unsure = Unsure::of(connection, first, last).await?;
        let mut walked = HashMap::new();
        for (position, (id, pieces)) in asked.iter().enumerate() {
            let number = self.known().servers.get(id).map(|server| server.number);
            let Some((number, (first, last))) = number.zip(overlaps::days_of(pieces.iter())) else {
                continue;
            };
            let own = days.iter().copied().filter(|day| (first..=last).contains(day));
            if unsure.contains_any(own, number) {
                let mut gaps = Gaps::measured(pieces.clone());
                pass_all(connection, days, number, &mut gaps).await?;
                walked.insert(position, gaps.missing().longest);
            }
        }
        Ok(walked)
    }

    /// The questions by day, each as: its index, number of the server, first and last slot, first and last
    /// millisecond within the day, width.
    fn by_day(&self, questions: &[Question], days: &[i64]) -> BTreeMap<i64, Vec<[i64; 7]>> {
        let known = self.known();
        let mut by_day: BTreeMap<i64, Vec<[i64; 7]>> = BTreeMap::new();
        for (position, question) in (0..).zip(questions) {
            let Some(server) = known.servers.get(&question.server) else { continue };
            let (first, last) = (question.first, question.last());
            let begins = days.partition_point(|day| *day < layout::day(first));
            for day in days[begins..].iter().take_while(|day| **day <= layout::day(last)) {
                let midnight = day * DAY;
                let (first, last) = (first.max(midnight) - midnight, last.min(midnight + DAY - 1) - midnight);
                let slots = [first / SLOT, last / SLOT];
                let asked = [position, server.number, slots[0], slots[1], first, last, question.width];
                by_day.entry(*day).or_default().push(asked);
            }
        }
        by_day
    }
}

/// The stretches of one day. Snapshots that cover no time are left out, since they do not divide a gap.
async fn stretches_of_day(
    connection: &mut SqliteConnection,
    day: i64,
    asked: &[[i64; 7]],
) -> Result<Vec<(usize, Stretch)>, HistoryError> {
    let rows = layout::rows_of("asked.number", day);
    let at = format!("(slots.slot * {SLOT} + (kept.key & {TIME_MASK}))");
    let statement = format!(
        "WITH asked AS MATERIALIZED (
             SELECT value ->> 0 AS position, value ->> 1 AS number, value ->> 2 AS first_slot,
                 value ->> 3 AS last_slot, value ->> 4 AS first, value ->> 5 AS last, value ->> 6 AS width
             FROM json_each($1)
         )
         SELECT position, COUNT(*), SUM(kept.covers), MIN({at} - kept.covers), MAX({at} - kept.covers),
             MIN({at}), MAX({at})
         FROM asked CROSS JOIN {rows}
         WHERE slots.slot BETWEEN asked.first_slot AND asked.last_slot
             AND {at} BETWEEN asked.first AND asked.last AND kept.covers > 0
         GROUP BY position, {at} / asked.width"
    );
    let asked = list(asked.iter().map(|asked| asked.as_slice()));
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(statement)).bind(asked).fetch_all(connection).await?;
    let midnight = day * DAY;
    let stretch = |(position, count, covers, from, last_from, at, last_at): Row| {
        let [from, at] = [[from, last_from], [at, last_at]].map(|times| times.map(|time| midnight + time));
        Some((usize::try_from(position).ok()?, Stretch { count, covers, from, at }))
    };
    Ok(rows.into_iter().filter_map(stretch).collect())
}
