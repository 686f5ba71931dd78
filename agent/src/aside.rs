//! What a gate will never take, kept for people: one JSON line each, two files of at most 1 MiB.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

use serde::Serialize;

use crate::{files, held::Held};

const FILE: &str = "set-aside.jsonl";
const OLDER: &str = "set-aside.older.jsonl";
const MAX_BYTES: u64 = 1024 * 1024;

/// Why a gate will never take something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Condemned {
    pub status: u16,
    pub code: String,
    pub reason: String,
}

#[derive(Serialize)]
struct Line<'a> {
    refused: &'a Condemned,
    held: &'a Held,
}

/// Adds one line in `dir`.
pub(crate) fn put(dir: &Path, held: &Held, why: &Condemned) -> io::Result<()> {
    let path = dir.join(FILE);
    if fs::metadata(&path).is_ok_and(|file| file.len() >= MAX_BYTES) {
        fs::rename(&path, dir.join(OLDER))?;
    }
    let mut line = serde_json::to_vec(&Line { refused: why, held })?;
    line.push(b'\n');
    files::private(OpenOptions::new().create(true).append(true)).open(&path)?.write_all(&line)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn the_files_stay_bounded() {
        let dir = testkit::tempdir().unwrap();
        let measured = RawValue::from_string(format!("\"{}\"", "x".repeat(200_000))).unwrap();
        let held = Held { boot: String::new(), up: 0, since: 0, at: 7, covers: 0, measured };
        let why = Condemned { status: 422, code: "invalid_snapshot".to_owned(), reason: "cpu".to_owned() };
        for _ in 0..20 {
            put(dir.path(), &held, &why).unwrap();
        }
        let sizes: Vec<u64> =
            fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size < MAX_BYTES + 300_000));
        let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&line["refused"]["status"], &line["held"]["at"]), (&422.into(), &7.into()));
    }
}
