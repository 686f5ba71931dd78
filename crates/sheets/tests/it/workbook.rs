//! Workbooks as others write them.

use sheets::{Cell, Format, Limits, SheetError, Upload};

use crate::{
    forge::{Book, cell, headed},
    read, text,
};

/// The cells of row 2.
fn second_row(book: &Book) -> Vec<Cell> {
    read(Format::Xlsx, &book.zip()).unwrap().remove(0).cells
}

#[test]
fn shared_and_rich_texts_are_read() {
    let items = "<si><t>plain</t></si><si/>\
        <si><r><rPr><b/></rPr><t>ri</t></r><r><t xml:space=\"preserve\">ch </t></r><rPh sb=\"0\"><t>no</t></rPh></si>\
        <si><t>&lt;&amp;&#x41;_x000D_</t></si>";
    let rows = "<row r=\"2\"><c r=\"A2\" t=\"s\"><v>2</v></c><c r=\"B2\" t=\"s\"><v>3</v></c></row>\
        <row r=\"3\"><c r=\"A3\" t=\"s\"><v>0</v></c><c r=\"B3\" t=\"s\"><v>1</v></c></row>";
    let rows = read(Format::Xlsx, &Book::new(&headed(rows)).strings("", items).zip()).unwrap();
    assert_eq!(rows[0].cells, [text("rich "), text("<&A\r")]);
    assert_eq!(rows[1].cells, [text("plain"), Cell::Empty]);
}

#[test]
fn dates_are_told_by_their_format() {
    let styles = |book: Book| {
        book.styles(
            r#"<numFmt numFmtId="164" formatCode="yyyy\-mm\-dd"/><numFmt numFmtId="165" formatCode="[h]:mm"/>"#,
            r#"<xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="22"/><xf numFmtId="165"/>"#,
        )
    };
    let row = |format| format!(r#"<row r="2"><c r="A2" s="{format}"><v>36526.5</v></c></row>"#);
    let noon = Cell::Time(946_728_000_000);
    for (format, expected) in
        [(0, Cell::Number(36_526.5)), (1, noon.clone()), (2, noon), (3, Cell::Number(36_526.5))]
    {
        assert_eq!(second_row(&styles(Book::new(&headed(&row(format)))))[0], expected, "{format}");
    }
    let from_1904 =
        styles(Book::new(&headed(&row(1).replace("36526.5", "35064.5")))).workbook(r#"date1904="1""#);
    assert_eq!(second_row(&from_1904)[0], Cell::Time(946_728_000_000));
}

#[test]
fn cells_and_rows_may_go_without_a_place_and_with_a_prefix() {
    let rows = "<x:row><x:c t=\"inlineStr\"><x:is><x:t>name</x:t></x:is></x:c></x:row><x:row/>\
        <x:row><x:c t=\"str\"><x:v>web</x:v></x:c><x:c/></x:row><x:row><x:c t=\"b\"><x:v>1</x:v></x:c></x:row>";
    let xml = format!("<x:worksheet xmlns:x=\"m\"><x:cols/><x:sheetData>{rows}</x:sheetData></x:worksheet>");
    let rows = read(Format::Xlsx, &Book::new("").part("xl/worksheets/sheet1.xml", &xml).zip()).unwrap();
    assert_eq!((rows[0].number, rows[0].get("NAME")), (3, &text("web")));
    assert_eq!((rows[1].number, rows[1].get("name")), (4, &Cell::Bool(true)));
}

/// Numbers that a file gives of itself: readers that reserve memory or count by them end here.
#[test]
fn what_a_file_claims_of_itself_is_not_believed() {
    let rows = headed(r#"<row r="2" spans="1:4000000000"><c r="A2" s="99999999" t="s"><v>0</v></c></row>"#);
    let items = "<si><t>web</t></si>";
    let book = Book::new("")
        .strings(r#"count="9000000000000000000" uniqueCount="9000000000000000000""#, items)
        .part(
            "xl/worksheets/sheet1.xml",
            &format!(
                r#"<worksheet><dimension ref="XFD1048576:A1"/><sheetData>{rows}</sheetData></worksheet>"#
            ),
        );
    assert_eq!(second_row(&book)[0], text("web"));
}

#[test]
fn a_cell_far_below_costs_nothing() {
    let rows = format!(r#"<row r="1048576">{}</row>"#, cell("A1048576", "web"));
    let rows = read(Format::Xlsx, &Book::new(&headed(&rows)).zip()).unwrap();
    assert_eq!((rows.len(), rows[0].number), (1, 1_048_576));
}

#[test]
fn a_formula_spoils_its_row_alone() {
    let rows = format!(
        r#"<row r="2"><c r="A2" t="str"><f>1+1</f><v>2</v></c></row><row r="3">{}</row>"#,
        cell("A3", "web")
    );
    let bytes = Book::new(&headed(&rows)).zip();
    let mut upload = Upload::open(&bytes, Format::Xlsx, Limits::default()).unwrap();
    let mut rows = upload.rows().unwrap();
    assert_eq!(
        rows.next_row(),
        Err(SheetError::BadCell { row: 2, column: "A".to_owned(), why: "formulas are not read" })
    );
    assert_eq!(rows.next_row().unwrap().unwrap().get("name"), &text("web"));
    assert_eq!(rows.next_row(), Ok(None));
}
