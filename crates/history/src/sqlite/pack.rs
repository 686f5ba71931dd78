//! Packs: the bodies of many snapshots in one compressed row. Each body is a line of JSON, in the shape of the wire.

use std::collections::HashSet;

use fleet::{
    Interval, Millis, Snapshot,
    processes::{self, Sampled},
    wire::v1,
};
use lz4_flex::block::{compress_prepend_size, decompress_size_prepended};
use serde::Deserialize;

/// A pack is closed once it has this many bytes before compression. Reading one snapshot reads its whole pack.
const FULL: usize = 12 * 1024;
/// Most snapshots in a pack.
const MOST: usize = 64;
/// More bytes than any pack has before compression. It bounds the memory that a damaged length can claim.
const LONGEST: usize = 8 * 1024 * 1024;

/// A pack being filled.
#[derive(Default)]
pub struct Filling {
    lines: Vec<u8>,
    count: usize,
}

impl Filling {
    /// Adds one; returns its index in the pack.
    pub fn add(&mut self, snapshot: &Snapshot) -> Result<usize, serde_json::Error> {
        serde_json::to_writer(&mut self.lines, snapshot)?;
        self.lines.push(b'\n');
        self.count += 1;
        Ok(self.count - 1)
    }

    /// Whether the next snapshot has to go into another pack.
    pub fn full(&self) -> bool {
        self.count >= MOST || self.lines.len() >= FULL
    }

    /// Compresses what was added and begins anew; `None` if nothing was added.
    pub fn close(&mut self) -> Option<Vec<u8>> {
        if self.count == 0 {
            return None;
        }
        let pack = compress_prepend_size(&self.lines);
        self.lines.clear();
        self.count = 0;
        Some(pack)
    }
}

/// The lines of a stored pack.
pub fn open(pack: &[u8]) -> Result<Vec<u8>, String> {
    let length = pack.first_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length));
    if usize::try_from(length).is_ok_and(|length| length <= LONGEST) {
        decompress_size_prepended(pack).map_err(|error| error.to_string())
    } else {
        Err(format!("claims {length} bytes"))
    }
}

/// The same pack with these lines empty, so that all others keep their positions. Without any line left it is no bytes.
pub fn without(pack: &[u8], positions: &HashSet<usize>) -> Result<Vec<u8>, String> {
    let lines = open(pack)?;
    let mut left = Vec::with_capacity(lines.len());
    let mut kept = false;
    for (position, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if positions.contains(&position) {
            left.push(b'\n');
        } else {
            left.extend_from_slice(line);
            // One that was emptied before is a line break alone.
            kept |= line.len() > 1;
        }
    }
    Ok(if kept { compress_prepend_size(&left) } else { Vec::new() })
}

/// The snapshot at this position, without its processes, which are most of it: for whoever wants figures.
pub fn figures(lines: &[u8], index: usize) -> Result<Snapshot, String> {
    let line = line(lines, index);
    let json = str::from_utf8(line).map_err(|error| error.to_string())?;
    processes::without(json).map_or_else(|| read(line), |rest| read(rest.as_bytes()))
}

/// What ran, by the snapshot at this position; `None` where it does not tell.
pub fn processes(lines: &[u8], index: usize) -> Result<Option<Sampled>, String> {
    #[derive(Deserialize)]
    struct Line {
        sampled_at: Millis,
        covers_ms: Millis,
        #[serde(default)]
        processes: Option<Box<v1::Processes>>,
    }
    let read: Line = serde_json::from_slice(line(lines, index)).map_err(|error| error.to_string())?;
    let Line { sampled_at, covers_ms, processes } = read;
    Ok(processes.map(|processes| Sampled { at: sampled_at, covers: covers_ms, processes }))
}

fn line(lines: &[u8], index: usize) -> &[u8] {
    lines.split(|byte| *byte == b'\n').nth(index).unwrap_or_default()
}

/// The snapshot of a line.
pub fn read(line: &[u8]) -> Result<Snapshot, String> {
    let raw: v1::Snapshot = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    // The longest interval admits what any interval admits.
    let interval = Interval::try_from(3_600_000).map_err(|error| error.to_string())?;
    Snapshot::check(raw, interval).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_damage_is_told() {
        let mut filling = Filling::default();
        let line = |at: i64| format!(r#"{{"sampled_at":{at},"covers_ms":0,"host":{{"os":"line\nbreak"}}}}"#);
        let at =
            |at: i64| Snapshot::check(serde_json::from_str(&line(at)).unwrap(), Interval::DEFAULT).unwrap();
        assert_eq!(filling.close(), None);
        assert_eq!((filling.add(&at(5)).unwrap(), filling.add(&at(6)).unwrap()), (0, 1));
        let pack = filling.close().unwrap();
        let lines = open(&pack).unwrap();
        assert_eq!(figures(&lines, 1), Ok(at(6)));
        assert_eq!(processes(&lines, 1), Ok(None));
        assert!(figures(&lines, 2).is_err());
        let second = without(&pack, &HashSet::from([0])).unwrap();
        assert_eq!(figures(&open(&second).unwrap(), 1), Ok(at(6)));
        assert!(figures(&open(&second).unwrap(), 0).is_err());
        assert_eq!(without(&pack, &HashSet::from([0, 1])), Ok(Vec::new()));
        assert_eq!(without(&second, &HashSet::from([1])), Ok(Vec::new()), "nothing is left after both");
        assert!(open(&pack[..pack.len() - 3]).is_err());
        assert!(open(&[255; 9]).is_err());
        assert!(open(&[]).is_err());
    }

    #[test]
    fn figures_are_read_without_processes_and_processes_without_figures() {
        let section = v1::Processes { count: 7, ..v1::Processes::default() };
        let load = Some([1.0, 2.0, 3.0]);
        let bare = v1::Snapshot { sampled_at: 5, covers_ms: 3, load, ..v1::Snapshot::default() };
        let full = v1::Snapshot { processes: Some(Box::new(section.clone())), ..bare.clone() };
        let mut filling = Filling::default();
        filling.add(&Snapshot::check(full, Interval::DEFAULT).unwrap()).unwrap();
        let lines = open(&filling.close().unwrap()).unwrap();
        assert_eq!(figures(&lines, 0).unwrap().as_wire(), &bare);
        let sampled = Sampled { at: 5, covers: 3, processes: Box::new(section) };
        assert_eq!(processes(&lines, 0), Ok(Some(sampled)));
        assert!(read(line(&lines, 0)).unwrap().as_wire().processes.is_some(), "packing reads all of it");
    }
}
