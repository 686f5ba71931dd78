//! Why a sheet is refused, and why one could not be written.

use std::io;

/// Why an upload, or one row of it, is refused. The text says where and why, to the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SheetError {
    /// More bytes than are taken: as sent, inflated, or in one cell.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What is.
        what: &'static str,
        /// How many bytes it may have.
        limit: u64,
    },
    /// More rows than are taken, the header and empty ones not counted.
    #[error("there are more than {limit} rows")]
    TooManyRows {
        /// How many there may be.
        limit: usize,
    },
    /// More columns than are taken.
    #[error("row {row} has more than {limit} columns")]
    TooManyColumns {
        /// Counted from 1.
        row: u32,
        /// How many there may be.
        limit: usize,
    },
    /// It is something else, or damaged.
    #[error("this is not a sheet that can be read: {why}")]
    NotASheet {
        /// What is wrong with it.
        why: String,
    },
    /// A csv that is not in UTF-8.
    #[error("line {line} is not UTF-8 (byte {byte} of the file); save it as \"CSV UTF-8\"")]
    NotUtf8 {
        /// Counted from 1.
        line: usize,
        /// Counted from 0.
        byte: usize,
    },
    /// There is no row at all.
    #[error("there is no row with the names of the columns")]
    MissingHeader,
    /// A column that must be there is not.
    #[error("there is no column \"{name}\"")]
    MissingColumn {
        /// As it must be called.
        name: String,
    },
    /// Two columns of one name, regardless of case.
    #[error("there are two columns \"{name}\"")]
    DuplicateColumn {
        /// Its beginning.
        name: String,
    },
    /// One cell cannot be read. The rows after it can: this alone does not end the sheet.
    #[error("cell {column}{row}: {why}")]
    BadCell {
        /// Counted from 1, the header and empty rows included, as spreadsheets show it.
        row: u32,
        /// In letters, as spreadsheets show it.
        column: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Why a sheet could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The sink took no more.
    #[error("the sheet could not be passed on")]
    Sink(#[from] io::Error),
    /// The workbook could not be made, most often because the folder for temporary files is missing or full.
    #[error("the workbook could not be made: {0}")]
    Workbook(String),
    /// A text of more than 32,767 UTF-16 units, which no spreadsheet takes.
    #[error("the text in row {row} is too long for a sheet")]
    TextTooLong {
        /// Counted from 1.
        row: u32,
    },
    /// A row with more cells than there are columns.
    #[error("row {row} has more cells than columns")]
    RowTooWide {
        /// Counted from 1.
        row: u32,
    },
    /// More rows than a sheet holds, which is 1,048,576 with the header.
    #[error("a sheet holds no more rows")]
    TooManyRows,
}

impl SheetError {
    /// Stable, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::TooManyRows { .. } => "too_many_rows",
            Self::TooManyColumns { .. } => "too_many_columns",
            Self::NotASheet { .. } => "not_a_sheet",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::MissingHeader => "missing_header",
            Self::MissingColumn { .. } => "missing_column",
            Self::DuplicateColumn { .. } => "duplicate_column",
            Self::BadCell { .. } => "bad_cell",
        }
    }

    /// Whether this concerns one row, and the next ones may still be asked for.
    pub const fn spares_the_next_row(&self) -> bool {
        matches!(self, Self::BadCell { .. })
    }

    pub(crate) fn not_a_sheet(why: impl Into<String>) -> Self {
        Self::NotASheet { why: why.into() }
    }

    /// `column` counts from 0.
    pub(crate) fn bad_cell(row: u32, column: usize, why: &'static str) -> Self {
        Self::BadCell { row, column: letters(column), why }
    }
}

/// The name of a column, counted from 0: A to Z, AA and on.
fn letters(column: usize) -> String {
    let last = char::from(b'A' + (column % 26) as u8);
    match column / 26 {
        0 => last.to_string(),
        before => letters(before - 1) + &last.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_as_spreadsheets_do() {
        for (column, name) in [(0, "A"), (25, "Z"), (26, "AA"), (701, "ZZ"), (702, "AAA"), (16_383, "XFD")] {
            assert_eq!(letters(column), name);
        }
    }
}
