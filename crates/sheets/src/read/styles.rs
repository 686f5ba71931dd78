//! Which cells of a workbook are times. A time is stored as a number; only the cell's format tells it from other
//! numbers.

use std::collections::HashSet;

use quick_xml::events::Event;

use super::xml::{Part, attribute, number};
use crate::SheetError;

/// Most cell formats, and most number formats. Excel has at most 65,490.
const MAX_FORMATS: usize = 65_536;

/// For each cell format whether it shows a time.
#[derive(Default)]
pub struct Styles(Vec<bool>);

impl Styles {
    pub fn read(xml: &mut Part<'_>) -> Result<Self, SheetError> {
        let mut styles = Self::default();
        let mut times = HashSet::new();
        let mut in_cell_formats = false;
        loop {
            match xml.next()? {
                Event::Start(e) => match e.local_name().as_ref() {
                    "numFmt" => {
                        let code = attribute(&e, "formatCode")?.unwrap_or_default();
                        if let Some(id) = attribute(&e, "numFmtId")?
                            && shows_a_time(&code)
                        {
                            times.insert(number::<u32>(&id)?);
                        }
                    }
                    "cellXfs" => in_cell_formats = true,
                    "xf" if in_cell_formats => {
                        let id = attribute(&e, "numFmtId")?.map_or(Ok(0), |id| number::<u32>(&id))?;
                        styles.0.push(times.contains(&id) || is_built_in_time(id));
                    }
                    _ => {}
                },
                Event::End(e) if e.local_name().as_ref() == "cellXfs" => in_cell_formats = false,
                Event::Eof => return Ok(styles),
                _ => {}
            }
            if times.len().max(styles.0.len()) > MAX_FORMATS {
                return Err(SheetError::not_a_sheet("it has too many formats"));
            }
        }
    }

    pub fn is_time(&self, format: usize) -> bool {
        self.0.get(format).is_some_and(|is_time| *is_time)
    }
}

/// Whether a built-in format shows a date or a time of day, those of East Asia included.
fn is_built_in_time(id: u32) -> bool {
    matches!(id, 14..=22 | 27..=36 | 50..=58)
}

/// Whether a format has a letter for year, month, day, hour or second outside of quotes, escapes and brackets. Lengths of
/// time (`[h]:mm`) are not times.
fn shows_a_time(code: &str) -> bool {
    let lower = code.to_ascii_lowercase();
    if ["[h]", "[hh]", "[m]", "[mm]", "[s]", "[ss]"].iter().any(|length| lower.contains(length)) {
        return false;
    }
    let mut chars = lower.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => drop(chars.by_ref().find(|c| *c == '"')),
            '[' => drop(chars.by_ref().find(|c| *c == ']')),
            '\\' | '_' | '*' => drop(chars.next()),
            ';' => return false,
            'y' | 'm' | 'd' | 'h' | 's' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_numbers() {
        for time in ["yyyy-mm-dd hh:mm:ss", "DD/MM/YY", "h:mm AM/PM", "[$-409]d mmm", "[Red]h:mm", "\"at \"h"]
        {
            assert!(shows_a_time(time), "{time}");
        }
        for number in
            ["General", "0.00", "[h]:mm", "[hh]:mm:ss", "[s].0", "0\"days\"", "0\\d", "[Red]0", "0;d", "#_d"]
        {
            assert!(!shows_a_time(number), "{number}");
        }
    }
}
