//! Workbooks made by hand, part by part.

use std::io::{Cursor, Write};

use zip::{ZipWriter, write::SimpleFileOptions};

const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

/// The parts of a workbook, by path.
pub struct Book(Vec<(String, Vec<u8>)>);

impl Book {
    /// One sheet, with these rows in it.
    pub fn new(rows: &str) -> Self {
        let book = Self(Vec::new())
            .part("_rels/.rels", &relationships(&[("officeDocument", "rId1", "xl/workbook.xml")]))
            .part(
                "xl/_rels/workbook.xml.rels",
                &relationships(&[
                    ("worksheet", "rId7", "worksheets/sheet1.xml"),
                    ("sharedStrings", "rId8", "sharedStrings.xml"),
                    ("styles", "rId9", "/xl/styles.xml"),
                ]),
            );
        book.workbook("").sheet(rows)
    }

    pub fn part(mut self, path: &str, content: &str) -> Self {
        self.0.retain(|(own, _)| own != path);
        self.0.push((path.to_owned(), content.as_bytes().to_vec()));
        self
    }

    /// `properties` are attributes of the workbook.
    pub fn workbook(self, properties: &str) -> Self {
        let sheets =
            r#"<sheet name="One" sheetId="3" r:id="rId7"/><sheet name="Two" sheetId="4" r:id="rId10"/>"#;
        let xml = format!(
            r#"<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><workbookPr {properties}/><sheets>{sheets}</sheets></workbook>"#
        );
        self.part("xl/workbook.xml", &xml)
    }

    pub fn sheet(self, rows: &str) -> Self {
        let xml = format!(r#"<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>"#);
        self.part("xl/worksheets/sheet1.xml", &xml)
    }

    /// `attributes` are of the table, `items` its texts.
    pub fn strings(self, attributes: &str, items: &str) -> Self {
        self.part("xl/sharedStrings.xml", &format!(r#"<sst xmlns="{MAIN}" {attributes}>{items}</sst>"#))
    }

    pub fn styles(self, formats: &str, cells: &str) -> Self {
        let xml = format!(
            r#"<styleSheet xmlns="{MAIN}"><numFmts>{formats}</numFmts><cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs>{cells}</cellXfs></styleSheet>"#
        );
        self.part("xl/styles.xml", &xml)
    }

    pub fn zip(&self) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, content) in &self.0 {
            zip.start_file(path, SimpleFileOptions::default().compression_level(Some(1))).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }
}

fn relationships(all: &[(&str, &str, &str)]) -> String {
    let items: String = all
        .iter()
        .map(|(kind, id, target)| {
            format!(r#"<Relationship Id="{id}" Type="{OFFICE}/{kind}" Target="{target}"/>"#)
        })
        .collect();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{items}</Relationships>"#
    )
}

/// A text in place, at a reference such as `A1`.
pub fn cell(reference: &str, text: &str) -> String {
    format!(r#"<c r="{reference}" t="inlineStr"><is><t>{text}</t></is></c>"#)
}

/// Row 1 with `name` in column A and `note` in column B, then these.
pub fn headed(rows: &str) -> String {
    format!(r#"<row r="1">{}{}</row>{rows}"#, cell("A1", "name"), cell("B1", "note"))
}
