//! What `/metrics` tells of mail: each name once, with its description.

use metrics::{counter, describe_counter};
use registry::Attempt;

const ATTEMPTS: &str = "rollcall_mail_attempts_total";

pub fn describe() {
    describe_counter!(
        ATTEMPTS,
        "Attempts to send a mail, by outcome: sent, written (to a folder), again, failed or unknown"
    );
    // Whoever asks for a rate has to see the first one.
    for outcome in ["sent", "written", "again", "failed", "unknown"] {
        counter!(ATTEMPTS, "outcome" => outcome).increment(0);
    }
}

pub fn attempted(attempt: &Attempt) {
    let outcome = match attempt {
        Attempt::Sent => "sent",
        Attempt::Written => "written",
        Attempt::Again(..) => "again",
        Attempt::Failed(_) => "failed",
        Attempt::Unknown(_) => "unknown",
    };
    counter!(ATTEMPTS, "outcome" => outcome).increment(1);
}
