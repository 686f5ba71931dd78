//! Servers that the registry never knew, in this process.

use std::collections::BTreeMap;

use fleet::{Millis, ServerId};

use crate::Unknown;

/// How long a server is remembered after it was seen last.
pub const REMEMBERED: Millis = 24 * 3_600_000;

/// Most servers that are remembered; beyond that those seen longest ago are forgotten.
pub const MOST: usize = 10_000;

/// Generation and when it was seen last, by server.
#[derive(Default)]
pub struct Strangers(BTreeMap<ServerId, (u32, Millis)>);

impl Strangers {
    pub fn note(&mut self, unknown: &[Unknown]) {
        for Unknown { server, generation, last_seen } in unknown {
            let held = self.0.entry(*server).or_insert((*generation, *last_seen));
            *held = (held.0.max(*generation), held.1.max(*last_seen));
        }
        if self.0.len() > MOST {
            let mut seen: Vec<(Millis, ServerId)> = self.0.iter().map(|(id, (_, at))| (*at, *id)).collect();
            seen.sort_unstable();
            for (_, server) in &seen[..self.0.len() - MOST] {
                self.0.remove(server);
            }
        }
    }

    pub fn list(&mut self, now: Millis) -> Vec<Unknown> {
        self.0.retain(|_, (_, last_seen)| now - *last_seen <= REMEMBERED);
        let known = self.0.iter();
        known
            .map(|(server, (generation, last_seen))| Unknown {
                server: *server,
                generation: *generation,
                last_seen: *last_seen,
            })
            .collect()
    }

    pub fn forget(&mut self, servers: &[ServerId]) {
        for server in servers {
            self.0.remove(server);
        }
    }
}
