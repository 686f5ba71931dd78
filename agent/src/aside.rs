//! Samples that a gate refused for good, kept for people: one JSON line each, in two files of about 1 MiB.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

use serde::Serialize;

use crate::{files, spool::Sample};

const FILE: &str = "set-aside.jsonl";
const OLDER: &str = "set-aside.older.jsonl";
const MAX_BYTES: u64 = 1024 * 1024;

/// Why a gate refused a sample for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FinalRefusal {
    pub status: u16,
    pub code: String,
    pub reason: String,
}

#[derive(Serialize)]
struct Line<'a> {
    refused: &'a FinalRefusal,
    held: &'a Sample,
}

/// Adds one line to the file in `dir`. The older file goes when the newer one is full.
pub(crate) fn put(dir: &Path, sample: &Sample, why: &FinalRefusal) -> io::Result<()> {
    let path = dir.join(FILE);
    if fs::metadata(&path).is_ok_and(|file| file.len() >= MAX_BYTES) {
        fs::rename(&path, dir.join(OLDER))?;
    }
    let mut line = serde_json::to_vec(&Line { refused: why, held: sample })?;
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
        let sample = Sample { boot: String::new(), up: 0, since: 0, at: 7, covers: 0, measured };
        let why = FinalRefusal { status: 422, code: "invalid_snapshot".to_owned(), reason: "cpu".to_owned() };
        for _ in 0..20 {
            put(dir.path(), &sample, &why).unwrap();
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
