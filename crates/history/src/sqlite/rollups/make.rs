//! Making rollups: a step at a time, each of which reads beside what is written, and writes one small transaction.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::{Range, RangeInclusive},
    sync::{Arc, MutexGuard, PoisonError},
};

use fleet::{
    Millis, Record, ServerId,
    hours::{self, Closing, HOUR, Rolled},
    rollup::Rollup,
};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{
    make_span, raw, span,
    write::{write_newest, write_rolled, write_rollups, write_sums},
};
use crate::{
    HistoryError, RollUp,
    sqlite::{
        Inner, Sqlite,
        append::Row,
        known::{Known, Server},
        layout::{MAX_NUMBER, SLOT, TIME_BITS},
        read::list,
    },
};

/// Most hours, counted for each server, that one step makes.
const MOST: usize = 256;

/// Some hours of some servers that are being made of what the file held when that began.
#[derive(Debug)]
pub struct Making {
    hours: Range<i64>,
    numbers: HashSet<i64>,
    /// Those that have changed since.
    spoilt: HashSet<i64>,
}

/// What is being made, by ticket.
#[derive(Debug, Default)]
pub struct Makings {
    next: u64,
    under_way: BTreeMap<u64, Making>,
}

/// As long as it lives, appends note what they change of the hours that it is about.
pub struct Ticket {
    inner: Arc<Inner>,
    id: u64,
}

/// What is made in one step.
struct Step {
    hours: Range<i64>,
    members: Vec<Member>,
}

pub struct Member {
    id: ServerId,
    pub number: i64,
    /// What is rolled up of it before this step and after it. The same if the step makes hours again.
    pub before: Option<Rolled>,
    pub after: Option<Rolled>,
    /// Its newest sample, if the file has to be told of it.
    pub newest: Option<Millis>,
}

impl Ticket {
    /// The numbers of which a snapshot has come since that touches the hours. To be asked while the lock of writing is
    /// held.
    pub fn spoilt(&self) -> HashSet<i64> {
        makings(&self.inner).under_way.get(&self.id).map(|making| making.spoilt.clone()).unwrap_or_default()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        makings(&self.inner).under_way.remove(&self.id);
    }
}

fn makings(inner: &Inner) -> MutexGuard<'_, Makings> {
    inner.makings.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Makings {
    fn touch(&mut self, number: i64, hours: &RangeInclusive<i64>) {
        for Making { hours: made, numbers, spoilt } in self.under_way.values_mut() {
            if *hours.start() < made.end && *hours.end() >= made.start && numbers.contains(&number) {
                spoilt.insert(number);
            }
        }
    }
}

impl Sqlite {
    /// Begins to make something of these hours of these numbers. What is read after this, and not
    /// [spoilt](Ticket::spoilt) when it is written, is up to date.
    pub(crate) async fn begin_making(
        &self,
        hours: Range<i64>,
        numbers: HashSet<i64>,
    ) -> Result<Ticket, HistoryError> {
        // Appends hold the same lock: each has either committed, or will find this.
        let _writing = self.write().await?;
        let mut makings = makings(&self.0);
        makings.next += 1;
        let id = makings.next;
        makings.under_way.insert(id, Making { hours, numbers, spoilt: HashSet::new() });
        drop(makings);
        Ok(Ticket { inner: Arc::clone(&self.0), id })
    }

    /// Whatever is being made of a server is not to be written: some of its history goes. Called while the lock of writing
    /// is held.
    pub(in crate::sqlite) fn spoil(&self, number: i64) {
        makings(&self.0).touch(number, &(i64::MIN..=i64::MAX));
    }

    /// Notes which rollups are out of date by these new rows. Called by whoever appends them, in the same transaction.
    pub(in crate::sqlite) async fn soil(
        &self,
        connection: &mut SqliteConnection,
        rows: &[Row],
        records: &[Record],
    ) -> Result<(), HistoryError> {
        let mut dirty: Vec<[i64; 2]> = Vec::new();
        {
            let (known, mut makings) = (self.known(), makings(&self.0));
            let oldest = hours::hour(known.oldest);
            for row in rows {
                let Record { server, snapshot, .. } = &records[row.record];
                let touched = hours::touched(snapshot.from(), snapshot.sampled_at());
                let number = (row.key >> TIME_BITS) & MAX_NUMBER;
                makings.touch(number, &touched);
                let rolled = known.servers.get(server).and_then(|server| server.rolled);
                let Some(rolled) = rolled.filter(|rolled| *touched.start() < rolled.until) else { continue };
                // What was made of snapshots that are gone is not made again.
                let again = touched.filter(|hour| rolled.contains(*hour) && *hour >= oldest);
                dirty.extend(again.map(|hour| [hour, number]));
            }
        }
        if dirty.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO dirty (hour, number) SELECT value ->> 0, value ->> 1 FROM json_each($1) WHERE true \
             ON CONFLICT DO NOTHING",
        )
        .bind(list(dirty.iter().map(|dirty| dirty.as_slice())))
        .execute(connection)
        .await?;
        Ok(())
    }

    /// See [`crate::History::roll_up`].
    pub async fn roll_up(&self, closing: &Closing) -> Result<RollUp, HistoryError> {
        // One at a time; what a second one would make is the same.
        let _alone = self.0.rolling.lock().await;
        let (found, left) = self.known().next_step(closing);
        let dirty = self.dirty().await?;
        let left = left + dirty.0;
        let step = match found {
            Some((step, true)) => Some(step),
            earlier => dirty.1.or(earlier.map(|(step, _)| step)),
        };
        let Some(step) = step else { return Ok(RollUp { made: 0, left }) };
        let made = self.make(step).await?;
        Ok(RollUp { made, left: left.saturating_sub(made) })
    }

    /// How many hours are dirty, and of which the oldest are to be made again.
    async fn dirty(&self) -> Result<(u64, Option<Step>), HistoryError> {
        let (mut transaction, oldest) = self.reading().await?;
        let count: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM dirty").fetch_one(&mut *transaction).await?;
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT dirty.hour, dirty.number, servers.id FROM dirty JOIN servers USING (number)
             WHERE dirty.hour = (SELECT MIN(hour) FROM dirty WHERE hour >= $1) ORDER BY dirty.number LIMIT $2",
        )
        .bind(hours::hour(oldest))
        .bind(i64::try_from(MOST).unwrap_or(i64::MAX))
        .fetch_all(&mut *transaction)
        .await?;
        let Some(hour) = rows.first().map(|(hour, ..)| *hour) else {
            return Ok((count.unsigned_abs(), None));
        };
        let known = self.known();
        let member = |(_, number, id): (i64, i64, Vec<u8>)| {
            let id = ServerId::from_bytes(id.try_into().ok()?);
            let before = known.servers.get(&id)?.rolled;
            Some(Member { id, number, before, after: before, newest: None })
        };
        let members = rows.into_iter().filter_map(member).collect();
        Ok((count.unsigned_abs(), Some(Step { hours: hour..hour + 1, members })))
    }

    /// Makes what a step is about; returns how many hours, counted for each server, are done by that.
    async fn make(&self, step: Step) -> Result<u64, HistoryError> {
        let numbers: Vec<i64> = step.members.iter().map(|member| member.number).collect();
        let ticket = self.begin_making(step.hours.clone(), numbers.iter().copied().collect()).await?;
        let days = self.known().days.clone();
        let (mut transaction, oldest) = self.reading().await?;
        if step.hours.start * HOUR < oldest {
            // Expired meanwhile: what is to do is another thing now.
            return Ok(0);
        }
        let samples = raw::samples(&mut transaction, &days, &step.hours, &numbers).await?;
        drop(transaction);
        let again = step.members.iter().all(|member| member.before == member.after);
        let mut rollups: Vec<(i64, i64, Rollup)> = Vec::new();
        let mut newest: HashMap<i64, Millis> = HashMap::new();
        for number in &numbers {
            let samples = samples.get(number).map_or(&[][..], Vec::as_slice);
            let made = step.hours.clone().map(|hour| (*number, hour, Rollup::of(hour, samples)));
            // One that was there before may have to go.
            rollups.extend(made.filter(|(_, _, rollup)| again || !rollup.is_empty()));
            newest.extend(samples.last().map(|last| (*number, last.at)));
            tokio::task::yield_now().await;
        }
        self.store(step, &ticket, rollups, &newest).await
    }

    async fn store(
        &self,
        Step { hours, mut members }: Step,
        ticket: &Ticket,
        mut rollups: Vec<(i64, i64, Rollup)>,
        newest: &HashMap<i64, Millis>,
    ) -> Result<u64, HistoryError> {
        let mut writing = self.write().await?;
        let spoilt = ticket.spoilt();
        let missing = {
            let known = self.known();
            members.retain(|Member { id, number, before, .. }| {
                let server = known.servers.get(id);
                let same = server.is_some_and(|server| server.number == *number && server.rolled == *before);
                same && !spoilt.contains(number)
            });
            // The file is behind with the newest sample by less than a slot, which the snapshots tell while they are kept.
            for Member { id, number, newest: is, .. } in &mut members {
                let was = known.servers.get(id).map(|server| server.ends.newest);
                *is = newest.get(number).copied().filter(|newest| Some(*newest) > was);
            }
            !known.spans.contains(&span(hours.start))
        };
        let numbers: HashSet<i64> = members.iter().map(|member| member.number).collect();
        rollups.retain(|(number, ..)| numbers.contains(number));
        if members.is_empty() {
            return Ok(0);
        }
        writing.settled = false;
        let mut transaction = self.0.writer.begin_with("BEGIN IMMEDIATE").await?;
        if missing {
            for statement in make_span(span(hours.start)) {
                sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
            }
        }
        write_rollups(&mut transaction, span(hours.start), &rollups).await?;
        write_sums(&mut transaction, &hours, &rollups).await?;
        write_rolled(&mut transaction, &hours, &members).await?;
        write_newest(&mut transaction, &members).await?;
        transaction.commit().await?;
        let mut known = self.known_mut();
        known.spans.insert(span(hours.start));
        for Member { id, after, newest, .. } in &members {
            if let Some(server) = known.servers.get_mut(id) {
                server.rolled = *after;
                server.ends.newest = newest.unwrap_or(server.ends.newest);
            }
        }
        writing.settled = true;
        let hours = (hours.end - hours.start).unsigned_abs();
        Ok(hours * u64::try_from(members.len()).unwrap_or(u64::MAX))
    }
}

impl Known {
    /// The most urgent step, whether it is about hours that have closed lately, and how many hours are still to do.
    fn next_step(&self, closing: &Closing) -> (Option<(Step, bool)>, u64) {
        let (mut left, mut steps) = (0, HashMap::<(bool, i64, i64), Vec<Member>>::new());
        for (id, server) in &self.servers {
            let (closed, newest) = (closing.before(*id), server.newest_at_most());
            let oldest = server.ends.oldest_start.max(self.oldest);
            let rolled = server.rolled.unwrap_or_else(|| Rolled::none(closed, newest));
            left += rolled.left(closed, oldest, newest).unsigned_abs();
            let later = rolled.later(closed, newest);
            let lately = later.is_some();
            let Some(hours) = later.or_else(|| rolled.earlier(oldest)) else { continue };
            let after = Some(rolled.with(&hours));
            let member =
                Member { id: *id, number: server.number, before: server.rolled, after, newest: None };
            steps.entry((lately, hours.start, hours.end)).or_default().push(member);
        }
        // Of what closed lately the oldest first, else the latest.
        let order =
            |(lately, start, end): &(bool, i64, i64)| (*lately, if *lately { -start } else { *start }, *end);
        let step = steps.into_iter().max_by_key(|(which, _)| order(which));
        let step = step.map(|((lately, start, end), mut members)| {
            members.sort_unstable_by_key(|member| member.number);
            members.truncate((MOST / usize::try_from(end - start).unwrap_or(1).max(1)).max(1));
            (Step { hours: start..end, members }, lately)
        });
        (step, left)
    }
}

impl Server {
    /// No snapshot of it was sampled later.
    pub fn newest_at_most(&self) -> Millis {
        self.last.unwrap_or(self.ends.newest + SLOT - 1).max(self.ends.newest)
    }
}
