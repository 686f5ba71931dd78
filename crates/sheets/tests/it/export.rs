//! Exports of the size that is promised.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use sheets::{Cell, Chunks, Column, Format, WriteError, Writer};

use crate::text;

const ROWS: usize = 100_000;
const COLUMNS: usize = 12;
/// The most memory that one export may add, in KiB.
const MOST: u64 = 64 * 1024;
/// Set for the process that does the work: memory is measured of a process, so it needs one of its own.
const CHILD: &str = "SHEETS_CHILD";

/// The most memory that this process ever had, in KiB.
pub fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// In a process that [`run_again`] started: what it was given.
pub fn given() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Runs the test of that name again in a process of its own, with little address space.
pub fn run_again(name: &str, given: &Path) {
    let output = Command::new("sh")
        .args(["-c", "ulimit -v 1500000 && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, given)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{name} did not run: {said}");
    println!("{said}");
}

fn export(format: Format) -> usize {
    let columns: Vec<Column> = (0..COLUMNS).map(|at| Column::new(format!("column {at}"), 20)).collect();
    let mut bytes = 0;
    let sink = Chunks::new(|chunk: Vec<u8>| {
        assert!(chunk.len() <= 64 * 1024);
        bytes += chunk.len();
        Ok(())
    });
    let mut writer = Writer::new(format, "Servers", &columns, sink).unwrap();
    for row in 0..ROWS {
        let mut cells =
            vec![Cell::Time(1_700_000_000_000 + row as i64), Cell::Number(row as f64), Cell::Bool(true)];
        cells.extend((3..COLUMNS).map(|column| text(&format!("server {row} in column {column}"))));
        writer.write(&cells).unwrap();
    }
    drop(writer.finish().unwrap());
    bytes
}

#[test]
fn a_hundred_thousand_rows_take_little_memory() {
    if given().is_none() {
        return run_again("export::a_hundred_thousand_rows_take_little_memory", Path::new("-"));
    }
    for format in [Format::Csv, Format::Xlsx] {
        let (before, begun) = (peak(), Instant::now());
        let bytes = export(format);
        let more = peak() - before;
        println!("{format:?}: {bytes} bytes in {:?}, {more} KiB more", begun.elapsed());
        assert!(bytes > 1_000_000 && more < MOST, "{format:?}: {more} KiB more");
    }
}

#[test]
fn a_csv_is_on_its_way_with_its_rows() {
    let mut chunks = 0;
    let sink = Chunks::new(|_| {
        chunks += 1;
        if chunks == 3 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    });
    let mut writer = Writer::new(Format::Csv, "Servers", &[Column::new("name", 20)], sink).unwrap();
    let error = (0..ROWS).find_map(|row| writer.write(&[text(&format!("server {row}"))]).err()).unwrap();
    assert!(matches!(error, WriteError::Sink(_)));
}

#[test]
fn a_listener_that_left_ends_a_workbook() {
    let sink = Chunks::new(|_| Err(io::ErrorKind::BrokenPipe.into()));
    let mut writer = Writer::new(Format::Xlsx, "Servers", &[Column::new("name", 20)], sink).unwrap();
    writer.write(&[text("web")]).unwrap();
    assert!(writer.finish().is_err());
}

#[test]
fn what_no_sheet_holds_is_refused() {
    for format in [Format::Xlsx, Format::Csv] {
        let mut writer = Writer::new(format, "Servers", &[Column::new("name", 20)], Vec::new()).unwrap();
        writer.write(&[text(&"ä".repeat(32_767))]).unwrap();
        let long = writer.write(&[text(&"x".repeat(32_768))]);
        assert!(matches!(long, Err(WriteError::TextTooLong { row: 3 })));
        let wide = writer.write(&[Cell::Empty, Cell::Empty]);
        assert!(matches!(wide, Err(WriteError::RowTooWide { row: 3 })));
    }
}

#[test]
fn formats_are_called_by_their_extension() {
    for format in [Format::Xlsx, Format::Csv] {
        assert_eq!(format.extension().to_uppercase().parse(), Ok(format));
    }
    assert!("xls".parse::<Format>().is_err());
}
