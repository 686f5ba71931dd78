//! Patterns for the names of mounts, interfaces and sensors.

use std::{fmt, str::FromStr};

/// A name, in which `*` stands for any text and `?` for any one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 256 bytes")]
pub struct BadGlob;

impl Glob {
    /// What every name matches.
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name is what the pattern says. Takes time by the product of their lengths at the most.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut at, mut seen) = (0, 0);
        // Where the last star is, and how much of the name it stands for so far.
        let mut star: Option<(usize, usize)> = None;
        while seen < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, seen));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == name[seen] => (at, seen) = (at + 1, seen + 1),
                _ => match &mut star {
                    Some((place, stands_to)) => {
                        *stands_to += 1;
                        (at, seen) = (*place + 1, *stands_to);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|c| *c == '*')
    }
}

impl FromStr for Glob {
    type Err = BadGlob;

    fn from_str(text: &str) -> Result<Self, BadGlob> {
        let good = !text.is_empty() && text.len() <= 256 && !text.contains('\0');
        if good { Ok(Self(text.to_owned())) } else { Err(BadGlob) }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the definition, without a thought for time.
    fn slowly(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => slowly(rest, name) || !name.is_empty() && slowly(pattern, &name[1..]),
            (['?', rest @ ..], [_, name @ ..]) => slowly(rest, name),
            ([c, rest @ ..], [d, name @ ..]) => c == d && slowly(rest, name),
            _ => false,
        }
    }

    #[test]
    fn a_pattern_is_about_the_whole_name() {
        for (pattern, name, matches) in [
            ("*", "", true),
            ("/", "/", true),
            ("/", "/srv", false),
            ("/srv*", "/srv/data", true),
            ("eth?", "eth0", true),
            ("eth?", "eth10", false),
            ("*a*b", "xaybab", true),
            ("*a*b", "xayba", false),
            ("ä?", "äö", true),
        ] {
            assert_eq!(pattern.parse::<Glob>().unwrap().matches(name), matches, "{pattern} and {name}");
        }
        assert_eq!("".parse::<Glob>(), Err(BadGlob));
    }

    #[test]
    fn many_stars_take_no_time() {
        let (pattern, name) = ("*a".repeat(100) + "b", "a".repeat(256));
        assert!(!pattern.parse::<Glob>().unwrap().matches(&name));
    }

    proptest! {
        #[test]
        fn it_matches_what_the_definition_says(pattern in "[ab*?]{1,8}", name in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = slowly(&chars(&pattern), &chars(&name));
            prop_assert_eq!(pattern.parse::<Glob>().unwrap().matches(&name), expected);
        }
    }
}
