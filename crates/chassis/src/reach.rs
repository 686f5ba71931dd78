//! Waiting at start for a server that may come up later than this process.

use std::{error::Error, time::Duration};

use tokio::time::sleep;

use crate::trouble::causes;

/// How long to wait between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Calls `ask` every second until it succeeds, and returns what it answered. Each new reason to wait is logged once,
/// and so is the end of the wait. `part` is what the log calls the part that is asked.
pub async fn reach<T, E: Error, F: Future<Output = Result<T, E>>>(part: &str, ask: impl FnMut() -> F) -> T {
    reach_every(PAUSE, part, ask).await
}

async fn reach_every<T, E: Error, F: Future<Output = Result<T, E>>>(
    pause: Duration,
    part: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let mut told = String::new();
    loop {
        let reason = match ask().await {
            Ok(answer) => {
                if !told.is_empty() {
                    tracing::info!("{part} is reached");
                }
                return answer;
            }
            Err(error) => causes(&error),
        };
        if reason != told {
            tracing::warn!(reason, "waiting for {part}");
            told = reason;
        }
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::telemetry::logged;

    #[test]
    fn each_reason_to_wait_is_logged_once_and_the_answer_is_returned() {
        let mut answers = ["refused", "refused", "no schema", "refused"].into_iter();
        let ask = || {
            let answer = answers.next().map_or(Ok(7), |why| Err(io::Error::other(why)));
            async { answer }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut answer = 0;
        let lines = logged(|| {
            answer = runtime.block_on(reach_every(Duration::ZERO, "the store", ask));
        });
        assert_eq!(answer, 7);
        let waits = |why| format!("WARN waiting for the store reason=\"{why}\"");
        let expected = [waits("refused"), waits("no schema"), waits("refused")];
        assert_eq!(lines, [expected.as_slice(), &["INFO the store is reached".to_owned()]].concat());
    }

    #[test]
    fn a_part_that_answers_at_once_is_not_mentioned() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let lines = logged(|| runtime.block_on(reach("the store", || async { Ok::<_, io::Error>(()) })));
        assert_eq!(lines, Vec::<String>::new());
    }
}
