//! A workbook is a zip archive of XML parts that name each other.
//!
//! The parts are read here and not by a crate for workbooks. The crates that exist believe what a file says of itself
//! (how many strings it has, where a cell is, how often a style is used) and reserve memory by it: a file of a
//! kilobyte can end the process. Only little of a workbook has to be read.

use std::io::Cursor;

use quick_xml::events::Event;
use zip::{ZipArchive, result::ZipError};

use super::{
    limits::Limits,
    strings::Strings,
    styles::Styles,
    worksheet::Worksheet,
    xml::{Part, Xml, attribute},
};
use crate::SheetError;

/// Most files in the archive. A workbook has some ten, and one for each picture.
const MAX_FILES: u64 = 4_096;
/// Most records that may be the end of the archive's directory. A sound archive has one; the zip crate tries each.
const MAX_ENDS: usize = 16;
/// Most bytes in the path of a part.
const MAX_PATH: usize = 1_024;

/// The archive, and how much of it may still be read.
pub struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    left: u64,
    budget: u64,
    cell_bytes: usize,
}

/// What the workbook says of its first sheet.
#[derive(Default)]
struct Workbook {
    sheet: Option<String>,
    from_1904: bool,
}

/// Where the parts are.
#[derive(Default)]
struct Paths {
    sheet: Option<String>,
    strings: Option<String>,
    styles: Option<String>,
}

impl<'a> Package<'a> {
    pub fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, SheetError> {
        if bytes.starts_with(b"\xd0\xcf\x11\xe0") {
            return Err(SheetError::not_a_sheet("it is an old .xls or has a password"));
        }
        if !bytes.starts_with(b"PK") {
            return Err(SheetError::not_a_sheet("it is not an .xlsx"));
        }
        refuse_crowds(bytes)?;
        let archive = ZipArchive::new(Cursor::new(bytes))
            .map_err(|_| SheetError::not_a_sheet("its zip archive is damaged"))?;
        let budget = limits.inflated as u64;
        Ok(Self { archive, left: budget, budget, cell_bytes: limits.cell_bytes })
    }

    /// The first sheet, before its first row.
    pub fn worksheet(&mut self, limits: &Limits) -> Result<Worksheet<'_>, SheetError> {
        let path = self.workbook_path()?;
        let workbook = self.workbook(&path)?;
        let sheet = workbook.sheet.ok_or_else(|| SheetError::not_a_sheet("it has no sheet"))?;
        let paths = self.paths(&path, &sheet)?;
        let styles = match paths.styles {
            Some(path) => self.read(&path, Styles::read)?.unwrap_or_default(),
            None => Styles::default(),
        };
        let strings = match paths.strings {
            Some(path) => self.read(&path, |xml| Strings::read(xml, limits.cell_bytes))?.unwrap_or_default(),
            None => Strings::default(),
        };
        let path = paths.sheet.ok_or_else(|| SheetError::not_a_sheet("its first sheet is not a table"))?;
        let part = self.part(&path)?.ok_or_else(|| SheetError::not_a_sheet("its first sheet is missing"))?;
        Worksheet::new(part, strings, styles, workbook.from_1904, limits)
    }

    fn workbook_path(&mut self) -> Result<String, SheetError> {
        let mut found = None;
        self.read("_rels/.rels", |xml| {
            relationships(xml, |kind, _, target| {
                if kind == "officeDocument" {
                    found = Some(resolve("", target));
                }
            })
        })?;
        found.ok_or_else(|| SheetError::not_a_sheet("it is not a workbook"))
    }

    fn workbook(&mut self, path: &str) -> Result<Workbook, SheetError> {
        let workbook = self.read(path, |xml| {
            let mut workbook = Workbook::default();
            loop {
                match xml.next()? {
                    Event::Start(e) if e.local_name().as_ref() == "workbookPr" => {
                        let flag = attribute(&e, "date1904")?;
                        workbook.from_1904 |= matches!(flag.as_deref(), Some("1" | "true"));
                    }
                    Event::Start(e) if e.local_name().as_ref() == "sheet" && workbook.sheet.is_none() => {
                        workbook.sheet = attribute(&e, "id")?;
                    }
                    Event::Eof => return Ok(workbook),
                    _ => {}
                }
            }
        })?;
        workbook.ok_or_else(|| SheetError::not_a_sheet("it is not a workbook"))
    }

    fn paths(&mut self, workbook: &str, sheet: &str) -> Result<Paths, SheetError> {
        let (folder, name) = workbook.rsplit_once('/').unwrap_or(("", workbook));
        let mut paths = Paths::default();
        self.read(&resolve(folder, &format!("_rels/{name}.rels")), |xml| {
            relationships(xml, |kind, id, target| {
                let place = match kind {
                    "worksheet" if id == sheet => &mut paths.sheet,
                    "sharedStrings" => &mut paths.strings,
                    "styles" => &mut paths.styles,
                    _ => return,
                };
                *place = Some(resolve(folder, target));
            })
        })?;
        Ok(paths)
    }

    /// Reads a part to its end; `None` if there is none.
    fn read<T>(
        &mut self,
        path: &str,
        reading: impl FnOnce(&mut Part<'_>) -> Result<T, SheetError>,
    ) -> Result<Option<T>, SheetError> {
        let Some(mut part) = self.part(path)? else { return Ok(None) };
        let read = reading(&mut part)?;
        self.left = part.finish()?;
        Ok(Some(read))
    }

    fn part(&mut self, path: &str) -> Result<Option<Part<'_>>, SheetError> {
        match self.archive.by_name(path) {
            Ok(file) => Ok(Some(Xml::new(Box::new(file), self.left, self.budget, self.cell_bytes))),
            Err(ZipError::FileNotFound) => Ok(None),
            Err(_) => Err(SheetError::not_a_sheet("its zip archive cannot be read")),
        }
    }
}

/// Calls `found` for each relationship, with the last segment of its type, its id and its target.
fn relationships(xml: &mut Part<'_>, mut found: impl FnMut(&str, &str, &str)) -> Result<(), SheetError> {
    loop {
        match xml.next()? {
            Event::Start(e) if e.local_name().as_ref() == "Relationship" => {
                let kind = attribute(&e, "Type")?.unwrap_or_default();
                let id = attribute(&e, "Id")?.unwrap_or_default();
                let target = attribute(&e, "Target")?.unwrap_or_default();
                if target.len() > MAX_PATH {
                    return Err(SheetError::not_a_sheet("one of its parts has too long a name"));
                }
                found(kind.rsplit('/').next().unwrap_or_default(), &id, &target);
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

/// The path of a target as seen from a folder.
fn resolve(folder: &str, target: &str) -> String {
    let mut path: Vec<&str> = if target.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for step in target.split('/') {
        match step {
            ".." => drop(path.pop()),
            "." => {}
            step => path.push(step),
        }
    }
    path.retain(|step| !step.is_empty());
    path.join("/")
}

/// Refuses an archive of too many files. The zip crate keeps the archive's directory in memory, and reserves room for
/// as many files as the archive claims before it reads one; so the entries are counted first.
fn refuse_crowds(bytes: &[u8]) -> Result<(), SheetError> {
    let (mut files, mut ends, mut claimed) = (0_u64, 0_usize, 0_u64);
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|b| *b == b'P') {
        rest = &rest[at..];
        match rest.get(..4) {
            Some(b"PK\x01\x02") => files += 1,
            Some(b"PK\x05\x06") => ends += 1,
            // The end of a Zip64 directory: how many entries are on this disk, and how many in all.
            Some(b"PK\x06\x06") => {
                let counts = rest.get(24..40).unwrap_or_default().chunks_exact(8);
                let counts =
                    counts.map(|count| count.iter().rev().fold(0, |sum, b| (sum << 8) | u64::from(*b)));
                claimed = counts.fold(claimed, u64::max);
            }
            _ => {}
        }
        rest = &rest[1..];
    }
    if files.max(claimed) > MAX_FILES || ends > MAX_ENDS {
        return Err(SheetError::not_a_sheet("its zip archive has too many files"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_from_their_folder() {
        assert_eq!(resolve("xl", "worksheets/sheet1.xml"), "xl/worksheets/sheet1.xml");
        assert_eq!(resolve("xl", "/xl/styles.xml"), "xl/styles.xml");
        assert_eq!(resolve("xl/deep", "../styles.xml"), "xl/styles.xml");
        assert_eq!(resolve("", "../../xl/./workbook.xml"), "xl/workbook.xml");
    }
}
