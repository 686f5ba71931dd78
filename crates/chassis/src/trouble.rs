//! Logs once when a part begins to fail and once when that is over, however often the part is used meanwhile.

use std::{
    borrow::Cow,
    error::Error,
    fmt::Display,
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether a part fails at present. It does not until it is said to.
#[derive(Debug)]
pub struct Trouble {
    begins: Cow<'static, str>,
    ends: Cow<'static, str>,
    lasts: AtomicBool,
}

impl Trouble {
    /// For a part that the process can do without. `part` is what the log calls it.
    pub fn new(part: &str) -> Self {
        Self::saying(format!("{part} fails; going on without it"), format!("{part} answers again"))
    }

    /// With messages of its own: `begins` is logged as a warning, with the error beside it, and `ends` as information.
    pub fn saying(begins: impl Into<Cow<'static, str>>, ends: impl Into<Cow<'static, str>>) -> Self {
        Self { begins: begins.into(), ends: ends.into(), lasts: AtomicBool::new(false) }
    }

    /// Takes what the part answered: an error begins the trouble, anything else ends it. Returns the answer, if there
    /// is one.
    pub fn watch<T, E: Error>(&self, answer: Result<T, E>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.end();
                Some(answer)
            }
            Err(error) => {
                self.begin(causes(&error));
                None
            }
        }
    }

    /// The part fails, and `why`. For what is no `Result` with an error in it; else see [`watch`](Self::watch).
    pub fn begin(&self, why: impl Display) {
        if !self.lasts.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = %why, "{}", self.begins);
        }
    }

    /// The part works.
    pub fn end(&self) {
        if self.lasts.swap(false, Ordering::Relaxed) {
            tracing::info!("{}", self.ends);
        }
    }
}

/// An error and what caused it, in one line.
pub fn causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_line = cause.to_string();
        // Some errors repeat their cause in their own text.
        if !line.contains(&cause_line) {
            line = format!("{line}: {cause_line}");
        }
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::logged;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Failed(&'static str, #[source] Option<Box<Failed>>);

    fn away(why: &'static str) -> Result<u8, Failed> {
        Err(Failed(why, None))
    }

    #[test]
    fn causes_are_told_once_each() {
        let inner = Failed("connection refused", None);
        let outer = Failed("history is unavailable", Some(Box::new(inner)));
        assert_eq!(causes(&outer), "history is unavailable: connection refused");
        let repeats = Failed("away: gone", Some(Box::new(Failed("gone", None))));
        assert_eq!(causes(&repeats), "away: gone");
    }

    #[test]
    fn an_answer_is_passed_on_and_a_failure_is_none() {
        let trouble = Trouble::new("the part");
        assert_eq!(trouble.watch(Ok::<_, Failed>(7)), Some(7));
        assert_eq!(trouble.watch(away("gone")), None);
        assert_eq!(trouble.watch(Ok::<_, Failed>(8)), Some(8));
    }

    #[test]
    fn trouble_is_logged_when_it_begins_and_when_it_ends_and_not_between() {
        let lines = logged(|| {
            let trouble = Trouble::saying("the door is shut", "the door is open again");
            trouble.end();
            for answer in [away("stuck"), away("stuck"), Ok(1), Ok(2)] {
                trouble.watch(answer);
            }
            trouble.begin("locked");
        });
        let expected = [
            r#"WARN the door is shut error=stuck"#,
            r#"INFO the door is open again"#,
            r#"WARN the door is shut error=locked"#,
        ];
        assert_eq!(lines, expected);
    }
}
