//! The texts of a block: each different one once, all compressed together.

use std::{
    cell::Cell,
    collections::HashMap,
    io::{Read, Write},
};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};

use super::bytes::{Damage, Input, put_count};

/// More bytes than the texts of a part ever have. It bounds what a damaged length can claim.
const LONGEST: usize = 16 * 1024 * 1024;
/// Bytes that all names may take once they are back in their rows: many times what a part that we wrote has.
const MOST_NAMED: usize = 64 * 1024 * 1024;

/// The texts so far.
#[derive(Default)]
pub struct Texts {
    numbers: HashMap<String, usize>,
    lengths: Vec<usize>,
    bytes: Vec<u8>,
}

impl Texts {
    /// The number of a text.
    pub fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.lengths.len();
        self.numbers.insert(text.to_owned(), number);
        self.lengths.push(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
        number
    }

    /// Their lengths, then a byte that says whether the text is compressed, then the text.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_count(out, self.lengths.len());
        self.lengths.iter().for_each(|length| put_count(out, *length));
        match deflated(&self.bytes) {
            Some(deflated) => {
                out.push(1);
                out.extend_from_slice(&deflated);
            }
            None => {
                out.push(0);
                out.extend_from_slice(&self.bytes);
            }
        }
    }
}

/// `None` where it does not become smaller.
fn deflated(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().filter(|deflated| deflated.len() < bytes.len())
}

/// Texts that were read.
pub struct TextInput {
    texts: Vec<String>,
    named: Cell<usize>,
}

impl TextInput {
    pub fn read(input: &mut Input<'_>) -> Result<Self, Damage> {
        let count = input.count(input.0.len())?;
        let lengths = (0..count).map(|_| input.count(LONGEST)).collect::<Result<Vec<usize>, Damage>>()?;
        let all: usize = lengths.iter().sum();
        if all > LONGEST {
            return Err("texts are too long");
        }
        let mut bytes = Vec::new();
        if input.byte()? == 0 {
            bytes.extend_from_slice(input.0);
        } else {
            let most = all as u64 + 1;
            DeflateDecoder::new(input.0)
                .take(most)
                .read_to_end(&mut bytes)
                .map_err(|_| "texts do not inflate")?;
        }
        input.0 = &[];
        if bytes.len() != all {
            return Err("texts are not as long as they say");
        }
        let mut rest = bytes.as_slice();
        let mut texts = Vec::with_capacity(count);
        for length in lengths {
            let (text, after) = rest.split_at_checked(length).ok_or("a text ends too early")?;
            texts.push(str::from_utf8(text).map_err(|_| "a text is no UTF-8")?.to_owned());
            rest = after;
        }
        Ok(Self { texts, named: Cell::new(0) })
    }

    pub fn get(&self, number: usize) -> Result<&str, Damage> {
        self.texts.get(number).map(String::as_str).ok_or("a text is not there")
    }

    /// The names of an entry that is in so many rows: 0 for none, else the text's number and 1.
    pub fn names(&self, entry: [usize; 3], rows: usize) -> Result<[Option<String>; 3], Damage> {
        let mut names = [None, None, None];
        for (name, number) in names.iter_mut().zip(entry) {
            let Some(number) = number.checked_sub(1) else { continue };
            let text = self.get(number)?;
            self.named.set(self.named.get().saturating_add(text.len().saturating_mul(rows)));
            *name = Some(text.to_owned());
        }
        if self.named.get() > MOST_NAMED { Err("names take too much room") } else { Ok(names) }
    }
}
