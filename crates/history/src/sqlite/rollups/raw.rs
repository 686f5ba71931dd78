//! What rollups are made of: the snapshots of some hours of some servers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

use fleet::{
    Millis,
    hours::{self, HOUR},
    retention::DAY,
    rollup::Sample,
    series::Figures,
};
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::{
    HistoryError, LONGEST_COVERS,
    block::{self, Damage, Wanted},
    sqlite::{
        blocks::{Reach, blocks_of},
        layout::{self, INDEX_BITS, SLOT, TIME_MASK},
        pack,
    },
};

/// Packs that are read by one statement.
const PACKS: usize = 128;

/// A snapshot whose figures are still to be read.
struct Row {
    number: i64,
    from: Millis,
    at: Millis,
    place: i64,
}

/// By number the snapshots that touch these hours, in order of time; figures only of those that are sampled in them.
/// The hours lie in one day, which is kept.
pub async fn samples(
    connection: &mut SqliteConnection,
    days: &BTreeSet<i64>,
    hours: &Range<i64>,
    numbers: &[i64],
) -> Result<HashMap<i64, Vec<Sample>>, HistoryError> {
    let (begin, end) = (hours.start * HOUR, hours.end * HOUR);
    let mut rows = Vec::new();
    for day in layout::day(begin)..=layout::day(end + LONGEST_COVERS - 1) {
        if days.contains(&day) {
            rows.extend(rows_of_day(connection, day, [begin, end], numbers).await?);
        }
    }
    let mut by_hour: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate().filter(|(_, row)| row.at < end) {
        by_hour.entry(hours::hour(row.at)).or_default().push(place);
    }
    let mut figures = vec![Figures::default(); rows.len()];
    for (hour, places) in by_hour {
        read_figures(connection, hour, &rows, places, &mut figures).await?;
    }
    let mut samples: HashMap<i64, Vec<Sample>> = HashMap::new();
    for (Row { number, from, at, .. }, figures) in rows.into_iter().zip(figures) {
        samples.entry(number).or_default().push(Sample { from, at, figures });
    }
    let packed = Reach::of(connection).await?.within(hours.start..=hours::hour(end + LONGEST_COVERS - 1));
    for hour in packed {
        let blocks = match blocks_of(connection, hour, numbers).await {
            Err(HistoryError::Corrupt { row, reason, .. }) => {
                tracing::warn!(row, reason, "blocks cannot be read; their hour lacks what is in them");
                continue;
            }
            read => read?,
        };
        for (number, block) in blocks {
            let samples = samples.entry(number).or_default();
            if let Err(reason) = read_block(hour, &block, end, samples) {
                tracing::warn!(hour, number, reason, "a block cannot be read; its hour lacks what is in it");
            }
            // Others on the same thread can run.
            tokio::task::yield_now().await;
        }
    }
    for samples in samples.values_mut() {
        samples.sort_unstable_by_key(|sample| sample.at);
    }
    Ok(samples)
}

/// Adds what a block has that was sampled before `end`, with its figures, or later and reaches back before `end`.
fn read_block(hour: i64, block: &[u8], end: Millis, samples: &mut Vec<Sample>) -> Result<(), Damage> {
    if hour * HOUR >= end {
        let stretches =
            block::stretches(hour * HOUR, block)?.into_iter().map(|(at, covers)| (at - covers, at));
        let reaching = stretches.filter(|(from, _)| *from < end);
        samples.extend(reaching.map(|(from, at)| Sample { from, at, figures: Figures::default() }));
        return Ok(());
    }
    block::read(hour * HOUR, block, Wanted::Figures, |snapshot| {
        let figures = Figures::of(&snapshot);
        samples.push(Sample { from: snapshot.from(), at: snapshot.sampled_at(), figures });
    })
}

/// The rows of a day that were sampled from `begin` to before `end`, or later and reach back before `end`.
async fn rows_of_day(
    connection: &mut SqliteConnection,
    day: i64,
    [begin, end]: [Millis; 2],
    numbers: &[i64],
) -> Result<Vec<Row>, HistoryError> {
    let midnight = day * DAY;
    let (first, last) = (begin.max(midnight), (end + LONGEST_COVERS - 1).min(midnight + DAY - 1));
    let rows = layout::rows_of("asked.value", day);
    let at = format!("(slots.slot * {SLOT} + (kept.key & {TIME_MASK}))");
    let statement = format!(
        "SELECT asked.value, kept.key, kept.covers, kept.place FROM json_each($1) AS asked CROSS JOIN {rows}
         WHERE slots.slot BETWEEN $2 AND $3 AND ({at} < $4 OR kept.covers > {at} - $4)"
    );
    let found: Vec<(i64, i64, Millis, i64)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(serde_json::Value::from(numbers.to_vec()).to_string())
        .bind(layout::slot(first))
        .bind(layout::slot(last))
        .bind(end - midnight)
        .fetch_all(connection)
        .await?;
    let row = |(number, key, covers, place)| {
        let at = layout::sampled_at(day, key);
        Row { number, from: at - covers, at, place }
    };
    Ok(found.into_iter().map(row).collect())
}

/// Reads the figures of these rows, which were sampled in one hour. A body that cannot be read tells none, so that one
/// damaged body does not keep the rest of the history from being rolled up.
async fn read_figures(
    connection: &mut SqliteConnection,
    hour: i64,
    rows: &[Row],
    mut places: Vec<usize>,
    figures: &mut [Figures],
) -> Result<(), HistoryError> {
    places.sort_unstable_by_key(|place| rows[*place].place);
    let by_pack: Vec<&[usize]> =
        places.chunk_by(|a, b| rows[*a].place >> INDEX_BITS == rows[*b].place >> INDEX_BITS).collect();
    let statement = format!(
        "SELECT bodies.pack FROM json_each($1) AS asked LEFT JOIN bodies_{hour} AS bodies ON bodies.id = asked.value
         ORDER BY asked.key"
    );
    for some in by_pack.chunks(PACKS) {
        let ids: Vec<i64> = some.iter().map(|places| rows[places[0]].place >> INDEX_BITS).collect();
        let packs: Vec<Option<Vec<u8>>> = sqlx::query_scalar(AssertSqlSafe(statement.clone()))
            .bind(serde_json::Value::from(ids).to_string())
            .fetch_all(&mut *connection)
            .await?;
        for (places, pack) in some.iter().zip(packs) {
            let lines = pack.ok_or_else(|| "missing".to_owned()).and_then(|pack| pack::open(&pack));
            for place in *places {
                let index = rows[*place].place & ((1 << INDEX_BITS) - 1);
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                match lines.as_ref().map_err(Clone::clone).and_then(|lines| pack::figures(lines, index)) {
                    Ok(snapshot) => figures[*place] = Figures::of(&snapshot),
                    Err(reason) => {
                        let Row { number, at, .. } = rows[*place];
                        tracing::warn!(
                            hour,
                            number,
                            at,
                            reason,
                            "a body cannot be read; its hour lacks its figures"
                        );
                    }
                }
            }
            // Others on the same thread can run.
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
