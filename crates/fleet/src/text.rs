//! Text from hosts is hostile: bounded and made printable before anyone stores or shows it.

pub use wire::bounds::MAX_TEXT_BYTES;

/// Why a string is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// More than this many bytes.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// Stores and terminals disagree about NUL; nobody needs it.
    #[error("contains NUL")]
    Nul,
}

/// Refuses what is over-long or holds NUL; other control and bidirectional characters become U+FFFD. Cleaning twice
/// is cleaning once: should the replacement make the text over-long, it is cut.
pub fn clean(text: &mut String) -> Result<(), BadText> {
    clean_within(text, MAX_TEXT_BYTES)
}

/// [`clean`] for a text of at most `most` bytes.
pub fn clean_within(text: &mut String, most: usize) -> Result<(), BadText> {
    if text.len() > most {
        return Err(BadText::TooLong(most));
    }
    if text.contains('\0') {
        return Err(BadText::Nul);
    }
    if text.contains(deceives) {
        *text = text.replace(deceives, "\u{fffd}");
        text.truncate(text.floor_char_boundary(most));
    }
    Ok(())
}

/// Control characters (Unicode category Cc), line and paragraph separators, and what reorders text on the screen (the
/// property `Bidi_Control`).
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terminal_and_bidi_tricks_become_visible() {
        let mut text = "web\u{1b}[31m\u{202e}1\r\n".to_owned();
        clean(&mut text).unwrap();
        assert_eq!(text, "web\u{fffd}[31m\u{fffd}1\u{fffd}\u{fffd}");
    }

    #[test]
    fn nul_and_length_are_refused() {
        assert_eq!(clean(&mut "a\0b".to_owned()), Err(BadText::Nul));
        assert_eq!(clean(&mut "ä".repeat(129)), Err(BadText::TooLong(256)));
        assert_eq!(clean(&mut "ä".repeat(128)), Ok(()));
    }

    proptest! {
        #[test]
        fn cleaning_twice_is_cleaning_once(text in "(\\PC|[\u{1}-\u{1f}]){0,256}") {
            let mut once = text;
            if clean(&mut once).is_ok() {
                let mut twice = once.clone();
                prop_assert_eq!(clean(&mut twice), Ok(()));
                prop_assert_eq!(once, twice);
            }
        }
    }
}
