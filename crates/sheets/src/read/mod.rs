//! Rows out of a sheet that a stranger sent.

mod csv;
mod package;
mod row;
mod strings;
mod styles;
mod worksheet;
mod xml;

use std::sync::Arc;

use crate::{Cell, Format, SheetError};
use package::Package;
use row::Raw;

pub use row::{Columns, Row};

/// What is taken of one upload. Memory stays below some three times `inflated`, whatever is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes as sent.
    pub sent: usize,
    /// Bytes of a workbook's XML as it is read, and of the texts in its cells: a text that a thousand cells share counts a
    /// thousand times.
    pub inflated: usize,
    /// Rows that are not empty, without the header.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Bytes of the text in one cell.
    pub cell_bytes: usize,
}

/// A sheet as sent, within its bounds as far as can be known before it is read.
pub struct Upload<'a> {
    content: Content<'a>,
    limits: Limits,
}

enum Content<'a> {
    Xlsx(Box<Package<'a>>),
    Csv(&'a str),
}

/// The rows of an upload, one by one; of a workbook those of its first sheet.
pub struct Rows<'a> {
    source: Source<'a>,
    raw: Raw,
    columns: Arc<Columns>,
    limit: usize,
    taken: usize,
    ended: bool,
}

enum Source<'a> {
    Xlsx(Box<worksheet::Worksheet<'a>>),
    Csv(Box<csv::Lines<'a>>),
}

impl Default for Limits {
    fn default() -> Self {
        // A cell may have as many bytes as the longest text that a spreadsheet takes.
        Self { sent: 5 << 20, inflated: 50 << 20, rows: 10_000, columns: 256, cell_bytes: 4 * 32_767 }
    }
}

impl<'a> Upload<'a> {
    /// Looks at what the file is, not at what is in it. The format is what the sender says.
    pub fn open(bytes: &'a [u8], format: Format, limits: Limits) -> Result<Self, SheetError> {
        if bytes.len() > limits.sent {
            return Err(SheetError::TooLarge { what: "the file", limit: limits.sent as u64 });
        }
        let content = match format {
            Format::Xlsx => Content::Xlsx(Box::new(Package::open(bytes, &limits)?)),
            Format::Csv => Content::Csv(csv::text(bytes)?),
        };
        Ok(Self { content, limits })
    }

    /// Reads the header, the first row that is not empty, and stands before the next. Once only: a workbook's bounds are
    /// used up by reading it.
    pub fn rows(&mut self) -> Result<Rows<'_>, SheetError> {
        let mut raw = Raw::new(self.limits.columns);
        let mut source = match &mut self.content {
            Content::Xlsx(package) => Source::Xlsx(Box::new(package.worksheet(&self.limits)?)),
            Content::Csv(text) => Source::Csv(Box::new(csv::Lines::new(text, &self.limits))),
        };
        if !source.next(&mut raw)? {
            return Err(SheetError::MissingHeader);
        }
        let columns = Arc::new(Columns::parse(&mut raw)?);
        Ok(Rows { source, raw, columns, limit: self.limits.rows, taken: 0, ended: false })
    }
}

impl Rows<'_> {
    /// The header.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The next row that is not empty. After an error that [`spares the next row`](SheetError::spares_the_next_row) it may
    /// be asked for; after any other there is none.
    pub fn next_row(&mut self) -> Result<Option<Row>, SheetError> {
        if self.ended {
            return Ok(None);
        }
        let row = self.read();
        self.ended = match &row {
            Ok(row) => row.is_none(),
            Err(error) => !error.spares_the_next_row(),
        };
        row
    }

    fn read(&mut self) -> Result<Option<Row>, SheetError> {
        if !self.source.next(&mut self.raw)? {
            return Ok(None);
        }
        if self.taken == self.limit {
            return Err(SheetError::TooManyRows { limit: self.limit });
        }
        self.taken += 1;
        self.raw.under(&self.columns).map(Some)
    }
}

impl Source<'_> {
    /// The next row that is not empty; false if there is none.
    fn next(&mut self, raw: &mut Raw) -> Result<bool, SheetError> {
        loop {
            let more = match self {
                Self::Xlsx(worksheet) => worksheet.next(raw)?,
                Self::Csv(lines) => lines.next(raw)?,
            };
            if !more || !raw.is_empty() {
                return Ok(more);
            }
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, SheetError>;

    /// As [`Rows::next_row`].
    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}

/// For rows that are asked for a column they do not have.
static EMPTY: Cell = Cell::Empty;
