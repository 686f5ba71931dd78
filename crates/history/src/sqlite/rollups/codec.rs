//! The bytes of a rollup in the file, less its `covered`, which is a column of its own.
//!
//! ```text
//! form (1) | count | stretches + 1, or 0 where they are not known | of each: gap before it, length
//!          | figures | of each: id, form of its values, how many told it unless all did, values
//! ```
//!
//! Numbers are LEB128. An hour that is covered as a whole names no stretch. Whole numbers lose the power of two that they
//! share: what hosts tell in bytes are mostly pages. Decimals are kept as the digits that agents send, of which a float is
//! made again; everything is read back to the last bit.

use fleet::{
    Millis,
    hours::{HOUR, of_hour},
    rollup::{MOST_STRETCHES, Rollup},
    series::{COUNT, Figures, Summary},
    uptime::Piece,
};

/// The only form there is yet.
const FORM: u8 = 1;
/// In the form of values: not every snapshot told this figure.
const SOME: u8 = 0x10;
/// In the form of values: all samples are the same.
const SAME: u8 = 0x20;
const WHOLE: u8 = 0;
const DECIMAL: u8 = 1;
const FLOAT: u8 = 2;
/// Most digits after the point that are looked for.
const MOST_DIGITS: u8 = 3;
/// Below this every whole number is a float.
pub const EXACT: f64 = 9_007_199_254_740_992.0;

/// The number by which a figure is stored. It must never change.
pub fn id(name: &str) -> Option<u8> {
    Some(match name {
        "cpu" => 1,
        "iowait" => 2,
        "load" => 3,
        "memory" => 4,
        "swap" => 5,
        "disk_used" => 6,
        "disk_read" => 7,
        "disk_written" => 8,
        "received" => 9,
        "sent" => 10,
        "temperature" => 11,
        _ => return None,
    })
}

/// The bytes of the rollup of this hour.
pub fn encode(hour: i64, rollup: &Rollup) -> Vec<u8> {
    let mut bytes = vec![FORM];
    put(&mut bytes, rollup.count);
    put_stretches(&mut bytes, hour, rollup);
    let told = || Figures::NAMES.iter().zip(&rollup.figures).filter_map(|(name, s)| id(name).zip(s.as_ref()));
    put(&mut bytes, told().count() as u64);
    for (id, summary) in told() {
        bytes.push(id);
        put_summary(&mut bytes, rollup.count, summary);
    }
    bytes
}

/// The rollup of this hour, of which so much is covered.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode(hour: i64, covered: Millis, bytes: &[u8]) -> Result<Rollup, String> {
    let mut reader = Reader(bytes);
    let form = reader.byte()?;
    if form != FORM {
        return Err(format!("the rollup has form {form}, which this release does not know"));
    }
    let count = reader.number()?;
    let stretches = reader.stretches(hour, covered)?;
    let mut figures = [const { None }; COUNT];
    for _ in 0..reader.number()?.min(u64::from(u8::MAX)) {
        let stored = reader.byte()?;
        let summary = reader.summary(count)?;
        // One that this release does not know any more is left out.
        if let Some(place) = Figures::NAMES.iter().position(|name| id(name) == Some(stored)) {
            figures[place] = Some(summary);
        }
    }
    if !reader.0.is_empty() {
        return Err("the rollup is longer than it says".into());
    }
    Ok(Rollup { count, covered, stretches, figures })
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

pub fn put_stretches(bytes: &mut Vec<u8>, hour: i64, rollup: &Rollup) {
    let Some(stretches) = &rollup.stretches else { return put(bytes, 0) };
    if rollup.covered == HOUR {
        return put(bytes, 1);
    }
    put(bytes, stretches.len() as u64 + 1);
    let mut end = of_hour(hour).from;
    for piece in stretches {
        put(bytes, (piece.from - end).unsigned_abs());
        put(bytes, piece.length().unsigned_abs());
        end = piece.to;
    }
}

fn put_summary(bytes: &mut Vec<u8>, count: u64, summary: &Summary) {
    let Summary { count: told, sum, max, min } = *summary;
    let same = max.to_bits() == min.to_bits() && sum.to_bits() == repeated(max, told).to_bits();
    let flags = if told == count { 0 } else { SOME } | if same { SAME } else { 0 };
    let begin = |bytes: &mut Vec<u8>, form| {
        bytes.push(form | flags);
        if told != count {
            put(bytes, told);
        }
    };
    if let Some([max, spread, above]) = whole(summary) {
        let shift = if same { max } else { max | spread | above }.trailing_zeros().min(63);
        begin(bytes, WHOLE);
        put(bytes, u64::from(shift));
        for number in [max, spread, above].into_iter().take(if same { 1 } else { 3 }) {
            put(bytes, number >> shift);
        }
    } else if let Some((digits, [max, min])) = decimal(max, min) {
        begin(bytes, DECIMAL);
        bytes.push(digits);
        put(bytes, zigzag(max));
        if !same {
            put(bytes, zigzag(max - min));
            bytes.extend_from_slice(&sum.to_le_bytes());
        }
    } else {
        begin(bytes, FLOAT);
        for number in [max, min, sum].into_iter().take(if same { 1 } else { 3 }) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
}

/// The sum of so many equal values, added one by one.
fn repeated(value: f64, count: u64) -> f64 {
    // A rollup is of at most one snapshot a millisecond.
    (0..count.min(HOUR.unsigned_abs())).fold(0.0, |sum, _| sum + value)
}

/// The greatest value, how far the least is below it, and how far the sum is above as many of the least.
pub fn whole(Summary { count, sum, max, min }: &Summary) -> Option<[u64; 3]> {
    let exact = |value: f64| {
        let exact = (0.0..EXACT).contains(&value) && value.fract() == 0.0 && value.is_sign_positive();
        exact.then_some(value as u64)
    };
    let (sum, max, min) = (exact(*sum)?, exact(*max)?, exact(*min)?);
    Some([max, max.checked_sub(min)?, sum.checked_sub(min.checked_mul(*count)?)?])
}

/// Both as whole numbers of 10^-digits, if floats of 32 bits made of them are the same again.
fn decimal(max: f64, min: f64) -> Option<(u8, [i64; 2])> {
    (0..=MOST_DIGITS).find_map(|digits| {
        let whole = |value: f64| {
            let whole = (value * 10f64.powi(digits.into())).round();
            let fits = whole.abs() < 1e9 && of_digits(whole as i64, digits).to_bits() == value.to_bits();
            fits.then_some(whole as i64)
        };
        Some((digits, [whole(max)?, whole(min)?]))
    })
}

/// The float of 32 bits that these digits are.
fn of_digits(whole: i64, digits: u8) -> f64 {
    f64::from((whole as f64 / 10f64.powi(digits.into())) as f32)
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// What is left to read.
pub struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let (byte, rest) = self.0.split_first().ok_or("the rollup is cut off")?;
        self.0 = rest;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number of the rollup has no end".into())
    }

    fn float(&mut self) -> Result<f64, String> {
        let (float, rest) = self.0.split_first_chunk().ok_or("the rollup is cut off")?;
        self.0 = rest;
        Ok(f64::from_le_bytes(*float))
    }

    pub fn stretches(&mut self, hour: i64, covered: Millis) -> Result<Option<Vec<Piece>>, String> {
        let whole = of_hour(hour);
        let Some(count) = self.number()?.checked_sub(1) else { return Ok(None) };
        if count == 0 {
            return Ok(Some(if covered == HOUR { vec![whole] } else { Vec::new() }));
        }
        if count > MOST_STRETCHES as u64 {
            return Err(format!("the rollup claims {count} stretches"));
        }
        let (mut stretches, mut end) = (Vec::new(), whole.from);
        for _ in 0..count {
            let within = |length: u64| i64::try_from(length).ok().filter(|length| *length <= HOUR);
            let (gap, length) = (within(self.number()?), within(self.number()?));
            let (gap, length) = gap.zip(length).ok_or("a stretch is longer than an hour")?;
            let piece = Piece { from: end + gap, to: end + gap + length };
            end = piece.to;
            stretches.push(piece);
        }
        let sum: Millis = stretches.iter().map(Piece::length).sum();
        if end > whole.to || sum != covered {
            return Err("the stretches of the rollup do not add up".into());
        }
        Ok(Some(stretches))
    }

    fn summary(&mut self, count: u64) -> Result<Summary, String> {
        let form = self.byte()?;
        let count = if form & SOME == 0 { count } else { self.number()? };
        let same = form & SAME != 0;
        let (max, min, sum) = match form & !(SOME | SAME) {
            WHOLE => self.wholes(count, same)?,
            DECIMAL => self.decimals(count, same)?,
            FLOAT => {
                let max = self.float()?;
                if same { (max, max, repeated(max, count)) } else { (max, self.float()?, self.float()?) }
            }
            form => return Err(format!("a figure of the rollup has form {form}")),
        };
        Ok(Summary { count, sum, max, min })
    }

    fn wholes(&mut self, count: u64, same: bool) -> Result<(f64, f64, f64), String> {
        let shift = u32::try_from(self.number()?).ok().filter(|shift| *shift < 64);
        let shift = shift.ok_or("a figure of the rollup is shifted too far")?;
        let max = self.number()? << shift;
        if same {
            return Ok((max as f64, max as f64, repeated(max as f64, count)));
        }
        let (spread, above) = (self.number()? << shift, self.number()? << shift);
        let min = max.checked_sub(spread);
        let sum = min.and_then(|min| min.checked_mul(count)?.checked_add(above));
        let (min, sum) = min.zip(sum).ok_or("a figure of the rollup is out of bounds")?;
        Ok((max as f64, min as f64, sum as f64))
    }

    fn decimals(&mut self, count: u64, same: bool) -> Result<(f64, f64, f64), String> {
        let digits = self.byte()?.min(MOST_DIGITS);
        let whole = unzigzag(self.number()?);
        let max = of_digits(whole, digits);
        if same {
            return Ok((max, max, repeated(max, count)));
        }
        let min = of_digits(whole.wrapping_sub(unzigzag(self.number()?)), digits);
        Ok((max, min, self.float()?))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fmt::Write};

    use fleet::rollup::Sample;
    use proptest::prelude::*;

    use super::*;

    const AT: i64 = 497_222;

    #[test]
    fn every_figure_has_a_number_of_its_own() {
        let ids: HashSet<Option<u8>> = Figures::NAMES.iter().map(|name| id(name)).collect();
        assert!(ids.len() == COUNT && !ids.contains(&None), "say by which number a new figure is stored");
    }

    fn sampled(values: &[[Option<f64>; 3]]) -> Rollup {
        let samples: Vec<Sample> = values
            .iter()
            .enumerate()
            .map(|(n, [cpu, memory, temperature])| {
                let (cpu, memory, temperature) = (*cpu, *memory, *temperature);
                let at = of_hour(AT).from + 30_000 * n as i64;
                let figures = Figures { cpu, memory, temperature, ..Figures::default() };
                Sample { from: at - 29_999, at, figures }
            })
            .collect();
        Rollup::of(AT, &samples)
    }

    #[test]
    fn an_hour_of_a_host_takes_few_bytes_and_its_form_is_what_it_was() {
        let values: Vec<[Option<f64>; 3]> = (0..120)
            .map(|n| {
                let cpu = f64::from((f64::from(n % 37) / 10.0 + 3.1) as f32);
                [Some(cpu), Some(f64::from(2_000_000 + n * 17) * 4096.0), (n > 3).then_some(41.5)]
            })
            .collect();
        let rollup = sampled(&values);
        let bytes = encode(AT, &rollup);
        assert_eq!(decode(AT, rollup.covered, &bytes), Ok(rollup));
        let text = bytes[bytes.len() - 32..].iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        // Files have it so: a change needs another form.
        assert_eq!(text, GOLDEN);
    }

    const GOLDEN: &str = "030101018601480000c03233fb814004000ce7987ae70fa4b4070b317401be06";

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            (0u32..1_000).prop_map(|tenth| f64::from((f64::from(tenth) / 10.0) as f32)),
            (-400i32..1_000).prop_map(|tenth| f64::from((f64::from(tenth) / 10.0) as f32)),
            (0u64..1 << 24).prop_map(|pages| (pages * 4096) as f64),
            any::<u32>().prop_map(f64::from),
            Just(0.0),
            Just(-0.0),
            Just(f64::MAX),
            any::<f32>().prop_filter("finite", |value| value.is_finite()).prop_map(f64::from),
        ]
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_to_the_last_bit(
            values in prop::collection::vec([prop::option::of(value()), prop::option::of(value()), prop::option::of(value())], 0..20),
            same in any::<bool>(),
        ) {
            let values = if same { vec![*values.first().unwrap_or(&[None; 3]); values.len()] } else { values };
            let rollup = sampled(&values);
            let bytes = encode(AT, &rollup);
            let read = decode(AT, rollup.covered, &bytes).unwrap();
            for (read, written) in read.figures.iter().zip(&rollup.figures) {
                let bits = |s: &Option<Summary>| s.map(|s| (s.count, s.sum.to_bits(), s.max.to_bits(), s.min.to_bits()));
                prop_assert_eq!(bits(read), bits(written));
            }
            prop_assert_eq!(read.stretches, rollup.stretches);
            for end in 0..bytes.len() {
                prop_assert!(decode(AT, rollup.covered, &bytes[..end]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..80), covered in 0..=HOUR) {
            let mut known = vec![FORM];
            known.extend(&bytes);
            for bytes in [bytes, known] {
                if let Ok(rollup) = decode(AT, covered, &bytes) {
                    prop_assert!(rollup.stretches.is_none_or(|stretches| stretches.len() <= MOST_STRETCHES));
                }
            }
        }
    }
}
