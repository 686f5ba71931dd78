//! Albanian.

use super::{ReportWords, Words};

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
    unreachable: "Ky server nuk e arrin dot Rollcall-in",
    report: ReportWords {
        title: "Raport i Rollcall-it",
        period: |from, to| format!("nga {from} deri më {to}"),
        about: |servers| format!("Serverët: {servers}"),
        about_all: "të gjithë",
        down: "jashtë pune",
        up: "në punë",
        unknown: "e panjohur",
        paused: "në pauzë",
        server: "Serveri",
        state: "Gjendja",
        uptime: "Koha në punë",
        fleet_uptime: "Koha në punë e të gjithëve",
        longest_outage: "Ndërprerja më e gjatë",
        none: "asnjë",
        ongoing: "ende vazhdon",
        lasted: |length, from| format!("{length}, nga {from}"),
        worst: "Më të këqijtë",
        nobody_out: "Asnjë server nuk pati ndërprerje.",
        each: "Secili server",
        more: |count| format!("… dhe {count} të tjerë, në tabelë"),
        sheet: "Tabela e bashkëngjitur përmban çdo server.",
        by_day: "Koha në punë sipas ditëve",
        subject: |down, servers, uptime, from, to| {
            format!(
                "Rollcall: {down} nga {servers} serverë jashtë pune, koha në punë {uptime}, nga {from} deri më {to}"
            )
        },
        incidents: "Incidentet",
        no_incident: "Nuk pati asnjë incident.",
        counted: |count, open| format!("{count} në këtë kohë, {open} prej tyre ende të hapura në fund"),
        longest_incident: |length| format!("Më i gjati zgjati {length}"),
        mean: |length| format!("Koha mesatare e zgjidhjes {length}"),
        on: |rule, server| format!("{rule} te {server}"),
        units: ["ditë", "orë", "min", "s"],
    },
};
