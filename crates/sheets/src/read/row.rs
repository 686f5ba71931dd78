//! A row as it is read, the header, and a row under it.

use std::{collections::HashSet, sync::Arc};

use crate::{Cell, SheetError, text::excerpt};

/// The row that is being read: its cells from the first column to the last one that is not empty.
pub struct Raw {
    number: u32,
    cells: Vec<Cell>,
    fault: Option<SheetError>,
    max_columns: usize,
}

/// For a column that a sheet does not have.
static EMPTY: Cell = Cell::Empty;

/// The names of the columns, compared regardless of ASCII case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns(Vec<Option<String>>);

/// A row under its header.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Counted from 1, the header and empty rows included, as spreadsheets show it.
    pub number: u32,
    /// One for each column of the header.
    pub cells: Vec<Cell>,
    columns: Arc<Columns>,
}

impl Raw {
    pub fn new(max_columns: usize) -> Self {
        Self { number: 0, cells: Vec::new(), fault: None, max_columns }
    }

    /// Begins a row; `number` counts from 1.
    pub fn begin(&mut self, number: u32) {
        self.number = number;
        self.cells.clear();
        self.fault = None;
    }

    /// `column` counts from 0 and comes after all that were put before. Empty cells cost nothing, wherever they are.
    pub fn put(&mut self, column: usize, cell: Cell) -> Result<(), SheetError> {
        if cell.is_empty() {
            return Ok(());
        }
        if column >= self.max_columns {
            return Err(SheetError::TooManyColumns { row: self.number, limit: self.max_columns });
        }
        if let Cell::Text(text) = &cell
            && text.contains('\0')
        {
            self.refuse(column, "holds NUL");
        }
        self.cells.resize(column, Cell::Empty);
        self.cells.push(cell);
        Ok(())
    }

    /// The row has a cell that cannot be read. Only the first such cell is reported.
    pub fn refuse(&mut self, column: usize, why: &'static str) {
        self.fault.get_or_insert_with(|| SheetError::bad_cell(self.number, column, why));
    }

    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.fault.is_none()
    }

    /// Takes the cells out, as a row under this header.
    pub fn under(&mut self, columns: &Arc<Columns>) -> Result<Row, SheetError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let mut cells = std::mem::take(&mut self.cells);
        for (column, cell) in cells.iter().enumerate() {
            if !cell.is_empty() && columns.0.get(column).is_none_or(Option::is_none) {
                return Err(SheetError::bad_cell(
                    self.number,
                    column,
                    "there is no name above it in the header",
                ));
            }
        }
        cells.resize(columns.0.len(), Cell::Empty);
        Ok(Row { number: self.number, cells, columns: Arc::clone(columns) })
    }
}

impl Columns {
    /// Blanks around a name do not count.
    pub fn parse(raw: &mut Raw) -> Result<Self, SheetError> {
        if let Some(fault) = raw.fault.take() {
            return Err(fault);
        }
        let mut names = Vec::with_capacity(raw.cells.len());
        let mut seen = HashSet::new();
        for (column, cell) in raw.cells.drain(..).enumerate() {
            let name = match cell {
                Cell::Empty => None,
                Cell::Text(name) => Some(name.trim().to_owned()).filter(|name| !name.is_empty()),
                _ => return Err(SheetError::bad_cell(raw.number, column, "the name of a column is a text")),
            };
            if let Some(name) = &name
                && !seen.insert(name.to_ascii_lowercase())
            {
                return Err(SheetError::DuplicateColumn { name: excerpt(name) });
            }
            names.push(name);
        }
        Ok(Self(names))
    }

    /// The names, in the order of the sheet; columns without one are left out.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(String::as_str)
    }

    /// Refuses a sheet that lacks one of these.
    pub fn require(&self, names: &[&str]) -> Result<(), SheetError> {
        match names.iter().find(|name| self.position(name).is_none()) {
            None => Ok(()),
            Some(name) => Err(SheetError::MissingColumn { name: (*name).to_owned() }),
        }
    }

    /// The names that are none of these, for a person to be told of: most often they are misspelt.
    pub fn unknown(&self, known: &[&str]) -> Vec<&str> {
        self.names().filter(|name| !known.iter().any(|known| known.eq_ignore_ascii_case(name))).collect()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|own| own.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name)))
    }
}

impl Row {
    /// The cell under that name; empty if there is no such column.
    pub fn get(&self, name: &str) -> &Cell {
        self.columns.position(name).and_then(|column| self.cells.get(column)).unwrap_or(&EMPTY)
    }
}
