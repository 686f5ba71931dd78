//! A sample as the spool holds it: what was measured, and when by which clock.

use std::io::{self, Write};

use fleet::Millis;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// More than `sampled_at` and `covers_ms` take in JSON.
const STAMPS_BYTES: usize = 64;

/// One sample of this host. The clock readings beside its stamps are what the stamps are reckoned from once a gate
/// tells that the wall clock was wrong. The names of the fields are those of the spool's lines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The boot in which it was taken.
    pub boot: String,
    /// Time since that boot.
    pub up: Millis,
    /// Time since the sample before, 0 if there is nothing to go on from.
    pub since: Millis,
    /// Its `sampled_at`.
    pub at: Millis,
    /// Its `covers_ms`.
    pub covers: Millis,
    /// The snapshot in JSON without these two.
    pub measured: Box<RawValue>,
}

impl Sample {
    /// Its line in the spool.
    pub fn line(&self) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }

    /// Writes it as the snapshot of a report.
    pub fn put(&self, into: &mut impl Write) -> io::Result<()> {
        write!(into, "{{\"sampled_at\":{},\"covers_ms\":{}", self.at, self.covers)?;
        match self.measured.get().strip_prefix('{') {
            None | Some("}") => into.write_all(b"}"),
            Some(rest) => write!(into, ",{rest}"),
        }
    }

    /// At most so many bytes in a report.
    pub fn bytes(&self) -> usize {
        self.measured.get().len() + STAMPS_BYTES
    }
}
