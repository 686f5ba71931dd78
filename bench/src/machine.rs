//! The machine, as far as it explains the figures.

use std::{
    fs::{self, File},
    io::{Seek, Write},
    thread,
    time::Instant,
};

use anyhow::{Context, Result};

const FSYNCS: usize = 200;

pub fn run() -> Result<()> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).context("no MemTotal")?;
    let memory: f64 = line.trim().trim_end_matches(" kB").parse()?;
    let fsync = fsync_latency()?;
    println!(
        "{} cores, {:.0} GiB of memory, a write of 4 KiB and its fsync {:.2} ms (median of {FSYNCS})",
        thread::available_parallelism()?,
        memory / f64::from(1 << 20),
        fsync * 1e3,
    );
    Ok(())
}

/// In seconds.
fn fsync_latency() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut file = File::create(folder.path().join("fsync"))?;
    let mut took = Vec::with_capacity(FSYNCS);
    for _ in 0..FSYNCS {
        file.rewind()?;
        let begun = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        took.push(begun.elapsed().as_secs_f64());
    }
    Ok(crate::table::median(took))
}
