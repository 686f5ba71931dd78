//! What `/metrics` tells of the notifier: each name once, with its description.

use fleet::alert::{channel::Kind, verdict::Verdict};
use metrics::{counter, describe_counter, describe_gauge, gauge};

const MESSAGES: &str = "rollcall_notifier_messages_total";
const HEARTBEATS: &str = "rollcall_notifier_heartbeats_total";
const WAITING: &str = "rollcall_notifications_waiting";

pub fn describe() {
    describe_counter!(
        MESSAGES,
        "Messages on channels, by kind and outcome: sent, again (not sent), blocked (too many), failed or unknown"
    );
    describe_counter!(HEARTBEATS, "Times that HEARTBEAT_URL was called, and answered");
    counter!(HEARTBEATS).increment(0);
    describe_gauge!(WAITING, "Messages that wait for their turn");
    // Whoever asks for a rate has to see the first one.
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Mail) {
        for outcome in ["sent", "again", "blocked", "failed", "unknown"] {
            counter!(MESSAGES, "kind" => kind.as_str(), "outcome" => outcome).increment(0);
        }
    }
}

pub fn sent(kind: Kind, verdict: &Verdict) {
    let outcome = match verdict {
        Verdict::Sent { .. } => "sent",
        Verdict::NotSent(_) => "again",
        Verdict::Blocked { .. } => "blocked",
        Verdict::Failed { .. } => "failed",
        Verdict::Unknown(_) => "unknown",
    };
    counter!(MESSAGES, "kind" => kind.as_str(), "outcome" => outcome).increment(1);
}

pub fn waiting(count: u64) {
    gauge!(WAITING).set(count as f64);
}

pub fn beat() {
    counter!(HEARTBEATS).increment(1);
}
