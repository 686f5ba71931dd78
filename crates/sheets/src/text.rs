//! How a text is changed on its way into a sheet and back. The documentation of the crate says why.

use std::borrow::Cow;

/// Replaces what sheets cannot hold. Cleaning a clean text changes nothing.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(unfit) {
        return Cow::Borrowed(text);
    }
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    Cow::Owned(lines.replace(unfit, "\u{fffd}"))
}

/// XML has no way to say most of these, and the escapes that spreadsheets use for them can be confused with a text that
/// looks like one.
fn unfit(c: char) -> bool {
    (c.is_control() && c != '\t' && c != '\n') || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Makes a text of a csv safe to open in a spreadsheet: an apostrophe keeps it from being a formula.
pub fn defuse(text: &str) -> Cow<'_, str> {
    if is_live(text) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// Takes back what [`defuse`] did.
pub fn restore(text: &str) -> &str {
    text.strip_prefix('\'').filter(|rest| is_live(rest)).unwrap_or(text)
}

/// Whether a spreadsheet might take the text for a formula. Another apostrophe in front does not change the answer.
fn is_live(text: &str) -> bool {
    let first = text.chars().find(|c| !matches!(c, '\'' | ' '));
    first.is_some_and(|c| {
        matches!(
            c,
            '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}'
        )
    })
}

/// The beginning of what a stranger wrote, for a message.
pub fn excerpt(text: &str) -> String {
    clean(text).chars().take(64).collect()
}

/// Resolves the escapes `_xHHHH_`, UTF-16 units in hexadecimal, by which workbooks write what XML cannot hold. A lone
/// half of a pair becomes U+FFFD.
pub fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains("_x") {
        return Cow::Borrowed(text);
    }
    let mut resolved = String::with_capacity(text.len());
    let mut units = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(unit) = escape(rest) {
            units.push(unit);
            rest = &rest[7..];
            continue;
        }
        resolved
            .extend(char::decode_utf16(units.drain(..)).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
        let end = rest.char_indices().skip(1).find(|(_, c)| *c == '_').map_or(rest.len(), |(at, _)| at);
        resolved.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    resolved.extend(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
    Cow::Owned(resolved)
}

/// The unit of the escape that a text begins with.
fn escape(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("_x")?.get(..5)?.strip_suffix('_')?;
    let hexadecimal = digits.bytes().all(|b| b.is_ascii_hexdigit());
    hexadecimal.then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn formulas_are_defused_and_words_are_not() {
        for live in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\n", "'=1", "''=1", "  =1", "' '-x", "＝1"] {
            assert_eq!(defuse(live), format!("'{live}"));
        }
        for dull in ["", "'", "web-1", "a=b", "'tis", "00123", "1e5", "''"] {
            assert_eq!(defuse(dull), dull);
            assert_eq!(restore(dull), dull);
        }
    }

    #[test]
    fn escapes_of_workbooks_are_resolved() {
        assert_eq!(unescape("a_x000D_b"), "a\rb");
        assert_eq!(unescape("_x005F_x000D_"), "_x000D_");
        assert_eq!(unescape("_xD83D__xDCF7_!_xD83D_"), "\u{1f4f7}!\u{fffd}");
        for plain in ["_x", "_x00", "_xGGGG_", "_x+123_", "_x00é_", "__x", "_"] {
            assert_eq!(unescape(plain), plain);
        }
    }

    #[test]
    fn what_sheets_cannot_hold_becomes_visible() {
        assert_eq!(clean("a\r\nb\rc\td\0\u{1b}\u{85}\u{fffe}"), "a\nb\nc\td\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
    }

    proptest! {
        #[test]
        fn defusing_is_undone_exactly(text in "['= +@\t\r\n\\-a]{0,8}|\\PC{0,20}") {
            let safe = defuse(&text);
            prop_assert_eq!(restore(&safe), &text);
            prop_assert!(!safe.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']));
        }

        #[test]
        fn cleaning_twice_is_cleaning_once(text in any::<String>()) {
            let once = clean(&text).into_owned();
            prop_assert_eq!(clean(&once), once.as_str());
        }
    }
}
