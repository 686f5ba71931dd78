//! English.

use super::{ReportWords, Words};

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
    unreachable: "This server cannot reach Rollcall",
    report: ReportWords {
        title: "Rollcall report",
        period: |from, to| format!("{from} to {to}"),
        about: |servers| format!("Servers: {servers}"),
        about_all: "all",
        down: "down",
        up: "up",
        unknown: "unknown",
        paused: "paused",
        server: "Server",
        state: "State",
        uptime: "Uptime",
        fleet_uptime: "Fleet uptime",
        longest_outage: "Longest outage",
        none: "none",
        ongoing: "ongoing",
        lasted: |length, from| format!("{length} from {from}"),
        worst: "The worst",
        nobody_out: "No server was out.",
        each: "Each server",
        more: |count| format!("… and {count} more, in the sheet"),
        sheet: "The attached sheet has every server.",
        by_day: "Uptime by day",
        subject: |down, servers, uptime, from, to| {
            format!("Rollcall: {down} of {servers} servers down, uptime {uptime}, {from} to {to}")
        },
        incidents: "Incidents",
        no_incident: "There was no incident.",
        counted: |count, open| format!("{count} in this time, {open} of them not over at its end"),
        longest_incident: |length| format!("The longest took {length}"),
        mean: |length| format!("Mean time to resolve {length}"),
        on: |rule, server| format!("{rule} on {server}"),
        units: ["d", "h", "min", "s"],
    },
};
