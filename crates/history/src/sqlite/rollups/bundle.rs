//! The bytes of a bundle: the rollups of half a day of a server, column by column.
//!
//! ```text
//! bundle = version, 1 byte | CRC-32 of what follows, 4 bytes | which hours it has, a bit each
//!          | sections: covered, stretches of the hours that are covered in part, count
//!          | figures: how many | of each: id, a section
//! figure = form | which hours told it, unless all did | section: how many snapshots told it, unless all did
//!          | sections of max, max − min, and what the form has of the sum
//! ```
//!
//! The numbers of the hours are columns as in a [block](crate::block). Whole numbers have of the sum what it is above as
//! many of the least. Decimals are the digits that agents send, and so is their sum, with what the sum of the floats
//! differs from that; other floats are their bits. Everything is read back to the last bit.

use std::collections::BTreeMap;

use fleet::{
    hours::HOUR,
    rollup::Rollup,
    series::{COUNT, Figures, Summary},
};

use super::codec::{EXACT, Reader, id, put_stretches, whole};
use crate::block::{
    bytes::{Input, put_count, put_number, put_section},
    column,
};

/// Hours of a bundle. They are those of one half of a day.
pub const HOURS: i64 = 12;
/// The only version there is yet.
const VERSION: u8 = 1;
/// In a form: not every hour told this figure.
const PART: u8 = 0x10;
/// In a form: not every snapshot of these hours told it.
const SOME: u8 = 0x20;
/// Forms below are those of decimals, by their number.
const WHOLE: u8 = 10;
const FLOAT: u8 = 11;
/// A sum is no multiple of a smaller power of two than the one of this exponent.
const FINEST: u32 = 200;

/// The first hour of the bundle of an hour.
pub fn first_of(hour: i64) -> i64 {
    hour - hour.rem_euclid(HOURS)
}

/// The bytes of these rollups by hour, of which all are in the bundle that begins with `first`.
pub fn encode(first: i64, rollups: &BTreeMap<i64, Rollup>) -> Vec<u8> {
    let mut body = Vec::new();
    let hours: Vec<i64> = rollups.keys().map(|hour| hour - first).collect();
    put_number(&mut body, mask(&hours));
    let column = |out: &mut Vec<u8>, of: &dyn Fn(&Rollup) -> i64| {
        put_section(out, |out| column::write(&rollups.values().map(of).collect::<Vec<_>>(), out));
    };
    column(&mut body, &|rollup| rollup.covered);
    put_section(&mut body, |out| {
        for (hour, rollup) in rollups.iter().filter(|(_, rollup)| rollup.covered != HOUR) {
            put_stretches(out, *hour, rollup);
        }
    });
    column(&mut body, &|rollup| rollup.count.cast_signed());
    let told: Vec<(u8, usize)> = (0..COUNT)
        .filter(|place| rollups.values().any(|rollup| rollup.figures[*place].is_some()))
        .filter_map(|place| Some((id(Figures::NAMES[place])?, place)))
        .collect();
    put_count(&mut body, told.len());
    for (id, place) in told {
        body.push(id);
        put_section(&mut body, |out| put_figure(out, first, rollups, place));
    }
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// The rollups of the bundle that begins with `first`, in order; without figures if they are not wanted.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode(first: i64, bytes: &[u8], figures: bool) -> Result<Vec<(i64, Rollup)>, String> {
    let mut input = Input(bytes);
    if input.byte()? != VERSION {
        return Err("the bundle has a version that this release does not know".into());
    }
    if input.take(4)? != crc32fast::hash(input.0).to_le_bytes() {
        return Err("the checksum of the bundle is wrong".into());
    }
    let hours = unmask(input.number()?)?;
    let covered = column::read(&mut input.section()?, hours.len())?;
    let mut stretches = Reader(input.section()?.0);
    let counts = column::read(&mut input.section()?, hours.len())?;
    let mut rollups = Vec::with_capacity(hours.len());
    for ((hour, covered), count) in hours.iter().zip(covered).zip(counts) {
        let hour = first + hour;
        let stretches = match covered {
            HOUR => Some(vec![fleet::hours::of_hour(hour)]),
            0..HOUR => stretches.stretches(hour, covered)?,
            _ => return Err("more of an hour is covered than there is".into()),
        };
        let count = count.cast_unsigned();
        rollups.push((hour, Rollup { count, covered, stretches, figures: [const { None }; COUNT] }));
    }
    for _ in 0..input.count(usize::from(u8::MAX))? {
        let (stored, mut section) = (input.byte()?, input.section()?);
        // One that this release does not know any more is left out.
        let place = Figures::NAMES.iter().position(|name| id(name) == Some(stored));
        if let Some(place) = place.filter(|_| figures) {
            read_figure(&mut section, first, &mut rollups, place)?;
        }
    }
    if input.0.is_empty() { Ok(rollups) } else { Err("the bundle is longer than it says".into()) }
}

fn mask(hours: &[i64]) -> u64 {
    hours.iter().fold(0, |mask, hour| mask | 1 << hour)
}

fn unmask(mask: u64) -> Result<Vec<i64>, String> {
    if mask >= 1 << HOURS {
        return Err("an hour is not one of its bundle".into());
    }
    Ok((0..HOURS).filter(|hour| mask & 1 << hour != 0).collect())
}

fn put_figure(out: &mut Vec<u8>, first: i64, rollups: &BTreeMap<i64, Rollup>, place: usize) {
    let told: Vec<(i64, u64, Summary)> = rollups
        .iter()
        .filter_map(|(hour, rollup)| Some((hour - first, rollup.count, rollup.figures[place]?)))
        .collect();
    let summaries: Vec<Summary> = told.iter().map(|(_, _, summary)| *summary).collect();
    let (form, columns) =
        wholes(&summaries).or_else(|| decimals(&summaries)).unwrap_or_else(|| floats(&summaries));
    let part = if told.len() == rollups.len() { 0 } else { PART };
    let some = if told.iter().all(|(_, count, summary)| summary.count == *count) { 0 } else { SOME };
    out.push(form | part | some);
    if part > 0 {
        put_number(out, mask(&told.iter().map(|(hour, ..)| *hour).collect::<Vec<_>>()));
    }
    if some > 0 {
        let missing: Vec<i64> =
            told.iter().map(|(_, count, summary)| count.wrapping_sub(summary.count).cast_signed()).collect();
        put_section(out, |out| column::write(&missing, out));
    }
    for numbers in columns {
        put_section(out, |out| column::write(&numbers, out));
    }
}

fn read_figure(
    input: &mut Input<'_>,
    first: i64,
    rollups: &mut [(i64, Rollup)],
    place: usize,
) -> Result<(), String> {
    let form = input.byte()?;
    let mut told: Vec<&mut Rollup> = match form & PART {
        0 => rollups.iter_mut().map(|(_, rollup)| rollup).collect(),
        _ => {
            let hours = unmask(input.number()?)?;
            let told = rollups.iter_mut().filter(|(hour, _)| hours.contains(&(hour - first)));
            told.map(|(_, rollup)| rollup).collect()
        }
    };
    let mut counts: Vec<u64> = told.iter().map(|rollup| rollup.count).collect();
    if form & SOME > 0 {
        let missing = column::read(&mut input.section()?, counts.len())?;
        for (count, missing) in counts.iter_mut().zip(missing) {
            *count = count.wrapping_sub(missing.cast_unsigned());
        }
    }
    let mut column = || column::read(&mut input.section()?, counts.len());
    let (max, spread) = (column()?, column()?);
    let least = |at: usize| max[at].wrapping_sub(spread[at]);
    let whole = |above: i64, at: usize| least(at).wrapping_mul(counts[at].cast_signed()).wrapping_add(above);
    let summaries: Vec<(f64, f64, f64)> = match form & !(PART | SOME) {
        WHOLE => {
            let above = column()?;
            let each = above.into_iter().enumerate();
            each.map(|(at, above)| (max[at] as f64, least(at) as f64, whole(above, at) as f64)).collect()
        }
        FLOAT => {
            let float = |bits: i64| f64::from_bits(bits.cast_unsigned());
            let sums = column()?.into_iter().enumerate();
            sums.map(|(at, sum)| (float(max[at]), float(least(at)), float(sum))).collect()
        }
        decimals => {
            let (above, grid, off) = (column()?, column()?, column()?);
            let value = |digits| column::real(digits, decimals).map(f64::from);
            let sums = above.into_iter().enumerate().map(|(at, above)| {
                let sum = sum_of(whole(above, at), decimals, grid[at], off[at])?;
                Ok::<_, String>((value(max[at])?, value(least(at))?, sum))
            });
            sums.collect::<Result<_, _>>()?
        }
    };
    for ((rollup, count), (max, min, sum)) in told.iter_mut().zip(counts).zip(summaries) {
        rollup.figures[place] = Some(Summary { count, sum, max, min });
    }
    if input.0.is_empty() { Ok(()) } else { Err("a figure goes on after its end".into()) }
}

/// The form and columns of figures that are whole numbers.
fn wholes(summaries: &[Summary]) -> Option<(u8, Vec<Vec<i64>>)> {
    let numbers: Vec<[i64; 3]> =
        summaries.iter().map(|summary| Some(whole(summary)?.map(u64::cast_signed))).collect::<Option<_>>()?;
    Some((WHOLE, (0..3).map(|column| numbers.iter().map(|of| of[column]).collect()).collect()))
}

/// The form and columns of figures that are decimals.
fn decimals(summaries: &[Summary]) -> Option<(u8, Vec<Vec<i64>>)> {
    let reals: Vec<f32> = summaries
        .iter()
        .flat_map(|summary| [summary.max, summary.min])
        .map(|value| (f64::from(value as f32).to_bits() == value.to_bits()).then_some(value as f32))
        .collect::<Option<_>>()?;
    let (decimals, ends) = column::scaled(&reals, 0);
    if decimals == column::AS_BITS {
        return None;
    }
    let mut columns = vec![Vec::new(); 5];
    for (summary, ends) in summaries.iter().zip(ends.chunks_exact(2)) {
        let (max, min) = (ends[0], ends[1]);
        let digits = (summary.sum * column::power(decimals)?).round();
        let grid = grid(summary.sum)?;
        let digits = (digits.abs() < EXACT).then_some(digits as i64)?;
        let off = (summary.sum * two_to(grid)) as i64 - on_grid(digits, decimals, grid)?;
        let above = digits.checked_sub(min.checked_mul(summary.count.cast_signed())?)?;
        let back = sum_of(digits, decimals, grid.into(), off).ok()?;
        if back.to_bits() != summary.sum.to_bits() {
            return None;
        }
        let numbers = [max, max.checked_sub(min)?, above, grid.into(), off];
        columns.iter_mut().zip(numbers).for_each(|(column, number)| column.push(number));
    }
    Some((decimals, columns))
}

/// The form and columns of any figures.
fn floats(summaries: &[Summary]) -> (u8, Vec<Vec<i64>>) {
    let bits =
        |of: &dyn Fn(&Summary) -> f64| summaries.iter().map(|s| of(s).to_bits().cast_signed()).collect();
    let (max, min, sum): (Vec<i64>, Vec<i64>, Vec<i64>) =
        (bits(&|s| s.max), bits(&|s| s.min), bits(&|s| s.sum));
    let spread = max.iter().zip(min).map(|(max, min)| max.wrapping_sub(min)).collect();
    (FLOAT, vec![max, spread, sum])
}

/// The least number of binary places with which this is exact; `None` where that is too many, or the number too large.
fn grid(sum: f64) -> Option<u32> {
    if sum == 0.0 {
        return sum.is_sign_positive().then_some(0);
    }
    let bits = sum.to_bits();
    let exponent = (bits >> 52) & 0x7ff;
    let places = 1_075_u64.saturating_sub(exponent + u64::from((bits | 1 << 52).trailing_zeros()));
    let places = u32::try_from(places).ok().filter(|places| *places <= FINEST)?;
    (exponent > 0 && sum.abs() < EXACT).then_some(places)
}

/// 2^`places`, exactly.
fn two_to(places: u32) -> f64 {
    f64::from_bits(u64::from(1_023 + places.min(FINEST)) << 52)
}

/// These decimal digits as a whole number of 2^-grid. The same on every machine, as each step rounds once.
fn on_grid(digits: i64, decimals: u8, grid: u32) -> Option<i64> {
    Some((digits as f64 / column::power(decimals)? * two_to(grid)).round() as i64)
}

/// The sum whose digits these are, and which is so many of 2^-grid off.
fn sum_of(digits: i64, decimals: u8, grid: i64, off: i64) -> Result<f64, String> {
    let grid = u32::try_from(grid).ok().filter(|grid| *grid <= FINEST);
    let near = grid.and_then(|grid| Some((on_grid(digits, decimals, grid)?, two_to(grid))));
    let (near, power) = near.ok_or("a sum of the bundle has too many places")?;
    Ok(near.wrapping_add(off) as f64 / power)
}

#[cfg(test)]
mod tests {
    use fleet::{hours::of_hour, rollup::Sample};
    use proptest::prelude::*;

    use super::*;

    /// The first hour of a half of a day.
    const FIRST: i64 = 497_220;

    fn rollup(hour: i64, values: &[[Option<f64>; 4]], step: i64) -> Rollup {
        let samples: Vec<Sample> = (1..)
            .zip(values)
            .map(|(n, [cpu, memory, temperature, load])| {
                let (cpu, memory, temperature, load) = (*cpu, *memory, *temperature, *load);
                let at = of_hour(hour).from + step * n - 1;
                Sample {
                    from: at - 30_000,
                    at,
                    figures: Figures { cpu, memory, temperature, load, ..Figures::default() },
                }
            })
            .collect();
        Rollup::of(hour, &samples)
    }

    /// To the last bit.
    fn same(found: &[(i64, Rollup)], wanted: &BTreeMap<i64, Rollup>) {
        assert_eq!(found.len(), wanted.len());
        for ((hour, found), (of, wanted)) in found.iter().zip(wanted) {
            assert_eq!(
                (hour, found.count, found.covered, &found.stretches),
                (of, wanted.count, wanted.covered, &wanted.stretches)
            );
            let bits =
                |s: &Option<Summary>| s.map(|s| (s.count, s.sum.to_bits(), s.max.to_bits(), s.min.to_bits()));
            for (found, wanted) in found.figures.iter().zip(&wanted.figures) {
                assert_eq!(bits(found), bits(wanted));
            }
        }
    }

    /// Half a day of a host: figures that walk, a sensor that is missing at times, an hour with a gap, one of nothing.
    fn usual() -> BTreeMap<i64, Rollup> {
        let hour = |hour: i64| {
            let value = |n: i64| {
                let walk = (hour * 31 + n * 7) % 97;
                let hundredths = |whole: i64| Some(f64::from((whole as f64 / 100.0) as f32));
                let sensor = if hour % 3 == 0 && n < 9 { None } else { hundredths(4_150) };
                [
                    hundredths(310 + walk),
                    Some((2_000_000 + n * 17 + walk) as f64 * 4_096.0),
                    sensor,
                    hundredths(walk),
                ]
            };
            let values: Vec<_> = (0..if hour == 5 { 70 } else { 120 }).map(value).collect();
            (FIRST + hour, rollup(FIRST + hour, &values, 30_000))
        };
        (0..HOURS).filter(|of| *of != 7).map(hour).collect()
    }

    #[test]
    fn bundles_that_were_ever_written_can_be_read() {
        let golden = format!("{}/tests/golden/bundle-{VERSION}.bin", env!("CARGO_MANIFEST_DIR"));
        let bytes = encode(FIRST, &usual());
        if std::env::var_os("GOLDEN").is_some() {
            std::fs::write(&golden, &bytes).unwrap();
        }
        same(&decode(FIRST, &std::fs::read(&golden).unwrap(), true).unwrap(), &usual());
        assert_eq!(bytes, std::fs::read(&golden).unwrap(), "another way to write is another version");
        let without = decode(FIRST, &bytes, false).unwrap();
        assert!(without.iter().all(|(hour, rollup)| rollup.stretches == usual()[hour].stretches));
        let later = [&[VERSION + 1], &bytes[1..]].concat();
        assert!(decode(FIRST, &later, true).unwrap_err().contains("version"));
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            (0i32..1_000).prop_map(|tenth| f64::from((f64::from(tenth) / 10.0) as f32)),
            (-9_000i32..9_000).prop_map(|hundredth| f64::from((f64::from(hundredth) / 100.0) as f32)),
            (0u64..1 << 24).prop_map(|pages| (pages * 4096) as f64),
            Just(0.0),
            Just(-0.0),
            Just(f64::MAX),
            Just(1e-40),
            any::<f32>().prop_filter("finite", |value| value.is_finite()).prop_map(f64::from),
        ]
    }

    fn hours() -> impl Strategy<Value = BTreeMap<i64, Rollup>> {
        // Mostly the values of a figure are of one kind.
        let values = || {
            prop_oneof![
                prop::collection::vec(
                    (0i32..10_000).prop_map(|n| f64::from((f64::from(n) / 100.0) as f32)),
                    30
                ),
                prop::collection::vec((0u64..1 << 24).prop_map(|pages| (pages * 4096) as f64), 30),
                prop::collection::vec(value(), 30),
            ]
        };
        let figures = [values(), values(), values(), values()];
        let hour =
            (0usize..30, prop::sample::select(vec![1i64, 30_000, 30_001, 119_000]), 0usize..30, 0usize..4);
        (figures, prop::collection::btree_map(0..HOURS, hour, 1..=12)).prop_map(|(figures, hours)| {
            let of = |(hour, (count, step, from, without)): (i64, (usize, i64, usize, usize))| {
                let told = |n: usize, figure: usize| {
                    (figure != without || !n.is_multiple_of(3)).then_some(figures[figure][(from + n) % 30])
                };
                let values: Vec<_> = (0..count).map(|n| [0, 1, 2, 3].map(|figure| told(n, figure))).collect();
                (FIRST + hour, rollup(FIRST + hour, &values, step))
            };
            hours.into_iter().map(of).collect()
        })
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_to_the_last_bit(rollups in hours()) {
            let bytes = encode(FIRST, &rollups);
            same(&decode(FIRST, &bytes, true).unwrap(), &rollups);
            for end in 0..bytes.len() {
                prop_assert!(decode(FIRST, &bytes[..end], true).is_err());
            }
        }

        #[test]
        fn damaged_bytes_are_answered(
            rollups in hours(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
        ) {
            let mut bytes = encode(FIRST, &rollups);
            let end = bytes.len();
            for (at, byte) in damage {
                bytes[5 + at.index(end - 5)] = byte;
            }
            // Past the checksum too.
            let sum = crc32fast::hash(&bytes[5..]).to_le_bytes();
            bytes[1..5].copy_from_slice(&sum);
            if let Ok(read) = decode(FIRST, &bytes, true) {
                prop_assert!(read.iter().all(|(_, rollup)| (0..=HOUR).contains(&rollup.covered)));
            }
        }
    }
}
