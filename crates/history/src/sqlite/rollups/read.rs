//! Reading: rollups of closed hours, and the snapshots themselves of all others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fleet::{
    Millis, ServerId,
    hours::{self, HOUR, Rolled, of_hour},
    retention::DAY,
    series::Reduction,
    uptime::{Gaps, Outages, Piece},
};
use sqlx::SqliteConnection;

use super::{
    DAY_SHIFT, HOURS_A_DAY, key,
    rows::{rollups_at, rollups_of, sums_of_days, sums_of_hours},
    span, span_ends,
};
use crate::{
    Chart, Covered, HistoryError,
    sqlite::{
        Sqlite,
        blocks::{self, Reach},
        known::Server,
        outages::pass_window,
        read::{Asked, bodies_of, reduce, reduce_block},
    },
    timeline::{Segment, Timeline},
};

/// What sums over rollups are asked for, by span.
#[derive(Default)]
struct Plan {
    /// Index, number, first and last day of the span.
    days: BTreeMap<i64, Vec<[i64; 4]>>,
    /// Index, first and last key.
    hours: BTreeMap<i64, Vec<[i64; 3]>>,
    /// Index, key, and which of `cuts`.
    cut: BTreeMap<i64, Vec<[i64; 2]>>,
    cuts: Vec<(usize, i64, i64, Piece)>,
    raw: Vec<Asked>,
}

impl Plan {
    fn add(&mut self, index: usize, number: i64, rolled: Rolled, segment: Segment) {
        let position = i64::try_from(index).unwrap_or(i64::MAX);
        match segment {
            Segment::Raw(piece) => self.raw.push((index, number, piece)),
            Segment::Cut(hour, piece) => {
                let which = i64::try_from(self.cuts.len()).unwrap_or(i64::MAX);
                self.cuts.push((index, number, hour, piece));
                self.cut.entry(span(hour)).or_default().push([which, key(number, hour)]);
            }
            Segment::Hours(hours) => {
                let mut hour = hours.start;
                while hour < hours.end {
                    let midnight = (hour.div_euclid(HOURS_A_DAY) + 1) * HOURS_A_DAY;
                    let end = midnight.min(hours.end);
                    let whole = end - hour == HOURS_A_DAY
                        // Nothing is added to the sum of such a day any more.
                        && rolled.first <= hour && rolled.until >= end;
                    if whole {
                        self.add_day(position, number, hour);
                    } else {
                        let keys = [position, key(number, hour), key(number, end - 1)];
                        self.hours.entry(span(hour)).or_default().push(keys);
                    }
                    hour = end;
                }
            }
        }
    }

    fn add_day(&mut self, position: i64, number: i64, hour: i64) {
        let day = key(0, hour) >> DAY_SHIFT;
        let days = self.days.entry(span(hour)).or_default();
        match days.last_mut().filter(|last| last[..2] == [position, number] && last[3] == day - 1) {
            Some(last) => last[3] = day,
            None => days.push([position, number, day, day]),
        }
    }

    /// Adds what the rollups of a span say. What only the snapshots can tell, as they are kept, goes to `raw`.
    async fn measure(
        &mut self,
        connection: &mut SqliteConnection,
        span: i64,
        oldest: Millis,
        covered: &mut [Covered],
    ) -> Result<(), HistoryError> {
        let mut sums = Vec::new();
        if let Some(days) = self.days.get(&span) {
            sums.extend(sums_of_days(connection, span, days).await?);
        }
        if let Some(hours) = self.hours.get(&span) {
            sums.extend(sums_of_hours(connection, span, hours).await?);
        }
        for (index, sum) in sums {
            if let Some(covered) = usize::try_from(index).ok().and_then(|index| covered.get_mut(index)) {
                covered.covered += sum;
            }
        }
        let Some(cut) = self.cut.get(&span) else { return Ok(()) };
        for (which, rollup) in rollups_at(connection, span, cut).await? {
            let Some((index, number, hour, piece)) = self.cuts.get(which).copied() else { continue };
            if rollup.stretches.is_none() && hour * HOUR >= oldest {
                self.raw.push((index, number, piece));
                continue;
            }
            let sum: Millis = rollup.pieces(hour).iter().map(|of| piece.overlap(of.from, of.to)).sum();
            covered[index].covered += sum;
            covered[index].rounded |= rollup.stretches.is_none();
        }
        Ok(())
    }
}

impl Sqlite {
    /// See [`crate::History::measured`].
    pub async fn measured(&self, asked: &[(ServerId, Vec<Piece>)]) -> Result<Vec<Covered>, HistoryError> {
        let (servers, spans, days): (Vec<Option<Server>>, BTreeSet<i64>, Vec<i64>) = {
            let known = self.known();
            let servers = asked.iter().map(|(id, _)| known.servers.get(id).copied());
            (servers.collect(), known.spans.clone(), known.days.iter().copied().collect())
        };
        let (mut transaction, oldest) = self.reading().await?;
        let kept = kept(&mut transaction).await?;
        let pieces = || asked.iter().flat_map(|(_, pieces)| pieces);
        let mut dirty = dirty(&mut transaction, pieces(), &servers).await?;
        let mut plan = Plan::default();
        for (index, ((_, pieces), server)) in asked.iter().zip(&servers).enumerate() {
            let Some(server) = server else { continue };
            let timeline = timeline(server, kept, dirty.remove(&server.number).unwrap_or_default());
            let rolled = server.rolled.unwrap_or(Rolled { first: 0, until: 0 });
            for segment in pieces.iter().flat_map(|piece| timeline.segments(*piece)) {
                plan.add(index, server.number, rolled, segment);
            }
            // The same server may be asked about twice.
            dirty.insert(server.number, timeline.dirty);
        }
        let mut covered = vec![Covered::default(); asked.len()];
        for span in spans.into_iter().filter(|span| span_ends(*span) > kept) {
            plan.measure(&mut transaction, span, oldest, &mut covered).await?;
        }
        self.add_raw(&mut transaction, &days, oldest, &plan.raw, &mut covered).await?;
        Ok(covered)
    }

    /// See [`crate::History::outages`].
    pub async fn outages(
        &self,
        server: ServerId,
        pieces: Vec<Piece>,
        most: usize,
    ) -> Result<Outages, HistoryError> {
        let mut gaps = Gaps::new(pieces, most);
        let rounded = self.walk(server, &mut gaps).await?;
        Ok(Outages { rounded, ..gaps.finish() })
    }

    /// See [`crate::History::longest_gaps`].
    pub async fn longest_gaps(
        &self,
        asked: &[(ServerId, Vec<Piece>)],
    ) -> Result<Vec<Option<Piece>>, HistoryError> {
        let mut longest = Vec::with_capacity(asked.len());
        for (server, pieces) in asked {
            let mut gaps = Gaps::measured(pieces.clone());
            self.walk(*server, &mut gaps).await?;
            longest.push(gaps.missing().longest);
        }
        Ok(longest)
    }

    /// Passes to `gaps` what one server vouches for, the latest first. Returns whether an hour had to be taken as a whole.
    async fn walk(&self, server: ServerId, gaps: &mut Gaps) -> Result<bool, HistoryError> {
        let (server, spans, days): (Server, BTreeSet<i64>, Vec<i64>) = {
            let known = self.known();
            let Some(server) = known.servers.get(&server) else { return Ok(false) };
            (*server, known.spans.clone(), known.days.iter().copied().collect())
        };
        let Some(open) = gaps.open() else { return Ok(false) };
        let (mut transaction, oldest) = self.reading().await?;
        let days: Vec<i64> = days.into_iter().filter(|day| day * DAY >= oldest).collect();
        let kept = kept(&mut transaction).await?;
        let mut dirty = dirty(&mut transaction, [open].iter(), &[Some(server)]).await?;
        let timeline = timeline(&server, kept, dirty.remove(&server.number).unwrap_or_default());
        let mut rounded = false;
        for segment in timeline.segments(open).into_iter().rev() {
            let Some(still) = gaps.open() else { break };
            let hours = match segment {
                Segment::Raw(window) => {
                    pass_window(&mut transaction, &days, server.number, window, gaps).await?;
                    continue;
                }
                Segment::Cut(hour, _) => hour..hour + 1,
                Segment::Hours(hours) => hours,
            };
            let hours = hours.start.max(hours::hour(still.from))..hours.end.min(hours::hour(still.to) + 1);
            for (hour, rollup) in
                rollups_of(&mut transaction, &spans, server.number, &hours, false).await?.into_iter().rev()
            {
                if rollup.stretches.is_none() && hour * HOUR >= oldest {
                    pass_window(&mut transaction, &days, server.number, of_hour(hour), gaps).await?;
                    continue;
                }
                rounded |= rollup.stretches.is_none();
                for piece in rollup.pieces(hour).into_iter().rev() {
                    gaps.pass(piece.from, piece.to);
                }
            }
        }
        Ok(rounded)
    }

    /// See [`crate::History::chart`].
    pub async fn chart(
        &self,
        server: ServerId,
        from: Millis,
        to: Millis,
        points: u32,
    ) -> Result<Chart, HistoryError> {
        if from >= to {
            return Ok(Chart::default());
        }
        let (first, last) = (hours::hour(from), hours::hour(to - 1));
        let (server, spans): (Server, BTreeSet<i64>) = {
            let known = self.known();
            let Some(server) = known.servers.get(&server) else { return Ok(Chart::default()) };
            (*server, known.spans.clone())
        };
        let mut reduction = Reduction::new(from, to, points);
        let (mut transaction, oldest) = self.reading().await?;
        let kept = kept(&mut transaction).await?;
        let asked = Piece { from, to };
        let mut dirty = dirty(&mut transaction, [asked].iter(), &[Some(server)]).await?;
        let timeline = timeline(&server, kept, dirty.remove(&server.number).unwrap_or_default());
        let hours = timeline.rolled.start.max(first)..timeline.rolled.end.min(last + 1);
        // Each with whether it lies in one bucket as a whole.
        let mut by_rollup: BTreeMap<i64, bool> = BTreeMap::new();
        for hour in hours.filter(|hour| timeline.contains(*hour)) {
            let Piece { from, to } = of_hour(hour);
            let bucket = reduction.bucket(from);
            let whole = bucket.is_some() && bucket == reduction.bucket(to - 1);
            if whole || from < oldest {
                by_rollup.insert(hour, whole);
            }
        }
        let mut rounded = false;
        if let (Some((first, _)), Some((last, _))) = (by_rollup.first_key_value(), by_rollup.last_key_value())
        {
            let found =
                rollups_of(&mut transaction, &spans, server.number, &(*first..*last + 1), true).await?;
            for (hour, rollup) in found {
                let Some(whole) = by_rollup.get(&hour) else { continue };
                rounded |= !whole && rollup.count > 0;
                reduction.add_all(hour * HOUR, rollup.count, rollup.figures);
            }
        }
        let by_snapshot = |hour: &i64| hour * HOUR >= oldest && !by_rollup.contains_key(hour);
        for hour in bodies_of(&mut transaction, first..=last).await?.into_iter().filter(by_snapshot) {
            let (first, last) = (from.max(hour * HOUR), (to - 1).min(hour * HOUR + HOUR - 1));
            reduce(&mut transaction, hour, server.number, [first, last], &mut reduction).await?;
        }
        let packed = Reach::of(&mut transaction).await?.within(first..=last);
        let packed = blocks::hours_of(&mut transaction, server.number, packed).await?;
        for hour in packed.into_iter().filter(by_snapshot) {
            reduce_block(&mut transaction, hour, server.number, &mut reduction).await?;
        }
        Ok(Chart { points: reduction.points(), rounded })
    }

    /// See [`crate::History::rolled_from`].
    pub fn rolled_from(&self, servers: &[ServerId]) -> Vec<Option<Millis>> {
        let known = self.known();
        let from = |id: &ServerId| {
            let server = known.servers.get(id)?;
            let first = server.rolled?.first;
            // Before the first snapshot there is nothing to roll up.
            let all = first <= hours::hour(server.ends.oldest_start);
            Some(if all { known.oldest_rolled } else { known.oldest_rolled.max(first * HOUR) })
        };
        servers.iter().map(from).collect()
    }
}

fn timeline(server: &Server, kept: Millis, dirty: BTreeSet<i64>) -> Timeline {
    let rolled = server.rolled.map_or(0..0, |rolled| rolled.first.max(hours::hour(kept))..rolled.until);
    // What came since the server was read may be later, by less than that.
    Timeline { rolled, dirty, end: server.newest_at_most().saturating_add(DAY) }
}

/// The oldest midnight for which rollups are kept, as this connection sees it.
async fn kept(connection: &mut SqliteConnection) -> Result<Millis, HistoryError> {
    Ok(sqlx::query_scalar("SELECT rollups FROM horizon").fetch_one(connection).await?)
}

/// By number, which hours of these servers are dirty, of those in which the pieces lie.
async fn dirty<'a>(
    connection: &mut SqliteConnection,
    pieces: impl Iterator<Item = &'a Piece>,
    servers: &[Option<Server>],
) -> Result<HashMap<i64, BTreeSet<i64>>, HistoryError> {
    let reach = pieces
        .map(|piece| (hours::hour(piece.from), hours::hour(piece.to)))
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let Some((first, last)) = reach else { return Ok(HashMap::new()) };
    let one = match servers {
        [Some(server)] => Some(server.number),
        _ => None,
    };
    let found: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT number, hour FROM dirty WHERE hour BETWEEN $1 AND $2 AND ($3 IS NULL OR number = $3)",
    )
    .bind(first)
    .bind(last)
    .bind(one)
    .fetch_all(connection)
    .await?;
    let mut dirty: HashMap<i64, BTreeSet<i64>> = HashMap::new();
    for (number, hour) in found {
        dirty.entry(number).or_default().insert(hour);
    }
    Ok(dirty)
}
