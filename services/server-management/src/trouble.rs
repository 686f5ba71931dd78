//! Logs that a part is away when it goes and when it is back, not each time it is missed.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, Ordering},
};

pub(crate) struct Trouble {
    part: &'static str,
    lasting: AtomicBool,
}

impl Trouble {
    pub(crate) fn new(part: &'static str) -> Self {
        Self { part, lasting: AtomicBool::new(false) }
    }

    /// What the part answered, if it did.
    pub(crate) fn watch<T, E: Error>(&self, answer: Result<T, E>) -> Option<T> {
        match answer {
            Ok(answer) => {
                if self.lasting.swap(false, Ordering::Relaxed) {
                    tracing::info!("{} answers again", self.part);
                }
                Some(answer)
            }
            Err(error) => {
                if !self.lasting.swap(true, Ordering::Relaxed) {
                    tracing::warn!(?error, "{} fails; going on without it", self.part);
                }
                None
            }
        }
    }
}
