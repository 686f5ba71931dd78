//! Rows as RFC 4180.

use std::{borrow::Cow, io};

use crate::{
    Cell,
    cell::rfc3339,
    text::{clean, defuse},
};

/// The current line; it is kept so that its memory is used again.
#[derive(Default)]
pub struct Sheet {
    line: String,
    begun: bool,
}

impl Sheet {
    pub fn write(&mut self, cells: &[Cell], sink: &mut dyn io::Write) -> io::Result<()> {
        self.line.clear();
        if !self.begun {
            self.line.push('\u{feff}');
            self.begun = true;
        }
        for (column, cell) in cells.iter().enumerate() {
            if column > 0 {
                self.line.push(',');
            }
            push_quoted(&mut self.line, &field(cell));
        }
        self.line.push_str("\r\n");
        sink.write_all(self.line.as_bytes())
    }
}

fn field(cell: &Cell) -> Cow<'_, str> {
    match cell {
        Cell::Text(text) => match clean(text) {
            Cow::Borrowed(text) => defuse(text),
            Cow::Owned(text) => Cow::Owned(defuse(&text).into_owned()),
        },
        Cell::Number(number) if number.is_finite() => Cow::Owned(number.to_string()),
        Cell::Number(_) | Cell::Empty => Cow::Borrowed(""),
        Cell::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Cell::Time(at) => Cow::Owned(rfc3339(*at).unwrap_or_else(|| at.to_string())),
    }
}

/// Adds a field, in quotes if need be. Quotes are also put around what other dialects of csv take for the end of a
/// cell, and around blanks that they would trim.
fn push_quoted(line: &mut String, field: &str) {
    if !field.contains([',', ';', '\t', '"', '\r', '\n']) && field.trim() == field {
        line.push_str(field);
        return;
    }
    line.push('"');
    line.push_str(&field.replace('"', "\"\""));
    line.push('"');
}
