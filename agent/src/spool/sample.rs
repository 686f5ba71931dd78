//! One sample that is held, and the files that hold many.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use fleet::Millis;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Room for `sampled_at` and `covers_ms`.
const STAMPS_BYTES: usize = 64;

/// One sample that is held.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Held {
    /// In which boot it was taken.
    pub boot: String,
    /// How long after the boot.
    pub up: Millis,
    /// Time since the sample before.
    pub since: Millis,
    /// Its `sampled_at`.
    pub at: Millis,
    /// Its `covers_ms`.
    pub covers: Millis,
    /// The snapshot as the wire has it, less the two above.
    pub measured: Box<RawValue>,
}

/// What is known of a file of JSON lines without keeping them.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    pub id: u64,
    pub bytes: u64,
    pub count: u64,
    /// Greatest `sampled_at`.
    pub newest: Option<Millis>,
}

impl Held {
    /// As the spool has it.
    pub fn line(&self) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }

    /// Writes it as the wire has it.
    pub fn put(&self, into: &mut impl Write) -> io::Result<()> {
        write!(into, "{{\"sampled_at\":{},\"covers_ms\":{}", self.at, self.covers)?;
        match self.measured.get().strip_prefix('{') {
            None | Some("}") => into.write_all(b"}"),
            Some(rest) => write!(into, ",{rest}"),
        }
    }

    /// At most this many bytes on the wire.
    pub fn bytes(&self) -> usize {
        self.measured.get().len() + STAMPS_BYTES
    }
}

impl Segment {
    /// What the file at `path` holds.
    pub fn of(id: u64, path: &Path) -> io::Result<Self> {
        let mut segment = Self { id, bytes: fs::metadata(path)?.len(), ..Self::default() };
        read(path)?.iter().for_each(|(_, held)| segment.add(held));
        Ok(segment)
    }

    /// Counts one that was written.
    pub fn add(&mut self, held: &Held) {
        self.count += 1;
        self.newest = self.newest.max(Some(held.at));
    }
}

/// The good lines of a file, oldest first, each with its offset. One that somebody removed holds nothing.
pub(crate) fn read(path: &Path) -> io::Result<Vec<(u64, Held)>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        text => text?,
    };
    let mut found = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.ends_with(b"\n")
            && let Ok(held) = serde_json::from_slice(line)
        {
            found.push((offset, held));
        }
        offset += line.len() as u64;
    }
    Ok(found)
}

/// Whether the last line is a whole one.
pub(crate) fn ends_whole(mut file: &File) -> bool {
    let mut last = [0];
    let read = file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last));
    read.is_ok() && last == *b"\n"
}
