//! Sheets as they are written, as others write them, and as nobody should.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod csv;
mod export;
mod forge;
mod hostile;
mod round_trip;
mod workbook;

use sheets::{Cell, Column, Format, Limits, Row, SheetError, Upload, Writer};

/// The sheet of a header and rows.
fn written(format: Format, columns: &[&str], rows: &[Vec<Cell>]) -> Vec<u8> {
    let columns: Vec<Column> = columns.iter().map(|name| Column::new(*name, 20)).collect();
    let mut writer = Writer::new(format, "Servers", &columns, Vec::new()).unwrap();
    for row in rows {
        writer.write(row).unwrap();
    }
    writer.finish().unwrap()
}

/// All rows, or the first error.
fn read(format: Format, bytes: &[u8]) -> Result<Vec<Row>, SheetError> {
    Upload::open(bytes, format, Limits::default())?.rows()?.collect()
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}
