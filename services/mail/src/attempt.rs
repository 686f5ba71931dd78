//! What an attempt comes to, by where and how it ended: the table of what is tried again. Pure.

use fleet::Millis;
use registry::Attempt;

const MINUTE: Millis = 60_000;

/// Longest pause between two attempts.
const LONGEST_PAUSE: Millis = 60 * MINUTE;

/// After so many attempts a delivery has failed. With the pauses between them that takes more than two days.
const MOST_ATTEMPTS: u32 = 54;

/// Most characters of a reason.
const MAX_REASON: usize = 300;

/// How far a conversation with a server had got when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the envelope: connecting, TLS, logging in. An error here is not about the mail but about us or the
    /// server.
    Greeting,
    /// The envelope and the content, until the final dot is written.
    Content,
    /// The final dot is written: the server may have taken the mail.
    Dot,
}

/// How a conversation ended that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The server answered 4xx.
    Transient(String),
    /// The server answered 5xx.
    Permanent(String),
    /// No answer: the connection was lost, timed out, or made no sense.
    Lost(String),
}

/// What became of a delivery whose attempt of this number, counted from 1, ended so at `now`.
pub fn judge(stage: Stage, ending: Ending, attempts: u32, now: Millis) -> Attempt {
    let reason = match (stage, ending) {
        (Stage::Dot, Ending::Lost(reason)) => return Attempt::Unknown(cut(&reason)),
        (Stage::Content | Stage::Dot, Ending::Permanent(reason)) => return Attempt::Failed(cut(&reason)),
        (_, Ending::Transient(reason) | Ending::Permanent(reason) | Ending::Lost(reason)) => reason,
    };
    if attempts >= MOST_ATTEMPTS {
        return Attempt::Failed(cut(&format!("given up after {attempts} attempts: {reason}")));
    }
    Attempt::Again(cut(&reason), now + pause(attempts))
}

/// 1, 2, 4 … minutes, at most an hour.
fn pause(attempts: u32) -> Millis {
    let doubled = MINUTE.checked_shl(attempts.saturating_sub(1).min(10)).unwrap_or(LONGEST_PAUSE);
    doubled.min(LONGEST_PAUSE)
}

/// A reason for a person, in one short line: the text of a server may be anything.
fn cut(reason: &str) -> String {
    let seen = |c: char| if c.is_control() { ' ' } else { c };
    reason.chars().map(seen).take(MAX_REASON).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_answer_to_the_final_dot_is_unknown() {
        let text = || "why".to_owned();
        let failed = Attempt::Failed(text());
        let again = Attempt::Again(text(), 7 + MINUTE);
        for (stage, ending, wanted) in [
            (Stage::Greeting, Ending::Transient(text()), &again),
            (Stage::Greeting, Ending::Permanent(text()), &again),
            (Stage::Greeting, Ending::Lost(text()), &again),
            (Stage::Content, Ending::Transient(text()), &again),
            (Stage::Content, Ending::Permanent(text()), &failed),
            (Stage::Content, Ending::Lost(text()), &again),
            (Stage::Dot, Ending::Transient(text()), &again),
            (Stage::Dot, Ending::Permanent(text()), &failed),
            (Stage::Dot, Ending::Lost(text()), &Attempt::Unknown(text())),
        ] {
            assert_eq!(judge(stage, ending.clone(), 1, 7), *wanted, "{stage:?} {ending:?}");
        }
    }

    #[test]
    fn pauses_grow_to_an_hour_and_end_after_two_days() {
        let lost = || Ending::Lost("down".to_owned());
        let pauses: Vec<Millis> = (1..)
            .map_while(|attempts| match judge(Stage::Greeting, lost(), attempts, 0) {
                Attempt::Again(_, due) => Some(due / MINUTE),
                _ => None,
            })
            .collect();
        assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(pauses.iter().sum::<Millis>() > 48 * 60);
        let last = judge(Stage::Greeting, lost(), MOST_ATTEMPTS, 0);
        assert!(matches!(last, Attempt::Failed(reason) if reason.contains("down")));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        let long = format!("a\r\nb\u{1b}[2J{}", "é".repeat(999));
        let Attempt::Failed(reason) = judge(Stage::Content, Ending::Permanent(long), 1, 0) else { panic!() };
        assert!(reason.starts_with("a  b [2J") && reason.chars().count() == MAX_REASON);
    }
}
