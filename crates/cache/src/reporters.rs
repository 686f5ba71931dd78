//! Which agents would tell somebody when the suite is away, and which of them is to, in this process.

use std::collections::BTreeMap;

use fleet::{Millis, ServerId, alert::lease::Lease};

/// How long an agent is remembered after it said so last.
pub const REMEMBERED: Millis = 24 * 3_600_000;

/// Most agents that are remembered; beyond that those heard longest ago are forgotten.
pub const MOST: usize = 1_000;

/// By agent, when it said so last; and the lease.
#[derive(Default)]
pub struct Reporters {
    said: BTreeMap<ServerId, Millis>,
    pub lease: Option<Lease>,
}

impl Reporters {
    pub fn note(&mut self, said: &[(ServerId, Millis)]) {
        for (server, at) in said {
            let held = self.said.entry(*server).or_insert(*at);
            *held = (*held).max(*at);
        }
        if self.said.len() > MOST {
            let mut by_time: Vec<(Millis, ServerId)> = self.said.iter().map(|(id, at)| (*at, *id)).collect();
            by_time.sort_unstable();
            for (_, server) in &by_time[..self.said.len() - MOST] {
                self.said.remove(server);
            }
        }
    }

    pub fn list(&mut self, now: Millis) -> Vec<ServerId> {
        self.said.retain(|_, at| now - *at <= REMEMBERED);
        self.said.keys().copied().collect()
    }
}

/// The lease as a text, for a cache that keeps texts.
pub fn write(lease: &Lease) -> String {
    format!("reporter 1 {} {}", lease.server, lease.until)
}

/// The lease that such a text tells; anything else is none.
pub fn read(text: &[u8]) -> Option<Lease> {
    let (server, until) = str::from_utf8(text).ok()?.strip_prefix("reporter 1 ")?.split_once(' ')?;
    Some(Lease { server: server.parse().ok()?, until: until.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_reads_as_it_was_written_and_nothing_else_is_one() {
        let lease = Lease { server: ServerId::from_bytes([3; 16]), until: 1_790_000_000_000 };
        let text = write(&lease);
        assert_eq!(read(text.as_bytes()), Some(lease));
        for garbage in ["", "reporter 1 ", "reporter 2 x 7", "reporter 1 x 7", &text[..60], "denylist 1 7 0"]
        {
            assert_eq!(read(garbage.as_bytes()).filter(|read| *read == lease), None, "{garbage}");
        }
    }
}
