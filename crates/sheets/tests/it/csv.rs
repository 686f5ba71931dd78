//! Csv as others write it.

use sheets::{Format, Limits, SheetError, Upload};

use crate::{read, text};

fn rows(csv: &str) -> Vec<(u32, Vec<String>)> {
    let rows = read(Format::Csv, csv.as_bytes()).unwrap();
    rows.into_iter()
        .map(|row| {
            let cells = row.cells.iter().map(|cell| cell.text().unwrap_or_default().into_owned()).collect();
            (row.number, cells)
        })
        .collect()
}

#[test]
fn comma_semicolon_and_tab_are_told_apart() {
    for delimiter in [",", ";", "\t"] {
        let csv = "\u{feff}name|\"a,b;c\"|note\nweb-1|x|y, z; w\n".replace('|', delimiter);
        let csv = csv.replace("y, z; w", "\"y, z; w\"");
        assert_eq!(rows(&csv), [(2, vec!["web-1".to_owned(), "x".to_owned(), "y, z; w".to_owned()])]);
    }
}

#[test]
fn rows_are_numbered_as_a_spreadsheet_shows_them() {
    for end in ["\n", "\r\n", "\r"] {
        let csv = "|name,note|a,\"two|lines\"|||,|b,x|".replace('|', end);
        let numbers: Vec<u32> = rows(&csv).into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [3, 7], "{end:?}");
    }
}

#[test]
fn a_short_row_is_filled_and_a_long_one_refused() {
    let mut upload = Upload::open(b"name,note,\na\nb,c,d\ne,f,,,\n", Format::Csv, Limits::default()).unwrap();
    let mut rows = upload.rows().unwrap();
    assert_eq!(rows.next_row().unwrap().unwrap().cells, [text("a"), sheets::Cell::Empty]);
    let error = rows.next_row().unwrap_err();
    assert_eq!(error.to_string(), "cell C3: there is no name above it in the header");
    assert!(error.spares_the_next_row());
    assert_eq!(rows.next_row().unwrap().unwrap().number, 4);
    assert_eq!(rows.next_row(), Ok(None));
}

#[test]
fn the_place_that_is_not_utf8_is_told() {
    let error = read(Format::Csv, b"name\nweb\nz\xfcrich\n").unwrap_err();
    assert_eq!(error, SheetError::NotUtf8 { line: 3, byte: 10 });
}

#[test]
fn columns_that_lack_or_are_unknown_are_named() {
    let mut upload = Upload::open(b"Name, adress ,note\n", Format::Csv, Limits::default()).unwrap();
    let rows = upload.rows().unwrap();
    let columns = rows.columns();
    assert_eq!(columns.require(&["name", "note"]), Ok(()));
    assert_eq!(
        columns.require(&["name", "address"]),
        Err(SheetError::MissingColumn { name: "address".to_owned() })
    );
    assert_eq!(columns.unknown(&["name", "address", "note"]), ["adress"]);
}
