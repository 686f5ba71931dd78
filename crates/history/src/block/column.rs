//! A column: one number of each of some rows, in the way that takes the fewest bits.

use super::bytes::{BitInput, Bits, Damage, Input, Rice, fold, put_number, put_signed, unfold};

/// How the residuals come from the numbers: the number less the first; the difference; the difference of differences.
const ORDERS: [u8; 3] = [0, 1, 2];
const ORDER: u8 = 3;
/// All residuals are 0, and nothing follows.
const CONSTANT: u8 = 4;
/// The residuals are multiples of a number, which follows.
const MULTIPLES: u8 = 8;
/// A bit before each residual says whether it is other than 0.
const MOSTLY_ZERO: u8 = 16;

/// Residuals in one of these ways, and how many bits they take.
struct Coded {
    mode: u8,
    first: i64,
    divisor: u64,
    residuals: Vec<u64>,
    width: u8,
    bits: usize,
}

impl Coded {
    fn of(numbers: &[i64], order: u8) -> Self {
        let first = numbers.first().copied().unwrap_or(0);
        let mut differences: Vec<i64> = match order {
            0 => numbers.iter().skip(1).map(|number| number.wrapping_sub(first)).collect(),
            _ => numbers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect(),
        };
        if order == 2 {
            for place in (1..differences.len()).rev() {
                differences[place] = differences[place].wrapping_sub(differences[place - 1]);
            }
        }
        let divisor =
            differences.iter().fold(0, |divisor, one| greatest_divisor(divisor, one.unsigned_abs()));
        let mut coded = Self { mode: order, first, divisor, residuals: Vec::new(), width: 0, bits: 0 };
        // The greatest divisor of zeros is 0. i64::MIN alone does not fit into itself.
        let Some(step) = i64::try_from(divisor).ok().filter(|step| *step > 0) else {
            coded.divisor = 1;
            coded.residuals = differences.iter().map(|one| fold(*one)).collect();
            if divisor == 0 {
                coded.mode |= CONSTANT;
            } else {
                coded.choose();
            }
            return coded;
        };
        if step > 1 {
            coded.mode |= MULTIPLES;
        }
        coded.residuals = differences.iter().map(|one| fold(one.wrapping_div(step))).collect();
        coded.choose();
        coded
    }

    /// Whether zeros are written apart.
    fn choose(&mut self) {
        let dense = width(self.residuals.iter().copied());
        let sparse = width(self.residuals.iter().filter(|one| **one > 0).map(|one| one - 1));
        let count = |mode, width| {
            let mut total = 0;
            code(&self.residuals, mode, width, &mut |_, bits| total += bits as usize);
            total
        };
        let (without, with) = (count(self.mode, dense), count(self.mode | MOSTLY_ZERO, sparse));
        let divisor = if self.divisor > 1 { 8 } else { 0 };
        (self.width, self.bits) = (dense, without + divisor);
        if with < without {
            self.mode |= MOSTLY_ZERO;
            (self.width, self.bits) = (sparse, with + divisor);
        }
    }
}

/// The numbers in the cheapest way, and how many bits that takes.
fn best(numbers: &[i64]) -> Coded {
    let mut best = Coded::of(numbers, 0);
    for order in &ORDERS[1..] {
        if best.mode & CONSTANT > 0 {
            break;
        }
        let coded = Coded::of(numbers, *order);
        if coded.bits < best.bits {
            best = coded;
        }
    }
    best
}

/// About how many bits the numbers take.
pub fn cost(numbers: &[i64]) -> usize {
    best(numbers).bits
}

/// Writes a column. It has no end of its own: nothing can follow it within its section.
pub fn write(numbers: &[i64], out: &mut Vec<u8>) {
    let coded = best(numbers);
    out.push(coded.mode);
    put_signed(out, coded.first);
    if coded.mode & CONSTANT > 0 {
        return;
    }
    if coded.mode & MULTIPLES > 0 {
        put_number(out, coded.divisor);
    }
    out.push(coded.width);
    let mut bits = Bits::default();
    code(&coded.residuals, coded.mode, coded.width, &mut |number, count| bits.put(number, count));
    out.extend_from_slice(&bits.finish());
}

/// Reads a column of so many numbers.
pub fn read(input: &mut Input<'_>, count: usize) -> Result<Vec<i64>, Damage> {
    let mode = input.byte()?;
    let first = input.signed()?;
    let order = mode & ORDER;
    if order == 3 || mode > 31 {
        return Err("a column is written in an unknown way");
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    if mode & CONSTANT > 0 {
        return Ok(vec![first; count]);
    }
    let divisor = if mode & MULTIPLES > 0 { input.number()? as i64 } else { 1 };
    let mut rice = Rice::new(input.byte()?);
    let mut bits = BitInput::new(input.0);
    input.0 = &[];
    let mut numbers = Vec::with_capacity(count);
    numbers.push(first);
    let (mut last, mut slope) = (first, 0_i64);
    for place in 1..count {
        let residual = match mode & MOSTLY_ZERO > 0 {
            true if bits.take(1)? == 0 => 0,
            true => rice.read(&mut bits)?.wrapping_add(1),
            false => rice.read(&mut bits)?,
        };
        let residual = unfold(residual).wrapping_mul(divisor);
        last = match order {
            0 => first.wrapping_add(residual),
            1 => last.wrapping_add(residual),
            _ => {
                slope = if place == 1 { residual } else { slope.wrapping_add(residual) };
                last.wrapping_add(slope)
            }
        };
        numbers.push(last);
    }
    Ok(numbers)
}

fn code(residuals: &[u64], mode: u8, width: u8, put: &mut impl FnMut(u64, u32)) {
    let mut rice = Rice::new(width);
    for residual in residuals {
        match residual.checked_sub(1) {
            _ if mode & MOSTLY_ZERO == 0 => rice.write(*residual, put),
            None => put(0, 1),
            Some(less) => {
                put(1, 1);
                rice.write(less, put);
            }
        }
    }
}

/// About how many bits these numbers have on average.
fn width(numbers: impl Iterator<Item = u64>) -> u8 {
    let (mut sum, mut count) = (0_u128, 0_u128);
    for number in numbers {
        sum += u128::from(number);
        count += 1;
    }
    let mean = sum / count.max(1);
    (127_u32.saturating_sub(mean.max(1).leading_zeros())).min(63) as u8
}

fn greatest_divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Powers of ten by which decimals are scaled.
const POWERS: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Instead of a number of decimals: the bits of the numbers as they are.
pub const AS_BITS: u8 = 255;

/// 10^`decimals`.
pub fn power(decimals: u8) -> Option<f64> {
    POWERS.get(usize::from(decimals)).copied()
}

/// The whole number that is this one with so many decimals; `None` if it would not come back exactly.
pub fn scale(real: f32, decimals: u8) -> Option<i64> {
    let power = POWERS.get(usize::from(decimals))?;
    let whole = (f64::from(real) * power).round() as i64;
    (unscale(whole, decimals)?.to_bits() == real.to_bits()).then_some(whole)
}

/// The inverse of [`scale`].
pub fn unscale(whole: i64, decimals: u8) -> Option<f32> {
    Some((whole as f64 / POWERS.get(usize::from(decimals))?) as f32)
}

/// The fewest decimals, not below `least`, with which all of these come back exactly, or [`AS_BITS`]; and the whole
/// numbers then.
pub fn scaled(reals: &[f32], least: u8) -> (u8, Vec<i64>) {
    let mut decimals = least;
    for real in reals {
        while scale(*real, decimals).is_none() {
            decimals += 1;
            if usize::from(decimals) >= POWERS.len() {
                return as_bits(reals);
            }
        }
    }
    match reals.iter().map(|real| scale(*real, decimals)).collect() {
        Some(whole) => (decimals, whole),
        None => as_bits(reals),
    }
}

fn as_bits(reals: &[f32]) -> (u8, Vec<i64>) {
    (AS_BITS, reals.iter().map(|real| i64::from(real.to_bits())).collect())
}

/// The inverse of [`scaled`].
pub fn real(whole: i64, decimals: u8) -> Result<f32, Damage> {
    if decimals == AS_BITS {
        return u32::try_from(whole).map(f32::from_bits).map_err(|_| "a number is no 32 bits");
    }
    unscale(whole, decimals).ok_or("numbers have too many decimals")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(numbers: &[i64]) -> usize {
        let mut out = Vec::new();
        write(numbers, &mut out);
        assert_eq!(read(&mut Input(&out), numbers.len()).as_deref(), Ok(numbers));
        out.len()
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(
            numbers in proptest::collection::vec(prop_oneof![any::<i64>(), -50..50_i64, Just(i64::MIN), Just(0)], 1..200),
            step in prop_oneof![Just(1_i64), Just(4_096), any::<i64>()]
        ) {
            round(&numbers);
            round(&numbers.iter().map(|number| number.wrapping_mul(step)).collect::<Vec<_>>());
        }

        #[test]
        fn any_reals_come_back(reals in proptest::collection::vec(prop_oneof![
            any::<f32>(), (0..100_000_i32).prop_map(|n| n as f32 / 100.0), Just(-0.0_f32), Just(1e-30)
        ], 1..50), least in 0_u8..4) {
            let (decimals, whole) = scaled(&reals, least);
            for (whole, was) in whole.iter().zip(&reals) {
                prop_assert_eq!(real(*whole, decimals).unwrap().to_bits(), was.to_bits());
            }
        }
    }

    #[test]
    fn what_is_regular_is_small() {
        assert!(round(&[7; 1_000]) <= 2);
        assert!(round(&(0..120).map(|n| n * 30_000).collect::<Vec<_>>()) < 24);
        // One step in a hundred is other than 0.
        assert!(round(&(0..1_000).map(|n| n / 100 * 1_000_000).collect::<Vec<_>>()) < 160);
        assert_eq!(scaled(&[12.5, 0.1, 33.33], 0), (2, vec![1_250, 10, 3_333]));
    }
}
