//! Reading one sample: who each row is, is found in the samples before it.

use std::collections::HashMap;

use wire::v1::{Process, Processes};

use crate::Millis;

/// How many samples a reader looks back for who a row is: an agent tells each again within as many.
pub const LOOK_BACK: usize = 20;

/// What ran on a host at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// When it was sampled.
    pub at: Millis,
    /// For how long before that it was measured.
    pub covers: Millis,
    /// What ran.
    pub processes: Box<Processes>,
}

/// Which process a row is about.
type Key = (u32, Millis);

/// Who processes are, as samples told it.
#[derive(Debug, Default)]
pub(super) struct Identities {
    known: HashMap<Key, (usize, Process)>,
    samples: usize,
}

impl Identities {
    /// Fills in who each row is, by what this sample and the [`LOOK_BACK`] before it told. Samples come in order.
    pub fn fill(&mut self, processes: &mut Processes) {
        self.samples += 1;
        let now = self.samples;
        for row in &mut processes.rows {
            let key = (row.pid, row.start_ms);
            if row.name.is_some() {
                self.known.insert(key, (now, identity(row)));
            } else if let Some((told, known)) = self.known.get(&key)
                && now - told <= LOOK_BACK
            {
                put(row, known);
            }
        }
        if now.is_multiple_of(LOOK_BACK) {
            self.known.retain(|_, (told, _)| now - *told <= LOOK_BACK);
        }
    }
}

/// The last of these samples, which are in order, with what only keyframes tell filled in from the others.
pub fn filled(samples: Vec<Sampled>) -> Option<Sampled> {
    let mut identities = Identities::default();
    let mut last = None;
    for mut sample in samples {
        identities.fill(&mut sample.processes);
        last = Some(sample);
    }
    last
}

/// What of a row is told in keyframes alone.
fn identity(row: &Process) -> Process {
    let Process { name, ppid, user, executable, command, unit, .. } = row.clone();
    Process { name, ppid, user, executable, command, unit, ..Process::default() }
}

fn put(row: &mut Process, identity: &Process) {
    let Process { name, ppid, user, executable, command, unit, .. } = identity.clone();
    (row.name, row.ppid, row.user) = (name, ppid, user);
    (row.executable, row.command, row.unit) = (executable, command, unit);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Millis, rows: &[(u32, Millis, Option<&str>)]) -> Sampled {
        let rows = rows.iter().map(|(pid, start_ms, name)| Process {
            pid: *pid,
            start_ms: *start_ms,
            name: name.map(str::to_owned),
            user: name.map(|_| "ann".to_owned()),
            ..Process::default()
        });
        let processes = Box::new(Processes { rows: rows.collect(), ..Processes::default() });
        Sampled { at, covers: 1, processes }
    }

    fn names(sample: &Sampled) -> Vec<Option<&str>> {
        sample.processes.rows.iter().map(|row| row.name.as_deref()).collect()
    }

    #[test]
    fn who_a_row_is_comes_from_the_samples_before() {
        let all = vec![
            sample(1, &[(7, 1, Some("db")), (8, 1, Some("old"))]),
            sample(2, &[(8, 2, Some("new"))]),
            sample(3, &[(7, 1, None), (8, 2, None), (8, 1, None), (9, 9, None)]),
        ];
        let last = filled(all).unwrap();
        assert_eq!(names(&last), [Some("db"), Some("new"), Some("old"), None]);
        assert_eq!(last.processes.rows[0].user.as_deref(), Some("ann"));
        assert_eq!(filled(Vec::new()), None);
    }

    #[test]
    fn who_a_row_is_holds_for_as_many_samples_as_a_reader_looks_back() {
        for (between, expected) in [(LOOK_BACK - 1, Some("db")), (LOOK_BACK, None)] {
            let mut all = vec![sample(0, &[(7, 1, Some("db"))])];
            all.extend((0..between).map(|n| sample(1 + n as Millis, &[])));
            all.push(sample(99, &[(7, 1, None)]));
            assert_eq!(names(&filled(all).unwrap()), [expected], "{between}");
        }
    }
}
