//! What is written reads back as it was.

use std::io::Cursor;

use calamine::{DataRef, Reader, ReaderRef, Xlsx};
use proptest::prelude::*;
use sheets::{Cell, Column, Format, Writer};

use crate::{read, text, written};

/// Texts that something on the way might take for something else.
const TRAPS: [&str; 30] = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "'",
    "''",
    "'=1",
    "''=1",
    "' =1",
    "  =1",
    "00123",
    "1e5",
    "TRUE",
    "#N/A",
    "2026-01-01",
    "a,b;c\td",
    "\"",
    "\"\"",
    "a\"b\r\nc",
    "a\rb",
    "_x000D_",
    "_x0041\r",
    "_x005F_x0041_",
    " blanks ",
    "<b>&amp;</b>]]>",
    "\0\u{1}\u{1b}[31m",
    "e\u{301}\u{1f4f7}\u{202e}\u{fffe}",
];

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(&TRAPS[..]).prop_map(str::to_owned),
        any::<String>(),
        "['=+@\t\r\n _x0-9A-F\"\\-]{0,12}",
    ]
}

fn any_cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        4 => any_text().prop_map(Cell::Text),
        1 => Just(Cell::Empty),
        1 => any::<f64>().prop_map(Cell::Number),
        1 => (-1_000_000_i64..1_000_000).prop_map(|n| Cell::Number(n as f64)),
        1 => any::<bool>().prop_map(Cell::Bool),
        1 => (-2_203_891_200_000_i64..253_402_300_800_000).prop_map(Cell::Time),
        1 => any::<i64>().prop_map(Cell::Time),
    ]
}

fn any_rows() -> impl Strategy<Value = Vec<Vec<Cell>>> {
    (1_usize..5).prop_flat_map(|columns| {
        prop::collection::vec(prop::collection::vec(any_cell(), columns..=columns), 0..12)
    })
}

/// What the crate promises to keep of a text.
fn kept(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    lines
        .chars()
        .map(|c| match c {
            '\t' | '\n' => c,
            '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// What the crate promises to keep of a cell, in a workbook.
fn kept_cell(cell: &Cell) -> Cell {
    match cell {
        Cell::Text(text) if text.is_empty() => Cell::Empty,
        Cell::Text(text) => Cell::Text(kept(text)),
        Cell::Number(number) if !number.is_finite() => Cell::Empty,
        Cell::Time(at) if !(-2_203_891_200_000..253_402_300_800_000).contains(at) => Cell::Number(*at as f64),
        other => other.clone(),
    }
}

/// As numbered cells, without the empty rows.
fn expected(rows: &[Vec<Cell>]) -> Vec<(u32, Vec<Cell>)> {
    let kept = rows.iter().map(|row| row.iter().map(kept_cell).collect::<Vec<_>>());
    (2..).zip(kept).filter(|(_, row)| row.iter().any(|cell| !cell.is_empty())).collect()
}

fn names(rows: &[Vec<Cell>]) -> Vec<&'static str> {
    ["one", "two", "three", "four"][..rows.first().map_or(1, Vec::len)].to_vec()
}

#[test]
fn every_trap_survives_both_formats() {
    let rows: Vec<Vec<Cell>> = TRAPS.iter().map(|trap| vec![text(trap), text("x")]).collect();
    for format in [Format::Xlsx, Format::Csv] {
        let back = read(format, &written(format, &["name", "note"], &rows)).unwrap();
        for (row, trap) in back.iter().zip(TRAPS) {
            assert_eq!(row.get("name"), &text(&kept(trap)), "{format:?}");
        }
        assert_eq!(back.len(), TRAPS.len());
    }
}

#[test]
fn names_of_columns_survive_too() {
    let columns = ["name", "=label", "a;b,c\td", "ümlaut \"x\"", "00"];
    let row = vec![vec![text("a"), text("b"), text("c"), text("d"), text("e")]];
    for format in [Format::Xlsx, Format::Csv] {
        let back = read(format, &written(format, &columns, &row)).unwrap();
        for (name, value) in columns.iter().zip(["a", "b", "c", "d", "e"]) {
            assert_eq!(back[0].get(name), &text(value), "{format:?} {name}");
        }
    }
}

/// Another reader of workbooks sees what ours sees, and no formula anywhere.
#[test]
fn other_readers_see_the_same() {
    let rows: Vec<Vec<Cell>> =
        TRAPS.iter().map(|trap| vec![text(trap), Cell::Time(1_700_000_000_123)]).collect();
    let bytes = written(Format::Xlsx, &["name", "seen"], &rows);
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).unwrap();
    assert!(book.worksheet_formula("Servers").unwrap().is_empty());
    let range = book.worksheet_range_ref("Servers").unwrap();
    assert_eq!(range.height(), TRAPS.len() + 1);
    for (row, trap) in range.rows().skip(1).zip(TRAPS) {
        assert_eq!(row[0], DataRef::String(kept(trap)));
        assert!(matches!(row[1], DataRef::DateTime(_)));
    }
}

/// A workbook keeps a percentage as spreadsheets do, and shows it so; a csv has it as people write it.
#[test]
fn a_percentage_is_shown_as_one() {
    let sheet = |format| {
        let columns = [Column::new("name", 20), Column::new("uptime_percent", 16).percent()];
        let mut writer = Writer::new(format, "report", &columns, Vec::new()).unwrap();
        writer.write(&[text("web"), Cell::Number(57.31)]).unwrap();
        writer.finish().unwrap()
    };
    let csv = String::from_utf8(sheet(Format::Csv)).unwrap();
    assert!(csv.ends_with("\r\nweb,57.31\r\n"), "{csv}");
    let bytes = sheet(Format::Xlsx);
    assert_eq!(read(Format::Xlsx, &bytes).unwrap()[0].cells[1], Cell::Number(0.5731));
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut part = |name: &str| std::io::read_to_string(zip.by_name(name).unwrap()).unwrap();
    assert!(part("xl/styles.xml").contains("formatCode=\"0.00%\""));
    let cells = part("xl/worksheets/sheet1.xml");
    assert!(cells.contains("<c r=\"B2\" s=\""), "the percentage has no format of its own: {cells}");
    assert!(cells.contains("state=\"frozen\""), "{cells}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_workbook_keeps_cells_and_their_kinds(rows in any_rows()) {
        let back = read(Format::Xlsx, &written(Format::Xlsx, &names(&rows), &rows)).unwrap();
        let back: Vec<_> = back.into_iter().map(|row| (row.number, row.cells)).collect();
        prop_assert_eq!(back, expected(&rows));
    }

    #[test]
    fn a_csv_keeps_what_cells_say(rows in any_rows()) {
        let back = read(Format::Csv, &written(Format::Csv, &names(&rows), &rows)).unwrap();
        let expected = expected(&rows);
        prop_assert_eq!(back.len(), expected.len());
        for (row, (number, cells)) in back.iter().zip(expected) {
            prop_assert_eq!(row.number, number);
            for (is, was) in row.cells.iter().zip(&cells) {
                match was {
                    Cell::Number(_) => prop_assert_eq!(is.number(), was.number()),
                    Cell::Bool(_) => prop_assert_eq!(is.bool(), was.bool()),
                    Cell::Time(_) => prop_assert_eq!(is.time(), was.time()),
                    Cell::Text(_) | Cell::Empty => prop_assert_eq!(is.text(), was.text()),
                }
            }
        }
    }

    #[test]
    fn a_csv_never_begins_a_cell_like_a_formula(texts in prop::collection::vec(any_text(), 1..4)) {
        let row: Vec<Cell> = texts.into_iter().map(Cell::Text).collect();
        let bytes = written(Format::Csv, &["a", "b", "c"], &[row]);
        let mut others = csv_core::Reader::new();
        let mut input = &bytes[3..];
        loop {
            let mut field = vec![0; 4096];
            let (result, read, length) = others.read_field(input, &mut field);
            input = &input[read..];
            match result {
                csv_core::ReadFieldResult::Field { .. } => {
                    prop_assert!(!field[..length].first().is_some_and(|b| b"=+-@\t\r\n".contains(b)));
                }
                csv_core::ReadFieldResult::End => break,
                other => prop_assert!(input.is_empty(), "{other:?}"),
            }
        }
    }
}
