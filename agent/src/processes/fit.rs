//! How long a section may be, and what goes first.

use wire::{bounds::MAX_PROCESSES_BYTES, v1};

/// Most bytes of a snapshot with processes. A message of the queue has room for 100 KB, and a section must never make a
/// snapshot unsendable.
const FITS: usize = 96_000;

/// Cuts a section to the bounds of the interface, command lines first. A text that is cut is not told again for a day: what
/// is so long is rare.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "processes are read on Linux alone"))]
pub(super) fn within(mut section: v1::Processes) -> v1::Processes {
    while bytes(&section) > MAX_PROCESSES_BYTES {
        let cut = section.commands.pop().is_some()
            || section.units.pop().is_some()
            || section.sessions.pop().is_some()
            || section.rows.pop().is_some()
            || section.users.pop().is_some();
        if !cut {
            break;
        }
    }
    section
}

fn bytes(section: &v1::Processes) -> usize {
    serde_json::to_string(section).map_or(usize::MAX, |json| json.len())
}

/// The snapshot without its processes if they make it too long, or are not what the interface takes; `None` where they may
/// stay.
pub(crate) fn shortened(measured: &v1::Snapshot, interval: fleet::Interval) -> Option<v1::Snapshot> {
    measured.processes.as_ref()?;
    let bare = || Some(v1::Snapshot { processes: None, ..measured.clone() });
    match fleet::Snapshot::check(measured.clone(), interval) {
        Err(fault) => {
            let without = bare()?;
            // Whether the rest is at fault is told by whoever sends it.
            if fleet::Snapshot::check(without.clone(), interval).is_ok() {
                tracing::error!(%fault, "what runs on this host is out of bounds, and left out");
            }
            Some(without)
        }
        Ok(checked) => {
            let long = serde_json::to_string(&checked).map_or(usize::MAX, |json| json.len());
            if long > FITS { bare() } else { None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(n: usize, length: usize) -> v1::Command {
        let text = format!("{n:04}{}", "x".repeat(length));
        v1::Command { hash: fleet::processes::hash(&text), text }
    }

    #[test]
    fn a_section_is_cut_command_lines_first() {
        let rows: Vec<v1::Process> =
            (0..20).map(|pid| v1::Process { pid, ..v1::Process::default() }).collect();
        let commands = (0..64).map(|n| command(n, 1_000)).collect();
        let cut = within(v1::Processes { rows: rows.clone(), commands, ..v1::Processes::default() });
        assert_eq!(cut.rows, rows);
        assert!(bytes(&cut) <= MAX_PROCESSES_BYTES && cut.commands.len() > 40, "{}", cut.commands.len());
    }

    #[test]
    fn a_snapshot_that_is_too_long_goes_without_its_processes() {
        let commands = (0..44).map(|n| command(n, 1_000)).collect();
        let section = v1::Processes { commands, ..v1::Processes::default() };
        let with = |disks: usize| v1::Snapshot {
            disks: vec![
                v1::Disk {
                    mount: Some("m".repeat(256)),
                    device: Some("d".repeat(256)),
                    ..v1::Disk::default()
                };
                disks
            ],
            networks: vec![v1::Network { name: Some("n".repeat(256)), ..v1::Network::default() }; disks],
            processes: Some(Box::new(section.clone())),
            ..v1::Snapshot::default()
        };
        let interval = fleet::Interval::DEFAULT;
        assert_eq!(shortened(&with(1), interval), None);
        let long = with(64);
        assert_eq!(shortened(&long, interval), Some(v1::Snapshot { processes: None, ..long.clone() }));
        let forged = v1::Command { hash: fleet::processes::hash("a"), text: "b".to_owned() };
        let mut wrong = with(1);
        wrong.processes =
            Some(Box::new(v1::Processes { commands: vec![forged], ..v1::Processes::default() }));
        assert!(shortened(&wrong, interval).unwrap().processes.is_none());
    }
}
