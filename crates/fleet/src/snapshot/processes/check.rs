//! The bounds of the section, and what its JSON is held against.

use std::io::{self, Write};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use wire::{
    bounds::{
        MAX_COMMAND_BYTES, MAX_COMMANDS, MAX_PINNED, MAX_PROCESSES_BYTES, MAX_ROWS, MAX_SESSIONS, MAX_UNITS,
        MAX_USERS,
    },
    v1::{Command, LoginSession, OtherProcesses, Pinned, Process, Processes, Unit, UserTotal},
};

use super::super::check::{Fault, MAX_TIME, at_most, check_bytes, check_text, within};
use crate::text;

/// So many bytes of a text's SHA-256 are its hash.
const HASH_BYTES: usize = 12;
/// The most that is believed of a processor's use: many times what a host with the most cores has.
const MAX_CPU: f32 = 1e7;
/// With this the section begins in the JSON of a snapshot. No text holds it, as its quotes would be escaped there.
const BEGINS: &str = ",\"processes\":{";
/// More than a row, a user, a unit or a log-in takes in JSON without its texts.
const MOST_OF_ONE: usize = 400;

/// The hash by which rows name a command line: the first 12 bytes of its SHA-256, in base64url without padding.
pub fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(&digest[..HASH_BYTES])
}

/// The JSON of a snapshot without its processes, which are its last member: for whoever does not want to parse them, or
/// may not see them. It is JSON that a [`Snapshot`](v1) was written as by this suite; `None` where it has no processes.
///
/// [v1]: wire::v1::Snapshot
pub fn without(json: &str) -> Option<String> {
    let at = json.find(BEGINS)?;
    let mut rest = String::with_capacity(at + 1);
    rest.push_str(&json[..at]);
    rest.push('}');
    Some(rest)
}

/// Checks the bounds of the interface and makes every text printable. Checking what was checked changes nothing: the hash of
/// a command line is that of the text that stays.
pub(in super::super) fn check(section: &mut Processes) -> Result<(), Fault> {
    check_text("processes.level", &mut section.level)?;
    at_most("processes.rows", section.rows.len(), MAX_ROWS)?;
    section.rows.iter_mut().try_for_each(check_row)?;
    at_most("processes.pinned", section.pinned.len(), MAX_PINNED)?;
    for Pinned { pattern, count: _, cpu, rss } in &mut section.pinned {
        check_name("processes.pinned.pattern", pattern)?;
        within("processes.pinned.cpu", *cpu, 0.0..=MAX_CPU)?;
        check_bytes("processes.pinned.rss", Some(*rss))?;
    }
    at_most("processes.users", section.users.len(), MAX_USERS)?;
    for UserTotal { user, cpu, rss, count: _ } in &mut section.users {
        check_name("processes.users.user", user)?;
        within("processes.users.cpu", *cpu, 0.0..=MAX_CPU)?;
        check_bytes("processes.users.rss", Some(*rss))?;
    }
    if let Some(OtherProcesses { cpu, read, written, tcp_received, tcp_sent }) = &section.other {
        within("processes.other.cpu", *cpu, 0.0..=MAX_CPU)?;
        for bytes in [read, written, tcp_received, tcp_sent] {
            check_bytes("processes.other", Some(*bytes))?;
        }
    }
    at_most("processes.sessions", section.sessions.len(), MAX_SESSIONS)?;
    for LoginSession { user, tty, from, since } in &mut section.sessions {
        check_name("processes.sessions.user", user)?;
        check_text("processes.sessions.tty", tty)?;
        check_text("processes.sessions.from", from)?;
        since.map_or(Ok(()), |since| within("processes.sessions.since", since, 0..=MAX_TIME))?;
    }
    at_most("processes.units", section.units.len(), MAX_UNITS)?;
    for Unit { name, running: _, cpu, memory, pids } in &mut section.units {
        check_name("processes.units.name", name)?;
        within("processes.units.cpu", *cpu, 0.0..=MAX_CPU)?;
        check_bytes("processes.units.memory", *memory)?;
        check_bytes("processes.units.pids", *pids)?;
    }
    at_most("processes.commands", section.commands.len(), MAX_COMMANDS)?;
    section.commands.iter_mut().try_for_each(check_command)?;
    check_size(section)
}

fn check_row(row: &mut Process) -> Result<(), Fault> {
    let Process { pid: _, start_ms, pin: _, cpu, children, rss, pss, read, written, received, sent, .. } =
        row;
    within("processes.rows.start_ms", *start_ms, 0..=MAX_TIME)?;
    within("processes.rows.cpu", *cpu, 0.0..=MAX_CPU)?;
    within("processes.rows.children", *children, 0.0..=MAX_CPU)?;
    for bytes in [rss, pss, read, written, received, sent] {
        check_bytes("processes.rows", Some(*bytes))?;
    }
    let Process { state, name, user, executable, command, unit, threads: _, ppid: _, .. } = row;
    check_text("processes.rows.state", state)?;
    check_text("processes.rows.name", name)?;
    check_text("processes.rows.user", user)?;
    check_text("processes.rows.executable", executable)?;
    check_text("processes.rows.unit", unit)?;
    let fits = command.as_deref().is_none_or(is_hash);
    if fits { Ok(()) } else { fault("processes.rows.command", "is no hash of a command line") }
}

fn check_command(Command { hash: told, text }: &mut Command) -> Result<(), Fault> {
    let cleaned = text::clean_within(text, MAX_COMMAND_BYTES);
    cleaned.map_err(|bad| Fault { field: "processes.commands.text", reason: bad.to_string() })?;
    // A host that could give its text another's hash would put words into what others run.
    if *told == hash(text) { Ok(()) } else { fault("processes.commands.hash", "is not that of its text") }
}

/// What [`hash`] may give.
fn is_hash(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.len() == HASH_BYTES.div_ceil(3) * 4 && text.bytes().all(plain)
}

fn check_name(field: &'static str, name: &mut String) -> Result<(), Fault> {
    text::clean(name).map_err(|bad| Fault { field, reason: bad.to_string() })
}

fn fault(field: &'static str, reason: &str) -> Result<(), Fault> {
    Err(Fault { field, reason: reason.to_owned() })
}

/// Writing is dearer than counting, so it is written only where it may be too long.
fn check_size(section: &Processes) -> Result<(), Fault> {
    // A quote and a backslash are escaped; all else that would be is not printable, and gone by now.
    if ones(section) * MOST_OF_ONE + 2 * texts(section) <= MAX_PROCESSES_BYTES {
        return Ok(());
    }
    let mut counted = Counted(0);
    let written = serde_json::to_writer(&mut counted, section);
    if written.is_ok() && counted.0 <= MAX_PROCESSES_BYTES {
        return Ok(());
    }
    fault("processes", &format!("takes more than {MAX_PROCESSES_BYTES} bytes"))
}

/// About how many bytes of memory the section takes.
pub(in super::super) fn weight(section: &Processes) -> usize {
    size_of::<Processes>()
        + size_of_val(&section.rows[..])
        + size_of_val(&section.pinned[..])
        + size_of_val(&section.users[..])
        + size_of_val(&section.sessions[..])
        + size_of_val(&section.units[..])
        + size_of_val(&section.commands[..])
        + texts(section)
}

fn ones(section: &Processes) -> usize {
    let Processes { rows, pinned, users, sessions, units, commands, .. } = section;
    1 + rows.len() + pinned.len() + users.len() + sessions.len() + units.len() + commands.len()
}

fn texts(section: &Processes) -> usize {
    let maybe = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let row = |row: &Process| {
        let Process { state, name, user, executable, command, unit, .. } = row;
        [state, name, user, executable, command, unit].into_iter().map(maybe).sum::<usize>()
    };
    section.rows.iter().map(row).sum::<usize>()
        + section.pinned.iter().map(|pinned| pinned.pattern.len()).sum::<usize>()
        + section.users.iter().map(|user| user.user.len()).sum::<usize>()
        + section
            .sessions
            .iter()
            .map(|one| one.user.len() + maybe(&one.tty) + maybe(&one.from))
            .sum::<usize>()
        + section.units.iter().map(|unit| unit.name.len()).sum::<usize>()
        + section.commands.iter().map(|command| command.hash.len() + command.text.len()).sum::<usize>()
}

struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wire::v1::Snapshot;

    use super::*;
    use crate::{Interval, snapshot};

    fn checked(section: Value) -> Result<snapshot::Snapshot, String> {
        let json = json!({"sampled_at": 1, "covers_ms": 0, "processes": section});
        let raw = serde_json::from_value(json).map_err(|error| error.to_string())?;
        snapshot::Snapshot::check(raw, Interval::DEFAULT).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_command_line_has_the_hash_of_its_text_or_is_refused() {
        let command = |hash: &str, text: &str| json!({"commands": [{"hash": hash, "text": text}]});
        let text = "postgres -D /srv/data";
        assert_eq!(hash(text), "1XgaogKP8mBtR0L1");
        assert!(checked(command(&hash(text), text)).is_ok());
        for (hash, text) in
            [(hash("another"), text), (String::new(), text), (hash(text).to_lowercase(), text)]
        {
            let fault = checked(command(&hash, text)).unwrap_err();
            assert_eq!(fault, "processes.commands.hash is not that of its text");
        }
        // The hash is that of the text as it is kept, so that a worker that checks again takes it too.
        let (raw, clean) = ("rm \u{1b}[2J", "rm \u{fffd}[2J");
        assert!(checked(command(&hash(raw), raw)).is_err());
        let once = checked(command(&hash(clean), raw)).unwrap();
        let again = snapshot::Snapshot::check(once.as_wire().clone(), Interval::DEFAULT).unwrap();
        assert_eq!(again, once);
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let text = "x".repeat(1_025);
        for (section, part) in [
            (json!({"rows": [{"pid": 1, "cpu": -1.0}]}), "processes.rows.cpu"),
            (json!({"rows": [{"pid": 1, "rss": u64::MAX}]}), "processes.rows"),
            (json!({"rows": [{"pid": 1, "name": "n".repeat(257)}]}), "processes.rows.name"),
            (json!({"rows": [{"pid": 1, "command": "no hash"}]}), "processes.rows.command"),
            (json!({"users": [{"user": "a\0b", "count": 1}]}), "processes.users.user"),
            (json!({"units": [{"name": "a.service", "cpu": 1e30}]}), "processes.units.cpu"),
            (json!({"sessions": [{"user": "a", "since": -1}]}), "processes.sessions.since"),
            (json!({"commands": [{"hash": hash(&text), "text": text}]}), "processes.commands.text"),
            (json!({"rows": vec![json!({}); 65]}), "rows has more than 64"),
        ] {
            let fault = checked(section.clone()).unwrap_err();
            assert!(fault.contains(part), "{section}: {fault}");
        }
    }

    #[test]
    fn a_section_that_is_too_long_is_refused_and_one_that_just_fits_is_not() {
        let of = |texts: usize, length: usize| {
            let commands = (0..texts).map(|n| {
                let text = format!("{n:02}{}", "\"".repeat(length));
                json!({"hash": hash(&text), "text": text})
            });
            json!({"commands": commands.collect::<Vec<_>>()})
        };
        let bytes = |section: &Value| {
            let read: Processes = serde_json::from_value(section.clone()).unwrap();
            serde_json::to_string(&read).unwrap().len()
        };
        let fits = of(24, 980);
        assert!(bytes(&fits) <= MAX_PROCESSES_BYTES && bytes(&fits) > MAX_PROCESSES_BYTES - 2_000);
        assert!(checked(fits).is_ok());
        let over = of(25, 980);
        assert!(bytes(&over) > MAX_PROCESSES_BYTES);
        assert!(checked(over).unwrap_err().contains("takes more than 49152 bytes"));
        assert!(checked(of(64, 1)).is_ok());
    }

    #[test]
    fn a_section_is_cut_off_whatever_texts_say() {
        let named = |name: &str| {
            let host = wire::v1::Host { hostname: Some(name.to_owned()), ..wire::v1::Host::default() };
            Snapshot { sampled_at: 7, host: Some(host), ..Snapshot::default() }
        };
        for name in ["web", ",\"processes\":{", "\\\",\"processes\":{", ","] {
            let bare = named(name);
            let section = Processes { count: 3, ..Processes::default() };
            let full = Snapshot { processes: Some(Box::new(section)), ..bare.clone() };
            let cut = without(&serde_json::to_string(&full).unwrap()).unwrap();
            assert_eq!(serde_json::from_str::<Snapshot>(&cut).unwrap(), bare);
            assert_eq!(without(&serde_json::to_string(&bare).unwrap()), None);
        }
    }

    #[test]
    fn its_weight_counts() {
        let rows = json!({"rows": vec![json!({"pid": 1, "name": "n".repeat(100)}); 64]});
        assert!(checked(rows).unwrap().weight() >= 64 * (100 + size_of::<Process>()));
    }
}
