//! What the suite says to people, in the languages that it speaks. Each language is one file with one value of [`Words`]:
//! a sentence that a language lacks does not compile.

mod en;
mod report;
mod sq;
mod vi;
mod zh;

use std::{fmt, str::FromStr};

pub use self::report::ReportWords;

/// A language that the suite speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Vietnamese.
    Vietnamese,
    /// Chinese, simplified.
    Chinese,
    /// Albanian.
    Albanian,
}

/// A text that names no language.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be en, vi, zh or sq")]
pub struct BadLanguage;

/// All that is said, in one language. What takes an argument is a function, since languages differ in where it stands.
#[derive(Debug)]
pub struct Words {
    /// Before an alert of the level `critical`.
    pub critical: &'static str,
    /// Before an alert of the level `warning`.
    pub warning: &'static str,
    /// Before what is over.
    pub recovered: &'static str,
    /// Before what nobody looks at any more: its rule is gone, its server paused or deleted.
    pub unwatched: &'static str,
    /// Before what is open still.
    pub reminder: &'static str,
    /// In the place of a server's name, where the trouble is the suite's own.
    pub suite: &'static str,
    /// Since this time.
    pub since: fn(&str) -> String,
    /// So many servers, more than one.
    pub servers: fn(usize) -> String,
    /// So many more lines than there is room for.
    pub more: fn(usize) -> String,
    /// A message that was sent to see whether this channel works.
    pub test: fn(&str) -> String,
    /// The subject of a mail with so many troubles that are open, and so many that are over.
    pub subject: fn(usize, usize) -> String,
    /// The subject of a mail about one trouble: what is before it, the rule, and the server.
    pub subject_of_one: fn(&str, &str, &str) -> String,
    /// What the link leads to.
    pub look: &'static str,
    /// Below a mail: why it came.
    pub why: fn(&str) -> String,
    /// What an agent says in the place of a rule, when no gate answers it.
    pub unreachable: &'static str,
    /// What a report says.
    pub report: ReportWords,
}

impl Language {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::English, Self::Vietnamese, Self::Chinese, Self::Albanian];

    /// As the interface spells it (ISO 639-1).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Vietnamese => "vi",
            Self::Chinese => "zh",
            Self::Albanian => "sq",
        }
    }

    /// What is said in it.
    pub const fn words(self) -> &'static Words {
        match self {
            Self::English => &en::WORDS,
            Self::Vietnamese => &vi::WORDS,
            Self::Chinese => &zh::WORDS,
            Self::Albanian => &sq::WORDS,
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Language {
    type Err = BadLanguage;

    fn from_str(text: &str) -> Result<Self, BadLanguage> {
        Self::ALL.into_iter().find(|language| language.as_str() == text).ok_or(BadLanguage)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// All that a language says, with arguments by which they are found again.
    fn all(words: &Words) -> Vec<String> {
        let Words { critical, warning, recovered, unwatched, reminder, suite, look, unreachable, .. } = words;
        let plain = [critical, warning, recovered, unwatched, reminder, suite, look];
        let plain = plain.map(|text| (*text).to_owned());
        let made = [
            (words.since)("<1>"),
            (words.servers)(1_234),
            (words.more)(1_234),
            (words.test)("<1>"),
            (words.subject)(1_234, 5_678),
            (words.subject_of_one)("<1>", "<2>", "<3>"),
            (words.why)("<1>"),
        ];
        let more = [(*unreachable).to_owned()];
        plain.into_iter().chain(made).chain(words.report.all()).chain(more).collect()
    }

    #[test]
    fn every_language_says_everything_in_one_line_with_its_arguments() {
        for language in Language::ALL {
            let said = all(language.words());
            for text in &said {
                assert!(!text.trim().is_empty() && text.trim() == text, "{language}: {text:?}");
                assert!(!text.chars().any(char::is_control), "{language}: {text:?}");
            }
            for (index, wanted) in [
                (7, "<1>"),
                (8, "1234"),
                (9, "1234"),
                (10, "<1>"),
                (11, "1234"),
                (11, "5678"),
                (12, "<1>"),
                (12, "<2>"),
                (12, "<3>"),
                (13, "<1>"),
            ]
            .into_iter()
            .chain(ReportWords::ARGUMENTS.iter().map(|(index, wanted)| (14 + index, *wanted)))
            {
                assert!(said[index].contains(wanted), "{language}: {:?} lacks {wanted}", said[index]);
            }
        }
    }

    #[test]
    fn no_language_borrows_from_another() {
        let mut seen = HashSet::new();
        for language in Language::ALL {
            for text in all(language.words()) {
                assert!(seen.insert(text.clone()), "{language}: {text:?} is said by another one too");
            }
        }
    }

    #[test]
    fn a_language_has_one_spelling() {
        for language in Language::ALL {
            assert_eq!(language.to_string().parse(), Ok(language));
        }
        assert_eq!("EN".parse::<Language>(), Err(BadLanguage));
    }
}
