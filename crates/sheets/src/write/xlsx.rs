//! Rows as a workbook of one sheet.

use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rust_xlsxwriter::{Format, Workbook, Worksheet, XlsxError};

use super::Column;
use crate::{Cell, WriteError, cell::serial, text::clean};

/// Room beside a column's name for the button that filters it, in characters.
const BUTTON: u16 = 3;
/// Greatest width of a column, in characters.
const MAX_WIDTH: u16 = 80;

pub struct Sheet {
    workbook: Workbook,
    header: Format,
    time: Format,
    percent: Format,
    /// Which columns are percentages.
    percentages: Vec<bool>,
}

/// How a cell is shown.
struct Look<'a> {
    header: Option<&'a Format>,
    time: &'a Format,
    percent: Option<&'a Format>,
}

impl Sheet {
    pub fn new(title: &str, columns: &[Column]) -> Result<Self, WriteError> {
        let mut workbook = Workbook::new();
        let worksheet = workbook.add_worksheet_with_constant_memory().map_err(failed)?;
        worksheet.set_name(title).map_err(failed)?;
        worksheet.set_freeze_panes(1, 0).map_err(failed)?;
        for (at, column) in (0..).zip(columns) {
            let name = u16::try_from(column.name.chars().count()).unwrap_or(MAX_WIDTH);
            let width = column.width.max(name.saturating_add(BUTTON)).min(MAX_WIDTH);
            worksheet.set_column_width(at, width).map_err(failed)?;
        }
        Ok(Self {
            workbook,
            header: Format::new().set_bold(),
            time: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
            percent: Format::new().set_num_format("0.00%"),
            percentages: columns.iter().map(|column| column.percent).collect(),
        })
    }

    /// `row` counts from 0, which is the header.
    pub fn write(&mut self, row: u32, cells: &[Cell]) -> Result<(), WriteError> {
        let Self { workbook, header, time, percent, percentages } = self;
        contained(|| {
            let worksheet = workbook.worksheet_from_index(0)?;
            for ((column, cell), is_percent) in (0..).zip(cells).zip(percentages) {
                let look = Look {
                    header: (row == 0).then_some(&*header),
                    time,
                    percent: is_percent.then_some(&*percent),
                };
                write_cell(worksheet, row, column, cell, &look)?;
            }
            Ok(())
        })
    }

    /// The sink is of no type of its own, so that what makes a workbook is compiled here, once.
    pub fn finish(
        mut self,
        last_row: u32,
        columns: usize,
        sink: &mut (dyn Write + Send),
    ) -> Result<(), WriteError> {
        contained(|| {
            let last_column = u16::try_from(columns.saturating_sub(1)).unwrap_or(u16::MAX);
            self.workbook.worksheet_from_index(0)?.autofilter(0, 0, last_row, last_column)?;
            self.workbook.save_to_writer(sink)
        })
    }
}

fn write_cell(
    worksheet: &mut Worksheet,
    row: u32,
    column: u16,
    cell: &Cell,
    look: &Look<'_>,
) -> Result<(), XlsxError> {
    match cell {
        Cell::Empty => Ok(()),
        // Not by the function that guesses a type: a text stays a text, whatever it looks like.
        Cell::Text(text) => match look.header {
            Some(header) => worksheet.write_string_with_format(row, column, clean(text), header).map(drop),
            None => worksheet.write_string(row, column, clean(text)).map(drop),
        },
        // A number that is not finite would be written as a word by the crate.
        Cell::Number(number) if !number.is_finite() => Ok(()),
        Cell::Number(number) => match look.percent {
            Some(percent) => {
                worksheet.write_number_with_format(row, column, *number / 100.0, percent).map(drop)
            }
            None => worksheet.write_number(row, column, *number).map(drop),
        },
        Cell::Bool(value) => worksheet.write_boolean(row, column, *value).map(drop),
        Cell::Time(at) => match serial(*at) {
            Some(day) => worksheet.write_number_with_format(row, column, day, look.time).map(drop),
            None => worksheet.write_number(row, column, *at as f64).map(drop),
        },
    }
}

/// Turns a panic of the crate into an error. The crate panics when its temporary file cannot be written, as on a full
/// disk.
fn contained(work: impl FnOnce() -> Result<(), XlsxError>) -> Result<(), WriteError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(failed),
        Err(_) => Err(WriteError::Workbook("its temporary file could not be written".to_owned())),
    }
}

fn failed(error: XlsxError) -> WriteError {
    match error {
        XlsxError::IoError(error) => WriteError::Sink(error),
        other => WriteError::Workbook(other.to_string()),
    }
}
