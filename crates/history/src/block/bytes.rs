//! Bytes and bits: what everything in a block is written with, and read with again.

/// What is wrong with a block.
pub type Damage = &'static str;

/// Quotients from this one on are written as this many ones, and the number as it is.
const LONGEST_QUOTIENT: u64 = 24;
/// After so many numbers the running mean forgets half of them.
const MEMORY: u64 = 32;

/// What is left to read.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Result<u8, Damage> {
        self.take(1)?.first().copied().ok_or("it ends too early")
    }

    /// A number of 7 bits a byte, the lowest first.
    pub fn number(&mut self) -> Result<u64, Damage> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number is too long")
    }

    pub fn signed(&mut self) -> Result<i64, Damage> {
        self.number().map(unfold)
    }

    /// A number of things, at most this many.
    pub fn count(&mut self, most: usize) -> Result<usize, Damage> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count <= most { Ok(count) } else { Err("a count is too high") }
    }

    /// What [`put_section`] wrote.
    pub fn section(&mut self) -> Result<Self, Damage> {
        let length = self.count(self.0.len())?;
        self.take(length).map(Self)
    }
}

pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, fold(number));
}

pub fn put_count(out: &mut Vec<u8>, count: usize) {
    put_number(out, count as u64);
}

/// Writes the length of what `write` writes, and then that, so that a reader can pass over it.
pub fn put_section(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut section = Vec::new();
    write(&mut section);
    put_count(out, section.len());
    out.extend_from_slice(&section);
}

/// Numbers near 0, of either sign, become small: 0, -1, 1, -2, 2 are 0, 1, 2, 3, 4.
pub fn fold(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

pub fn unfold(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Writes bits, the lowest of each byte first.
#[derive(Default)]
pub struct Bits {
    bytes: Vec<u8>,
    held: u128,
    count: u32,
}

impl Bits {
    /// The lowest `bits` of a number that has no other.
    pub fn put(&mut self, number: u64, bits: u32) {
        self.held |= u128::from(number) << self.count;
        self.count += bits;
        while self.count >= 8 {
            self.bytes.push(self.held as u8);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    pub fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.bytes.push(self.held as u8);
        }
        self.bytes
    }
}

/// Reads what [`Bits`] wrote.
pub struct BitInput<'a> {
    bytes: &'a [u8],
    held: u128,
    count: u32,
}

impl<'a> BitInput<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, held: 0, count: 0 }
    }

    /// Holds more than 64 bits, or all that are left.
    fn fill(&mut self) {
        if let (Some((eight, rest)), 0..=64) = (self.bytes.split_first_chunk(), self.count) {
            self.held |= u128::from(u64::from_le_bytes(*eight)) << self.count;
            (self.bytes, self.count) = (rest, self.count + 64);
        }
        while let (Some((byte, rest)), 0..=64) = (self.bytes.split_first(), self.count) {
            self.held |= u128::from(*byte) << self.count;
            (self.bytes, self.count) = (rest, self.count + 8);
        }
    }

    /// The next bits, at most 64.
    pub fn take(&mut self, bits: u32) -> Result<u64, Damage> {
        if self.count < bits {
            self.fill();
            if self.count < bits {
                return Err("a column ends too early");
            }
        }
        let taken = (self.held & ((1 << bits) - 1)) as u64;
        self.held >>= bits;
        self.count -= bits;
        Ok(taken)
    }

    /// How many ones come before the next zero, which is passed over; at most [`LONGEST_QUOTIENT`], without a zero.
    fn ones(&mut self) -> Result<u64, Damage> {
        if u64::from(self.count) <= LONGEST_QUOTIENT {
            self.fill();
        }
        // What is held above `count` is zeros.
        let ones = (self.held as u64).trailing_ones().min(LONGEST_QUOTIENT as u32);
        let zero = u32::from(u64::from(ones) < LONGEST_QUOTIENT);
        self.take(ones + zero)?;
        Ok(u64::from(ones))
    }
}

/// Golomb-Rice coding whose parameter follows the mean of the numbers so far. Small numbers take few bits, without a
/// table, and a column that calms down, or wakes up, is followed within some numbers.
pub struct Rice {
    sum: u64,
    count: u64,
}

impl Rice {
    /// `width` is about how many bits the first numbers have; at most 63.
    pub fn new(width: u8) -> Self {
        Self { sum: 4_u64.saturating_mul(1 << width.min(63)), count: 4 }
    }

    /// How many low bits are written as they are.
    fn low(&self) -> u32 {
        let mean = self.sum.div_ceil(self.count);
        if mean <= 1 { 0 } else { 64 - (mean - 1).leading_zeros() }.min(63)
    }

    fn learn(&mut self, number: u64) {
        self.sum = self.sum.saturating_add(number);
        self.count += 1;
        if self.count > MEMORY {
            self.sum >>= 1;
            self.count >>= 1;
        }
    }

    /// Passes the bits of a number to `put`, as numbers and how many bits each has.
    pub fn write(&mut self, number: u64, put: &mut impl FnMut(u64, u32)) {
        let low = self.low();
        let quotient = number >> low;
        if quotient < LONGEST_QUOTIENT {
            put((1 << quotient) - 1, quotient as u32 + 1);
            put(number & ((1 << low) - 1), low);
        } else {
            put((1 << LONGEST_QUOTIENT) - 1, LONGEST_QUOTIENT as u32);
            put(number, 64);
        }
        self.learn(number);
    }

    pub fn read(&mut self, bits: &mut BitInput<'_>) -> Result<u64, Damage> {
        let low = self.low();
        let quotient = bits.ones()?;
        let number = if quotient < LONGEST_QUOTIENT {
            // A quotient and its low bits never have more than 64 bits, unless they are damaged.
            (quotient << low) | bits.take(low)?
        } else {
            bits.take(64)?
        };
        self.learn(number);
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in proptest::collection::vec(prop_oneof![any::<u64>(), 0..40_u64], 0..200), width in 0_u8..=70) {
            let mut bits = Bits::default();
            let mut rice = Rice::new(width);
            for number in &numbers {
                rice.write(*number, &mut |number, count| bits.put(number, count));
            }
            let bytes = bits.finish();
            let (mut input, mut rice) = (BitInput::new(&bytes), Rice::new(width));
            for number in &numbers {
                prop_assert_eq!(rice.read(&mut input), Ok(*number));
                prop_assert_eq!(fold(unfold(*number)), *number);
            }
            let mut out = Vec::new();
            numbers.iter().for_each(|number| put_number(&mut out, *number));
            let mut input = Input(&out);
            for number in &numbers {
                prop_assert_eq!(input.number(), Ok(*number));
            }
            prop_assert!(input.0.is_empty());
        }
    }

    #[test]
    fn a_number_has_at_most_64_bits() {
        assert_eq!(Input(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).number(), Ok(u64::MAX));
        assert!(Input(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).number().is_err());
        assert!(Input(&[0x80; 20]).number().is_err());
        assert!(Input(&[0x80]).number().is_err());
    }
}
