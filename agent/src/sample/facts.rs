//! Facts about the host: told at first, when they change, and once an hour.

use std::{
    fs,
    time::{Duration, Instant},
};

use fleet::Millis;
use sysinfo::System;
use wire::v1;

use super::boot_at;
use crate::clock::Reading;

/// They are looked at this often,
const LOOK: Duration = Duration::from_secs(300);
/// and told at least this often.
const TELL: Duration = Duration::from_secs(3_600);
/// A time of start that moved by less is the clock's doing.
const SAME_BOOT: Millis = 60_000;

/// What was told last, and when.
#[derive(Debug, Default)]
pub(super) struct Facts {
    told: Option<v1::Host>,
    told_at: Option<Instant>,
    looked_at: Option<Instant>,
    cpu_model: Option<String>,
}

impl Facts {
    /// They are due with the next sample.
    pub fn tell(&mut self) {
        (self.looked_at, self.told_at) = (None, None);
    }

    /// The facts, if they are due.
    pub fn due(&mut self, reading: Reading) -> Option<v1::Host> {
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK) {
            return None;
        }
        self.looked_at = Some(Instant::now());
        let mut host = self.gather(reading);
        if let (Some(told), Some(at)) = (&self.told, self.told_at)
            && at.elapsed() < TELL
        {
            if told.boot_at.zip(host.boot_at).is_some_and(|(told, now)| (told - now).abs() < SAME_BOOT) {
                host.boot_at = told.boot_at;
            }
            if *told == host {
                return None;
            }
        }
        self.told_at = Some(Instant::now());
        self.told = Some(host.clone());
        Some(host)
    }

    fn gather(&mut self, reading: Reading) -> v1::Host {
        if self.cpu_model.is_none() {
            self.cpu_model = cpu_model();
        }
        v1::Host {
            hostname: System::host_name().ok(),
            os: System::long_os_version().ok(),
            kernel: System::kernel_version().ok(),
            arch: Some(System::cpu_arch()).filter(|arch| !arch.is_empty()),
            cpu_model: self.cpu_model.clone(),
            boot_at: Some(boot_at(reading)).filter(|_| cfg!(target_os = "linux")),
            agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
