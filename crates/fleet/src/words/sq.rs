//! Albanian.

use super::Words;

pub(super) const WORDS: Words = Words {
    critical: "KRITIKE",
    warning: "PARALAJMËRIM",
    recovered: "U RIKUPERUA",
    unwatched: "Nuk mbikëqyret më",
    reminder: "ENDE E HAPUR",
    suite: "Vetë Rollcall-i",
    since: |time| format!("që nga {time}"),
    servers: |count| format!("{count} serverë"),
    more: |count| format!("… dhe {count} të tjera"),
    test: |channel| format!("Kjo është një provë e kanalit {channel}. Kanali punon."),
    subject: |open, over| match (open, over) {
        (open, 0) => format!("Rollcall: {open} alarme"),
        (0, over) => format!("Rollcall: {over} të rikuperuara"),
        (open, over) => format!("Rollcall: {open} alarme, {over} të rikuperuara"),
    },
    subject_of_one: |what, rule, server| format!("{what}: {rule} në {server}"),
    look: "Shihni hollësitë",
    why: |channel| {
        format!("Rollcall e dërgoi këtë mesazh sepse kanali {channel} njoftohet për incidente të tilla.")
    },
};
