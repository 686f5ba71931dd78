//! The variant for one process: six parts, a mutex each, held for the length of one call.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use fleet::{Millis, ServerId, alert::lease::Lease};

use crate::{
    Denylist, Latest, Noticed, Seen, Unknown, Writer, failures::Failures, notices::Notices,
    reporters::Reporters, roll::Roll, unknown::Strangers, writers::Told,
};

/// The cache of this process.
#[derive(Default)]
pub struct InProcess {
    roll: Mutex<Roll>,
    denylist: Mutex<Option<Denylist>>,
    failures: Mutex<Failures>,
    strangers: Mutex<Strangers>,
    reporters: Mutex<Reporters>,
    writers: Mutex<Told>,
    notices: Mutex<Notices>,
}

impl InProcess {
    pub(crate) fn see(&self, seen: Vec<Seen>, now: Millis) {
        // The batch's own time, not the greatest ever: a gate's clock that once leapt ahead must not empty the roll.
        let newest = seen.iter().map(|one| one.received_at).max();
        let mut roll = lock(&self.roll);
        for one in seen {
            roll.see(one, now);
        }
        if let Some(newest) = newest {
            roll.forget(newest);
        }
    }

    pub(crate) fn correct(&self, now: Millis) {
        lock(&self.roll).correct(now);
    }

    pub(crate) fn silent(&self, from: Millis, to: Millis) -> Vec<(ServerId, Millis)> {
        lock(&self.roll).silent(from, to)
    }

    pub(crate) fn silent_at(&self, servers: &[ServerId]) -> HashMap<ServerId, Millis> {
        let roll = lock(&self.roll);
        servers.iter().filter_map(|server| Some((*server, roll.silent_at(server)?))).collect()
    }

    pub(crate) fn latest(&self, servers: &[ServerId]) -> HashMap<ServerId, Latest> {
        let roll = lock(&self.roll);
        servers.iter().filter_map(|server| Some((*server, roll.latest(server)?))).collect()
    }

    pub(crate) fn put_denylist(&self, denylist: Denylist) {
        let mut held = lock(&self.denylist);
        if held.as_ref().is_none_or(|held| held.version <= denylist.version) {
            *held = Some(denylist);
        }
    }

    pub(crate) fn denylist(&self) -> Option<Denylist> {
        lock(&self.denylist).clone()
    }

    pub(crate) fn note_unknown(&self, unknown: &[Unknown]) {
        lock(&self.strangers).note(unknown);
    }

    pub(crate) fn unknown(&self, now: Millis) -> Vec<Unknown> {
        lock(&self.strangers).list(now)
    }

    pub(crate) fn forget_unknown(&self, servers: &[ServerId]) {
        lock(&self.strangers).forget(servers);
    }

    pub(crate) fn note_reporters(&self, said: &[(ServerId, Millis)]) {
        lock(&self.reporters).note(said);
    }

    pub(crate) fn reporters(&self, now: Millis) -> Vec<ServerId> {
        lock(&self.reporters).list(now)
    }

    pub(crate) fn put_reporter_lease(&self, lease: Lease) {
        lock(&self.reporters).lease = Some(lease);
    }

    pub(crate) fn reporter_lease(&self) -> Option<Lease> {
        lock(&self.reporters).lease
    }

    pub(crate) fn put_writers(&self, worker: &str, writers: &[Writer], now: Millis) {
        lock(&self.writers).put(worker, writers, now);
    }

    pub(crate) fn writers(&self, now: Millis) -> Vec<Writer> {
        lock(&self.writers).list(now)
    }

    pub(crate) fn put_notice(&self, server: ServerId, notice: Option<&str>) {
        lock(&self.notices).put(server, notice);
    }

    pub(crate) fn put_notices(&self, notices: &BTreeMap<ServerId, String>) {
        lock(&self.notices).put_all(notices);
    }

    pub(crate) fn notices(&self, since: Option<i64>) -> Noticed {
        lock(&self.notices).since(since)
    }

    pub(crate) fn fail(&self, key: &str, now: Millis, window: Millis) {
        lock(&self.failures).fail(key, now, window);
    }

    pub(crate) fn failures(&self, key: &str, now: Millis, window: Millis) -> (usize, Option<Millis>) {
        lock(&self.failures).young(key, now, window)
    }
}

/// All of this can be lost, so what a panic left half-done is no worse.
fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
