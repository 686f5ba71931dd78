//! Lines of a csv.

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};

use super::{limits::Limits, row::Raw};
use crate::{Cell, SheetError, text::restore};

/// What may separate cells. Excel writes a semicolon where a comma separates decimals. The first is the default.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// The text of a file, less its byte order mark.
pub fn text(bytes: &[u8]) -> Result<&str, SheetError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let byte = error.valid_up_to();
        SheetError::NotUtf8 { line: 1 + bytes[..byte].iter().filter(|b| **b == b'\n').count(), byte }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Rows, each a line or more.
pub struct Lines<'a> {
    parser: Reader,
    /// What comes next.
    rest: &'a [u8],
    /// The cell that is being read. One byte longer than a cell may be, so that a cell that is too long is noticed.
    cell: Vec<u8>,
    number: u32,
    /// Whether the last row ended at a CR, to which a LF right after it belongs.
    after_cr: bool,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str, limits: &Limits) -> Self {
        let parser = ReaderBuilder::new().delimiter(delimiter(text)).build();
        let cell = vec![0; limits.cell_bytes + 1];
        Self { parser, rest: text.as_bytes(), cell, number: 0, after_cr: false }
    }

    /// Reads the next row. False if there is none.
    pub fn next(&mut self, raw: &mut Raw) -> Result<bool, SheetError> {
        self.skip_empty_lines();
        raw.begin(self.number + 1);
        for column in 0.. {
            let Some((length, last)) = self.field()? else { return Ok(false) };
            // Fields end at ASCII, so they are UTF-8 as the whole is.
            let text = std::str::from_utf8(&self.cell[..length]).unwrap_or_default();
            raw.put(column, Cell::Text(restore(text).to_owned()))?;
            if last {
                break;
            }
        }
        self.number = self.number.saturating_add(1);
        Ok(true)
    }

    /// The length of the next field in `cell`, and whether it is its row's last.
    fn field(&mut self) -> Result<Option<(usize, bool)>, SheetError> {
        let mut length = 0;
        loop {
            let (result, read, written) = self.parser.read_field(self.rest, &mut self.cell[length..]);
            self.after_cr = read > 0 && self.rest[read - 1] == b'\r';
            self.rest = &self.rest[read..];
            length += written;
            match result {
                // The parser is asked again with empty input, and then answers `Field` or `End`.
                ReadFieldResult::InputEmpty => {}
                ReadFieldResult::Field { record_end } if length < self.cell.len() => {
                    return Ok(Some((length, record_end)));
                }
                ReadFieldResult::Field { .. } | ReadFieldResult::OutputFull => {
                    return Err(SheetError::TooLarge { what: "a cell", limit: self.cell.len() as u64 - 1 });
                }
                ReadFieldResult::End => return Ok(None),
            }
        }
    }

    /// Counts and skips empty lines: the parser skips them in silence, but in a spreadsheet they are rows.
    fn skip_empty_lines(&mut self) {
        if self.after_cr {
            self.rest = self.rest.strip_prefix(b"\n").unwrap_or(self.rest);
            self.after_cr = false;
        }
        loop {
            let end = [b"\r\n".as_slice(), b"\n", b"\r"].into_iter().find(|end| self.rest.starts_with(end));
            let Some(end) = end else { return };
            self.rest = &self.rest[end.len()..];
            self.number = self.number.saturating_add(1);
        }
    }
}

/// The delimiter that is most frequent, outside of quotes, in the first line that is not empty.
fn delimiter(text: &str) -> u8 {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut quoted = false;
    for byte in text.trim_start_matches(['\r', '\n']).bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\r' | b'\n' if !quoted => break,
            _ if quoted => {}
            _ => {
                if let Some(at) = DELIMITERS.iter().position(|delimiter| *delimiter == byte) {
                    counts[at] += 1;
                }
            }
        }
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    let at = counts.iter().position(|count| *count == most).unwrap_or_default();
    DELIMITERS[at]
}
