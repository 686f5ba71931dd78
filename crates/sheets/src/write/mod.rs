//! Rows into a sheet.

mod csv;
mod xlsx;

use std::io::{self, Write};

use crate::{Cell, Format, WriteError, text};

/// Most rows that Excel takes in a sheet, the header included.
const MAX_ROWS: u32 = 1_048_576;
/// Most UTF-16 units that Excel takes in a cell.
const MAX_TEXT_UNITS: usize = 32_767;
/// How many bytes [`Chunks`] gathers before it passes them on.
const CHUNK: usize = 64 * 1024;

/// A column to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    name: String,
    width: u16,
    percent: bool,
}

/// Takes rows one by one and writes them to `sink`. It needs the same memory however many rows there are. A csv is
/// written to the sink row by row. A workbook is written only at the end, since its parts have an order; until then
/// it is kept as XML in an unnamed file in the folder for temporary files (`TMPDIR`, `/tmp`). A sheet that is not
/// finished is incomplete.
pub struct Writer<W: Write + Send> {
    sheet: Sheet,
    sink: W,
    columns: usize,
    row: u32,
}

enum Sheet {
    Xlsx(Box<xlsx::Sheet>),
    Csv(csv::Sheet),
}

/// A sink that passes on chunks of 64 KiB, the last one shorter.
pub struct Chunks<F> {
    gathered: Vec<u8>,
    pass_on: F,
}

impl Column {
    /// `width` in characters; a column is at least as wide as its name and the button that filters it.
    pub fn new(name: impl Into<String>, width: u16) -> Self {
        Self { name: name.into(), width, percent: false }
    }

    /// Its numbers are percentages: a workbook keeps 57.31 as 0.5731 and shows it as `57.31%`, a csv has 57.31.
    pub fn percent(self) -> Self {
        Self { percent: true, ..self }
    }
}

impl<W: Write + Send> Writer<W> {
    /// Writes the header. `title` is the name of the sheet in a workbook: 1 to 31 characters without `[ ] : * ? / \`.
    pub fn new(format: Format, title: &str, columns: &[Column], sink: W) -> Result<Self, WriteError> {
        let sheet = match format {
            Format::Xlsx => Sheet::Xlsx(Box::new(xlsx::Sheet::new(title, columns)?)),
            Format::Csv => Sheet::Csv(csv::Sheet::default()),
        };
        let mut writer = Self { sheet, sink, columns: columns.len(), row: 0 };
        let header: Vec<Cell> = columns.iter().map(|column| Cell::Text(column.name.clone())).collect();
        writer.write(&header)?;
        Ok(writer)
    }

    /// The next row; cells that are missing at its end are empty. After an error the sheet cannot be finished.
    pub fn write(&mut self, cells: &[Cell]) -> Result<(), WriteError> {
        if self.row == MAX_ROWS {
            return Err(WriteError::TooManyRows);
        }
        if cells.len() > self.columns {
            return Err(WriteError::RowTooWide { row: self.row + 1 });
        }
        if cells.iter().any(is_too_long) {
            return Err(WriteError::TextTooLong { row: self.row + 1 });
        }
        match &mut self.sheet {
            Sheet::Xlsx(sheet) => sheet.write(self.row, cells)?,
            Sheet::Csv(sheet) => sheet.write(cells, &mut self.sink)?,
        }
        self.row += 1;
        Ok(())
    }

    /// Writes what is left, flushes the sink and returns it.
    pub fn finish(mut self) -> Result<W, WriteError> {
        if let Sheet::Xlsx(sheet) = self.sheet {
            sheet.finish(self.row - 1, self.columns, &mut self.sink)?;
        }
        self.sink.flush()?;
        Ok(self.sink)
    }
}

fn is_too_long(cell: &Cell) -> bool {
    match cell {
        // No text has more units than bytes.
        Cell::Text(text) if text.len() > MAX_TEXT_UNITS => {
            text::clean(text).encode_utf16().count() > MAX_TEXT_UNITS
        }
        _ => false,
    }
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Chunks<F> {
    /// An error of `pass_on`, say because nobody listens any more, ends the writing.
    pub fn new(pass_on: F) -> Self {
        Self { gathered: Vec::new(), pass_on }
    }
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Write for Chunks<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.gathered.capacity() == 0 {
            self.gathered.reserve_exact(CHUNK);
        }
        let taken = bytes.len().min(CHUNK - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..taken]);
        if self.gathered.len() == CHUNK {
            (self.pass_on)(std::mem::take(&mut self.gathered))?;
        }
        Ok(taken)
    }

    /// Passes on what is gathered, however little.
    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() { Ok(()) } else { (self.pass_on)(std::mem::take(&mut self.gathered)) }
    }
}
