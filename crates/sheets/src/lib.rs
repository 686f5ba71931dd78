//! Rows to and from xlsx and csv. The only place for the spreadsheet crates.
//!
//! What is written reads back as it was: a [`Writer`] takes rows one by one and passes bytes on, an [`Upload`] bounds
//! what strangers send and yields its rows one by one. Both block; callers on a runtime give them a thread.
//!
//! # What a text goes through
//!
//! A text is always a text: never a formula, never a number. Of what a sheet cannot hold, CRLF and CR become LF, and
//! other control characters than TAB and LF become U+FFFD, as do U+FFFE and U+FFFF; an empty text is an empty cell. All
//! else reads back unchanged, leading zeros and blanks included.
//!
//! A spreadsheet that opens a csv may take a text for a formula. So an apostrophe is written before a text in which
//! one of `= + - @`, their full-width forms, TAB, CR or LF comes first, apart from apostrophes and blanks. Reading
//! takes one apostrophe away under the same condition. One apostrophe more or less does not change the condition, so
//! no text is ambiguous.
#![warn(missing_docs)]

mod cell;
mod error;
mod format;
mod read;
mod text;
mod write;

pub use cell::Cell;
pub use error::{SheetError, WriteError};
pub use format::{Format, UnknownFormat};
pub use read::{Columns, Limits, Row, Rows, Upload};
pub use write::{Chunks, Column, Writer};
