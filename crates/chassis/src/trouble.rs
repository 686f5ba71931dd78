//! Logs that a part is away when it goes and when it is back, not each time it is missed.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether a part is away. It is there until it is missed.
#[derive(Debug)]
pub struct Trouble {
    part: &'static str,
    lasting: AtomicBool,
}

impl Trouble {
    /// Of the part that the log calls so.
    pub fn new(part: &'static str) -> Self {
        Self { part, lasting: AtomicBool::new(false) }
    }

    /// What the part answered, if it did.
    pub fn watch<T, E: Error>(&self, answer: Result<T, E>) -> Option<T> {
        match answer {
            Ok(answer) => {
                if self.lasting.swap(false, Ordering::Relaxed) {
                    tracing::info!("{} answers again", self.part);
                }
                Some(answer)
            }
            Err(error) => {
                if !self.lasting.swap(true, Ordering::Relaxed) {
                    let error = &error as &dyn Error;
                    tracing::warn!(error = causes(error), "{} fails; going on without it", self.part);
                }
                None
            }
        }
    }
}

/// An error and what caused it, in one line.
pub fn causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_line = cause.to_string();
        // Some repeat their cause in their own words.
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

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Failed(&'static str, #[source] Option<Box<Failed>>);

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
        assert_eq!(trouble.watch(Err::<u8, _>(Failed("away", None))), None);
        assert!(trouble.lasting.load(Ordering::Relaxed));
        assert_eq!(trouble.watch(Ok::<_, Failed>(8)), Some(8));
        assert!(!trouble.lasting.load(Ordering::Relaxed));
    }
}
