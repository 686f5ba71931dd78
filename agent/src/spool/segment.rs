//! One file of the spool: JSON lines, a sample each.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use fleet::Millis;

use super::Sample;

/// What the spool knows of a file without having its lines in memory.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    /// Its number, which is its name.
    pub id: u64,
    /// Its length.
    pub bytes: u64,
    /// How many samples are in it.
    pub count: u64,
    /// Greatest `sampled_at` in it.
    pub newest: Option<Millis>,
}

impl Segment {
    /// Reads the file at `path` to count what is in it.
    pub fn of(id: u64, path: &Path) -> io::Result<Self> {
        let mut segment = Self { id, bytes: fs::metadata(path)?.len(), ..Self::default() };
        read(path)?.iter().for_each(|(_, sample)| segment.add(sample));
        Ok(segment)
    }

    /// Counts a sample that was written to it.
    pub fn add(&mut self, sample: &Sample) {
        self.count += 1;
        self.newest = self.newest.max(Some(sample.at));
    }
}

/// The samples of a file, oldest first, each with the offset of its line. Lines that cannot be read are left out; a
/// file that somebody removed has none.
pub(crate) fn read(path: &Path) -> io::Result<Vec<(u64, Sample)>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        text => text?,
    };
    let mut found = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.ends_with(b"\n")
            && let Ok(sample) = serde_json::from_slice(line)
        {
            found.push((offset, sample));
        }
        offset += line.len() as u64;
    }
    Ok(found)
}

/// Whether the last line has its end.
pub(crate) fn ends_whole(mut file: &File) -> bool {
    let mut last = [0];
    let read = file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last));
    read.is_ok() && last == *b"\n"
}
