//! Sheets that nobody should send: each is answered by an error, soon, and in little memory.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use sheets::{Format, Limits};

use crate::{
    export::{given, peak, run_again},
    forge::{Book, cell, headed},
    read, text, written,
};

/// The most memory that uploads may add, in KiB: three times what a workbook may inflate to.
const MOST: u64 = 3 * 50 * 1024;
/// The longest that one may take; these tests are not optimised.
const LONGEST: Duration = Duration::from_secs(60);
/// More than a workbook may inflate to.
const TOO_MUCH: usize = 60 << 20;

type Case = (&'static str, Format, Vec<u8>, &'static str);

fn xlsx(name: &'static str, book: &Book, code: &'static str) -> Case {
    let bytes = book.zip();
    assert!(bytes.len() <= Limits::default().sent, "{name} is too large to test what it should");
    (name, Format::Xlsx, bytes, code)
}

/// A header and row 2 with this in it.
fn second(cells: &str) -> Book {
    Book::new(&headed(&format!(r#"<row r="2">{cells}</row>"#)))
}

fn bombs() -> Vec<Case> {
    let blanks = " ".repeat(TOO_MUCH);
    let text = "a".repeat(TOO_MUCH);
    let attribute = format!(r#"<c r="A2" x="{text}"/>"#);
    let comments = Book::new(&headed(&"<!-- a comment to pass over -->".repeat(TOO_MUCH / 31))).zip();
    let mut liar = comments.clone();
    lie_about_sizes(&mut liar);
    let strings = "<si/>".repeat(TOO_MUCH / 5);
    let line: String = (0..250).map(|_| r#"<c t="s"><v>0</v></c>"#).collect();
    let lines = format!("<row>{line}</row>").repeat(5_000);
    let shared = Book::new(&format!("<row>{}</row>{lines}", (0..250).map(named).collect::<String>()));
    vec![
        xlsx("blanks", &Book::new(&headed(&blanks)), "too_large"),
        xlsx("a text", &second(&cell("A2", &text)), "too_large"),
        xlsx("an attribute", &second(&attribute), "too_large"),
        ("comments", Format::Xlsx, comments, "too_large"),
        ("comments that say they are few", Format::Xlsx, liar, "not_a_sheet"),
        xlsx("empty rows", &Book::new(&headed(&"<row/>".repeat(TOO_MUCH / 6))), "not_a_sheet"),
        xlsx("shared texts", &second("").strings("", &strings), "not_a_sheet"),
        xlsx("a shared text", &second("").strings("", &format!("<si><t>{text}</t></si>")), "too_large"),
        xlsx(
            "one text in many cells",
            &shared.strings("", &format!("<si><t>{}</t></si>", &text[..100_000])),
            "too_large",
        ),
        xlsx("styles", &second("").styles("", &"<xf/>".repeat(TOO_MUCH / 5)), "not_a_sheet"),
        xlsx("relationships", &second("").part("_rels/.rels", &blanks), "too_large"),
    ]
}

fn named(column: usize) -> String {
    format!(r#"<c t="inlineStr"><is><t>column {column}</t></is></c>"#)
}

/// Writes a small size into each entry of the archive's directory.
fn lie_about_sizes(zip: &mut [u8]) {
    for at in 0..zip.len() - 28 {
        if zip[at..].starts_with(b"PK\x01\x02") {
            zip[at + 24..at + 28].copy_from_slice(&64_u32.to_le_bytes());
        }
    }
}

fn damaged() -> Vec<Case> {
    let whole = written(Format::Xlsx, &["name"], &[vec![text("web")]]);
    let mut cases: Vec<Case> = (0..10)
        .map(|tenth| {
            ("a tenth and on", Format::Xlsx, whole[..whole.len() * tenth / 10].to_vec(), "not_a_sheet")
        })
        .collect();
    let mut claims = whole.clone();
    claims.extend(b"PK\x06\x06".iter().chain(&[0; 20]).chain(&[255; 32]));
    let empty = || Book::new("");
    let mut many = empty();
    for file in 0..5_000 {
        many = many.part(&format!("{file}"), "");
    }
    cases.extend([
        ("claims of many files", Format::Xlsx, claims, "not_a_sheet"),
        (
            "many ends",
            Format::Xlsx,
            [b"PK".as_slice(), &b"PK\x05\x06\0\0".repeat(200_000)].concat(),
            "not_a_sheet",
        ),
        xlsx("many files", &many, "not_a_sheet"),
        ("no zip", Format::Xlsx, b"name,note\r\n".to_vec(), "not_a_sheet"),
        (
            "an xls",
            Format::Xlsx,
            [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".as_slice(), &[0; 4096]].concat(),
            "not_a_sheet",
        ),
        ("an xls as csv", Format::Csv, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec(), "not_utf8"),
        ("no workbook", Format::Xlsx, empty().part("_rels/.rels", "<Relationships/>").zip(), "not_a_sheet"),
        ("no sheet", Format::Xlsx, empty().part("xl/workbook.xml", "<workbook/>").zip(), "not_a_sheet"),
        (
            "a chart",
            Format::Xlsx,
            empty().part("xl/worksheets/sheet1.xml", "<chartsheet/>").zip(),
            "not_a_sheet",
        ),
        ("no row", Format::Xlsx, empty().zip(), "missing_header"),
        ("nothing", Format::Xlsx, Vec::new(), "not_a_sheet"),
        ("nothing as csv", Format::Csv, Vec::new(), "missing_header"),
        (
            "no end of its XML",
            Format::Xlsx,
            empty().part("xl/worksheets/sheet1.xml", "<worksheet><sheetData><row><c>").zip(),
            "not_a_sheet",
        ),
    ]);
    cases
}

fn cells() -> Vec<Case> {
    let styled = |value: &str| {
        second(&format!(r#"<c r="A2" s="0"><v>{value}</v></c>"#)).styles("", r#"<xf numFmtId="14"/>"#)
    };
    let wide =
        |columns: usize| Book::new(&format!("<row>{}</row>", (0..columns).map(named).collect::<String>()));
    let bad = |cell: &str| second(cell);
    vec![
        xlsx(
            "two cells far apart",
            &Book::new(&headed(&format!(r#"<row r="1048576">{}</row>"#, cell("XFD1048576", "x")))),
            "too_many_columns",
        ),
        xlsx("a formula", &bad(r#"<c r="A2"><f>1+1</f><v>2</v></c>"#), "bad_cell"),
        xlsx("a formula without a value", &bad(r#"<c r="A2"><f>HYPERLINK("http://x")</f></c>"#), "bad_cell"),
        xlsx(
            "a shared formula",
            &bad(r#"<c r="A2"><f t="shared" si="4000000000" ref="A1:XFD1048576">1</f></c>"#),
            "bad_cell",
        ),
        xlsx("a number that is none", &bad(r#"<c r="A2" t="n"><v>abc</v></c>"#), "bad_cell"),
        xlsx("infinity", &bad(r#"<c r="A2"><v>1e999</v></c>"#), "bad_cell"),
        xlsx("neither true nor false", &bad(r#"<c r="A2" t="b"><v>7</v></c>"#), "bad_cell"),
        xlsx("an error", &bad(r#"<c r="A2" t="e"><v>#REF!</v></c>"#), "bad_cell"),
        xlsx("no such kind", &bad(r#"<c r="A2" t="zz"><v>1</v></c>"#), "bad_cell"),
        xlsx("a date of no year", &styled("1e300"), "bad_cell"),
        xlsx("a date before all", &styled("-1"), "bad_cell"),
        xlsx("NUL", &bad(&cell("A2", "a_x0000_b")), "bad_cell"),
        xlsx("NUL as it is", &bad(&cell("A2", "a\0b")), "bad_cell"),
        xlsx("no name above it", &bad(&cell("C2", "x")), "bad_cell"),
        xlsx("a shared text that is not there", &bad(r#"<c r="A2" t="s"><v>0</v></c>"#), "not_a_sheet"),
        xlsx("a shared text before the first", &bad(r#"<c r="A2" t="s"><v>-1</v></c>"#), "not_a_sheet"),
        xlsx("column XFE", &bad(&cell("XFE2", "x")), "not_a_sheet"),
        xlsx("a column of many letters", &bad(&cell("AAAAAAAAAAAAAAAA2", "x")), "not_a_sheet"),
        xlsx("a cell of another row", &bad(&cell("A3", "x")), "not_a_sheet"),
        xlsx("a cell twice", &bad(&cell("A2", "x").repeat(2)), "not_a_sheet"),
        xlsx("a row twice", &Book::new(&headed(r#"<row r="1"/>"#)), "not_a_sheet"),
        xlsx("a row too far", &Book::new(&headed(r#"<row r="1048577"/>"#)), "not_a_sheet"),
        xlsx(
            "a row out of numbers",
            &Book::new(&headed(r#"<row r="99999999999999999999"/>"#)),
            "not_a_sheet",
        ),
        xlsx("16,385 columns", &wide(16_385), "too_many_columns"),
        xlsx("257 columns", &wide(257), "too_many_columns"),
        xlsx(
            "a column twice",
            &Book::new(&format!("<row>{}{}</row>", named(1), named(1))),
            "duplicate_column",
        ),
        xlsx("a column called 1", &Book::new("<row><c><v>1</v></c></row>"), "bad_cell"),
        xlsx(
            "20,000 rows",
            &Book::new(&headed(&"<row><c><v>1</v></c></row>".repeat(20_000))),
            "too_many_rows",
        ),
    ]
}

fn markup() -> Vec<Case> {
    let deep = "<x>".repeat(1_000_000);
    let sheet = |xml: &str| Book::new("").part("xl/worksheets/sheet1.xml", xml);
    let laughs = "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>";
    let attributes: String = (0..9_000).map(|at| format!(" a{at}=\"\"")).collect();
    vec![
        xlsx("deep XML", &sheet(&deep), "not_a_sheet"),
        xlsx("deep XML in a cell", &second(&format!("<c>{deep}")), "not_a_sheet"),
        xlsx(
            "entities",
            &sheet(&format!("{laughs}<worksheet><sheetData>&b;</sheetData></worksheet>")),
            "not_a_sheet",
        ),
        xlsx(
            "entities in shared texts",
            &second("").part("xl/sharedStrings.xml", &format!("{laughs}<sst><si><t>&b;</t></si></sst>")),
            "not_a_sheet",
        ),
        xlsx("an entity that is not declared", &second(&cell("A2", "&b;")), "not_a_sheet"),
        xlsx("a character that is none", &second(&cell("A2", "&#xD800;")), "not_a_sheet"),
        xlsx(
            "a file of the server",
            &sheet("<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><x>&a;</x>"),
            "not_a_sheet",
        ),
        xlsx("ends that do not match", &sheet("<worksheet></sheetData>"), "not_a_sheet"),
        xlsx("many attributes", &second(&format!("<c{attributes} t=\"e\"><v/></c>").repeat(50)), "bad_cell"),
    ]
}

fn lines() -> Vec<Case> {
    let long = "a".repeat(4 << 20);
    let commas = ",".repeat(4 << 20);
    let csv = |name, text: String, code| (name, Format::Csv, text.into_bytes(), code);
    vec![
        csv("a long cell", format!("name\n{long}\n"), "too_large"),
        csv("a quote that does not end", format!("name\n\"{}", "a\n".repeat(1 << 20)), "too_large"),
        csv("many columns", format!("name\n{commas}x\n"), "too_many_columns"),
        csv("many columns in the header", format!("{commas}x\n"), "too_many_columns"),
        csv("a column twice", "name,Name\n".to_owned(), "duplicate_column"),
        csv("NUL", "name\na\0b\n".to_owned(), "bad_cell"),
        csv("empty lines", "\n".repeat(5 << 20), "missing_header"),
        csv("rows of nothing", format!("name\n{}", ",\n".repeat(2 << 20)) + "a\nb,c\n", "bad_cell"),
        csv("20,000 rows", format!("name\n{}", "a\n".repeat(20_000)), "too_many_rows"),
        csv("more than is taken", "a".repeat((5 << 20) + 1), "too_large"),
        ("not UTF-8", Format::Csv, b"name\n\xff\n".to_vec(), "not_utf8"),
        ("more than is taken as a workbook", Format::Xlsx, vec![b'P'; (5 << 20) + 1], "too_large"),
    ]
}

/// They are made in one process and read in another, for making them takes memory.
#[test]
fn each_is_refused_soon_and_in_little_memory() {
    if let Some(folder) = given() {
        return refuse_all(&folder);
    }
    let folder = tempfile::tempdir().unwrap();
    let cases = [damaged, cells, markup, lines, bombs].into_iter().flat_map(|make| make());
    for (at, (name, format, bytes, code)) in cases.enumerate() {
        let file = format!("{at:03}.{code}.{name}.{}", format.extension());
        std::fs::write(folder.path().join(file), bytes).unwrap();
    }
    run_again("hostile::each_is_refused_soon_and_in_little_memory", folder.path());
}

fn refuse_all(folder: &Path) {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 83);
    let before = peak();
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let code = name.split('.').nth(1).unwrap();
        let format = name.rsplit('.').next().unwrap().parse().unwrap();
        let begun = Instant::now();
        let verdict = read(format, &bytes).map(|rows| rows.len());
        let (took, more) = (begun.elapsed(), peak() - before);
        println!("{name}: {verdict:?} in {took:?}, {more} KiB so far");
        assert_eq!(verdict.map_err(|error| error.code()), Err(code), "{name}");
        assert!(took < LONGEST && more < MOST, "{name}: {took:?}, {more} KiB so far");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn damage_anywhere_is_no_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let rows = headed(r#"<row r="2"><c r="A2" t="s"><v>0</v></c><c r="B2" s="1"><v>45000</v></c></row>"#);
        let book = Book::new(&rows).strings("", "<si><t>web</t></si>").styles("", "<xf/><xf numFmtId=\"14\"/>");
        let mut bytes = book.zip();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read(Format::Xlsx, &bytes);
    }

    #[test]
    fn any_markup_is_no_panic(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40)) {
        let xml = format!("<worksheet><sheetData>{}", pieces.concat());
        let _ = read(Format::Xlsx, &Book::new("").part("xl/worksheets/sheet1.xml", &xml).zip());
    }

    #[test]
    fn any_text_is_no_panic(text in any::<String>(), lines in "[a,;\"'=\r\n\t]{0,64}") {
        for text in [text, lines] {
            let _ = read(Format::Csv, text.as_bytes());
            let _ = read(Format::Xlsx, text.as_bytes());
        }
    }
}

const PIECES: [&str; 22] = [
    "<row>",
    "<row r=\"2\">",
    "</row>",
    "<row/>",
    "<c>",
    "<c r=\"A1\" t=\"inlineStr\">",
    "<c t=\"s\">",
    "</c>",
    "<v>",
    "0",
    "</v>",
    "<is>",
    "<t>",
    "<t xml:space=\"preserve\">",
    "</t>",
    "</is>",
    "<f/>",
    "&lt;",
    "&#0;",
    "<![CDATA[x]]>",
    "</sheetData>",
    "</worksheet>",
];
