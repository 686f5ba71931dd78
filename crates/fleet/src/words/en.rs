//! English.

use super::Words;

pub(super) const WORDS: Words = Words {
    critical: "CRITICAL",
    warning: "WARNING",
    recovered: "RECOVERED",
    unwatched: "No longer watched",
    reminder: "STILL OPEN",
    suite: "Rollcall itself",
    since: |time| format!("since {time}"),
    servers: |count| format!("{count} servers"),
    more: |count| format!("… and {count} more"),
    test: |channel| format!("This is a test of the channel {channel}. It works."),
    subject: |open, over| match (open, over) {
        (open, 0) => format!("Rollcall: {open} alerts"),
        (0, over) => format!("Rollcall: {over} recovered"),
        (open, over) => format!("Rollcall: {open} alerts, {over} recovered"),
    },
    subject_of_one: |what, rule, server| format!("{what}: {rule} on {server}"),
    look: "Look at it",
    why: |channel| {
        format!("Rollcall sent this mail because the channel {channel} is told of such incidents.")
    },
};
