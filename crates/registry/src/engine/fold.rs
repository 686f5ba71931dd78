//! Text that is compared regardless of case.

/// Longest text that a search looks for, in bytes; SQLite refuses patterns from 50,000 on.
const MAX_NEEDLE_BYTES: usize = 4_096;

/// Folds the case of a text in any script: two texts that differ in case alone fold to the same. It folds character by
/// character, so that a part of a text folds to a part of the folded text, and by way of upper case, because there ß is SS
/// and both small sigmas are one letter.
pub(crate) fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// The form in which a name, of a server or a user, is unique: folded, without the blanks around it.
pub fn fold_name(name: &str) -> String {
    fold(name.trim())
}

/// The column that a search looks in: these texts, folded, one a line. NUL, which no search looks for, becomes U+FFFD.
pub(crate) fn searchable<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let lines: Vec<_> = texts.into_iter().map(fold).collect();
    lines.join("\n").replace('\0', "\u{fffd}")
}

/// Whether a column may hold this text. PostgreSQL refuses NUL, so nothing is equal to a text with one in it.
pub(crate) fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}

/// The pattern for `LIKE … ESCAPE '\'` that finds a folded text which contains this one. `None`: nothing can match, and
/// engines disagree about what to do with it.
pub(crate) fn pattern(needle: &str) -> Option<String> {
    if needle.len() > MAX_NEEDLE_BYTES || !is_storable(needle) {
        return None;
    }
    let mut pattern = String::from("%");
    for c in fold(needle).chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_is_folded_in_every_script() {
        for (one, other) in
            [("WEB-1", "web-1"), ("ÄÖÜ", "äöü"), ("ΟΔΟΣ", "οδος"), ("straße", "STRASSE"), ("ЖУК", "жук")]
        {
            assert_eq!(fold(one), fold(other), "{one} and {other}");
        }
        assert_eq!(fold_name("  Web \u{a0}"), "web");
    }

    #[test]
    fn wildcards_are_looked_for_as_they_are() {
        assert_eq!(pattern(r"50%_\"), Some(r"%50\%\_\\%".to_owned()));
        assert_eq!(pattern("a\0"), None);
        assert_eq!(pattern(&"a".repeat(MAX_NEEDLE_BYTES + 1)), None);
    }

    #[test]
    fn what_a_search_looks_in_can_be_stored() {
        assert_eq!(searchable(["A\0b", "C"]), "a\u{fffd}b\nc");
    }

    proptest! {
        #[test]
        fn folding_a_part_gives_a_part(before in "\\PC{0,8}", part in "\\PC{0,8}", after in "\\PC{0,8}") {
            let whole = format!("{before}{part}{after}");
            prop_assert!(fold(&whole).contains(&fold(&part)));
        }
    }
}
