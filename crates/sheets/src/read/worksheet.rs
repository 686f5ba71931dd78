//! The rows of a workbook's sheet, read as they inflate. Memory is reserved only for cells that have been read, so
//! two cells far apart cost no more than two neighbours.

use quick_xml::events::{BytesStart, Event};

use super::{
    limits::Limits,
    row::Raw,
    strings::{Strings, read_item},
    styles::Styles,
    xml::{Part, attribute, number},
};
use crate::{Cell, SheetError, cell, text::unescape};

const MAX_ROWS: u32 = 1_048_576;
const MAX_COLUMNS: usize = 16_384;

pub struct Worksheet<'a> {
    xml: Part<'a>,
    strings: Strings,
    styles: Styles,
    from_1904: bool,
    /// The row that was read last, from 1.
    row: u32,
    /// Bytes that the texts of further cells may still have.
    left: usize,
    limits: Limits,
}

/// What the XML says of a cell.
#[derive(Default)]
struct Source {
    kind: Option<String>,
    format: usize,
    value: String,
    is_formula: bool,
}

impl<'a> Worksheet<'a> {
    pub fn new(
        mut xml: Part<'a>,
        strings: Strings,
        styles: Styles,
        from_1904: bool,
        limits: &Limits,
    ) -> Result<Self, SheetError> {
        loop {
            match xml.next()? {
                Event::Start(e) if e.local_name().as_ref() == "sheetData" => break,
                Event::Eof => return Err(SheetError::not_a_sheet("its first sheet is not a table")),
                _ => {}
            }
        }
        Ok(Self { xml, strings, styles, from_1904, row: 0, left: limits.inflated, limits: *limits })
    }

    /// Reads the next row. False if there is none.
    pub fn next(&mut self, raw: &mut Raw) -> Result<bool, SheetError> {
        let row = loop {
            match self.xml.next()? {
                Event::Start(e) if e.local_name().as_ref() == "row" => break attribute(&e, "r")?,
                Event::End(e) if e.local_name().as_ref() == "sheetData" => {
                    self.xml.drain()?;
                    return Ok(false);
                }
                Event::Eof => return Ok(false),
                _ => {}
            }
        };
        let row = row.map_or(Ok(self.row + 1), |row| number(&row))?;
        if row <= self.row || row > MAX_ROWS {
            return Err(SheetError::not_a_sheet(format!("its rows are out of order after row {}", self.row)));
        }
        self.row = row;
        raw.begin(row);
        self.cells(raw)?;
        Ok(true)
    }

    fn cells(&mut self, raw: &mut Raw) -> Result<(), SheetError> {
        let within = self.xml.depth();
        let mut next = 0;
        while self.xml.depth() >= within {
            let Event::Start(e) = self.xml.next()? else { continue };
            if e.local_name().as_ref() != "c" {
                self.xml.skip()?;
                continue;
            }
            let column = attribute(&e, "r")?.map_or(Ok(next), |reference| column(&reference, self.row))?;
            if column < next || column >= MAX_COLUMNS {
                return Err(SheetError::not_a_sheet(format!(
                    "the cells of row {} are out of order",
                    self.row
                )));
            }
            next = column + 1;
            let source = Source::begin(&e)?;
            self.cell(column, source, raw)?;
        }
        Ok(())
    }

    fn cell(&mut self, column: usize, mut source: Source, raw: &mut Raw) -> Result<(), SheetError> {
        let within = self.xml.depth();
        while self.xml.depth() >= within {
            let Event::Start(e) = self.xml.next()? else { continue };
            match e.local_name().as_ref() {
                "v" if source.kind.as_deref() != Some("inlineStr") => {
                    source.value.clear();
                    self.xml.text(&mut source.value, self.limits.cell_bytes)?;
                }
                "is" => {
                    source.value.clear();
                    read_item(&mut self.xml, &mut source.value, self.limits.cell_bytes)?;
                }
                "f" => {
                    source.is_formula = true;
                    self.xml.skip()?;
                }
                _ => self.xml.skip()?,
            }
        }
        if source.is_formula {
            // The stored result of a formula is not taken: nobody can tell whether it is the true one.
            raw.refuse(column, "formulas are not read");
            return Ok(());
        }
        match self.value(source)? {
            Ok(cell) => raw.put(column, cell),
            Err(why) => {
                raw.refuse(column, why);
                Ok(())
            }
        }
    }

    /// The inner error is about this cell alone, the outer one about the whole sheet.
    fn value(&mut self, source: Source) -> Result<Result<Cell, &'static str>, SheetError> {
        let text = match source.kind.as_deref() {
            Some("s") if source.value.is_empty() => String::new(),
            Some("s") => self.shared(&source.value)?,
            Some("inlineStr") => source.value,
            Some("str") => unescape(&source.value).into_owned(),
            Some("b") => return Ok(truth(&source.value)),
            Some("e") => return Ok(Err("holds an error")),
            Some("n") | None => return Ok(self.number(&source)),
            Some(_) => return Ok(Err("is of a kind that is not read")),
        };
        self.left = self.left.checked_sub(text.len()).ok_or(SheetError::TooLarge {
            what: "the text of all cells",
            limit: self.limits.inflated as u64,
        })?;
        Ok(Ok(Cell::Text(text)))
    }

    fn shared(&self, index: &str) -> Result<String, SheetError> {
        let text = self.strings.get(number(index)?);
        text.map(str::to_owned).ok_or_else(|| {
            SheetError::not_a_sheet(format!("a cell of row {} has a text that is not there", self.row))
        })
    }

    fn number(&self, source: &Source) -> Result<Cell, &'static str> {
        let value = source.value.trim();
        if value.is_empty() {
            return Ok(Cell::Empty);
        }
        let number =
            value.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or("is not a number")?;
        if !self.styles.is_time(source.format) {
            return Ok(Cell::Number(number));
        }
        let at = cell::time(number, self.from_1904).ok_or("is not a date after February 1900")?;
        Ok(Cell::Time(at))
    }
}

impl Source {
    fn begin(element: &BytesStart<'_>) -> Result<Self, SheetError> {
        let format = attribute(element, "s")?.map_or(Ok(0), |format| number(&format))?;
        Ok(Self { kind: attribute(element, "t")?, format, ..Self::default() })
    }
}

fn truth(value: &str) -> Result<Cell, &'static str> {
    match value.trim() {
        "" => Ok(Cell::Empty),
        "1" | "true" => Ok(Cell::Bool(true)),
        "0" | "false" => Ok(Cell::Bool(false)),
        _ => Err("is neither true nor false"),
    }
}

/// The column of a reference such as `AB12`, from 0. It must be of this row.
fn column(reference: &str, row: u32) -> Result<usize, SheetError> {
    let digits = reference.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let letters = &reference[..reference.len() - digits.len()];
    if !(1..=3).contains(&letters.len()) || digits.parse() != Ok(row) {
        return Err(SheetError::not_a_sheet(format!("a cell of row {row} is somewhere else")));
    }
    let count = letters.bytes().fold(0, |sum, b| sum * 26 + usize::from(b.to_ascii_uppercase() - b'A') + 1);
    Ok(count - 1)
}
