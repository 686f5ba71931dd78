//! What was seen of each server, and an index by the moment from which it counts as silent.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use fleet::{Millis, ServerId, liveness::Beat};

use crate::{Latest, Seen};

/// A server that has been silent for this long, in gate time, is forgotten: a deleted one must not stay for ever, and
/// whoever asks after the others has the registry's sighting.
pub const KEEP: Millis = 7 * 86_400_000;

#[derive(Default)]
pub struct Roll {
    servers: HashMap<ServerId, Known>,
    /// Exactly one entry for each server.
    by_silent: BTreeSet<(Millis, ServerId)>,
}

struct Known {
    beat: Beat,
    sampled_at: Millis,
    snapshot: Arc<str>,
}

impl Roll {
    /// The newest beat and the newest sample each stay by themselves: what was sampled late may still have been heard
    /// last.
    pub fn see(&mut self, seen: Seen, now: Millis) {
        let Seen { server, received_at, silent_at, latest, sampled_at } = seen;
        let beat = Beat { received_at, silent_at };
        match self.servers.entry(server) {
            Entry::Vacant(vacant) => {
                vacant.insert(Known { beat, sampled_at, snapshot: latest });
                self.by_silent.insert((silent_at, server));
            }
            Entry::Occupied(mut occupied) => {
                let known = occupied.get_mut();
                if sampled_at > known.sampled_at {
                    (known.sampled_at, known.snapshot) = (sampled_at, latest);
                }
                if beat.replaces(known.beat, now) {
                    replace(&mut self.by_silent, server, known, beat);
                }
            }
        }
    }

    /// Takes beats that are from a clock that was wrong as heard now.
    pub fn correct(&mut self, now: Millis) {
        for (server, known) in &mut self.servers {
            if known.beat.is_from_a_wrong_clock(now) {
                let beat = known.beat.moved_to(now);
                replace(&mut self.by_silent, *server, known, beat);
            }
        }
    }

    /// Forgets who has been silent for too long at `now`, in gate time.
    pub fn forget(&mut self, now: Millis) {
        while let Some((silent_at, server)) = self.by_silent.first().copied()
            && silent_at < now - KEEP
        {
            self.by_silent.pop_first();
            self.servers.remove(&server);
        }
    }

    /// Who counts as silent from a moment in `[from, to)`, in that order.
    pub fn silent(&self, from: Millis, to: Millis) -> Vec<(ServerId, Millis)> {
        if from >= to {
            return Vec::new();
        }
        // The smallest of all ids, so that the bounds are those of the times alone.
        let edge = ServerId::from_bytes([0; 16]);
        let range = self.by_silent.range((from, edge)..(to, edge));
        range.map(|(silent_at, server)| (*server, *silent_at)).collect()
    }

    /// From when this server counts as silent.
    pub fn silent_at(&self, server: &ServerId) -> Option<Millis> {
        self.servers.get(server).map(|known| known.beat.silent_at)
    }

    pub fn latest(&self, server: &ServerId) -> Option<Latest> {
        let Known { beat, sampled_at, snapshot } = self.servers.get(server)?;
        Some(Latest {
            received_at: beat.received_at,
            sampled_at: *sampled_at,
            snapshot: Arc::clone(snapshot),
        })
    }
}

/// Both places that know of a beat.
fn replace(by_silent: &mut BTreeSet<(Millis, ServerId)>, server: ServerId, known: &mut Known, beat: Beat) {
    by_silent.remove(&(known.beat.silent_at, server));
    by_silent.insert((beat.silent_at, server));
    known.beat = beat;
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 2 * KEEP;

    fn seen(server: u8, at: Millis) -> Seen {
        Seen {
            server: ServerId::from_bytes([server; 16]),
            received_at: at,
            silent_at: at + 120_000,
            latest: "{}".into(),
            sampled_at: at,
        }
    }

    #[test]
    fn the_index_has_one_entry_a_server_however_often_it_is_seen() {
        let mut roll = Roll::default();
        for beat in [5, 3, 9, 9, 1, 12] {
            roll.see(seen(1, beat * 30_000), NOW);
            roll.see(seen(2, beat * 30_000), NOW);
        }
        assert_eq!((roll.by_silent.len(), roll.servers.len()), (2, 2));
    }

    #[test]
    fn who_is_silent_for_a_week_is_forgotten_as_a_whole() {
        let mut roll = Roll::default();
        roll.see(seen(1, 0), NOW);
        roll.see(seen(2, KEEP), NOW);
        roll.forget(KEEP + 120_000);
        assert_eq!(roll.servers.len(), 2);
        roll.forget(KEEP + 120_001);
        assert_eq!((roll.by_silent.len(), roll.servers.len()), (1, 1));
        assert_eq!(roll.latest(&ServerId::from_bytes([1; 16])), None);
    }
}
