//! The two kinds of sheets.

use std::str::FromStr;

/// How rows are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// A workbook of one sheet, as Excel has written since 2007.
    Xlsx,
    /// RFC 4180 in UTF-8 with a byte order mark, without which Excel takes it for its own code page.
    Csv,
}

/// A name that is neither `xlsx` nor `csv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is neither xlsx nor csv")]
pub struct UnknownFormat;

impl Format {
    /// For the header `Content-Type`.
    pub const fn mime_type(self) -> &'static str {
        match self {
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }

    /// Of a file's name, without the dot; what [`FromStr`] takes.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Xlsx => "xlsx",
            Self::Csv => "csv",
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Regardless of case.
    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        [Self::Xlsx, Self::Csv]
            .into_iter()
            .find(|format| format.extension().eq_ignore_ascii_case(name))
            .ok_or(UnknownFormat)
    }
}
