//! Reading the rows of a sheet that a stranger sent.

mod csv;
mod limits;
mod package;
mod row;
mod strings;
mod styles;
mod worksheet;
mod xml;

use std::sync::Arc;

use crate::{Format, SheetError};
use package::Package;
use row::Raw;

pub use limits::Limits;
pub use row::{Columns, Row};

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

impl<'a> Upload<'a> {
    /// Checks the size and the outer form of the file and reads no row yet. The format is what the sender says.
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

    /// Reads the header, which is the first row that is not empty. To be called once: reading a workbook uses up the
    /// bytes that may be read of it.
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

    /// The next row that is not empty. After an error that [`spares the next row`](SheetError::spares_the_next_row)
    /// reading may go on; after any other there is no further row.
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
