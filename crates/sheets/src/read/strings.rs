//! The texts that the cells of a workbook share.

use quick_xml::events::Event;

use super::xml::{Part, Xml, attribute};
use crate::{SheetError, text::unescape};

/// Most shared texts. A text and the cell that shows it take at least 26 bytes of XML, so a workbook within the usual
/// bounds cannot use more.
const MAX_STRINGS: usize = 1 << 21;

/// All texts in one string, one after the other: a `String` for each would take several times the memory of the file.
#[derive(Default)]
pub struct Strings {
    all: String,
    ends: Vec<u32>,
}

impl Strings {
    /// Reads all texts. The count that the file claims is not used.
    pub fn read(xml: &mut Part<'_>, cell_bytes: usize) -> Result<Self, SheetError> {
        let mut strings = Self::default();
        let mut text = String::new();
        loop {
            match xml.next()? {
                Event::Start(e) if e.local_name().as_ref() == "si" => {
                    text.clear();
                    read_item(xml, &mut text, cell_bytes)?;
                    strings.push(&text)?;
                }
                Event::Eof => return Ok(strings),
                _ => {}
            }
        }
    }

    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.all.get(start..end)
    }

    fn push(&mut self, text: &str) -> Result<(), SheetError> {
        if self.ends.len() == MAX_STRINGS {
            return Err(SheetError::not_a_sheet("it has too many texts"));
        }
        self.all.push_str(text);
        let end =
            u32::try_from(self.all.len()).map_err(|_| SheetError::not_a_sheet("it has too much text"))?;
        self.ends.push(end);
        Ok(())
    }
}

/// Adds the text of the element that has just begun: that of its `t`, or of the `t` in each of its runs. Phonetic hints
/// (`rPh`) are left out.
pub fn read_item<R: std::io::Read>(
    xml: &mut Xml<R>,
    text: &mut String,
    max: usize,
) -> Result<(), SheetError> {
    let within = xml.depth();
    let mut piece = String::new();
    while xml.depth() >= within {
        let Event::Start(e) = xml.next()? else { continue };
        match e.local_name().as_ref() {
            "rPh" => xml.skip()?,
            "t" => {
                let keep_blanks = attribute(&e, "space")?.as_deref() == Some("preserve");
                piece.clear();
                xml.text(&mut piece, max)?;
                let kept = if keep_blanks { &*piece } else { piece.trim_matches([' ', '\t', '\r', '\n']) };
                text.push_str(&unescape(kept));
                if text.len() > max {
                    return Err(SheetError::TooLarge { what: "a cell", limit: max as u64 });
                }
            }
            _ => {}
        }
    }
    Ok(())
}
